"""What lies outside the database: the key, the copy, and the refusal to go on without them."""

import asyncio
import contextlib
import stat
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.domain import LogRefused
from services.audit.keys import KeyFiles
from services.audit.state import StateDirectory
from shared.tlog.checkpoints import open_checkpoint
from shared.tlog.merkle import Frontier, extend
from shared.tlog.notes import Signer, VerifierKey
from tests.audit.conftest import events

LOG = Signer("log.test", Ed25519PrivateKey.from_private_bytes(bytes(32)))
NOTES = [LOG.sign(f"log.test\n{size}\n{'A' * 43}=\n") for size in (1, 2, 3)]


async def test_the_key_is_made_once_and_only_its_owner_may_read_it(start):
    async with start() as running:
        await running.signed(0)
        key = (running.state_dir / "log.key").read_bytes()
        assert stat.S_IMODE((running.state_dir / "log.key").stat().st_mode) == 0o600
        vkey = (await running.client.get("/v1/key")).text
    async with start() as running:
        await running.signed(0)
        assert (running.state_dir / "log.key").read_bytes() == key
        assert (await running.client.get("/v1/key")).text == vkey


async def test_the_copy_is_what_is_published_and_the_leaves_are_under_it(running):
    await running.fill(30)
    note = await running.signed(30)
    assert (running.state_dir / "checkpoint").read_text() == note
    assert (running.state_dir / "checkpoints").read_text().endswith(note + "\n")
    content = (running.state_dir / "leaves").read_bytes()
    leaves = [content[at : at + 32] for at in range(0, len(content), 32)]
    key = VerifierKey.parse((running.state_dir / "log.vkey").read_text())
    assert extend(Frontier(), leaves)[0].root == open_checkpoint(note, key).root


async def test_a_restart_goes_on(start):
    async with start() as running:
        await running.fill(270)
    async with start() as running:
        await running.signed(270)
        await running.take_in("matching", events("matching", 1, 20))
        await running.signed(290)
        assert (await running.verify())[0] == 0


async def test_death_between_the_copy_and_its_publication_is_healed(start):
    async with start() as running:
        await running.fill(40)
        note = await running.signed(40)
    async with start() as running:
        # As if the last transaction had never been committed.
        await running.tamper("DELETE FROM checkpoint WHERE size = 40")
    async with start() as running:
        assert await running.signed(40) == note
        assert (await running.verify())[0] == 0


async def test_death_before_the_copy_leaves_leaves_that_are_written_over(start):
    async with start() as running:
        await running.fill(40)
    with (running.state_dir / "leaves").open("ab") as file:
        file.write(b"x" * 50)
    async with start() as running:
        await running.take_in("matching", events("matching", 1, 5))
        await running.signed(45)
        assert (running.state_dir / "leaves").stat().st_size == 45 * 32
        assert (await running.verify())[0] == 0


async def test_lost_leaves_are_written_again(start):
    async with start() as running:
        await running.fill(40)
    (running.state_dir / "leaves").unlink()
    async with start() as running:
        await running.take_in("matching", events("matching", 1, 5))
        await running.signed(45)
        assert (running.state_dir / "leaves").stat().st_size == 45 * 32


@pytest.mark.parametrize("kept", [0, 100])
async def test_leaves_that_are_lost_while_the_log_runs_are_written_again(running, kept):
    await running.fill(40)
    leaves = running.state_dir / "leaves"
    whole = leaves.read_bytes()
    leaves.write_bytes(whole[:kept])
    await running.take_in("matching", events("matching", 1, 5))
    await running.signed(45)
    assert leaves.read_bytes()[: len(whole)] == whole
    assert (await running.verify())[0] == 0


def test_leaves_are_never_put_after_missing_ones(tmp_path):
    state = StateDirectory(tmp_path)
    state.keep_leaves(0, [b"a" * 32], after=None)
    with pytest.raises(LogRefused, match="leaves was cut"):
        state.keep_leaves(2, [b"c" * 32], after=None)
    with pytest.raises(LogRefused, match="leaves was cut"):
        state.keep_checkpoint(NOTES[1], 2, after=None)
    assert (tmp_path / "leaves").read_bytes() == b"a" * 32
    assert not (tmp_path / "checkpoint").exists()


def test_who_was_overtaken_while_writing_takes_nothing_back(tmp_path):
    slow, quick = StateDirectory(tmp_path), StateDirectory(tmp_path)
    quick.keep_leaves(0, [b"a" * 32, b"b" * 32], after=None)
    quick.keep_checkpoint(NOTES[1], 2, after=None)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for stale in (
        lambda: slow.keep_leaves(0, [b"a" * 32], after=None),
        lambda: slow.keep_checkpoint(NOTES[0], 1, after=None),
        lambda: slow.remember(NOTES[0]),
    ):
        with pytest.raises(LogRefused, match="Another process"):
            stale()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


async def test_a_replica_that_hangs_while_it_writes_does_not_take_the_copy_back(start, monkeypatch):
    hangs, let_go = threading.Event(), threading.Event()
    keep_checkpoint = StateDirectory.keep_checkpoint

    def slowly(state, note, *args, **kwargs):
        if note.split("\n")[1] == "5" and not hangs.is_set():
            hangs.set()
            let_go.wait(60)
        keep_checkpoint(state, note, *args, **kwargs)

    monkeypatch.setattr(StateDirectory, "keep_checkpoint", slowly)
    async with start() as one, start() as other:
        await one.signed(0)
        await one.take_in("needs", events("needs", 1, 5))
        assert await asyncio.to_thread(hangs.wait, 60)
        # Whose transaction holds the signer's lock loses it, as after a timeout.
        await one.tamper(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE locktype = 'advisory' AND datname = current_database()"
            " AND state = 'idle in transaction'"
        )
        await one.take_in("donors", events("donors", 1, 5))
        note = await one.signed(10)
        let_go.set()
        for each in (one, other):
            for producer in ("matching", "audit"):
                await goes_on(each, producer)
        assert note in (one.state_dir / "checkpoints").read_text()
        assert (await one.verify())[0] == 0


