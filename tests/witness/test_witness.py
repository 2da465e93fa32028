"""A running witness: what it answers, what it remembers, and what it does when it is lied to."""

import asyncio
import contextlib
import os
import time
from pathlib import Path

import asyncpg
import pytest
from pydantic import ValidationError

from services.witness import operations
from services.witness.domain import BODY_BYTES_MAX, MalformedLogs
from shared.tlog.notes import KeyKind, open_note
from tests.witness.builders import ORIGIN, Log
from tests.witness.conftest import monitored

SIZE = "text/x.tlog.size"


async def test_a_log_grows_and_each_checkpoint_is_cosigned(witness, log):
    for old, new in ((0, 1), (1, 4), (4, 11), (11, 11)):
        answer = await witness.add(log.ask(old, new))
        assert (answer.status_code, answer.headers["content-type"]) == (
            200,
            "text/plain; charset=utf-8",
        )
        opened = await witness.opened(log.checkpoint(new), answer.text)
        assert opened.verified == ("witness.test",)
        assert opened.signatures[0].line == answer.text
        assert opened.signatures[0].at > 1_700_000_000
    assert await witness.size(log) == 11


async def test_another_old_size_is_told_ours(witness, log):
    await witness.add(log.ask(0, 4))
    for old, new in ((0, 9), (2, 9), (5, 9), (0, 4)):
        answer = await witness.add(log.ask(old, new))
        assert (answer.status_code, answer.text) == (409, "4\n")
        # SPEC: exactly this content type, without a charset.
        assert answer.headers["content-type"] == SIZE
    assert (await witness.add(log.ask(4, 9))).status_code == 200


async def test_refusals_are_problems_with_a_code_and_change_nothing(witness, log):
    await witness.add(log.ask(0, 4))
    for body, status, code in (
        (log.ask(9, 8), 400, "old_size_too_large"),
        ("old 4", 400, "malformed_submission"),
        ("", 400, "malformed_submission"),
        (Log().ask(4, 9), 403, "untrusted_checkpoint"),
        (Log("other.test").ask(0, 1), 404, "unknown_log"),
        (log.ask(4, 9, []), 422, "not_consistent"),
        (log.fork(2).ask(4, 9), 422, "not_consistent"),
        (log.fork(2).ask(4, 4), 422, "not_consistent"),
    ):
        answer = await witness.add(body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await witness.add("x" * (BODY_BYTES_MAX + 1))).status_code == 413
    assert await witness.size(log) == 4


async def test_monitors_see_the_last_checkpoint_with_both_signatures(witness, log):
    assert (await witness.http.get(monitored(ORIGIN))).status_code == 404
    lines = (await witness.add(log.ask(0, 4))).text
    answer = await witness.http.get(monitored(ORIGIN))
    assert answer.text == log.checkpoint(4) + lines
    assert answer.headers["cache-control"] == "no-cache"
    assert open_note(answer.text, [log.key, *await witness.keys()]).unverified == ()
    assert (await witness.http.get("/ABC/checkpoint")).status_code == 422


async def test_with_a_second_key_there_are_two_lines(start, log, state_dir):
    async with start(post_quantum=True) as witness:
        answer = await witness.add(log.ask(0, 4))
        kinds = [key.kind for key in await witness.keys()]
        assert kinds == [KeyKind.COSIGNATURE, KeyKind.ML_DSA_44]
        opened = await witness.opened(log.checkpoint(4), answer.text)
        assert [signature.key.kind for signature in opened.signatures] == kinds
    # Switched off again, it goes on with the first.
    async with start() as witness:
        assert len(await witness.keys()) == 1
        assert (await witness.add(log.ask(4, 5))).status_code == 200
    for key in ("witness.key", "post-quantum.key"):
        assert (state_dir / key).stat().st_mode & 0o777 == 0o600


async def test_the_database_holds_no_key(witness, log, state_dir):
    await witness.add(log.ask(0, 4))
    row = await witness.fetchval("SELECT cosigned::text FROM cosigned")
    for line in (state_dir / "witness.key").read_text().splitlines():
        assert line not in row


