"""The event feed: nothing lost, nothing twice, nothing out of order, whatever is killed."""

import asyncio
import contextlib
import random
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from shared.client import Client, RemoteProblem, RemoteUnavailable
from shared.db import uuid7
from shared.errors import Unavailable
from shared.events import CloudEvent, Consumer, Sequencer, cursor, emit
from shared.events import consumer as consumer_module
from shared.events import feed as feed_module
from shared.events.consumer import CursorMoved, Place, place
from tests.shared.sample import ThingMade


@pytest.fixture
async def sessions(sample_url):
    engine = create_async_engine(sample_url, pool_size=20)
    yield async_sessionmaker(engine, expire_on_commit=False)
    await engine.dispose()


@pytest.fixture
def dsn(sample_url):
    return sample_url.replace("+asyncpg", "")


async def record(session: Any, pieces: int) -> None:
    await emit(
        session,
        ThingMade(thing_id=uuid7(), pieces=pieces),
        subject="thing/1",
        actor="tester",
        role="none",
        division="430224101001",
    )


@contextlib.asynccontextmanager
async def running(*coroutines: Any):
    jobs = [asyncio.create_task(c) for c in coroutines]
    try:
        yield jobs
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


async def until(condition, timeout_s: float = 120.0):
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in a database
            await asyncio.sleep(0.02)


async def numbered(sessions) -> list[Any]:
    async with sessions() as session:
        return list((await session.execute(text("SELECT * FROM event ORDER BY seq"))).all())


async def test_overlapping_transactions_lose_no_event_for_a_polling_reader(sessions, dsn):
    """A reader that polls `seq > last` sees each committed event once, in order, without gaps."""
    chance, committed, seen = random.Random(7), [], []

    async def writer(n: int) -> None:
        for k in range(12):
            async with sessions() as session:
                await asyncio.sleep(chance.random() * 0.01)
                await record(session, n * 100 + k)
                await asyncio.sleep(chance.random() * 0.02)
                if chance.random() < 0.1:
                    await session.rollback()
                else:
                    await session.commit()
                    committed.append(n * 100 + k)

    async def reader() -> None:
        last = 0
        while True:
            async with sessions() as session:
                rows = await session.execute(
                    text("SELECT seq, data FROM event WHERE seq > :last ORDER BY seq"),
                    {"last": last},
                )
                for row in rows:
                    assert row.seq == last + 1
                    last = row.seq
                    seen.append(row.data["pieces"])
            await asyncio.sleep(0.005)

    async with running(Sequencer(dsn).run(), Sequencer(dsn).run(), reader()):
        await asyncio.gather(*(writer(n) for n in range(12)))

        async def all_seen() -> bool:
            return len(seen) == len(committed)

        await until(all_seen)
    assert sorted(seen) == sorted(committed)


async def test_a_sequencer_whose_connection_is_killed_goes_on(sessions, dsn, pg_admin_url):
    async with running(Sequencer(dsn).run()):
        admin = await asyncpg.connect(pg_admin_url)
        for n in range(5):
            async with sessions.begin() as session:
                for k in range(20):
                    await record(session, n * 20 + k)
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE 'WITH moved%' OR query LIKE 'NOTIFY%'"
            )
        await admin.close()

        async def complete() -> bool:
            return len(await numbered(sessions)) == 100

        await until(complete)
    rows = await numbered(sessions)
    assert [row.seq for row in rows] == list(range(1, 101))
    assert [row.data["pieces"] for row in rows] == list(range(100))


async def test_an_event_says_the_township_and_not_the_village(sessions, dsn):
    async with sessions.begin() as session:
        await record(session, 1)
    async with sessions() as session:
        division = await session.scalar(text("SELECT division FROM outbox"))
    assert division == "430224101000"


async def test_an_event_of_a_change_undone_is_not_recorded(sessions):
    with contextlib.suppress(ZeroDivisionError):
        async with sessions.begin() as session:
            await record(session, 1)
            raise ZeroDivisionError
    async with sessions() as session:
        assert await session.scalar(text("SELECT count(*) FROM outbox")) == 0


# ---------------------------------------------------------------- the feed


async def test_the_feed_is_a_batch_of_cloud_events(client, maker, token):
    made = await client.post(
        "/v1/things", json={"name": "坐垫", "pieces": 3}, headers={**maker, "Idempotency-Key": "1"}
    )
    reader = token("service", subject="matching")
    answer = await client.get("/events?after=0&wait=5", headers=reader)
    assert answer.headers["content-type"].startswith("application/cloudevents-batch+json")
    (event,) = answer.json()
    assert event["sequence"] == "1"
    assert event["type"] == "sample.thing_made"
    assert event["actor"] == "clerk-1"
    assert event["data"] == {"thing_id": made.json()["id"], "pieces": 3}
    assert event["traceparent"].split("-")[1] == made.headers["x-trace-id"]
    assert (await client.get("/events?after=1", headers=reader)).json() == []


