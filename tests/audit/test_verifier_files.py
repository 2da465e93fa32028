"""The verifier on files: receipts under a policy, exports, disclosures; and totals in a log."""

import base64
import csv
import hashlib
import io
import json
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit import verifier
from shared.tlog.checkpoints import Receipt
from shared.tlog.notes import Cosigner
from tests.audit.conftest import ORIGIN, an_event
from tests.audit.paper import PaperLog, events_of_two, served

COUNTY = "430224000000"


@pytest.fixture(scope="module")
def paper():
    return PaperLog(events_of_two(30))


def _check(*words):
    status, _, summary = verifier.check(verifier._arguments([str(each) for each in words]))
    return status, summary


# ---------------------------------------------------------------- receipts


def test_a_receipt_needs_the_policys_quorum_and_says_who_signed(paper, tmp_path):
    witness = Cosigner("w.test", Ed25519PrivateKey.generate())
    policy = f"log {paper.signer.key}\nwitness w {witness.key}\nquorum w\n"
    (tmp_path / "policy").write_text(policy)
    receipt = Receipt(4, paper.hashes(4), paper.note(cosigners=[witness]))
    summary = {}
    for text, status in ((str(receipt), 0), (paper.receipt(4), 1)):
        (tmp_path / "receipt").write_text(text)
        words = ("--receipt", tmp_path / "receipt", "--policy", tmp_path / "policy")
        found, summary = _check(*words, "--leaf", paper.leaves[4].hex())
        assert found == status, summary
    assert "quorum" in summary["problem"]


def test_a_changed_receipt_never_proves_anything(paper, tmp_path):
    text = paper.receipt(11)
    leaf = paper.leaves[11].hex()
    chance = random.Random(11)
    for _ in range(300):
        content = bytearray(text.encode())
        at = chance.randrange(len(content))
        content[at : at + chance.randrange(2)] = chance.choice([b"", b"x", b"\n", b"\xff", b"9"])
        (tmp_path / "receipt").write_bytes(content)
        status, summary = _check(
            "--receipt", tmp_path / "receipt", "--key", paper.signer.key, "--leaf", leaf
        )
        assert (status == 0) == (bytes(content) == text.encode()), (content, summary)


# ---------------------------------------------------------------- exports


def _json_lines(paper, indexes, **changes):
    header = {
        "format": "duijie-export@v1",
        "origin": ORIGIN,
        "created_at": "2026-11-28T10:00:00.000000Z",
        "filter": {},
        "after_index": None,
        "checkpoint": paper.note(),
    }
    rows = [
        {
            "index": at,
            "body": paper.entries[at].body.decode(),
            "hashes": [base64.b64encode(each).decode() for each in paper.hashes(at)],
        }
        for at in indexes
    ]
    last = {
        "count": len(rows),
        "first_index": indexes[0] if indexes else None,
        "last_index": indexes[-1] if indexes else None,
        "has_more": False,
    }
    return [header | changes, *rows, last]


def _write(path, lines):
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def _csv(paper, indexes):
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(verifier.Export.HEADER.split(","))
    for at in indexes:
        entry = paper.entries[at]
        event = entry.body[30:].decode()
        writer.writerow([
            at, json.loads(event)["time"], entry.producer, entry.seq, entry.type, entry.subject,
            entry.division or "", entry.actor, entry.actor_role, event,
            base64.b64encode(paper.leaves[at]).decode(),
            base64.b64encode(paper.receipt(at).encode()).decode(),
        ])  # fmt: skip
    return b"\xef\xbb\xbf" + file.getvalue().encode()


@pytest.fixture
def check_export(paper, tmp_path):
    def check(lines, *more):
        path = tmp_path / "export"
        if isinstance(lines, bytes):
            path.write_bytes(lines)
        else:
            _write(path, lines)
        return _check("--export", path, "--key", paper.signer.key, *more)

    return check


async def test_exports_of_the_service_are_good(log, token, tmp_path):
    supervisor = token("supervisor", subject="supervisor-1")
    asked = {"officer": "officer-1", "division": COUNTY, "since": "2026-11-01T08:00:05Z"}
    for form in ("jsonl", "csv"):
        answer = await log.client.get(
            "/v1/export", params=asked | {"format": form, "limit": 20}, headers=supervisor
        )
        (tmp_path / form).write_bytes(answer.raise_for_status().content)
        status, summary = _check("--export", tmp_path / form, "--key", log.state_dir / "log.vkey")
        assert (status, summary["rows"]) == (0, 20), summary