# ---------------------------------------------------------------- one at a time


async def waits_for_a_lock(witness, asked):
    """Until the request waits, or is over without having waited."""
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    while not asked.done() and not await witness.fetchval(waiting):  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.01)


async def add_within(session, witness, body, ahead_s=0):
    """Within that transaction; `ahead_s`: of the right time."""
    at = int(time.time()) + ahead_s
    keeper = witness.keeper
    return await operations.add_checkpoint(
        session, keeper.state, keeper.cosigners(), witness.submission(body), at
    )


@pytest.mark.parametrize(("first", "second"), [(6, 9), (9, 6)])
@pytest.mark.parametrize("old", [0, 3])
async def test_of_two_at_once_the_second_sees_the_first(witness, log, old, first, second):
    """SPEC: the race of N and N+K, on two connections; also for a log not seen before."""
    if old:
        await witness.add(log.ask(0, old))
    async with witness.app.state.sessions.begin() as session:
        await add_within(session, witness, log.ask(old, first))
        other = asyncio.create_task(witness.add(log.ask(old, second)))
        await waits_for_a_lock(witness, other)
        assert not other.done()
    answer = await other
    assert (answer.status_code, answer.text) == (409, f"{first}\n")
    assert await witness.size(log) == first


async def test_of_many_at_once_one_is_cosigned(witness, log):
    await witness.add(log.ask(0, 3))
    answers = await asyncio.gather(*(witness.add(log.ask(3, size)) for size in range(4, 12)))
    cosigned = [a for a in answers if a.status_code == 200]
    assert len(cosigned) == 1
    size = await witness.size(log)
    assert {(a.status_code, a.text) for a in answers if a is not cosigned[0]} == {
        (409, f"{size}\n")
    }


async def test_two_logs_do_not_wait_for_each_other(start, log):
    other = Log("other.test")
    async with start(logs=f"{log.key}\n{other.key}\n") as witness:
        async with witness.app.state.sessions.begin() as session:
            await add_within(session, witness, log.ask(0, 3))
            assert (await witness.add(other.ask(0, 3))).status_code == 200
        assert (await witness.size(log), await witness.size(other)) == (3, 3)


async def test_what_is_answered_is_on_disk_whatever_the_server_says(witness, log):
    """SPEC: the witness MUST persist the new checkpoint before responding."""
    async with witness.app.state.sessions.begin() as session:
        connection = await session.connection()
        await connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
        await add_within(session, witness, log.ask(0, 3))
        result = await connection.exec_driver_sql("SHOW synchronous_commit")
        assert result.scalar() == "on"


# ---------------------------------------------------------------- failures


async def test_failed_but_done_asked_again_is_cosigned_again(witness, log):
    """The answer was lost: the log learns our size, and asks with it."""
    await witness.add(log.ask(0, 3))
    lost = (await witness.add(log.ask(3, 5))).text
    again = await witness.add(log.ask(3, 5))
    assert (again.status_code, again.text) == (409, "5\n")
    fresh = await witness.add(log.ask(5, 5))
    assert fresh.status_code == 200
    times = [
        (await witness.opened(log.checkpoint(5), lines)).signatures[0].at
        for lines in (lost, fresh.text)
    ]
    assert times == sorted(times)


async def test_a_crash_before_the_commit_is_as_if_it_was_done(start, witness, log):
    """The copy was written, the commit was not: it counts, though nobody got the cosignature."""
    await witness.add(log.ask(0, 3))
    with contextlib.suppress(KeyError):
        async with witness.app.state.sessions.begin() as session:
            await add_within(session, witness, log.ask(3, 5))
            raise KeyError
    assert await witness.size(log) == 5
    assert (await witness.add(log.ask(3, 5))).text == "5\n"
    fork = await witness.add(log.fork(4).ask(5, 5))
    assert fork.status_code == 422
    async with start() as restarted:  # brings the database forward
        assert await restarted.fetchval("SELECT size FROM cosigned") == 5
        assert (await restarted.add(log.ask(5, 5))).status_code == 200


