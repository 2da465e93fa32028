"""Totals: told once a day, and true at the very place in the feed that they name."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker

from shared import totals
from shared.db import make_engine, now
from shared.events import Event, emit
from shared.events.sequencer import _MOVE, BATCH_SIZE, Sequencer
from shared.totals import LedgerBusy, Teller, TotalsRow, day_due, split

BEGAN = datetime(2026, 11, 1, 8, 0, tzinfo=UTC)


class Moved(Event):
    type: ClassVar[str] = "needs.moved"
    quantity: int


class Told(totals.TotalsTold):
    type: ClassVar[str] = "needs.totals_told"


# Any table serves as a ledger: this one asks for no other rows.
TELLER = Teller(
    "needs",
    Told,
    "SELECT 'allocations', NULL, 'mask', 'piece', 'reserved', CAST(sum(status) AS text), count(*)"
    " FROM idempotency HAVING count(*) > 0",
)


class Books:
    """A database with a ledger and its feed, and nobody who numbers events unless told."""

    def __init__(self, url):
        self.url = url.replace("+asyncpg", "")
        self.engine = make_engine(url, pool_size=20)
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    async def move(self, session, quantity):
        await session.execute(
            text(
                "INSERT INTO idempotency (client, route, key, body_hash, status, answer, at)"
                " VALUES ('c', 'r', :key, '', :quantity, '', now())"
            ),
            {"key": str(uuid4()), "quantity": quantity},
        )
        await emit(session, Moved(quantity=quantity), subject="x/1", actor="a", role="r")

    async def moved(self, quantity):
        async with self.sessions.begin() as session:
            await self.move(session, quantity)

    async def tell(self, moment=None):
        return await TELLER._tell(
            self.sessions, date(2026, 11, 1), "asked", moment or now(), "a", "r"
        )

    async def number(self):
        connection = await asyncpg.connect(self.url)
        await connection.execute(_MOVE.replace("$1", str(BATCH_SIZE)))
        await connection.close()

    async def told(self):
        """(data of a telling, (quantity, count) told, the same as the events add it up)."""
        async with self.sessions() as session:
            events = (await session.execute(text("SELECT * FROM event ORDER BY seq"))).all()
        found = []
        for event in events:
            if event.type == Told.type:
                until = event.data["as_of_seq"]
                moves = [
                    e.data["quantity"] for e in events if e.type == Moved.type and e.seq <= until
                ]
                rows = [(int(row[5]), row[6]) for row in event.data["rows"]] or [(0, 0)]
                found.append((event.data, rows[0], (sum(moves), len(moves))))
        return found


@pytest.fixture
async def books(database):
    made = Books(database("needs"))
    yield made
    await made.engine.dispose()


async def waiting(books):
    """Until somebody waits for a table."""
    ungranted = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'")
    async with books.sessions() as session:
        for _ in range(3_000):
            if await session.scalar(ungranted):
                return
            await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def test_totals_wait_for_a_movement_that_has_told_but_not_committed(books):
    """Its event would be numbered below those that the snapshot shows."""
    async with books.sessions.begin() as slow:
        await books.move(slow, 5)
        await books.moved(7)
        telling = asyncio.create_task(books.tell())
        await waiting(books)
    told = await telling
    await books.number()
    assert told.as_of_seq == 2
    assert [(rows, fold) for _, rows, fold in await books.told()] == [((12, 2), (12, 2))]


async def test_what_moves_while_the_ledger_is_summed_is_not_in_the_totals(books, monkeypatch):
    """The outbox is open again before the sums are made, and the sums do not see what came."""
    await books.moved(5)
    begin = totals._begin_snapshot

    async def then_move(sessions, session):
        as_of_seq = await begin(sessions, session)
        await books.moved(7)
        await books.number()
        return as_of_seq

    monkeypatch.setattr(totals, "_begin_snapshot", then_move)
    told = await books.tell()
    await books.number()
    assert told.as_of_seq == 1
    [(_, rows, fold)] = await books.told()
    assert rows == fold == (5, 1)


async def test_totals_fit_the_events_whoever_moves_meanwhile(books):
    numbering = asyncio.create_task(Sequencer(books.url).run())
    stop = asyncio.Event()

    async def mover(quantity):
        while not stop.is_set():
            await books.moved(quantity)

    movers = [asyncio.create_task(mover(quantity)) for quantity in range(1, 7)]
    for _ in range(8):
        await books.tell()
    stop.set()
    await asyncio.gather(*movers)
    numbering.cancel()
    await asyncio.gather(numbering, return_exceptions=True)
    await books.number()
    found = await books.told()
    assert len(found) == 8
    for data, rows, fold in found:
        assert rows == fold, data


async def test_a_long_change_is_not_waited_for(books, monkeypatch):
    """Everybody who records an event would wait with us."""
    monkeypatch.setattr(totals, "LOCK_WAIT_MS", 50)
    async with books.sessions.begin() as slow:
        await books.move(slow, 5)
        with pytest.raises(LedgerBusy):
            await books.tell()
        await books.moved(7)


async def test_missed_days_are_told_in_order_each_once_by_two_replicas(books):
    async with books.sessions.begin() as session:
        await books.move(session, 5)
        await session.execute(text("UPDATE outbox SET time = :began"), {"began": BEGAN})
    await books.number()
    other = async_sessionmaker(books.engine, expire_on_commit=False)
    assert not await TELLER.tell_due(books.sessions, BEGAN)
    midnight = datetime(2026, 11, 1, 16, 0, tzinfo=UTC)  # in China
    assert not await TELLER.tell_due(books.sessions, midnight - timedelta(seconds=1))
    for moment in (midnight, midnight + timedelta(days=3)):
        for _ in range(6):
            await asyncio.gather(
                *(TELLER.tell_due(sessions, moment) for sessions in (books.sessions, other))
            )
    await books.number()
    found = await books.told()
    assert [data["day"] for data, _, _ in found] == [f"2026-11-0{day}" for day in (1, 2, 3, 4)]
    assert {data["occasion"] for data, _, _ in found} == {"day_end"}
    assert {rows for _, rows, _ in found} == {(5, 1)}


async def test_the_database_refuses_a_day_told_twice(books):
    async def tell():
        return await TELLER._tell(books.sessions, date(2026, 11, 1), "day_end", now(), "a", "r")

    assert await tell()
    await books.moved(1)
    assert await tell() is None
    await books.number()
    assert len(await books.told()) == 1


async def test_a_day_of_nothing_is_told(books):
    assert (await books.tell()).parts == 1
    await books.number()
    [(data, _, _)] = await books.told()
    assert data["rows"] == []


@pytest.mark.parametrize(
    ("last", "begun", "moment", "due"),
    [
        (None, None, "2026-11-03T00:00+08:00", None),
        (None, "2026-11-02T23:59+08:00", "2026-11-03T00:00+08:00", "2026-11-02"),
        (None, "2026-11-02T23:59+08:00", "2026-11-02T23:59+08:00", None),
        (None, "2025-01-01T00:00+08:00", "2026-11-03T00:00+08:00", "2026-11-02"),
        ("2026-11-01", "2026-11-01T00:00+08:00", "2026-11-02T23:59+08:00", None),
        ("2026-11-01", "2026-11-01T00:00+08:00", "2026-11-02T16:00+00:00", "2026-11-02"),
        ("2026-11-01", "2026-11-01T00:00+08:00", "2026-12-24T12:00+08:00", "2026-11-02"),
    ],
)
def test_a_day_is_due_when_it_has_ended_in_china(last, begun, moment, due):
    assert day_due(
        last and date.fromisoformat(last),
        begun and datetime.fromisoformat(begun),
        datetime.fromisoformat(moment),
    ) == (due and date.fromisoformat(due))


async def test_many_rows_are_told_in_parts_that_the_outbox_takes(books):
    rows = [
        TotalsRow("allocations", f"{n:06d}000000", "c" * 60, "u" * 60, "delivered", "9" * 19, n)
        for n in range(1_200)
    ]
    parts = split(rows)
    assert [row for part in parts for row in part] == rows
    assert 5 < len(parts) < 12
    async with books.sessions.begin() as session:
        for number, part in enumerate(parts, start=1):
            fact = Told(
                day=date(2026, 11, 1),
                occasion="day_end",
                as_of_seq=10**15,
                part=number,
                parts=len(parts),
                rows=part,
            )
            await emit(session, fact, subject="totals/x", actor="a", role="r")


def test_short_rows_are_told_in_parts_too():
    rows = [TotalsRow("lines", None, "c", "u", "x", "1", 0)] * 2_500
    assert max(len(part) for part in split(rows)) <= totals.PART_ROWS_MAX