async def test_an_event_holds_no_trace_that_a_caller_thought_up(client, maker, token):
    """It is in the log for ever, and 32 digits are enough for somebody's number."""
    number = "430224194804039577".rjust(32, "0")
    made = await client.post(
        "/v1/things",
        json={"name": "坐垫", "pieces": 3},
        headers={**maker, "Idempotency-Key": "1", "traceparent": f"00-{number}-{number[16:]}-01"},
    )
    answer = await client.get("/events?wait=5", headers=token("service", subject="matching"))
    assert number[16:] not in answer.text
    assert answer.json()[0]["traceparent"].split("-")[1] == made.headers["x-trace-id"]


async def test_a_waiting_reader_is_woken_by_the_commit(client, maker, token):
    reader = token("service", subject="matching")
    waiting = asyncio.create_task(client.get("/events?after=0&wait=20", headers=reader))
    await asyncio.sleep(0.1)
    headers = {**maker, "Idempotency-Key": "1"}
    await client.post("/v1/things", json={"name": "a", "pieces": 1}, headers=headers)
    async with asyncio.timeout(5):
        assert len((await waiting).json()) == 1


async def test_an_answer_is_bounded_in_bytes_and_a_follower_goes_on_from_there(
    client, maker, token, feed, sessions, effect_table, monkeypatch
):
    await make_things(client, maker, 5)
    reader = token("service", subject="matching")
    whole = await client.get("/events?after=0&wait=5", headers=reader)
    one = len(whole.content) // len(whole.json())
    monkeypatch.setattr(feed_module, "BATCH_BYTES_MAX", 2 * one + one // 2)
    consumer = Consumer("sample", feed, store)
    async with running(consumer.run(sessions)):

        async def applied() -> bool:
            return len(await effects(sessions)) >= 5

        await until(applied)
    assert len((await client.get("/events?after=0", headers=reader)).json()) == 2
    monkeypatch.setattr(feed_module, "BATCH_BYTES_MAX", 1)  # never none at all
    assert len((await client.get("/events?after=0", headers=reader)).json()) == 1
    assert await effects(sessions) == [1, 2, 3, 4, 5]


async def test_the_feed_is_for_followers_only(client, maker):
    assert (await client.get("/events")).status_code == 401
    assert (await client.get("/events", headers=maker)).status_code == 403


# ------------------------------------------------------------ the consumer


class Wire(httpx.ASGITransport):
    """The real application behind a wire that can fail before or after the call was done."""

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.faults: list[str] = []
        self.sent = 0
        self.waits: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        self.waits.append(float(request.url.params.get("wait", 0)))
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            raise httpx.ConnectError("not done", request=request)
        answer = await super().handle_async_request(request)
        if fault == "after":
            raise httpx.ReadError("done, but the answer is lost", request=request)
        return answer


@pytest.fixture
def wire(app):
    return Wire(app)


@pytest.fixture
async def feed(wire, issuer, tmp_path):
    file = tmp_path / "token"
    file.write_text(issuer.mint(role="service", subject="follower"))
    made = Client("http://sample", file, transport=wire)
    yield made
    await made.aclose()


async def make_things(client, maker, count: int) -> None:
    for n in range(count):
        headers = {**maker, "Idempotency-Key": f"n{n}"}
        await client.post("/v1/things", json={"name": f"t{n}", "pieces": n + 1}, headers=headers)


async def effects(sessions) -> list[int]:
    async with sessions() as session:
        rows = await session.execute(text("SELECT n FROM effect ORDER BY position"))
        return [row.n for row in rows]


@pytest.fixture
async def effect_table(sessions):
    async with sessions.begin() as session:
        await session.execute(
            text("CREATE TABLE effect (position serial PRIMARY KEY, n int NOT NULL)")
        )


async def store(session, events: list[CloudEvent]) -> None:
    for event in events:
        await session.execute(
            text("INSERT INTO effect (n) VALUES (:n)"), {"n": event.data["pieces"]}
        )


async def test_lost_calls_and_lost_answers_apply_each_event_once(
    client, maker, feed, wire, sessions, effect_table
):
    await make_things(client, maker, 6)
    wire.faults = ["before", "after", "", "after", "before", "before", "before", "before"]
    consumer = Consumer("sample", feed, store, batch_size=2)
    async with running(consumer.run(sessions)):

        async def applied() -> bool:
            return len(await effects(sessions)) >= 6

        await until(applied)
    assert await effects(sessions) == [1, 2, 3, 4, 5, 6]


async def test_a_consumer_killed_inside_its_transaction_applies_again_from_the_cursor(
    client, maker, feed, sessions, effect_table
):
    await make_things(client, maker, 4)
    calls = 0

    async def dies_twice(session, events: list[CloudEvent]) -> None:
        nonlocal calls
        calls += 1
        await store(session, events)
        if calls <= 2:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    consumer = Consumer("sample", feed, dies_twice, batch_size=3)
    async with running(consumer.run(sessions)):

        async def applied() -> bool:
            return len(await effects(sessions)) >= 4

        await until(applied)
    assert await effects(sessions) == [1, 2, 3, 4]


async def test_two_replicas_of_a_consumer_apply_each_event_once(
    client, maker, feed, sessions, effect_table
):
    await make_things(client, maker, 10)
    replicas = [Consumer("sample", feed, store, batch_size=2) for _ in range(3)]
    async with running(*(replica.run(sessions) for replica in replicas)):

        async def applied() -> bool:
            return len(await effects(sessions)) >= 10

        await until(applied)
    assert await effects(sessions) == list(range(1, 11))


async def test_the_cursor_is_asked_for_only_when_it_is_not_known(
    client, maker, feed, sessions, monkeypatch
):
    await make_things(client, maker, 6)
    asked = 0
    handed: list[tuple[int, int]] = []

    async def counted(session, source: str) -> Place:
        nonlocal asked
        asked += 1
        return Place(max((seq for seq, _ in handed), default=0))

    async def take(after: int, events: list[CloudEvent]) -> None:
        if len(handed) == 2 and asked == 1:  # another replica was faster, by one
            handed.append((3, 3))
            raise CursorMoved
        handed.extend((event.seq, after + 1) for event in events)

    monkeypatch.setattr(consumer_module, "place", counted)
    consumer = Consumer("sample", feed, hand_over=take, batch_size=1)
    async with running(consumer.run(sessions)):

        async def applied() -> bool:
            return len(handed) == 6

        await until(applied)
    assert handed == [(seq, seq) for seq in range(1, 7)]
    assert asked == 2


async def test_an_event_that_cannot_be_applied_stops_there_and_is_named(
    client, maker, feed, sessions, effect_table
):
    await make_things(client, maker, 5)
    mended = False

    async def refuses_three(session, events: list[CloudEvent]) -> None:
        if not mended and any(event.data["pieces"] == 3 for event in events):
            raise ValueError("cannot apply")
        await store(session, events)

    consumer = Consumer("sample", feed, refuses_three)
    async with running(consumer.run(sessions)):

        async def stopped() -> bool:
            return consumer.stopped_at is not None and await effects(sessions) == [1, 2]

        await until(stopped)
        assert "sample.thing_made" in (consumer.stopped_at or "")
        async with sessions() as session:
            assert await cursor(session, "sample") == 2
        mended = True

        async def gone_on() -> bool:
            return await effects(sessions) == [1, 2, 3, 4, 5]

        await until(gone_on)

        async def healthy() -> bool:
            return consumer.stopped_at is None

        await until(healthy)


async def test_a_consumer_that_goes_on_says_so_at_once_in_a_quiet_feed(feed, wire, sessions):
    """Not only when the next event comes: until then its service would count as not ready."""
    consumer = Consumer("sample", feed, store)
    consumer.reached, consumer.stopped_at = True, "sample: the database was lost"
    async with running(consumer.run(sessions)):

        async def waits_for_more() -> bool:
            return len(wire.waits) == 2

        await until(waits_for_more)
    assert wire.waits == [0.0, 20.0]
    assert not consumer.stopped_at
    assert consumer.heard_at is not None  # an answer without events is a sign of life


async def test_the_next_batch_is_fetched_while_one_is_applied(
    client, maker, feed, wire, sessions, effect_table
):
    await make_things(client, maker, 5)

    async def all_numbered() -> bool:
        return len(await numbered(sessions)) == 5

    await until(all_numbered)
    asked_within: list[int] = []

    async def slowly(session, events: list[CloudEvent]) -> None:
        if len(events) == 2:

            async def asked_again() -> bool:
                return bool(wire.sent > len(asked_within) + 1)

            await until(asked_again)
        asked_within.append(wire.sent)
        await store(session, events)

    consumer = Consumer("sample", feed, slowly, batch_size=2)
    async with running(consumer.run(sessions)):

        async def applied() -> bool:
            return len(await effects(sessions)) >= 5

        await until(applied)
    assert asked_within == [2, 3, 3]  # the last batch is not full: there is nothing to fetch yet
    assert await effects(sessions) == [1, 2, 3, 4, 5]


async def test_what_was_fetched_ahead_is_not_applied_when_the_cursor_is_elsewhere(
    client, maker, feed, sessions, effect_table
):
    await make_things(client, maker, 6)

    async def all_numbered() -> bool:
        return len(await numbered(sessions)) == 6

    await until(all_numbered)
    failed = False

    async def fails_once(session, events: list[CloudEvent]) -> None:
        nonlocal failed
        await store(session, events)
        if not failed:
            failed = True
            raise Unavailable("once")

    consumer = Consumer("sample", feed, fails_once, batch_size=2)
    async with running(consumer.run(sessions)):

        async def applied() -> bool:
            return len(await effects(sessions)) >= 6

        await until(applied)
    assert await effects(sessions) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unavailable("shut for a while"), "unavailable"),
        # Of a connection lost while it is made, as asyncpg says it past SQLAlchemy.
        (asyncpg.InterfaceError("connection is closed"), "InterfaceError"),
        (asyncpg.AdminShutdownError("terminating connection"), "AdminShutdownError"),
    ],
)
async def test_no_event_is_blamed_when_its_receiver_cannot_take_any(
    client, maker, feed, sessions, effect_table, error, told
):
    await make_things(client, maker, 3)
    tried: list[int] = []

    async def is_shut(session, events: list[CloudEvent]) -> None:
        tried.append(len(events))
        raise error

    consumer = Consumer("sample", feed, is_shut)
    async with running(consumer.run(sessions)):

        async def tried_again() -> bool:
            return len(tried) >= 2

        await until(tried_again)
        assert consumer.stopped_at == f"sample: {told}"
    assert tried == [3] * len(tried)  # not one by one