async def test_failed_not_done_leaves_the_last_checkpoint(witness, log, state_dir):
    """The copy cannot be written: no cosignature, and nothing in the database either."""
    await witness.add(log.ask(0, 3))
    copy = copy_of(state_dir)
    in_the_way = copy.with_name(f".{copy.name}.{os.getpid()}.tmp")
    in_the_way.mkdir()
    answer = await witness.add(log.ask(3, 5))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert await witness.size(log) == 3
    in_the_way.rmdir()
    assert (await witness.add(log.ask(3, 5))).status_code == 200


async def test_a_clock_set_back_does_not_show_in_cosignatures(witness, log):
    async with witness.app.state.sessions.begin() as session:
        before = await add_within(session, witness, log.ask(0, 3), ahead_s=200)
    first = await witness.opened(log.checkpoint(3), before)
    answer = await witness.add(log.ask(3, 5))
    opened = await witness.opened(log.checkpoint(5), answer.text)
    assert opened.signatures[0].at == first.signatures[0].at
    assert await witness.not_ready() == []


async def test_a_clock_that_was_far_ahead_stops_the_witness_of_that_log(start, log):
    """No log would take such a time: it is said here, and need not be found out there."""
    other = Log("other.test")
    logs = f"{log.key}\n{other.key}\n"
    async with start(logs=logs) as witness:
        async with witness.app.state.sessions.begin() as session:
            await add_within(session, witness, log.ask(0, 3), ahead_s=86_400)
        assert ["ahead of this clock" in each for each in await witness.not_ready()] == [True]
    async with start(logs=logs) as witness:
        assert ["ahead of this clock" in each for each in await witness.not_ready()] == [True]
        answer = await witness.add(log.ask(3, 5))
        assert (answer.status_code, answer.json()["code"]) == (503, "witness_refused")
        assert (await witness.add(log.ask(0, 5))).text == "3\n"
        assert (await witness.add(other.ask(0, 5))).status_code == 200


# ---------------------------------------------------------------- memory


async def test_a_restart_remembers(start, log):
    async with start() as witness:
        await witness.add(log.ask(0, 4))
        keys = await witness.keys()
    async with start() as witness:
        assert await witness.keys() == keys
        assert (await witness.add(log.ask(0, 9))).text == "4\n"


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_database_restored_from_a_backup_makes_no_fork(start, log, restarted):
    """The copy outside it is ahead, and counts."""
    async with start() as witness:
        await witness.add(log.ask(0, 3))
        await witness.execute("CREATE TABLE backup AS SELECT * FROM cosigned")
        await witness.add(log.ask(3, 5))
        await witness.execute("DELETE FROM cosigned", "INSERT INTO cosigned SELECT * FROM backup")
        if not restarted:
            assert await witness.size(log) == 5
            answer = await witness.add(log.fork(3).ask(3, 6))
            assert (answer.status_code, answer.text) == (409, "5\n")
            assert (await witness.add(log.ask(5, 6))).status_code == 200
            assert await witness.size(log) == 6
    if restarted:
        async with start() as witness:
            assert await witness.size(log) == 5
            assert (await witness.add(log.fork(3).ask(3, 6))).text == "5\n"


async def test_monitors_still_see_a_log_that_is_no_longer_trusted(start, log):
    async with start() as witness:
        await witness.add(log.ask(0, 3))
    async with start(logs=f"{Log('other.test').key}\n") as witness:
        assert (await witness.add(log.ask(3, 5))).status_code == 404
        assert await witness.size(log) == 3


async def test_an_emptied_database_makes_no_fork(witness, log):
    await witness.add(log.ask(0, 5))
    await witness.execute("TRUNCATE cosigned")
    assert await witness.size(log) == 5
    assert (await witness.add(log.fork(3).ask(0, 6))).text == "5\n"


