"""The verifier on logs served from memory: quorums, witnesses' views, old logs, hostile servers."""

import base64
import json
import random
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.parse
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from services.audit import domain, verifier
from shared.bodies import render_moment
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.notes import Cosigner, Signer
from tests.audit.conftest import ORIGIN, an_event
from tests.audit.paper import PaperLog, events_of_two, served, witness_path

SIZE = 300


@pytest.fixture
def paper():
    return PaperLog(events_of_two(SIZE))


def test_a_healthy_log_is_good_in_bulk_and_tile_by_tile(paper):
    with served(paper.answer) as url:
        assert paper.verify(url)[0] == 0
        # Taken apart only where it must be: no columns were asked for row by row.
        assert not any(path.startswith("/v1/columns") for path in paper.asked)
        paper.absent = ("/v1/stored", "/v1/checkpoints")  # a log of before
        status, summary = paper.verify(url)
        assert (status, summary["size"]) == (0, SIZE), summary
        assert "does not tell its stored checkpoints" in summary["warnings"][0]


def test_several_processes_read_it_too(paper):
    with served(paper.answer) as url:
        assert paper.verify(url, "--processes", "2")[0] == 0
        # By itself it has no other thread, and forks.
        command = [sys.executable, verifier.__file__, "--log", url, "--key", str(paper.signer.key)]
        for type_, status in ((paper.entries[7].type, 0), ("another", 1)):
            paper.entries[7] = paper.entries[7]._replace(type=type_)
            said = subprocess.run([*command, "--processes", "2"], stdout=subprocess.PIPE)
            summary = json.loads(said.stdout.splitlines()[-1])
            assert (said.returncode, summary["first_bad_index"]) == (status, 7 if status else None)


# ---------------------------------------------------------------- keys, quorum


def _policy(paper, cosigners, quorum="group q 2 w0 w1 w2\nquorum q\n"):
    witnesses = "".join(f"witness w{at} {each.key}\n" for at, each in enumerate(cosigners))
    return f"log {paper.signer.key}\n{witnesses}{quorum}"


@pytest.fixture
def cosigners():
    return [
        Cosigner("w0.test", Ed25519PrivateKey.generate()),
        Cosigner("w1.test", Ed25519PrivateKey.generate()),
        Cosigner("w2.test", MLDSA44PrivateKey.generate()),
    ]


def test_a_quorum_is_asked_for_and_who_signed_when_is_told(paper, cosigners, tmp_path):
    (tmp_path / "policy").write_text(_policy(paper, cosigners))
    with served(paper.answer) as url:
        for there, status in ((cosigners[:1], 1), (cosigners[1:], 0)):
            paper.cosigners = there
            found, summary = paper.verify(url, "--policy", str(tmp_path / "policy"), key=False)
            assert found == status, summary
            told = [(each["name"], each["at"]) for each in summary["witnesses"]]
            assert told == [(each.name, "2026-11-01T09:00:00Z") for each in there]
            assert summary["quorum"] is (status == 0)


def test_a_cosignature_that_does_not_hold_is_bad_and_one_not_known_is_ignored(
    paper, cosigners, tmp_path
):
    (tmp_path / "policy").write_text(_policy(paper, cosigners))
    stranger = Cosigner("stranger.test", Ed25519PrivateKey.generate())
    paper.cosigners = [*cosigners, stranger]
    with served(paper.answer) as url:
        arguments = ("--policy", str(tmp_path / "policy"))
        assert paper.verify(url, *arguments, key=False)[0] == 0
        # The times are signed too.
        old = paper.note()
        line = next(each for each in old.split("\n") if each.startswith("— w1.test "))
        moved = bytearray(verifier.decode(line.split(" ")[2]))
        moved[11] ^= 1
        new = old.replace(line.split(" ")[2], base64.b64encode(moved).decode())
        paper.rewrite = lambda path, answer: (
            (200, new.encode()) if path.endswith("checkpoint") else answer
        )
        status, summary = paper.verify(url, *arguments, key=False)
        assert (status, "w1.test does not hold" in summary["problem"]) == (1, True)


def test_an_old_and_a_new_key_of_the_log_both_count_for_the_sizes_they_sign(paper, tmp_path):
    new = Signer(ORIGIN, Ed25519PrivateKey.generate())
    with served(paper.answer) as url:
        for line, status in (
            (f"{paper.signer.key}\n{new.key} {SIZE + 1}", 0),
            (f"{paper.signer.key} 0 {SIZE}", 0),
            (f"{paper.signer.key} 0 {SIZE - 1}", 1),
            (f"{new.key}", 1),
        ):
            (tmp_path / "keys").write_text(line)
            assert paper.verify(url, "--key", str(tmp_path / "keys"), key=False)[0] == status, line


@pytest.mark.parametrize(
    "line",
    [
        "log x", "witness a", "group g 2 w0", "group g 0 w0", "group g 1 nobody", "quorum nobody",
        "witness none {key}", "witness w0 {other}", "group g any w0 w0", "quorum none", "\x01", "?",
    ],
)  # fmt: skip
def test_a_policy_that_is_none_is_refused_with_its_line(paper, cosigners, line):
    text = _policy(paper, cosigners[:1], "quorum w0\n") + line.format(
        key=cosigners[1].key, other=cosigners[1].key
    )
    with pytest.raises(verifier.Bad, match="line 4"):
        verifier.Policy.parse(text)


# ---------------------------------------------------------------- witnesses' views