def test_an_export_says_which_line_is_bad(paper, check_export):
    good = _json_lines(paper, [3, 4, 17])
    assert check_export(good)[0] == 0
    assert check_export(_json_lines(paper, []))[0] == 0
    for division in ("000000000000", COUNTY):
        assert check_export(_json_lines(paper, [3], filter={"division": division}))[0] == 0
    swapped = [good[0], good[2], good[1], *good[3:]]
    other = json.loads(json.dumps(good))
    other[3]["body"] = other[3]["body"].replace("township", "villages")
    cases = [
        (swapped, 3, 3, "does not come after"),
        (other, 17, 4, "another root"),
        ([good[0], *good[2:]], 17, 4, "the last line says 3"),
        (good[:-1], 17, 5, "the file was cut"),
        ([*good, good[1]], 17, 6, "follows the last line"),
        (_json_lines(paper, [3], filter={"producer": "needs"}), 3, 2, "filter asks for: producer"),
        (_json_lines(paper, [3], filter={"new": "x"}), 3, 2, "filter asks for: new"),
        (_json_lines(paper, [3], after_index=3), 3, 2, "does not come after"),
        (_json_lines(paper, [3], origin="other"), 0, 1, "another log"),
        (_json_lines(paper, [3], checkpoint=paper.note().replace("30", "31")), 0, 1, "trusted"),
        (_json_lines(paper, [3], format="x"), 0, 1, "header"),
    ]
    for lines, index, line, words in cases:
        status, summary = check_export(lines)
        assert (status, summary["first_bad_index"]) == (1, index), summary
        assert summary["problem"].startswith(f"line {line}: ")
        assert words in summary["problem"]


def test_a_csv_says_which_line_is_bad(paper, check_export):
    good = _csv(paper, [3, 4, 17])
    assert check_export(good)[0] == 0
    for old, new, words in [
        (b",officer-2,", b",officer-1,", "cells are not those of the event: actor"),
        (b"\r\n4,", b"\r\n5,", "not that of its proof"),
        (b"donors", b"needs", "not that of its proof"),
        (b"index,time", b"time,index", "header"),
    ]:
        status, summary = check_export(good.replace(old, new, 1))
        assert status == 1
        assert words in summary["problem"]


def test_a_row_of_an_export_may_go_on_over_lines_but_not_for_ever(paper, check_export):
    row = '"' + 'a\n","' * 400_000
    status, summary = check_export(_csv(paper, [3]) + row.encode())
    assert (status, summary["first_bad_index"]) == (1, 3)
    assert "a row of more than" in summary["problem"]


def test_what_was_found_in_an_export_before_it_could_not_be_read_is_told(paper, check_export):
    lines = _json_lines(paper, [3, 4])[:-1]
    lines[2]["body"] = "another"
    text = "".join(f"{json.dumps(line)}\n" for line in lines) + "x" * 2_000_000
    status, summary = check_export(text.encode())
    assert (status, summary["first_bad_index"], len(summary["unchecked"])) == (1, 4, 1)


def test_a_changed_export_is_never_good_and_never_a_crash(paper, check_export):
    files = [
        b"".join(f"{json.dumps(each)}\n".encode() for each in _json_lines(paper, [0, 4, 29])),
        _csv(paper, [0, 4, 29]),
    ]
    chance = random.Random(4)
    for turn in range(300):
        content = bytearray(files[turn % 2])
        at = chance.randrange(3, len(content))
        content[at : at + chance.randrange(1, 9)] = chance.randbytes(chance.randrange(9))
        status = check_export(bytes(content))[0]
        # What is told twice, or for people (when it was made), may be changed without a lie.
        if status == 0:
            assert _bodies(content) == _bodies(files[turn % 2]), content
    assert check_export(b"{" * 100_000)[0] == 1
    assert check_export(b"{" + b"x" * 2_000_000)[0] == 2
    assert check_export(b"PK\x03\x04")[0] == 2
    assert check_export(b"\xef\xbb\xbf" + b'"' * 100_000)[0] == 1