async def test_a_gap_in_the_feed_stops_the_consumer(client, maker, feed, sessions, effect_table):
    await make_things(client, maker, 3)

    async def all_numbered() -> bool:
        return len(await numbered(sessions)) == 3

    await until(all_numbered)
    async with sessions.begin() as session:
        await session.execute(text("DELETE FROM event WHERE seq = 2"))
    consumer = Consumer("sample", feed, store)
    async with running(consumer.run(sessions)):

        async def stopped() -> bool:
            return consumer.stopped_at is not None

        await until(stopped)
    assert await effects(sessions) == []


async def test_a_refusal_is_not_tried_again_and_a_failure_is_bounded(app, issuer, tmp_path):
    file = tmp_path / "token"
    file.write_text(issuer.mint(role="auditor", subject="nobody"))
    wire = Wire(app)
    client = Client("http://sample", file, transport=wire)
    with pytest.raises(RemoteProblem) as refused:
        await client.get("/events")
    assert (refused.value.status, refused.value.code, wire.sent) == (403, "forbidden", 1)
    wire.faults = ["before"] * 10
    with pytest.raises(RemoteUnavailable):
        await client.get("/events")
    assert wire.sent == 4
    await client.aclose()


async def test_an_event_the_database_refuses_is_named_as_well(
    client, maker, feed, sessions, effect_table
):
    await make_things(client, maker, 5)

    async def breaks_a_rule(session, events: list[CloudEvent]) -> None:
        await store(session, events)
        if any(event.data["pieces"] == 3 for event in events):
            await session.execute(text("INSERT INTO feed_head (one) VALUES (false)"))

    consumer = Consumer("sample", feed, breaks_a_rule)
    async with running(consumer.run(sessions)):

        async def stopped() -> bool:
            return consumer.stopped_at is not None and await effects(sessions) == [1, 2]

        await until(stopped)
        assert "sample.thing_made" in (consumer.stopped_at or "")