@pytest.mark.parametrize("there", [SIZE, 200, 256])
def test_a_witness_that_saw_the_same_log_changes_nothing(paper, there):
    paper.rewrite = lambda path, answer: (
        (200, paper.note(there).encode()) if path == witness_path() else answer
    )
    with served(paper.answer) as url:
        status, summary = paper.verify(url, "--witness", url)
        assert status == 0, summary


def test_a_log_that_hides_its_tail_from_us_is_found_by_its_witness(paper):
    paper.size = 200
    paper.rewrite = lambda path, answer: (
        (200, paper.note(SIZE).encode()) if path == witness_path() else answer
    )
    with served(paper.answer) as url:
        status, summary = paper.verify(url, "--witness", url)
    assert (status, summary["first_bad_index"], summary["last_possible_index"]) == (1, 200, 299)
    assert "has seen more than the log serves" in summary["problem"]


def test_a_log_that_shows_a_witness_other_entries_is_found(paper):
    other = PaperLog([*events_of_two(100), *(an_event("needs", seq) for seq in range(51, 151))])
    other.signer = paper.signer  # re-signed with the right key
    other.entries[:100] = paper.entries[:100]
    paper.rewrite = lambda path, answer: (
        (200, other.note().encode()) if path == witness_path() else answer
    )
    with served(paper.answer) as url:
        status, summary = paper.verify(url, "--witness", url)
    assert status == 1
    assert summary["first_bad_index"] <= 100 <= summary["last_possible_index"] == 199
    assert "has seen other entries" in summary["problem"]


def test_a_witness_that_does_not_answer_leaves_it_unchecked(paper, monkeypatch):
    monkeypatch.setattr(verifier, "STALL_S", 0.2)
    with served(paper.answer) as url:
        status, summary = paper.verify(url, "--witness", "http://127.0.0.1:9")
        assert (status, summary["ok"], summary["size"]) == (2, False, SIZE)
        # What is bad is said all the same.
        paper.entries[7] = paper.entries[8]
        assert paper.verify(url, "--witness", "http://127.0.0.1:9")[0] == 1


# ---------------------------------------------------------------- the copy and its history


def test_every_checkpoint_kept_outside_must_be_of_this_log(paper, tmp_path):
    copy = paper.keep(tmp_path, [3, 10, 255, 256, 257, SIZE])
    with served(paper.answer) as url:
        assert paper.verify(url, "--checkpoint-copy", str(copy))[0] == 0
        # Another history of the same key, whose copy was put in the place of the true one.
        other = PaperLog([*events_of_two(260), *(an_event("needs", 131 + at) for at in range(40))])
        other.signer = paper.signer
        other.entries[:260] = paper.entries[:260]
        (tmp_path / "checkpoint").write_text(other.note())
        (tmp_path / "leaves").write_bytes(b"".join(other.leaves))
    history = (tmp_path / "checkpoints").read_text().replace(paper.note(SIZE), "")
    (tmp_path / "checkpoints").write_text(f"{history}{paper.note(280)}\n")
    other.kept = (*paper.kept, 280)
    with served(other.answer) as url:
        status, summary = other.verify(url, "--checkpoint-copy", str(copy))
    assert status == 1
    assert (summary["first_bad_index"], summary["last_possible_index"]) == (257, 279)


def test_checkpoints_beside_the_copy_that_nobody_signed_prove_nothing(paper, tmp_path):
    copy = paper.keep(tmp_path, [10, SIZE])
    text = (tmp_path / "checkpoints").read_text()
    root = text.split("\n")[2]
    (tmp_path / "checkpoints").write_text(text.replace(root, "A" * 43 + "=") + "\n\nx\n" * 3)
    with served(paper.answer) as url:
        status, summary = paper.verify(url, "--checkpoint-copy", str(copy))
    assert (status, len(summary["warnings"])) == (0, 1)


def test_a_signed_checkpoint_of_another_tree_is_found_beside_the_good_one_kept_outside(
    paper, tmp_path
):
    copy = paper.keep(tmp_path, [100, 200, SIZE])
    root = b"\7" * 32
    forked = paper.signer.sign(str(Checkpoint(ORIGIN, 200, root)))
    change = _of(200, note=forked, root=base64.b64encode(root).decode())
    with _stored(paper, change, kept=(100, 200)) as url:
        for more in ((), ("--checkpoint-copy", str(copy))):
            status, summary = paper.verify(url, *more)
            assert (status, summary["last_possible_index"]) == (1, 199), summary
            assert "not those that were signed" in summary["problem"]


# ---------------------------------------------------------------- hostile servers


def _mutate(chance, content):
    content = bytearray(content)
    kind = chance.randrange(6)
    at = chance.randrange(len(content) + 1)
    if kind == 0 and content:
        content[at % len(content)] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del content[at : at + chance.randrange(1, 40)]
    elif kind == 2:
        content[at:at] = chance.randbytes(chance.randrange(1, 40))
    elif kind == 3:
        content[at:] = b""
    elif kind == 4:
        word = chance.choice(
            [b"null", b"[]", b"-1", b'"', b"{", b"1e999", b"\x1f", b"\n\n", b"9" * 30]
        )
        content[at : at + len(word)] = word
    else:
        content = bytearray(chance.choice([b"", b"null", b"[[[[" * 5_000, b"{}", b"\xff" * 9]))
    return bytes(content)


