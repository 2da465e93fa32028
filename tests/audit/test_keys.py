"""The log's keys change without a checkpoint that somebody entitled cannot open."""

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from services.audit import keys
from services.audit.domain import LogRefused, event_in
from services.audit.keys import KeyFiles, Listed, LogKeys
from services.audit.state import StateDirectory
from shared.tlog.checkpoints import Checkpoint, open_checkpoint
from shared.tlog.notes import KeyKind, Signer, UntrustedNote, VerifierKey, open_note
from tests.audit.conftest import events


def command(running, wish):
    return keys.main([wish, "--state-dir", str(running.state_dir)])


async def listed(running):
    text = (await running.client.get("/v1/key")).text
    return [Listed.parse(line) for line in text.splitlines()]


async def until_listed(running, condition):
    found = await listed(running)
    for _ in range(1_000):
        if condition(found):
            break
        await asyncio.sleep(0.02)
        found = await listed(running)
    assert condition(found), found
    return found


async def checkpoints(running):
    """Every checkpoint there is, by size."""
    async with running.app.state.reading_sessions() as session:
        rows = await session.execute(text("SELECT size, note FROM checkpoint ORDER BY size"))
        return {row.size: row.note for row in rows}


async def index_of(running, kind):
    async with running.app.state.reading_sessions() as session:
        statement = text("SELECT index FROM entry WHERE type = :kind")
        return (await session.scalars(statement, {"kind": kind})).one()


def opens(note, key):
    try:
        open_checkpoint(note, key)
    except UntrustedNote:
        return False
    return True


async def until_taken_up(running):
    def taken_up(found):
        return len(found) == 2 and all(each.signs for each in found)

    new, old = await until_listed(running, taken_up)
    await running.signed(new.first)  # what tells of it is itself under the new key
    return new, old


async def test_a_rotation_from_its_announcement_to_the_end_of_the_old_key(start, capsys):
    async with start(own_feed=True) as running:
        await running.signed(1)
        assert command(running, "rotate") == 0
        new, old = await until_taken_up(running)
        assert str(new.key) in capsys.readouterr().out
        assert command(running, "rotate") == 1  # not before the overlap has ended
        await running.take_in("needs", events("needs", 1, 3))
        announced = await index_of(running, "audit.key_announced")
        for size, note in (await checkpoints(running)).items():
            assert opens(note, old.key)
            assert opens(note, new.key) == (size >= new.first)
        # The announcement stands under the old key alone: whoever knows only that one can follow.
        assert any(announced < size < new.first for size in await checkpoints(running))
        assert await index_of(running, "audit.key_taken_up") >= new.first - 1

        assert command(running, "retire") == 0
        _, old = await until_listed(running, lambda found: not found[1].signs)
        await running.take_in("needs", events("needs", 4, 3))
        last = await running.signed(old.last + 1)
        assert (opens(last, old.key), opens(last, new.key)) == (False, True)
        assert old.last > await index_of(running, "audit.key_retired")
        assert not (running.state_dir / "log.key").exists()
    async with start(own_feed=True) as running:
        await running.take_in("needs", events("needs", 7, 1))
        note = await running.signed(old.last + 4)
        assert (opens(note, old.key), opens(note, new.key)) == (False, True)
        assert command(running, "retire") == 1


async def told_on_and_on(running, producer):
    """Something new at each turn of the signer, whether it is in order or refuses."""
    seq = 1
    while True:
        with contextlib.suppress(LogRefused):
            await running.take_in(producer, events(producer, seq, 1))
            seq += 1
        await asyncio.sleep(0.005)


