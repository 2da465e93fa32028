"""Group commit: whoever hands entries in gets their indexes, once they are durable, and only once.

The replicas of these tests are applications of their own, with pools of their own, on one database.
"""

import asyncio
import contextlib
import random
import sys
from pathlib import Path

import asyncpg
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from services.audit import domain, intake, operations
from services.audit.contract import PRODUCERS, Producer
from services.audit.domain import AppendUnknown, Batch, LogRefused
from services.audit.intake import Intake
from shared.events import CloudEvent, cursor
from shared.events.consumer import CursorMoved
from tests.audit.conftest import an_event, events
from tests.audit.test_feeds import until
from tests.audit.test_log import alarms, entries


def a_batch(producer: Producer, first: int, count: int, after: int | None = None) -> Batch:
    return Batch(
        producer,
        [domain.entry_of(producer, each) for each in events(producer, first, count)],
        after,
    )


async def hand_in(running, *batches):
    answers = [running.app.state.intake.hand_in(batch) for batch in batches]
    return await asyncio.gather(*answers, return_exceptions=True)


async def cursor_of(running, producer):
    async with running.app.state.sessions() as session:
        return await cursor(session, producer)


@contextlib.asynccontextmanager
async def writing(running, log):
    """A second intake of the same process, under another publisher's word."""
    made = Intake(log)
    task = asyncio.create_task(made.run(running.app))
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Word:
    """A publisher that lets write, refuses, or lets wait."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.may = asyncio.Event()
        self.asked = 0

    async def may_write(self) -> int:
        self.asked += 1
        await self.may.wait()
        if self.refusal:
            raise self.refusal
        return 0

    def appended(self) -> None:
        pass


# ---------------------------------------------------------------- one process


async def test_callers_at_once_get_indexes_of_their_own_without_a_hole(running):
    made = a_batch("needs", 1, 120).entries
    answers = await hand_in(running, *(Batch("needs", [entry]) for entry in made))
    assert sorted(index for [index] in answers) == list(range(120))
    stored = {row["key"]: row["index"] for row in await entries(running)}
    assert stored == {e.key: i for e, [i] in zip(made, answers, strict=True)}
    assert await alarms(running) == []


async def test_what_waits_goes_into_one_transaction_and_more_than_fits_into_the_next(
    running, monkeypatch
):
    monkeypatch.setattr(intake, "GROUP_ENTRIES_MAX", 30)
    word = Word()
    async with writing(running, word) as made:
        batches = [a_batch("needs", first, 10) for first in range(1, 61, 10)]
        waiting = [asyncio.create_task(made.hand_in(batch)) for batch in batches]
        await asyncio.sleep(0)
        word.may.set()
        assert [index for each in waiting for index in await each] == list(range(60))
    assert word.asked == 2
    written = "SELECT xmin::text, count(*) FROM entry GROUP BY 1 ORDER BY min(index)"
    async with running.app.state.sessions() as session:
        assert [row[1] for row in await session.execute(text(written))] == [30, 30]


async def test_a_caller_that_repeats_gets_the_index_it_had(running):
    batch = a_batch("needs", 1, 5)
    twice = await hand_in(running, batch, batch)
    assert [*twice, await running.app.state.intake.hand_in(batch)] == [[0, 1, 2, 3, 4]] * 3
    other = domain.entry_of("needs", an_event("needs", 3))
    assert await hand_in(running, Batch("needs", [other])) == [[None]]
    assert [each["alarm"] for each in await alarms(running)] == ["content_repeated"]
    assert len(await entries(running)) == 5


async def test_feeds_by_turns_move_their_own_cursors_with_their_entries(running):
    answers = await hand_in(
        running,
        a_batch("needs", 1, 3, after=0),
        a_batch("donors", 1, 2, after=0),
        a_batch("needs", 4, 2, after=3),  # goes on where the one before it ends
    )
    assert answers == [[0, 1, 2], [3, 4], [5, 6]]
    assert [await cursor_of(running, each) for each in ("needs", "donors", "audit")] == [5, 2, 0]


async def test_a_batch_whose_cursor_has_moved_is_told_so_and_others_are_appended(running):
    await hand_in(running, a_batch("needs", 1, 3, after=0))
    late, other = await hand_in(
        running, a_batch("needs", 1, 3, after=0), a_batch("donors", 1, 1, after=0)
    )
    assert isinstance(late, CursorMoved)
    assert other == [3]
    assert await cursor_of(running, "needs") == 3
    assert await alarms(running) == []  # its ids were new ones: it was not even looked at


async def test_one_batch_the_database_refuses_does_not_fail_the_others(running):
    bad = domain.entry_of("needs", an_event("needs", 1))._replace(subject="\x00")
    refused, appended = await hand_in(
        running, Batch("needs", [bad], 0), a_batch("donors", 1, 2, after=0)
    )
    assert isinstance(refused, Exception)
    assert not isinstance(refused, AppendUnknown)
    assert appended == [0, 1]
    assert [await cursor_of(running, each) for each in ("needs", "donors")] == [0, 2]


async def test_a_caller_that_leaves_takes_nobody_along(running):
    word = Word()
    async with writing(running, word) as made:
        first, second, third = (
            asyncio.create_task(made.hand_in(a_batch(producer, 1, 1)))
            for producer in ("needs", "donors", "matching")
        )
        await asyncio.sleep(0.01)
        first.cancel()  # while the writer has its group in hand
        fourth = asyncio.create_task(made.hand_in(a_batch("audit", 1, 1)))
        await asyncio.sleep(0)
        fourth.cancel()  # while it still waits
        word.may.set()
        assert [*await second, *await third] == [1, 2]
        await made.hand_in(a_batch("donors", 2, 1))
    assert [row["producer"] for row in await entries(running)] == [
        *("needs", "donors", "matching", "donors")
    ]


async def test_nothing_is_appended_where_the_log_refuses_and_everybody_is_told(running):
    word = Word()
    word.refusal = LogRefused("behind")
    word.may.set()
    async with writing(running, word) as made:
        batches = (a_batch("needs", 1, 1, after=0), a_batch("donors", 1, 1, after=0))
        answers = await asyncio.gather(*map(made.hand_in, batches), return_exceptions=True)
        assert [type(each) for each in answers] == [LogRefused, LogRefused]
    assert await entries(running) == []


async def test_a_log_shorter_than_what_is_signed_is_not_written(running):
    sessions, reading = running.app.state.sessions, running.app.state.reading_sessions
    async with reading() as session:
        with pytest.raises(LogRefused):
            await operations.Appender().take_in(
                session, sessions, [a_batch("needs", 1, 1)], size_signed=1
            )
    assert await entries(running) == []


async def test_when_the_writer_ends_nobody_is_left_waiting(running):
    word = Word()
    async with writing(running, word) as made:
        waiting = asyncio.create_task(made.hand_in(a_batch("needs", 1, 1)))
        await asyncio.sleep(0.01)
    with pytest.raises(AppendUnknown):
        await waiting


async def test_who_waited_for_a_writer_that_failed_is_served_by_the_next(running, monkeypatch):
    monkeypatch.setattr(intake, "GROUP_ENTRIES_MAX", 1)
    word = Word()
    async with writing(running, word) as made:
        batches = (a_batch("needs", 1, 1), a_batch("donors", 1, 1))
        first, second = (asyncio.create_task(made.hand_in(batch)) for batch in batches)
        await asyncio.sleep(0.01)  # one is in the writer's hand
    with pytest.raises(AppendUnknown):
        await first
    word.may.set()
    again = asyncio.create_task(made.run(running.app))
    assert await asyncio.wait_for(second, 20) == [0]
    again.cancel()


async def test_what_waits_is_bounded(running, monkeypatch):
    monkeypatch.setattr(intake, "WAITING_MAX", 1)
    made = Intake(Word())
    first = asyncio.create_task(made.hand_in(a_batch("needs", 1, 1)))
    await asyncio.sleep(0)
    with pytest.raises(domain.IntakeFull):
        await made.hand_in(a_batch("needs", 2, 1))
    first.cancel()


async def test_readers_that_hold_all_their_connections_hold_up_neither_the_log_nor_who_follows_it(
    start, token
):
    async with start(pool_size=1) as running:  # one is kept, one more is made at need
        await running.signed(0)
        database = await asyncpg.connect(running.database_url.replace("+asyncpg", ""))
        slow = database.transaction()
        await slow.start()
        await database.execute("LOCK TABLE cosignature")
        readers = [asyncio.create_task(running.client.get("/v1/witnesses")) for _ in range(2)]
        waits = "SELECT count(*) = 2 FROM pg_locks WHERE relation = 'cosignature'::regclass"
        await until(lambda: database.fetchval(f"{waits} AND NOT granted"))
        assert await hand_in(running, a_batch("needs", 1, 3)) == [[0, 1, 2]]
        await until(lambda: database.fetchval("SELECT max(size) = 3 FROM checkpoint"))
        follower = token("service", subject="matching")
        appended = await running.client.get("/appended", headers=follower)
        assert len(appended.json()) == 3
        assert not any(reader.done() for reader in readers)
        await slow.rollback()
        await database.close()
        assert [(await reader).status_code for reader in readers] == [200, 200]


# ---------------------------------------------------------------- several replicas


async def test_two_replicas_that_follow_the_same_feeds_append_each_event_once(start):
    async with start() as one, start() as other:
        feeds = {
            name: [a_batch(name, first, 5, after=first - 1) for first in range(1, 51, 5)]
            for name in ("needs", "donors")
        }

        async def follow(running, name):
            at = 0
            while at < len(feeds[name]):
                with contextlib.suppress(CursorMoved):
                    await running.app.state.intake.hand_in(feeds[name][at])
                at = await cursor_of(running, name) // 5

        await asyncio.gather(*(follow(each, name) for each in (one, other) for name in feeds))
        rows = await entries(one)
        assert [row["index"] for row in rows] == list(range(100))
        for name in feeds:
            assert [r["seq"] for r in rows if r["producer"] == name] == list(range(1, 51))
        assert await alarms(one) == []
        await one.signed(100)
        assert (await other.verify())[0] == 0


async def test_two_replicas_that_meet_the_same_fault_raise_one_alarm(start):
    async with start() as one, start() as other:
        first = a_batch("needs", 1, 1, after=0)
        await hand_in(one, first)
        # An id that is in the log, with other content: no entry comes of it, the head stays.
        other_content = an_event("needs", 2, id=first.entries[0].key)
        repeated = domain.entry_of("needs", other_content)
        faults = [Batch("needs", [repeated], after=1) for _ in range(2)]
        plan, looks, both = operations._plan, 0, asyncio.Event()

        async def both_look_first(session, *arguments):
            nonlocal looks
            found = await plan(session, *arguments)
            looks += 1
            if looks == 2:
                both.set()
            await both.wait()
            if looks > 2:  # with the head locked: the other would look now if it could
                await asyncio.sleep(0.2)
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(operations, "_plan", both_look_first)
            answers = await asyncio.gather(
                *(
                    each.app.state.intake.hand_in(batch)
                    for each, batch in zip((one, other), faults, strict=True)
                ),
                return_exceptions=True,
            )
        assert len(await alarms(one)) == 1, answers


_PROCESS = """
import asyncio, sys
from types import SimpleNamespace
from sqlalchemy.ext.asyncio import async_sessionmaker
from services.audit.domain import Batch, entry_of
from services.audit.intake import Intake
from shared.db import make_engine
from shared.events import CloudEvent