@pytest.mark.parametrize("old", [False, True])
def test_whatever_one_answer_is_changed_to_is_found_and_never_crashes(paper, old, monkeypatch):
    monkeypatch.setattr(verifier, "ATTEMPTS_MAX", 1)
    paper.absent = ("/v1/stored",) if old else ()
    paper.entries = paper.entries[:20]
    paper.size = 20
    seed = 20
    with served(paper.answer) as url:
        assert paper.verify(url)[0] == 0
        targets = sorted(set(paper.asked))
        for turn in range(100):
            chance = random.Random(f"{seed} {turn}")
            target = targets[turn % len(targets)]
            changed: list[bytes] = []

            def rewrite(path, answer, chance=chance, target=target, changed=changed):
                if path != target or chance is None:
                    return answer
                changed.append(_mutate(chance, answer[1]))
                return 200, changed[-1]

            paper.rewrite = rewrite
            status, summary = paper.verify(url)
            true = paper._content(*_asked(target))
            benign = all(each == true for each in changed) or _same(target, changed, true)
            assert status in ({0, 1, 2} if benign else {1, 2}), (target, changed, summary)


def _asked(target):
    parts = urllib.parse.urlsplit(target)
    asked = urllib.parse.parse_qs(parts.query)
    return parts.path, {name: int(values[0]) for name, values in asked.items()}


def _same(target, changed, true):
    """Says the same in other bytes: JSON with another space, a checkpoint that was not needed."""
    if target.startswith(("/v1/head", "/v1/columns")):
        try:
            return all(json.loads(each) == json.loads(true) for each in changed)
        except (ValueError, RecursionError):
            return False
    # In bulk the columns are a hint where to look: what they say wrongly is asked for again.
    return target.startswith("/v1/stored")