async def test_a_key_is_told_of_also_when_its_first_checkpoint_is_not_committed(start):
    async with start(own_feed=True) as running:
        await running.signed(1)
        await running.tamper(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'the first of two keys'; END $$",
            "CREATE TRIGGER refuse BEFORE INSERT ON checkpoint FOR EACH ROW"
            " WHEN (NEW.note LIKE '%— %— %') EXECUTE FUNCTION refuse()",
        )
        telling = [
            asyncio.create_task(told_on_and_on(running, producer))
            for producer in ("needs", "donors", "matching")
        ]
        assert command(running, "rotate") == 0
        assert "DBAPIError" in await running.refused()
        await running.tamper("DROP TRIGGER refuse ON checkpoint")
        new, _ = await until_taken_up(running)
        for each in telling:
            each.cancel()
        await asyncio.wait(telling)
        await running.signed(new.first + 1)
        assert await index_of(running, "audit.key_taken_up") >= new.first - 1
        for size, note in (await checkpoints(running)).items():
            assert opens(note, new.key) == (size >= new.first)


async def test_what_was_asked_for_while_no_process_ran_is_done_at_the_start(start):
    async with start(own_feed=True) as running:
        await running.signed(1)
    assert command(running, "rotate") == 0
    async with start(own_feed=True) as running, start(own_feed=True) as other:
        # Two replicas share the directory: the change is told once, and both sign with both keys.
        new, old = await until_taken_up(running)
        for seq in range(1, 5):
            await (running, other)[seq % 2].take_in("needs", events("needs", seq, 1))
            await running.signed(new.first + seq)
        for size, note in (await checkpoints(running)).items():
            assert (opens(note, old.key), opens(note, new.key)) == (True, size >= new.first)
        await index_of(running, "audit.key_announced")
        await index_of(running, "audit.key_taken_up")


async def test_a_second_signature_that_a_quantum_computer_does_not_forge(start):
    async with start(own_feed=True, post_quantum=True) as running:
        first = await running.signed(1)
        ed25519, mldsa = await listed(running)
        assert (mldsa.key.kind, mldsa.first) == (KeyKind.ML_DSA_44, 0)
        assert len(open_note(first, [ed25519.key, mldsa.key]).signatures) == 2
        assert len(open_note(first, [mldsa.key]).signatures) == 1
        await running.fill(20)
    async with start(own_feed=True) as running:
        _, mldsa = await until_listed(running, lambda found: not found[1].signs)
        await running.take_in("matching", events("matching", 1, 1))
        note = await running.signed(mldsa.last + 1)
        with pytest.raises(UntrustedNote):
            open_note(note, [mldsa.key])
    async with start(own_feed=True, post_quantum=True) as running:
        again = (await until_listed(running, lambda found: len(found) == 3))[0]
        assert again.key == mldsa.key
        assert open_note(await running.signed(again.first), [mldsa.key]).signatures
        await running.take_in("matching", events("matching", 2, 1))
        # Once in the list from the beginning, once taken up.
        assert await sizes_taken_up(running, 1) == [again.first]
    async with start(own_feed=True) as running:
        await until_listed(running, lambda found: not found[0].signs)
    async with start(own_feed=True, post_quantum=True) as running:
        third = (await until_listed(running, lambda found: len(found) == 4))[0]
        assert await sizes_taken_up(running, 2) == [again.first, third.first]


async def sizes_taken_up(running, count):
    """From which sizes a key signs, as the log says; waits for so many."""
    statement = text("SELECT body FROM entry WHERE type = 'audit.key_taken_up' ORDER BY index")
    found = []
    for _ in range(500):
        async with running.app.state.reading_sessions() as session:
            bodies = await session.scalars(statement)
        found = [(event_in(body) or {})["data"]["size_first"] for body in bodies]
        if len(found) >= count:
            break
        await asyncio.sleep(0.02)
    return found


def test_a_key_counts_for_the_sizes_it_is_listed_for_and_no_others():
    """A key that was retired, and perhaps stolen since, vouches for nothing new."""
    old, new = (Signer("log.test", Ed25519PrivateKey.generate()) for _ in range(2))
    log = LogKeys((Listed(new.key, 10), Listed(old.key, 0, 20)), (new,))
    at = {size: str(Checkpoint("log.test", size, b"\x01" * 32)) for size in (9, 15, 21)}
    assert log.open(old.sign(at[9])).size == 9
    assert log.open(old.sign(at[15])).size == log.open(new.sign(at[15])).size == 15
    assert log.open(new.sign(at[21])).size == 21
    for wrong in (new.sign(at[9]), old.sign(at[21])):
        with pytest.raises(UntrustedNote):
            log.open(wrong)
    assert log.open(old.sign(at[21]), [old.key]).size == 21  # by the policy's word
    other = Signer("other.test", Ed25519PrivateKey.generate())
    with pytest.raises(UntrustedNote):
        log.open(other.sign(at[21]), [other.key])