async def test_the_database_itself_takes_nothing_back(witness, log):
    await witness.add(log.ask(0, 5))
    connection = await asyncpg.connect(witness.database_url.replace("+asyncpg", ""))
    for statement in (
        "UPDATE cosigned SET size = 4",
        r"UPDATE cosigned SET root = decode(repeat('00', 32), 'hex')",
        "UPDATE cosigned SET at = at - 1",
        "UPDATE cosigned SET origin = 'other.test'",
        "DELETE FROM cosigned",
        "TRUNCATE cosigned",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await connection.execute(statement)
    await connection.close()


async def test_a_forged_row_is_not_believed(start, witness, log):
    """Only what bears our own cosignature is: who holds the database cannot move us."""
    await witness.add(log.ask(0, 3))
    forged = log.fork(2).checkpoint(5)
    await witness.execute(f"UPDATE cosigned SET size = 5, note = $${forged}$$")
    for answer in (
        await witness.add(log.fork(2).ask(5, 6)),
        await witness.http.get(monitored(ORIGIN)),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "witness_refused")
    async with start() as restarted:
        assert ["not one this witness cosigned" in each for each in await restarted.not_ready()]


def copy_of(state_dir: Path) -> Path:
    (copy,) = (state_dir / "cosigned").iterdir()
    return copy


async def test_a_damaged_copy_stops_the_witness_until_it_is_restored(start, log, state_dir):
    async with start() as witness:
        await witness.add(log.ask(0, 3))
        copy = copy_of(state_dir)
        whole = copy.read_text()
        copy.write_text(whole.replace("\n3\n", "\n2\n"))
        assert (await witness.add(log.ask(3, 5))).status_code == 503
    async with start() as witness:
        (reason,) = await witness.not_ready()
        assert "not one this witness cosigned" in reason
        assert (await witness.add(log.ask(3, 5))).json()["code"] == "witness_refused"
        assert (await witness.http.get("/v1/key")).status_code == 503
        copy.write_text(whole)
    async with start() as witness:
        assert (await witness.add(log.ask(3, 5))).status_code == 200


async def test_two_memories_that_contradict_each_other_stop_the_witness(start, log, state_dir):
    async with start() as witness:
        await witness.add(log.ask(0, 3))
        await witness.execute("CREATE TABLE backup AS SELECT * FROM cosigned", "TRUNCATE cosigned")
        copy_of(state_dir).unlink()
        await witness.add(log.fork(2).ask(0, 3))  # with neither it cannot know
        await witness.execute("TRUNCATE cosigned", "INSERT INTO cosigned SELECT * FROM backup")
        assert (await witness.add(log.ask(3, 3))).json()["code"] == "witness_refused"
    async with start() as witness:
        (reason,) = await witness.not_ready()
        assert "retire this witness" in reason


async def test_a_lost_copy_is_made_again_from_the_database(start, log, state_dir):
    async with start() as witness:
        await witness.add(log.ask(0, 3))
        copy = copy_of(state_dir)
        whole = copy.read_text()
        copy.unlink()
    async with start():
        assert copy.read_text() == whole


@pytest.mark.parametrize("lost", [["witness.key"], ["witness.key", "witness.vkey"]])
async def test_a_lost_key_is_not_replaced_once_it_has_signed(start, log, state_dir, lost):
    async with start() as witness:
        await witness.add(log.ask(0, 3))
    kept = {name: (state_dir / name).read_text() for name in lost}
    for name in lost:
        (state_dir / name).unlink()
    async with start() as witness:
        (reason,) = await witness.not_ready()
        assert "witness.key is missing" in reason
    for name, content in kept.items():
        (state_dir / name).write_text(content)
    async with start() as witness:
        assert await witness.not_ready() == []


async def test_another_name_is_another_witness(start, log):
    async with start():
        pass
    async with start(name="renamed.test") as witness:
        (reason,) = await witness.not_ready()
        assert "never changes its name" in reason


async def test_it_does_not_start_without_a_name_or_with_logs_it_cannot_read(start):
    with pytest.raises(ValidationError):
        async with start(name="two words"):
            pass
    with pytest.raises(MalformedLogs, match="line 1"):
        async with start(logs="nonsense"):
            pass