class Word:
    async def may_write(self):
        return 0

    def appended(self):
        pass

async def main():
    engine = make_engine(sys.argv[1])
    reading = engine.execution_options(isolation_level="AUTOCOMMIT")
    state = SimpleNamespace(
        sessions=async_sessionmaker(engine), reading_sessions=async_sessionmaker(reading)
    )
    events = [CloudEvent.model_validate_json(line) for line in sys.stdin]
    intake = Intake(Word())
    writer = asyncio.create_task(intake.run(SimpleNamespace(state=state)))
    batches = [Batch(event.source, [entry_of(event.source, event)]) for event in events]
    print(await asyncio.gather(*map(intake.hand_in, batches)))
    writer.cancel()

asyncio.run(main())
"""


def event_of(number: int) -> CloudEvent:
    """Four producers by turns; the same event whenever asked."""
    producer, seq = PRODUCERS[number % 4], number // 4 + 1
    return an_event(producer, seq, id=f"00000000-0000-7000-8000-{number:012x}")


def a_batch_of(number: int) -> Batch:
    event = event_of(number)
    return Batch(PRODUCERS[number % 4], [domain.entry_of(PRODUCERS[number % 4], event)])


async def test_two_processes_that_hand_in_the_same_get_the_same_indexes(running):
    root = Path(__file__).parents[2]
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _PROCESS, running.database_url),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=root,
        )
        for _ in range(2)
    ]
    told = "\n".join(event_of(number).model_dump_json() for number in range(60)).encode()
    said = [out for out, _ in await asyncio.gather(*(p.communicate(told) for p in processes))]
    assert [process.returncode for process in processes] == [0, 0]
    assert said[0] == said[1]
    assert [row["index"] for row in await entries(running)] == list(range(60))
    assert await alarms(running) == []


# ---------------------------------------------------------------- failures


async def test_failed_but_done_the_caller_asks_again_and_gets_the_index(running, monkeypatch):
    """The connection is lost after the commit and before its answer."""
    append = operations.append

    async def done_but_lost(session, *arguments):
        assert await append(session, *arguments)
        await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    batch = a_batch("needs", 1, 3, after=0)
    with monkeypatch.context() as patch:
        patch.setattr(operations, "append", done_but_lost)
        with pytest.raises(AppendUnknown):
            await running.app.state.intake.hand_in(batch)
    again = Batch("needs", batch.entries)
    assert await running.app.state.intake.hand_in(again) == [0, 1, 2]
    with pytest.raises(CursorMoved):  # a feed's consumer goes on from the cursor instead
        await running.app.state.intake.hand_in(batch)
    assert len(await entries(running)) == 3
    assert await alarms(running) == []


async def test_callers_whose_connection_is_killed_at_any_moment_are_logged_once(running):
    admin = await asyncpg.connect(running.database_url.replace("+asyncpg", ""))
    chance = random.Random(7)
    taken = running.app.state.intake

    async def caller(number):
        while True:
            try:
                return await taken.hand_in(a_batch_of(number))
            except (AppendUnknown, LogRefused):
                await asyncio.sleep(0.02)

    calling = [asyncio.create_task(caller(number)) for number in range(80)]
    for number in range(80, 240):
        calling.append(asyncio.create_task(caller(number)))
        if chance.random() < 0.2:
            await asyncio.sleep(chance.random() * 0.01)
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND query LIKE '%swapped%'"
            )
    answers = await asyncio.wait_for(asyncio.gather(*calling), 60)
    await admin.close()
    assert sorted(index for [index] in answers) == list(range(240))
    stored = {row["key"]: row["index"] for row in await entries(running)}
    assert stored == {a_batch_of(n).entries[0].key: i for n, [i] in enumerate(answers)}


# ---------------------------------------------------------------- the fast way to write JSON

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(), json_values), st.text(), st.text())
def test_bodies_are_canonical_json_whichever_way_they_are_written(data, actor, extra):
    event = an_event("needs", 1, data=data, actor=actor, novel={"x": extra, extra: [1]})
    document = event.model_dump(mode="json", exclude_none=True)
    document["data"] = data  # a value of null is one
    document["novel"] = {"x": extra, extra: [1]}
    try:
        canonical = rfc8785.dumps(document)
    except ValueError:
        canonical = None
    body = domain.entry_of("needs", event).body[domain.PREFIX_BYTES :]
    assert body == canonical or (canonical is None and b'"replaced"' in body)