def test_a_lost_list_of_keys_is_made_again_only_when_one_key_is_all_there_was(tmp_path):
    files = KeyFiles(tmp_path, "log.test")
    first = files.load(may_create=True).listed
    (tmp_path / "log.vkey").unlink()
    assert KeyFiles(tmp_path, "log.test").load(may_create=False).listed == first
    files.ask_for_successor()
    (tmp_path / "log.vkey").unlink()
    with pytest.raises(LogRefused, match=r"log\.vkey is missing"):
        KeyFiles(tmp_path, "log.test").load(may_create=False)


def test_a_private_key_that_is_put_in_place_of_another_is_refused(tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        KeyFiles(folder, "log.test").load(may_create=True)
    (tmp_path / "a" / "log.key").write_bytes((tmp_path / "b" / "log.key").read_bytes())
    with pytest.raises(LogRefused, match="private half"):
        KeyFiles(tmp_path / "a", "log.test").load(may_create=False)


def a_key():
    return Signer("log.test", Ed25519PrivateKey.generate()).key


def at_once(*calls):
    """What each returned or raised."""
    together = threading.Barrier(len(calls))

    def call(each):
        together.wait(60)
        try:
            return each()
        except LogRefused as refusal:
            return refusal

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(call, calls))


def test_of_changes_at_once_none_is_lost(tmp_path):
    first = KeyFiles(tmp_path, "log.test").load(may_create=True).current
    StateDirectory(tmp_path).keep_checkpoint("note", 0, after=None)
    added = [a_key() for _ in range(8)]
    at_once(
        *(partial(KeyFiles(tmp_path, "log.test").take_up, key, 1, after="note") for key in added)
    )
    listed = KeyFiles(tmp_path, "log.test").listed()
    assert {each.key for each in listed} == {first, *added}


def test_of_two_who_ask_at_once_for_a_successor_one_is_refused(tmp_path):
    KeyFiles(tmp_path, "log.test").load(may_create=True)
    asked = at_once(*(KeyFiles(tmp_path, "log.test").ask_for_successor for _ in range(8)))
    assert sum(isinstance(each, LogRefused) for each in asked) == 7
    assert len(list(tmp_path.glob("log-*.key"))) == 1


def test_of_processes_that_begin_a_log_at_once_all_have_its_one_key(tmp_path):
    files = [KeyFiles(tmp_path, "log.test", post_quantum=True) for _ in range(8)]
    began = at_once(*(partial(each.load, may_create=True) for each in files))
    assert {each.listed for each in began} == {files[0].load(may_create=False).listed}
    assert len(began[0].listed) == 2


def test_who_was_overtaken_changes_no_keys(tmp_path):
    slow, state = KeyFiles(tmp_path, "log.test"), StateDirectory(tmp_path)
    old, new, other = slow.load(may_create=True).current, a_key(), a_key()
    state.keep_checkpoint("one", 0, after=None)
    slow.take_up(new, 1, after="one")
    slow.take_up(new, 1, after="one")  # by two who stood at the same checkpoint
    state.keep_checkpoint("two", 0, after="one")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for stale in (
        partial(slow.take_up, other, 1),
        partial(slow.retire, [old], 0),
        slow.forget_retired,
    ):
        with pytest.raises(LogRefused, match="Another process"):
            stale(after="one")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert slow.listed() == [Listed(new, 1), Listed(old)]


def test_a_line_of_the_list_reads_as_it_is_written():
    key = Signer("log.test", Ed25519PrivateKey.generate()).key
    for each in (Listed(key), Listed(key, 7), Listed(key, 0, 9), Listed(key, 7, 9)):
        assert Listed.parse(str(each)) == each
    assert VerifierKey.parse(str(Listed(key))) == key  # what verifiers of one key expect
