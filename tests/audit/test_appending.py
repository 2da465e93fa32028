"""A group goes on where the last one of its process ended; what that cannot know is looked up."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import text

from services.audit import domain, intake, operations
from services.audit.domain import AppendUnknown, Batch
from shared.db import now
from shared.events.consumer import CursorMoved
from tests.audit.conftest import an_event, events
from tests.audit.test_feeds import until
from tests.audit.test_intake import a_batch, cursor_of, hand_in
from tests.audit.test_log import alarms, entries
from tests.audit.test_verifier import UNTOUCHED_COLUMNS


@pytest.fixture
def looks(monkeypatch):
    """How often the database is asked what it holds, before something is appended."""
    seen = []

    async def counted(*arguments, plan=operations._plan):
        seen.append(1)
        return await plan(*arguments)

    monkeypatch.setattr(operations, "_plan", counted)
    return seen


async def test_a_group_that_goes_on_where_the_last_one_ended_asks_nothing(running, looks):
    answers = [await hand_in(running, a_batch("needs", n, 1, after=n - 1)) for n in range(1, 6)]
    answers += [await hand_in(running, a_batch("donors", 1, 2, after=0))]
    assert answers == [[[n]] for n in range(5)] + [[[5, 6]]]
    assert len(looks) == 1
    assert [await cursor_of(running, each) for each in ("needs", "donors")] == [5, 2]


async def test_where_another_replica_appended_or_moved_the_cursor_it_looks_again(start, looks):
    async with start() as one, start() as other:
        assert await hand_in(one, a_batch("needs", 1, 1, after=0)) == [[0]]
        assert await hand_in(other, a_batch("donors", 1, 1, after=0)) == [[1]]
        assert await hand_in(one, a_batch("needs", 2, 1, after=1)) == [[2]]  # the swap fails
        assert len(looks) == 3
        # The cursor moves, and the head does not: the event is in the log already.
        early = a_batch("matching", 1, 2)
        assert await hand_in(one, early) == [[3, 4]]
        feed = Batch("matching", early.entries, after=0)
        assert await hand_in(other, feed) == [[3, 4]]
        more = (a_batch("donors", 2, 1, after=1), a_batch("matching", 3, 1, after=2))
        assert await hand_in(one, *more) == [[5], [6]]
        assert [type(each) for each in await hand_in(one, feed)] == [CursorMoved]
        assert await alarms(one) == []


@pytest.mark.parametrize("count", [1, operations.COPY_MIN])
async def test_what_is_in_the_log_is_found_also_without_a_look(start, count):
    """An id the log has, under the next number: no entry, one alarm, whichever replica sees it."""
    async with start() as one, start() as other:
        held = a_batch("needs", 1, 1, after=0)
        await hand_in(one, held)
        await hand_in(other, a_batch("donors", 1, 1, after=0))
        await hand_in(one, a_batch("audit", 1, 1, after=0))
        more = [domain.entry_of("needs", each) for each in events("needs", 2, count)]
        more[-1] = more[-1]._replace(key=held.entries[0].key)
        batch = Batch("needs", more, after=1)
        appended = list(range(3, 2 + count))
        assert await hand_in(one, batch) == [[*appended, None]]
        assert [type(each) for each in await hand_in(other, batch)] == [CursorMoved]
        assert [each["alarm"] for each in await alarms(one)] == ["content_repeated"]
        assert len(await entries(one)) == 2 + count


@pytest.mark.parametrize(
    ("groups", "raised"),
    [
        ([[2, 4]], ["sequence_gap"]),
        ([[2], [5]], ["sequence_gap"]),
        ([[5, 3]], ["sequence_gap", "sequence_late"]),
        ([[5], [6], [3]], ["sequence_gap", "sequence_late"]),
    ],
)
async def test_a_number_that_does_not_follow_the_last_group_is_logged_with_an_alarm(
    running, groups, raised
):
    await hand_in(running, a_batch("needs", 1, 1))
    for numbers in groups:
        more = [domain.entry_of("needs", an_event("needs", seq)) for seq in numbers]
        assert None not in (await hand_in(running, Batch("needs", more)))[0]
    assert [each["alarm"] for each in await alarms(running)] == raised
    told = [number for numbers in groups for number in numbers]
    assert [row["seq"] for row in await entries(running)] == [1, *told]


async def test_an_id_that_a_group_has_twice_is_found_though_its_numbers_follow(running, looks):
    await hand_in(running, a_batch("needs", 1, 1))
    first, second = a_batch("needs", 2, 2).entries
    batch = Batch("needs", [first, second._replace(key=first.key)])
    assert await hand_in(running, batch, a_batch("donors", 1, 1)) == [[1, None], [2]]
    assert [each["alarm"] for each in await alarms(running)] == ["content_repeated"]
    assert await hand_in(running, a_batch("needs", 4, 1)) == [[3]]


async def test_a_group_large_enough_for_copy_is_one_transaction_and_loses_the_swap_whole(start):
    many = operations.COPY_MIN
    async with start() as one, start() as other:
        await hand_in(one, a_batch("needs", 1, 1, after=0))
        await hand_in(other, a_batch("donors", 1, 1, after=0))
        batches = [a_batch(name, 2, many, after=1) for name in ("needs", "donors")]
        answers = await asyncio.gather(
            *(hand_in(each, batch) for each, batch in zip((one, other), batches, strict=True))
        )
        assert sorted(index for [each] in answers for index in each) == [*range(2, 2 + 2 * many)]
        async with one.app.state.sessions() as session:
            written = "SELECT count(*) FROM entry GROUP BY xmin ORDER BY min(index)"
            assert list(await session.scalars(text(written))) == [1, 1, many, many]
        assert [await cursor_of(one, each) for each in ("needs", "donors")] == [many + 1] * 2
        await one.signed(2 + 2 * many)
        assert (await other.verify())[0] == 0
        # What the database refuses leaves nothing behind.
        bad = [entry._replace(subject="\x00") for entry in a_batch("needs", many + 2, many).entries]
        [refused] = await hand_in(one, Batch("needs", bad, after=many + 1))
        assert not isinstance(refused, AppendUnknown)
        assert await hand_in(one, a_batch("needs", many + 2, many, after=many + 1)) == [
            [*range(2 + 2 * many, 2 + 3 * many)]
        ]


async def test_while_a_group_is_copied_nobody_else_can_swap_the_head(running):
    await hand_in(running, a_batch("needs", 1, 1, after=0))
    batch = a_batch("needs", 2, operations.COPY_MIN, after=1)
    address = running.database_url.replace("+asyncpg", "")
    async with (
        asyncpg.create_pool(address, min_size=2, max_size=2) as pool,
        pool.acquire() as holder,
        pool.acquire() as another,
    ):
        held_up = holder.transaction()
        await held_up.start()
        await holder.execute(
            f"INSERT INTO entry (index, body, {UNTOUCHED_COLUMNS}) SELECT 10000, body, $1,"
            " producer, 10000, type, subject, division, actor, actor_role, time, mentions"
            " FROM entry",
            batch.entries[-1].key,
        )
        answer = asyncio.create_task(hand_in(running, batch))
        held = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid)))"
        await until(lambda: another.fetchval(held, holder.get_server_pid()))
        with pytest.raises(asyncpg.LockNotAvailableError):
            await another.execute("SELECT FROM head FOR UPDATE NOWAIT")
        await held_up.rollback()
        assert await answer == [[*range(1, 1 + operations.COPY_MIN)]]
    await running.signed(1 + operations.COPY_MIN)
    assert (await running.verify())[0] == 0


@pytest.mark.parametrize("count", [1, operations.COPY_MIN])
async def test_the_head_that_was_tampered_with_is_not_gone_on_from(running, looks, count):
    await hand_in(running, a_batch("needs", 1, 1, after=0))
    await running.tamper("UPDATE head SET frontier = sha256('another')")
    await hand_in(running, a_batch("needs", 2, count, after=1))
    assert len(looks) == 2
    assert "head" in await running.refused()


async def test_a_group_whose_hashing_fails_while_it_is_copied_leaves_the_writer_alive(
    running, monkeypatch
):
    left = [MemoryError(), MemoryError()]  # while it is copied, and after it

    def fails_twice(*arguments, extended=operations._extended):
        if left:
            raise left.pop()
        return extended(*arguments)

    monkeypatch.setattr(operations, "_extended", fails_twice)
    batch = a_batch("needs", 1, operations.COPY_MIN, after=0)
    async with asyncio.timeout(60):
        assert [type(each) for each in await hand_in(running, batch)] == [MemoryError]
        assert await hand_in(running, batch) == [[*range(operations.COPY_MIN)]]


async def test_the_clock_puts_new_mentions_in_order(start):
    async with start() as running:
        await hand_in(running, a_batch("needs", 1, 50))
        async with running.app.state.sessions.begin() as session:
            await intake.tidy(session, now())
            # Nothing is left for another turn.
            assert await session.scalar(text("SELECT tidy_mentions()")) == 0
            found = await session.scalars(
                text("SELECT index FROM entry WHERE mentions @> ARRAY[CAST(:id AS uuid)]"),
                {"id": "00000000-0000-0000-0000-000000000001"},
            )
            assert sorted(found) == [9, 19, 29, 39, 49]