async def test_a_feed_that_ends_before_the_cursor_stops_the_consumer(
    client, maker, feed, sessions, effect_table
):
    """A producer restored from a backup would number new events as some already applied."""
    await make_things(client, maker, 1)
    async with sessions.begin() as session:
        await session.execute(text("INSERT INTO feed_cursor VALUES ('sample', 900)"))
    consumer = Consumer("sample", feed, store)
    async with running(consumer.run(sessions)):

        async def stopped() -> bool:
            return consumer.stopped_at is not None

        await until(stopped)
        assert "feed_behind" in (consumer.stopped_at or "")


@pytest.fixture
async def applied(client, maker, feed, sessions, effect_table):
    """A follower whose cursor stands at 3, where the feed ends."""
    await make_things(client, maker, 3)
    consumer = Consumer("sample", feed, store)

    async def whole() -> bool:
        return await effects(sessions) == [1, 2, 3]

    async with running(consumer.run(sessions)):
        await until(whole)
        yield consumer


async def set_back(sessions, *, to: int, until: int) -> None:
    """The producer is restored from a backup and records others, beyond where it stood."""
    async with sessions.begin() as session:
        await session.execute(text("DELETE FROM event WHERE seq > :to"), {"to": to})
        await session.execute(
            text(
                "INSERT INTO event (seq, id, type, subject, time, actor, actorrole, data)"
                " SELECT n, gen_random_uuid(), 'sample.thing_made', 'thing/1', now(), 'x', 'none',"
                " jsonb_build_object('pieces', 100 + n)"
                " FROM generate_series(CAST(:first AS int), :last) AS n"
            ),
            {"first": to + 1, "last": until},
        )
        await session.execute(text("UPDATE feed_head SET seq = :last"), {"last": until})