def _bodies(content):
    """Bodies with their indexes."""
    text = bytes(content).decode("utf-8-sig", "replace")
    if text[0] == "{":
        rows = [json.loads(line) for line in text.splitlines()]
        return [(row["index"], row["body"]) for row in rows if "body" in row]
    rows = list(csv.reader(io.StringIO(text, newline="")))
    return [(int(row[0]), row[2:10]) for row in rows[1:]]


# ---------------------------------------------------------------- disclosures


def _disclosure(salt, name, value):
    text = json.dumps([salt, name, value], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _digest(disclosure):
    digest = hashlib.sha256(disclosure.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


# SPEC: RFC 9901 4.2.1 and 4.2.3: the worked example.
RFC_DISCLOSURE = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0"
RFC_DIGEST = "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0"


def test_disclosures_open_digests_of_the_entries_they_name(tmp_path):
    mine = _disclosure("a" * 22, "deprivation_score_permille", 431)
    sorted_digests = sorted([_digest(mine), RFC_DIGEST, "decoy"])
    told = an_event("needs", 1, data={"digests": sorted_digests})
    events = [told, an_event("needs", 2)]
    paper = PaperLog(events)
    summaries = []

    def answer(*disclosures, event=told):
        document = {"data": [{"event_id": str(event.id), "disclosures": list(disclosures)}]}
        (tmp_path / "opened").write_text(json.dumps(document))
        _write(tmp_path / "export", _json_lines(paper, [0, 1]))
        found = []
        with served(paper.answer) as url:
            for source in (("--log", url), ("--export", tmp_path / "export")):
                words = (*source, "--key", paper.signer.key, "--catch-up-s", 0)
                status, summary = _check(*words, "--disclosures", tmp_path / "opened")
                summaries.append(summary)
                found.append(status)
        assert len(set(found)) == 1
        return found[0]

    shown = {"disclosure": mine, "name": "deprivation_score_permille", "value": 431}
    assert answer(mine, RFC_DISCLOSURE) == answer(shown) == 0
    assert answer(_disclosure("a" * 22, "deprivation_score_permille", 430)) == 1
    assert answer(shown | {"value": 430}) == 1
    assert answer("!") == answer(5) == 1
    assert answer(mine, event=an_event("needs", 2)) == 2  # perhaps it is not published yet
    assert summaries[-1]["first_bad_index"] is None
    assert answer(mine, event=events[1]) == 1  # it has no digests
    (tmp_path / "opened").write_text("{}")
    words = ("--export", tmp_path / "export", "--key", paper.signer.key)
    assert _check(*words, "--disclosures", tmp_path / "opened")[0] == 2


# ---------------------------------------------------------------- totals, alarms


def _moved(seq, before, after, quantity=100, **more):
    data = {
        "item_class": "masks", "unit": "piece", "quantity": quantity,
        "state_before": before, "state": after,
    }  # fmt: skip
    return an_event("needs", seq, type="needs.commitment_moved", data=data | more)


def _told(seq, rows, day="2026-11-01", as_of=None, **more):
    data = {
        "day": day, "occasion": "day_end", "as_of_seq": seq - 1 if as_of is None else as_of,
        "part": 1, "parts": 1, "rows": rows,
    }  # fmt: skip
    return an_event("needs", seq, type="needs.totals_told", data=data | more)


def _row(state, quantity, number, book="allocations", division=COUNTY):
    return [book, division, "masks", "piece", state, str(quantity), number]


RESERVED = [_row("reserved", 100, 1), _row("reserved", 100, 0, "lines", None)]


def _verify(*events):
    paper = PaperLog(events)
    with served(paper.answer) as url:
        return paper.verify(url)


def test_totals_are_what_the_movements_before_them_add_up_to():
    begin = [_moved(1, None, "reserved")]
    released = [_row("released", 100, 1)]
    assert _verify(*begin, _told(2, RESERVED))[0] == 0
    # It counts up to an earlier event than the one before it.
    assert _verify(*begin, _moved(2, "reserved", "released"), _told(3, RESERVED, as_of=1))[0] == 0
    assert _verify(*begin, _moved(2, "reserved", "released"), _told(3, released))[0] == 0
    two = [
        _told(2, RESERVED[:1], parts=2),
        _told(3, RESERVED[1:], parts=2, part=2, as_of=1),
        _told(4, RESERVED, day="2026-11-02"),
    ]
    assert _verify(*begin, *two)[0] == 0
    assert _verify(*begin, *two[:1])[0] == 0  # the rest may follow


@pytest.mark.parametrize(
    ("events", "index", "words"),
    [
        ([_told(2, [_row("reserved", 99, 1), RESERVED[1]])], 1, "told 99 in 1, moved 100 in 1"),
        ([_told(2, RESERVED[:1])], 1, "lines - masks piece reserved told 0"),
        ([_told(2, [*RESERVED, _row("delivered", 5, 1)])], 1, "delivered told 5"),
        ([_told(2, [*RESERVED, RESERVED[0]])], 1, "twice"),
        ([_told(2, RESERVED), _told(3, RESERVED)], 2, "after 2026-11-01"),
        ([_told(2, RESERVED), _told(3, RESERVED, day="2026-11-03")], 2, "after 2026-11-01"),
        ([_told(2, RESERVED, part=2, parts=2)], 1, "out of order"),
        ([_told(2, RESERVED, parts=2), _told(3, RESERVED)], 1, "lack parts"),
        ([_told(2, RESERVED, as_of=9)], 1, "count up to event 9"),
        ([_told(2, "?")], 1, "have not their form"),
        ([_told(2, RESERVED, day="yesterday")], 1, "have not their form"),
        ([_told(2, RESERVED, day="9999-12-31"), _told(3, RESERVED)], 1, "have not their form"),
        ([_told(2, [_row("x" * 65, 5, 1)])], 1, "have not their form"),
        ([_told(2, [_row("reserved", "9" * 41, 1)])], 1, "have not their form"),
        ([_moved(2, None, "reserved", item_class=None), _told(3, RESERVED[:1])], 2, "1 older"),
    ],
)
def test_totals_that_differ_are_named(events, index, words):
    status, summary = _verify(_moved(1, None, "reserved"), *events)
    assert (status, summary["first_bad_index"]) == (1, index), summary
    assert words in summary["problem"]


def test_more_sums_than_can_be_held_are_bad(monkeypatch):
    monkeypatch.setattr(verifier, "SUMS_MAX", 1)
    held = [_moved(1, None, "reserved"), _moved(2, None, "reserved", item_class="x" * 65)]
    rows = [_row(str(at), 1, 1) for at in range(3)]
    for events, index in (
        ([*held, _moved(3, None, "reserved", item_class="tents")], 2),
        ([*held, _told(3, rows[:2], parts=9), _told(4, rows[2:], as_of=2, part=2, parts=9)], 3),
    ):
        status, summary = _verify(*events)
        assert (status, summary["first_bad_index"]) == (1, index), summary
        assert "more than" in summary["problem"]


def _alarm(number, **data):
    return an_event("audit", number, type="audit.alarm_raised", data=data)


def test_alarms_that_nothing_has_answered_are_warnings():
    quiet = _alarm(1, alarm="producer_silent", producer="donors")
    heard = an_event("audit", 2, type="audit.producer_heard", data={"producer": "donors"})
    missing = _alarm(3, alarm="quorum_missing")
    met = an_event("audit", 4, type="audit.quorum_met", data={})
    status, summary = _verify(quiet, heard, missing, met)
    assert (status, summary["warnings"]) == (0, [])
    status, summary = _verify(quiet, an_event("audit", 2), missing)
    assert (status, summary["warnings"]) == (
        0,
        [
            "alarm producer_silent of donors at index 0 has not been answered",
            "alarm quorum_missing at index 2 has not been answered",
        ],
    )


def test_an_event_told_otherwise_names_the_entry_that_took_its_place():
    alarm = _alarm(1, alarm="content_repeated", producer="needs", seq=2)
    status, summary = _verify(an_event("needs", 1), an_event("needs", 2), alarm)
    assert (status, summary["first_bad_index"]) == (1, 1)
    status, summary = _verify(an_event("needs", 1), alarm)
    assert (status, summary["first_bad_index"]) == (1, 1)