def _raw(behave):
    """A server that does with a connection what `behave(connection)` does."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.05)
    ended = threading.Event()

    def serve_one(connection):
        with connection:
            try:
                connection.settimeout(5)
                connection.recv(10_000)
                behave(connection, ended)
            except OSError:
                pass

    def run():
        threads = []
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=serve_one, args=(connection,)))
            threads[-1].start()
        for each in threads:
            each.join()
        listening.close()

    thread = threading.Thread(target=run)
    thread.start()

    def stop():
        ended.set()
        thread.join()

    return f"http://127.0.0.1:{listening.getsockname()[1]}", stop


def _trickle(head):
    def behave(connection, ended):
        connection.sendall(head)
        while not ended.wait(0.02):
            connection.sendall(b"1")

    return behave


def _flood(connection, ended):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not ended.is_set():
        connection.sendall(b"x" * 100_000)


def _continue(connection, ended):
    while not ended.is_set():
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def _too_often(connection, ended):
    while not ended.is_set():
        connection.sendall(b"HTTP/1.1 429 Wait\r\nContent-Length: 2\r\n\r\n{}")
        if not connection.recv(10_000):
            return


@pytest.mark.parametrize(
    "behave",
    [
        _trickle(b""),
        _trickle(b"HTTP/1.1 200 OK\r\nA: "),
        _trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
        _trickle(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        _flood,
        _continue,
        _too_often,
        lambda connection, ended: connection.sendall(b"SSH-2.0-x\r\n"),
        lambda connection, ended: None,
    ],
    ids="word header body chunks flood continue 429 ssh nothing".split(),
)
def test_a_server_that_never_comes_to_an_end_is_left(paper, behave, monkeypatch):
    monkeypatch.setattr(verifier, "REQUEST_S", 0.2)
    monkeypatch.setattr(verifier, "STALL_S", 0.4)
    url, stop = _raw(behave)
    try:
        began = time.monotonic()
        status, summary = paper.verify(url)
        assert status == 2, summary
        assert time.monotonic() - began < 15  # not a figure: it ends, though the server does not
    finally:
        stop()


def test_what_was_found_before_the_log_stopped_answering_is_told(paper, monkeypatch):
    monkeypatch.setattr(verifier, "ATTEMPTS_MAX", 1)
    paper.entries[7] = paper.entries[6]
    stopped = "/v1/head"
    paper.rewrite = lambda path, true: (500, b"") if path.startswith(stopped) else true
    with served(paper.answer) as url:
        status, summary = paper.verify(url)
        assert (status, summary["first_bad_index"], len(summary["unchecked"])) == (1, 7, 1)
        stopped = "/tile/0/001"  # within a chunk
        status, summary = paper.verify(url)
        assert (status, summary["first_bad_index"], len(summary["unchecked"])) == (1, 7, 1)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/checkpoint", (400, b'{"code":"too_many_bytes"}')),
        ("/v1/columns", (404, b"")),
        ("/v1/columns", (200, b'{"data":[{"index":1e999}]}')),
    ],
)
def test_an_answer_that_is_none_leaves_it_unchecked(paper, path, answer):
    paper.entries[7] = paper.entries[7]._replace(type="another")
    paper.rewrite = lambda asked, true: answer if asked.startswith(path) else true
    with served(paper.answer) as url:
        assert paper.verify(url)[0] == 2


def test_an_entry_longer_than_one_may_be_is_bad(paper):
    for at in (70, 290):
        paper.entries[at] = paper.entries[at]._replace(body=paper.entries[at].body + b" " * 65_535)
    with served(paper.answer) as url:
        status, summary = paper.verify(url)
    assert (status, summary["first_bad_index"]) == (1, 70), summary
    assert "more than 65535 bytes" in summary["problem"]


def test_more_entries_than_were_asked_for_are_not_taken_apart(paper):
    block = b"ab\0" * 1_000
    group = bytes(8) + len(block).to_bytes(4) + block
    few = bytes(12)
    with served(paper.answer) as url:
        log = verifier.Log(url, time.monotonic() + 20)
        for content in (group, few * 2):
            paper.rewrite = lambda _, __, content=content: (200, content)
            assert log.stored(0, 64) == []
        log.close()


def test_producers_without_end_are_bad(paper, monkeypatch):
    monkeypatch.setattr(verifier, "PRODUCERS_MAX", 1)
    with served(paper.answer) as url:
        status, summary = paper.verify(url)
    assert (status, summary["first_bad_index"]) == (1, 1)
    assert "more than 1 producers" in summary["problem"]


# ---------------------------------------------------------------- stored checkpoints, and times


def _stored(paper, change, kept=(10, 100)):
    """The log, but for what `change(rows)` does to its stored checkpoints."""

    def rewrite(target, true):
        if not target.startswith("/v1/stored/checkpoints"):
            return true
        said = json.loads(true[1])
        change(said["data"])
        return 200, json.dumps(said).encode()

    paper.kept = kept
    paper.rewrite = rewrite
    return served(paper.answer)


def _of(size, /, **values):
    def change(rows):
        for row in rows:
            if row["size"] == size:
                row |= values

    return change


def _cosigned(size, **values):
    def change(rows):
        for row in rows:
            if row["size"] == size:
                row["cosignatures"][0] |= values

    return change


def _replaced(rows, *others):
    rows[:] = others


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.reverse(),
        lambda rows: rows.extend(rows[:1]),
        lambda rows: _replaced(rows, rows[0], rows[0]),
        lambda rows: _replaced(rows, "a checkpoint"),
        lambda rows: _replaced(rows, *rows[0]),
        lambda rows: rows[0].pop("note"),
        _of(10, size="ten"),
        _of(10, size=-1),
        _of(100, size=2**70),
        _of(10, at="yesterday"),
        _of(10, at=None),
        _of(10, root=7),
        _of(10, cosignatures=None),
        _of(10, quorum_at=[[]]),
        _of(10, note="x" * 200_000),
        _of(10, quorum_at=["2026-11-01T09:00:00+00:00"] * 10_000),
    ],
)
def test_stored_checkpoints_of_another_form_are_bad_and_come_to_an_end(paper, change):
    with _stored(paper, change) as url:
        status, summary = paper.verify(url)
    assert status == 1
    assert "stored checkpoints are malformed" in summary["problem"]


def test_long_cosignatures_of_many_checkpoints_fit_the_answers(paper):
    def lengthen(rows):
        for row in rows:
            row["more"] = "x" * 90_000

    with _stored(paper, lengthen, kept=range(1, 250)) as url:
        status, summary = paper.verify(url)
    assert (status, summary["size"]) == (0, SIZE), summary


def test_stored_checkpoints_that_would_fill_the_memory_are_bad(paper, monkeypatch):
    monkeypatch.setattr(verifier, "STORED_NOTES_BYTES_MAX", 500)
    with _stored(paper, lambda rows: None) as url:
        status, summary = paper.verify(url)
    assert (status, "more bytes" in summary["problem"]) == (1, True), summary


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_of(100, at="9999-12-31T23:59:59.999999+00:00"), "its time is none"),
        (_of(10, at="0001-01-01T00:00:00+00:00"), "its time is none"),
        (_of(10, quorum_at=["0001-01-01T00:00:00+00:00"]), "nobody's cosignature"),
        (_of(10, root="A" * 43 + "="), "not that of its note"),
        (_of(10, note="x"), "not to be trusted"),
        (_of(10, at="2026-10-31T09:00:00+00:00", quorum_at=[]), None),
        (_of(100, at="2026-11-01T07:00:00+00:00"), "the clock went back"),
        (_of(10, at="2026-11-01T10:00:00+00:00"), "before it was signed"),
        (_of(10, quorum_at=["2026-11-01T08:59:00+00:00"]), "nobody's cosignature"),
        (_cosigned(10, at="2026-11-01T08:59:00+00:00"), "not the one it signed"),
        (_cosigned(10, name="w9.test"), "not that of w9.test"),
        (_cosigned(10, line="— w0.test AAAA\n"), "not to be trusted"),
    ],
)
def test_a_stored_checkpoint_must_say_what_its_note_and_its_cosignatures_say(
    paper, cosigners, change, says
):
    paper.cosigners = cosigners[:2]
    with _stored(paper, change) as url:
        status, summary = paper.verify(url)
    assert status == (says is not None), summary
    assert says is None or says in summary["problem"]


def test_under_a_quorum_its_time_is_a_cosignature_s_and_the_first_by_which_it_was_met(
    paper, cosigners, tmp_path
):
    (tmp_path / "policy").write_text(_policy(paper, cosigners))
    paper.cosigners = cosigners
    early, first, second = (f"2026-11-01T{at}:00+00:00" for at in ("07:50", "09:00", "09:01"))

    def signed_at(*quorum_at):
        """As if the checkpoint had been signed before its entries: what then counts?"""

        def change(rows):
            for row in rows:
                row |= {"at": early, "quorum_at": list(quorum_at)}

        with _stored(paper, change) as url:
            asked = paper.verify(url, "--policy", str(tmp_path / "policy"), key=False)
            return asked, paper.verify(url)

    (asked, summary), (only_key, _) = signed_at(early)
    assert (asked, only_key) == (1, 0)
    assert "nobody's cosignature" in summary["problem"]
    # Cosigned at nine o'clock, whatever is stored of a quorum.
    (asked, summary), (_, other) = signed_at()
    assert (asked, summary["warnings"]) == (0, [])
    assert "of a time after" in other["warnings"][0]

    policy = verifier.Policy.parse((tmp_path / "policy").read_text())
    with served(paper.answer) as url:
        row = json.loads(paper._content("/v1/stored/checkpoints", {"after": 0}))["data"][0]
        for at, when in enumerate((second, first, second)):
            row["cosignatures"][at]["at"] = when
        # An earlier policy asked for less.
        row["quorum_at"] = [first, second]
        met = verifier.Stored.read(row, None, policy).signed_at
        assert met.isoformat() == second
        assert url


def test_a_published_checkpoint_that_is_stored_and_not_the_newest_is_good(paper):
    """As in a log that signs faster than its witnesses answer."""

    def published(target, true):
        return (200, paper.note(100).encode()) if target == "/checkpoint" else true

    paper.kept, paper.rewrite = (10, 100), published
    with served(paper.answer) as url:
        status, summary = paper.verify(url, "--signed")
    assert (status, summary["size"]) == (0, SIZE), summary


def test_what_was_told_long_after_it_happened_or_before_is_a_warning(paper):
    def late(rows):
        for row in rows:
            row["at"] = "2026-11-02T08:00:05+00:00"

    def early(rows):
        for row in rows:
            row["at"] = "2026-11-01T07:50:00+00:00"

    for change, says in ((late, "more than 24 hours before"), (early, "of a time after")):
        with _stored(paper, change) as url:
            status, summary = paper.verify(url)
        assert status == 0
        assert any(says in each for each in summary["warnings"]), summary


def test_a_log_that_asks_for_less_at_once_is_given_it(paper):
    def rewrite(path, answer):
        limit = int(path.partition("limit=")[2] or 0)
        too_much = path.startswith("/v1/stored?") and limit > 256
        return (400, b'{"code":"too_many_bytes"}') if too_much else answer

    paper.rewrite = rewrite
    with served(paper.answer) as url:
        assert paper.verify(url)[0] == 0
        assert "/v1/stored?first=256&limit=44" in paper.asked
        paper.entries[290] = paper.entries[280]
        status, summary = paper.verify(url)
        assert (status, summary["first_bad_index"]) == (1, 290)


@pytest.mark.parametrize("at_once", [1_000_000, 7])
def test_an_event_id_that_stands_twice_is_found_however_many_are_held_at_once(
    paper, monkeypatch, at_once
):
    monkeypatch.setattr(verifier.Unique, "IDS_AT_ONCE", at_once)
    events = events_of_two(60)
    events[50] = events[50].model_copy(update={"id": events[3].id})
    # Half an id is not an id.
    alike = events[8].id.int ^ (1 << 127)
    events[20] = events[20].model_copy(update={"id": type(events[8].id)(int=alike)})
    twice = PaperLog(events)
    with served(twice.answer) as url:
        status, summary = twice.verify(url)
    assert (status, summary["first_bad_index"]) == (1, 50)
    assert "twice" in summary["problem"]


@pytest.mark.parametrize("tail", [0, 1 << 63])
def test_an_id_of_zeros_may_stand_twice_no_more_than_another(tail):
    event_id = UUID(int=0x0123456789AB4DEF << 64 | tail)
    events = events_of_two(60)
    for at in (3, 50):
        events[at] = events[at].model_copy(update={"id": event_id})
    twice = PaperLog(events)
    with served(twice.answer) as url:
        status, summary = twice.verify(url)
    assert (status, summary["first_bad_index"]) == (1, 50)


@pytest.mark.parametrize("shapes", [("ab" * 17 + "--", "cd" * 15 + "-" * 6), ("z" * 36, "9" * 36)])
def test_ids_of_another_form_hide_none_that_stands_twice(paper, shapes):
    def name(at, event_id):
        entry = paper.entries[at]
        body = entry.body.replace(str(entry.key).encode(), event_id.encode())
        paper.entries[at] = entry._replace(body=body, key=event_id)

    for at, shape in zip((5, 100), shapes, strict=True):
        name(at, shape)
    with served(paper.answer) as url:
        assert paper.verify(url)[0] == 0
        for at in (20, 150):
            name(at, str(UUID(int=77)))
        status, summary = paper.verify(url)
    assert (status, summary["first_bad_index"]) == (1, 150), summary


def test_an_event_id_that_stands_again_chunks_later_is_found(monkeypatch):
    monkeypatch.setattr(verifier, "CHUNK", 256)
    events = events_of_two(800)
    events[700] = events[700].model_copy(update={"id": events[3].id})
    twice = PaperLog(events)
    with served(twice.answer) as url:
        status, summary = twice.verify(url, "--processes", "0")
    assert (status, summary["first_bad_index"]) == (1, 700), summary


@pytest.mark.parametrize("disorder", [0, 3, 30, 1_000])
@pytest.mark.parametrize("at_once", [12, 1_000])
def test_every_id_that_stands_twice_is_found_wherever_chunks_overlap(
    monkeypatch, disorder, at_once
):
    """As of a plain set; ids made in order, hardly, or not at all, in chunks of any size."""
    monkeypatch.setattr(verifier.Unique, "IDS_AT_ONCE", at_once)
    chance, repeated = random.Random(disorder), 0
    for _ in range(300):
        ids: list[bytes] = []
        for at in range(chance.randrange(80)):
            if ids and chance.random() < 0.03:
                ids.append(chance.choice(ids))
            else:
                made = 10 * at + chance.randrange(disorder + 1)
                ids.append(made.to_bytes(8) + chance.randbytes(8))
        unique, at = verifier.Unique(), 0
        while at < len(ids):
            chunk = b"".join(ids[at : (at := at + chance.randrange(12))])
            unique.add(chunk, verifier.Span.of(chunk))
        found = [each.first for each in unique.repeats()]
        unique.file.close()
        assert found == [at for at, each in enumerate(ids) if each in ids[:at]]
        repeated += len(found)
    assert repeated > 100


def test_ids_that_are_alike_by_halves_are_looked_at_only_so_far(monkeypatch):
    monkeypatch.setattr(verifier.Unique, "IDS_AT_ONCE", 7)
    unique = verifier.Unique()
    ids = b"".join(at.to_bytes(8) + bytes(8) for at in range(20))
    unique.add(ids, verifier.Span.of(ids))
    (found,) = unique.repeats()
    unique.file.close()
    assert (found.first, "alike" in found.problem) == (7, True)


# ---------------------------------------------------------------- what is compared in bulk

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NEED = str(UUID(int=3))


@pytest.mark.parametrize(
    ("changes", "in_bulk"),
    [
        ({"traceparent": TRACE}, True),
        ({"time": "2026-11-01T08:00:00Z"}, True),
        ({"time": "2026-11-01T08:00:00.120000Z"}, True),
        ({"division": None, "actor": "乡镇民政所", "subject": ""}, True),
        ({"data": {"lines": [{"need_id": NEED}], "n": 1, "where": {"to": "need/1"}}}, True),
        ({"data": {}}, True),
        ({"traceparent": "another form"}, False),
        ({"traceparent": TRACE.upper()}, False),
        ({"division": ""}, False),
        ({"actor": 'a "name"'}, False),
        ({"actor": "x" * 200}, True),
        ({"actor": "x" * 201}, False),
        ({"actor": "a\x1eb", "subject": "c\x1fd"}, False),
    ],
)
def test_any_entry_of_an_honest_log_is_good_and_those_of_our_own_form_in_bulk(changes, in_bulk):
    paper = PaperLog([an_event("needs", seq, **changes) for seq in range(1, 101)])
    with served(paper.answer) as url:
        status, summary = paper.verify(url)
    assert (status, summary["size"]) == (0, 100), summary
    assert in_bulk is not any(path.startswith("/v1/columns") for path in paper.asked)


TEXTS = ("producer", "type", "subject", "division", "actor", "actor_role")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in TEXTS for value in ("", "\x1e", "\x1f", "\\", '"')),
        *((name, None) for name in domain.Entry._fields[1:]),
    ],
)
def test_a_column_that_could_pass_for_another_is_found(paper, name, value):
    paper.entries[100] = paper.entries[100]._replace(**{name: value})
    with served(paper.answer) as url:
        status, summary = paper.verify(url)
    assert (status, summary["first_bad_index"]) == (1, 100), summary
    assert {"key": "event_id"}.get(name, name) in summary["problem"]


@pytest.mark.parametrize(
    ("column", "attribute"),
    [(name, name) for name in ("type", "subject", "division", "actor")]
    + [("actor_role", "actorrole")],
)
@pytest.mark.parametrize("length", [201, 300])
def test_a_column_that_says_more_of_its_entry_than_it_may_is_found(column, attribute, length):
    long = an_event("needs", 51, **{attribute: "x" * length})
    paper = PaperLog([*(an_event("needs", seq) for seq in range(1, 51)), long])
    with served(paper.answer) as url:
        assert paper.verify(url)[0] == 0
        paper.entries[50] = paper.entries[50]._replace(**{column: "x" * length})
        status, summary = paper.verify(url)
    assert (status, summary["first_bad_index"]) == (1, 50), summary
    assert column in summary["problem"]


@pytest.mark.parametrize(
    ("name", "before", "after", "value", "says"),
    [
        ("seq", '"sequence":"51"', '"sequence":"051"', "051", "query columns"),
        ("seq", "0" * 18 + "51\n", "9" * 21 + "\n", "9" * 21, "not the form"),
        ("producer", "needs    0", "NEEDS    0", "NEEDS", "not the form"),
        ("actor", "officer-0", "\\u0061", "\\u0061", "query columns"),
        ("actor", "officer-0", '","actor":"b', '","actor":"b', "query columns"),
    ],
)
def test_what_is_signed_and_stored_alike_must_have_its_form_all_the_same(
    paper, name, before, after, value, says
):
    """By the log itself: body and column agree as texts, and yet say another thing."""
    entry = paper.entries[100]
    body = entry.body.decode().replace(before, after)
    assert body != entry.body.decode()
    if name != "actor":  # it stands in the event, too
        old = {"seq": '"sequence":"51"', "producer": '"source":"needs"'}[name]
        body = body.replace(old, old.rpartition(':"')[0] + f':"{value}"')
    paper.entries[100] = entry._replace(body=body.encode(), **{name: value})
    with served(paper.answer) as url:
        status, summary = paper.verify(url)
    assert (status, summary["first_bad_index"]) == (1, 100), summary
    assert says in summary["problem"]


@pytest.mark.parametrize(
    "told",
    [
        *("infinity", "-infinity", "294276-12-31 00:00:00.1234+00"),
        *("10000-01-01 00:00:00.12345+00", "0044-03-15 00:00:00.123456+00 BC"),
    ],
)
def test_a_time_is_a_time_also_where_what_is_signed_is_stored_alike(paper, told):
    entry = paper.entries[100]
    signed = told.replace(" ", "T").replace("+00", "Z")
    body = entry.body.replace(render_moment(entry.time).encode(), signed.encode())
    assert body != entry.body
    paper.entries[100] = entry._replace(body=body, time=told)
    with served(paper.answer) as url:
        status, summary = paper.verify(url)
    assert (status, summary["first_bad_index"]) == (1, 100), summary
    assert "query columns are not those of the entry: time" in summary["problem"]


@pytest.mark.parametrize("level", ["entries", "0"])
def test_a_published_tile_that_differs_is_found_when_all_are_looked_at(level):
    """Neither the first nor the last: only `--tiles` promises that it is compared."""
    paper = PaperLog(events_of_two(600))

    def rewrite(path, true):
        changed = true[1][:-1] + bytes([true[1][-1] ^ 1])
        return (200, changed) if path == f"/tile/{level}/001" else true

    paper.rewrite = rewrite
    with served(paper.answer) as url:
        status, summary = paper.verify(url, "--tiles")
    assert (status, summary["first_bad_index"]) == (1, 256), summary
    assert f"the published tile ({level})" in summary["problem"]


@pytest.mark.parametrize("tile", ["000", "002.p/88"])
def test_the_first_and_the_last_published_tile_are_looked_at_in_every_run(monkeypatch, tile):
    monkeypatch.setattr(verifier, "TILE_EVERY", 2**32)
    paper = PaperLog(events_of_two(600))

    def rewrite(path, true):
        return (200, true[1][:-1] + b"?") if path == f"/tile/0/{tile}" else true

    paper.rewrite = rewrite
    with served(paper.answer) as url:
        status, summary = paper.verify(url)
    assert status == 1
    assert "the published tile (0)" in summary["problem"]


def test_nobody_knows_which_published_tiles_a_run_looks_at(monkeypatch):
    monkeypatch.setattr(verifier, "TILE_EVERY", 2)
    paper = PaperLog(events_of_two(600))

    def rewrite(path, true):
        return (200, true[1][:-1] + b"?") if path == "/tile/0/001" else true

    paper.rewrite = rewrite
    found = set()
    with served(paper.answer) as url:
        for _ in range(60):  # all alike: once in 2^59
            found.add(paper.verify(url)[0])
            if found == {0, 1}:
                break
    assert found == {0, 1}


def test_a_stored_leaf_hash_is_compared_though_its_tile_is_not_looked_at():
    paper = PaperLog(events_of_two(600))
    leaf = paper.leaves[300]
    paper.rewrite = lambda path, true: (200, true[1].replace(leaf, bytes(32)))
    with served(paper.answer) as url:
        status, summary = paper.verify(url)
    assert (status, summary["first_bad_index"]) == (1, 300), summary
    assert "stored leaf hash" in summary["problem"]


def test_what_passes_in_bulk_passes_entry_by_entry():
    """Random entries, some hardly changed, some broken, and random columns: both must agree."""
    chance = random.Random(7)
    paper = PaperLog(
        [
            an_event("needs", 1, traceparent=TRACE),
            an_event("needs", 2, division=None, data={"a": [NEED], "n": -1.5, "z": {"b": None}}),
            an_event("donors", 1, traceparent=TRACE, time="2026-11-01T08:00:00Z", data={}),
        ]
    )
    honest, passed = paper.entries, 0
    words = [b"0", b"1", b"9", b"f", b" ", b",", b'"', b"}", b"{}", b"]", b"\\", b"\x00", b"\x1e"]
    words += [b'"type":"', b'"traceparent":"' + TRACE.encode() + b'",', b"\xc3\xa9", b"null", b""]
    with served(paper.answer) as url:
        log = verifier.Log(url, time.monotonic() + 60)
        for _ in range(4_000):
            which = chance.randrange(3)
            body = bytearray(honest[which].body)
            at = chance.randrange(len(body))
            body[at : at + chance.choice((0, 1, 1, 1, 2, 72))] = chance.choice(words)
            changed = honest[which]._replace(body=bytes(body))
            paper.entries = [*honest[:which], changed, *honest[which + 1 :]]
            (group,) = log.stored(0, 3)
            rows = verifier._rows_in(group, 3)
            if rows is None:
                continue
            passed += bytes(body) != honest[which].body
            part = verifier.Part(0, count=3)
            slowly = verifier._Slowly(log, part, group.bodies, paper.leaves)
            looked = [slowly.look(at) for at in range(3)]
            assert part.findings == [], bytes(body)
            divisions = [each or None for each in rows.divisions]
            assert list(zip(*rows._replace(divisions=divisions), strict=True)) == looked
        log.close()
    assert passed > 20  # values within data, and traces


def test_a_time_without_its_zone_is_looked_at():
    paper = PaperLog([an_event("needs", 1, time="2026-11-01T08:00:00.123Z")])
    paper.rewrite = lambda _, true: (200, true[1].replace(b".123+00", b".123007"))
    with served(paper.answer) as url:
        paper.verify(url)
    assert any(path.startswith("/v1/columns") for path in paper.asked)


def test_columns_without_end_are_not_taken_apart():
    separators = b"\x1f" * 2_000_000
    tracemalloc.start()
    assert verifier._rows_in(verifier.Group(separators, b"", [b""]), 1) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(separators)  # a list of them: ten times


ID = "01a223a9-7cac-7ca0-87ef-c11c9aaae931"


def _with_data(paper, at, data, mentions=None):
    """The log, with this text as the data of an entry, and these ids as its stored mentions."""
    entry = paper.entries[at]
    head, _, rest = entry.body.partition(b'"data":')
    _, between, tail = rest.rpartition(b',"datacontenttype"')
    body = b"".join((head, b'"data":', data.encode(), between, tail))
    mentions = entry.mentions if mentions is None else mentions
    paper.entries[at] = entry._replace(body=body, mentions=mentions)


@pytest.mark.parametrize(
    "texts",
    [
        ['{"a":}'],
        ['{"a":1},{"b":2}'],
        ['{"a":[{}', '{}]}'],  # together they would be one value,
        ['{"a":[{}', '{}]}', '{},{},{}'],  # and here as many as there are entries
        ['{"a":1}\x00{"b":1}'],
    ],
)  # fmt: skip
def test_data_that_is_no_json_is_bad_though_it_is_signed(paper, texts):
    for at, text in enumerate(texts, start=100):
        _with_data(paper, at, text)
    with served(paper.answer) as url:
        status, summary = paper.verify(url)
    assert (status, summary["first_bad_index"]) == (1, 100), summary
    assert "not the form" in summary["problem"]


@pytest.mark.parametrize(
    ("data", "mentions", "status"),
    [
        (f'{{"a":"{ID}"}}', [ID], 0),
        (f'{{"a":"{ID}"}}', [], 1),
        (f'{{"a":"{ID.upper()}"}}', [ID], 0),
        (f'{{"a":"{ID.upper()}"}}', [], 1),
        (f'{{"{ID}":["{ID.replace("1", "2")}"]}}', [ID.replace("1", "2")], 0),
        (f'{{"{ID}" : 1}}', [ID], 1),
        (f'{{"a":"x\\"{ID}"}}', [ID], 1),
        (f'{{"a":"x\\"{ID}"}}', [], 0),
        (f'{{"a":"\\u0030{ID[1:]}"}}', [], 1),
        (f'{{"a":" {ID}"}}', [ID], 1),
        (f'["{ID}"]', [ID], 0),
        (f'"{ID}"', [], 1),
        # What an array of ids cannot have unless it is made something else.
        (f'{{"a":"{"z" * 36}"}}', ["z" * 36], 1),
    ],
)
def test_mentions_are_the_ids_that_are_values(paper, data, mentions, status):
    subject = paper.entries[100].body.partition(b'"subject":"')[2].partition(b'"')[0].decode()
    of_subject = [each for each in subject.split("/") if len(each) == 36]
    _with_data(paper, 100, data, sorted({*of_subject, *mentions}))
    with served(paper.answer) as url:
        found, summary = paper.verify(url)
    assert (found, summary["first_bad_index"]) == (status, 100 if status else None), summary


def test_an_id_that_the_subject_has_twice_is_mentioned_once():
    paper = PaperLog([an_event("needs", 1, subject=f"need/{ID}/need/{ID}", data={})])
    (honest,) = paper.entries
    with served(paper.answer) as url:
        for mentions, status in ((honest.mentions, 0), (honest.mentions * 2, 1)):
            paper.entries = [honest._replace(mentions=mentions)]
            assert paper.verify(url)[0] == status
            assert any(path.startswith("/v1/columns") for path in paper.asked) is (status == 1)


OTHER = str(UUID(int=5))


@pytest.mark.parametrize(
    "subject", [f"need/{ID}", f"need/{ID}/line", f"{ID}/x", f"{ID}/{OTHER}", ID]
)
@pytest.mark.parametrize("others", [0, 30, 31, 32])
def test_no_id_is_overlooked_wherever_it_stands_in_subject_and_data(subject, others):
    data = {"need_id": OTHER} | {f"n{at}": at for at in range(others)}
    paper = PaperLog([an_event("needs", 1, subject=subject, data=data)])
    (honest,) = paper.entries
    assert {*honest.mentions} == {ID, OTHER}
    with served(paper.answer) as url:
        assert paper.verify(url)[0] == 0
        for missing in honest.mentions:
            mentions = tuple(each for each in honest.mentions if each != missing)
            paper.entries = [honest._replace(mentions=mentions)]
            assert paper.verify(url)[0] == 1, missing


@pytest.mark.parametrize("number", ["1e999", "-1e999", "Infinity", "NaN", "9" * 5_000])
@pytest.mark.parametrize("name", ["as_of_seq", "parts", "quantity", "allocations"])
def test_totals_with_numbers_that_are_none_have_not_their_form(name, number):
    numbers = {"as_of_seq": 0, "parts": 1, "quantity": 5, "allocations": 1} | {name: number}
    paper = PaperLog([an_event("needs", 1), an_event("needs", 2, type="needs.totals_told")])
    row = f'["allocations",null,"rice","kg","reserved",{numbers["quantity"]},'
    told = (
        f'{{"as_of_seq":{numbers["as_of_seq"]},"day":"2026-11-01","occasion":"day_end","part":1,'
        f'"parts":{numbers["parts"]},"rows":[{row}{numbers["allocations"]}]]}}'
    )
    _with_data(paper, 1, told)
    with served(paper.answer) as url:
        status, summary = paper.verify(url)
    assert (status, summary["first_bad_index"]) == (1, 1), summary
    assert "have not" in summary["problem"] or "not the form" in summary["problem"]