async def goes_on(running, producer):
    """Two more of this producer, as soon as the log does not refuse."""
    for _ in range(2_000):
        with contextlib.suppress(LogRefused):
            await running.take_in(producer, events(producer, 1, 2))
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the log refuses for ever")


async def test_a_cut_tail_is_not_written_on_but_still_read(start):
    async with start() as running:
        # Signed in two steps: what is left of the log after the cut is a published size.
        await running.fill(25)
        await running.fill(40)
    async with start() as running:
        await running.tamper(
            "DELETE FROM entry WHERE index >= 33",
            "DELETE FROM checkpoint WHERE size > 33",
            "UPDATE head SET size = 33",
        )
    async with start() as running:
        assert "log: " in await running.refused()
        with pytest.raises(LogRefused):
            await running.take_in("matching", events("matching", 1, 1))
        assert (await running.client.get("/checkpoint")).status_code == 200
        assert (await running.client.get("/tile/0/000.p/20")).status_code == 200


async def test_another_history_is_not_written_on(start):
    async with start() as running:
        await running.fill(40)
    async with start() as running:
        await running.tamper("UPDATE entry SET body = set_byte(body, 60, 0) WHERE index = 3")
    async with start() as running:
        assert "not those that were signed" in await running.refused()


async def test_a_database_restored_under_a_running_service_is_not_written_on(start):
    async with start("old", state="one") as old:
        await old.fill(10)
    async with start("new", state="two") as new:
        await new.fill(10)
    # The state directory of one log with the database of another.
    async with start("new", state="one") as mixed:
        assert "not those that were signed" in await mixed.refused()


async def test_a_state_directory_out_of_reach_stops_the_log_until_it_is_back(running):
    await running.fill(10)
    away = running.state_dir.with_name("away")
    running.state_dir.rename(away)
    running.state_dir.write_text("not a directory")
    # What is committed before anybody notices is not signed, and nothing follows it.
    with contextlib.suppress(LogRefused):
        await running.take_in("matching", events("matching", 1, 3))
    assert "NotADirectoryError" in await running.refused()
    with pytest.raises(LogRefused):
        await running.take_in("matching", events("matching", 4, 1))
    running.state_dir.unlink()
    away.rename(running.state_dir)
    for _ in range(2_000):
        with contextlib.suppress(LogRefused):  # until it has looked again
            await running.take_in("matching", events("matching", 1, 4))
            break
        await asyncio.sleep(0.05)
    await running.signed(14)
    assert (await running.verify())[0] == 0


async def test_a_lost_state_directory_is_not_replaced_by_a_new_key(start):
    async with start() as running:
        await running.fill(10)
    async with start(state="empty") as running:
        assert "key is missing" in await running.refused()
        assert not (running.state_dir / "log.key").exists()
    (running.state_dir.parent / "audit" / "checkpoint").unlink()
    async with start() as running:
        assert "no checkpoint" in await running.refused()


async def test_a_state_directory_from_a_backup_does_not_sign_what_was_published_anew(start):
    """What it vouches for ends earlier: beyond that, another history could be signed."""
    async with start() as running:
        await running.fill(20)
        kept = {p.name: p.read_bytes() for p in running.state_dir.glob("[cl]*")}
        await running.take_in("matching", events("matching", 1, 10))
        note = await running.signed(30)
    for name, content in kept.items():
        (running.state_dir / name).write_bytes(content)
    async with start() as running:
        assert "from a backup" in await running.refused()
        with pytest.raises(LogRefused):
            await running.take_in("matching", events("matching", 11, 1))
        assert (running.state_dir / "checkpoint").read_bytes() == kept["checkpoint"]
    (running.state_dir / "checkpoint").write_text(note)
    async with start() as running:
        await running.take_in("matching", events("matching", 11, 1))
        await running.signed(31)
        assert (await running.verify())[0] == 0


def test_a_log_keeps_its_name(tmp_path):
    KeyFiles(tmp_path, "one").load(may_create=True)
    with pytest.raises(LogRefused, match="never changes its name"):
        KeyFiles(tmp_path, "two").load(may_create=True)


@pytest.mark.parametrize("file", ["log.key", "log.vkey", "checkpoint"])
def test_damaged_files_are_named(tmp_path, file):
    keys = KeyFiles(tmp_path, "one").load(may_create=True)
    (tmp_path / file).write_bytes(b"\xffdamaged")

    def open_all():
        KeyFiles(tmp_path, "one").load(may_create=True)
        StateDirectory(tmp_path).signed(keys)

    with pytest.raises(LogRefused, match=file):
        open_all()


def test_a_torn_end_of_the_history_is_mended_and_no_checkpoint_stands_in_it_twice(tmp_path):
    state = StateDirectory(tmp_path)
    last = None
    for size, note in enumerate(NOTES, start=1):
        state.keep_leaves(size - 1, [bytes(32)], after=last)
        state.keep_checkpoint(note, size, after=last)
        last = note
    history = tmp_path / "checkpoints"
    whole = history.read_bytes()
    assert whole == "".join(f"{note}\n" for note in NOTES).encode()
    first = len(f"{NOTES[0]}\n{NOTES[1]}\n".encode())
    for end in range(first, len(whole) + 1):
        history.write_bytes(whole[:end])
        state.remember(NOTES[2])
        assert history.read_bytes() == whole, end