async def refusal(consumer) -> str:
    async def stopped() -> bool:
        return consumer.stopped_at is not None

    await until(stopped)
    return consumer.stopped_at or ""


async def test_a_feed_set_back_while_it_is_waited_for_stops_the_consumer(applied, wire, sessions):
    async def waiting() -> bool:
        return bool(wire.waits[-1])

    await until(waiting)
    await set_back(sessions, to=1, until=6)
    assert await refusal(applied) == "sample: feed_behind 3"
    assert await effects(sessions) == [1, 2, 3]


async def test_a_feed_set_back_between_two_lives_stops_the_consumer(
    applied, feed, sessions, caplog
):
    await set_back(sessions, to=2, until=6)
    consumer = Consumer("sample", feed, store)
    async with running(consumer.run(sessions)):
        assert await refusal(consumer) == "sample: feed_behind 3"
        await asyncio.sleep(0.5)  # it is asked again meanwhile
    assert not consumer.reached
    assert await effects(sessions) == [1, 2, 3]
    assert "sample: feed_behind 3" in caplog.text


async def test_a_feed_set_back_to_where_the_cursor_stands_goes_on(applied, sessions):
    await set_back(sessions, to=3, until=5)

    async def whole() -> bool:
        return await effects(sessions) == [1, 2, 3, 104, 105]

    await until(whole)
    assert applied.stopped_at is None


@pytest.mark.parametrize(
    "moved",
    [
        "INSERT INTO feed_cursor (source, seq) VALUES ('sample', 2)",
        "INSERT INTO feed_cursor VALUES ('sample', 2, gen_random_uuid(), 1)",
    ],
    ids=["before there were ids", "by a replica that knows no ids"],
)
async def test_a_cursor_without_its_id_goes_on_and_has_it_from_then_on(
    client, maker, feed, sessions, effect_table, moved
):
    await make_things(client, maker, 3)
    async with sessions.begin() as session:
        await session.execute(text(moved))
    consumer = Consumer("sample", feed, store)

    async def whole() -> bool:
        return await effects(sessions) == [3]

    async with running(consumer.run(sessions)):
        await until(whole)
    async with sessions() as session:
        assert (await place(session, "sample")).id == (await numbered(sessions))[-1].id


async def test_an_answer_that_sends_elsewhere_is_not_taken_for_done():
    def elsewhere(request: httpx.Request) -> httpx.Response:
        return httpx.Response(307, headers={"Location": "http://other/"})

    client = Client("http://sample", transport=httpx.MockTransport(elsewhere))
    with pytest.raises(RemoteUnavailable):
        await client.get("/events")
    await client.aclose()


async def test_numbers_that_cannot_be_given_show_in_readiness(app, client, sessions):
    async def reasons():
        return (await client.get("/readyz")).json()["reasons"]

    async def stopped():
        return any("events are not numbered: Unique" in each for each in await reasons())

    async def mended():
        return not await reasons()

    async with sessions.begin() as session:
        await record(session, 1)
    await until(lambda: _numbered(sessions, 1))
    async with sessions.begin() as session:  # somebody sets the head back
        await session.execute(text("UPDATE feed_head SET seq = 0"))
        await record(session, 2)
    await until(stopped)
    async with sessions.begin() as session:
        await session.execute(text("UPDATE feed_head SET seq = 1"))
    await until(lambda: _numbered(sessions, 2))
    await until(mended)


async def _numbered(sessions, count):
    async with sessions() as session:
        return await session.scalar(text("SELECT count(*) FROM event")) == count
