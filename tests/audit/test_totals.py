"""What is left out of the log: ledgers and log add up to the same, or it is an alarm in the log."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from services.audit import verifier
from services.audit.contract import AlarmRaised
from services.audit.reckoning import Reckoner
from services.audit.reckoning.movements import LEDGER_STATE, Malformed, movement_of, telling_of
from services.audit.reckoning.overdue import is_overdue
from services.matching.domain.states import LEDGER_TARGET
from shared import totals
from shared.paging import encode_cursor
from tests.audit.conftest import an_event
from tests.matching.conftest import running_world

PRODUCERS = ("needs", "donors", "matching")
COUNTY = "430224000000"
TODAY = date(2026, 11, 2)


# ---------------------------------------------------------------- all services


@pytest.fixture(scope="module")
async def world(module_database, issuer, token, tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    async with running_world(module_database, issuer, token, folder) as made:
        yield made


@pytest.fixture(autouse=True)
def as_often_as_wanted(monkeypatch):
    monkeypatch.setattr(totals, "ASKED_EVERY_S_MIN", 0)


async def tell(world, *producers):
    """Ask for totals; how many rows of each differ from the log."""
    supervisor = world.token("supervisor", subject="supervisor", division=COUNTY)
    found = {}
    for producer in producers or PRODUCERS:
        told = await world.call("POST", producer, "/totals", supervisor, status=201)

        async def compared(producer=producer, told=told):
            rows = (await world.call("GET", "audit", f"/tellings?day={told['day']}"))["data"]
            return [
                row
                for row in rows
                if (row["producer"], row["as_of_seq"]) == (producer, told["as_of_seq"])
                and row["compared_at"]
            ]

        [row] = await world.until(compared, f"the totals of {producer} are compared")
        found[producer] = row["differences"]
    return found


async def said(world, **filters):
    """(producer, state) -> (told, logged), each a quantity and a count."""
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    page = await world.call("GET", "audit", f"/totals?limit=200&{query}")
    assert page["meta"]["has_more"] is False
    return {
        (row["producer"], row["state"]): (
            (row["told_quantity"], row["told_allocations"]),
            (row["logged_quantity"], row["logged_allocations"]),
        )
        for row in page["data"]
        if row["book"] == filters.get("book", "allocations")
    }


async def raised(world):
    # The last may not have its number yet.
    rows = await world.rows(
        "audit",
        "SELECT data::text FROM (SELECT 0 AS turn, seq AS at, type, data FROM event"
        " UNION ALL SELECT 1, position, type, data FROM outbox) AS told"
        " WHERE type = 'audit.alarm_raised' ORDER BY turn, at",
    )
    return [AlarmRaised.model_validate_json(row[0]) for row in rows]


async def verified(world):
    """The stand-alone verifier's status, and what it says of totals."""
    key = Path(world.settings["audit"].state_dir) / "log.vkey"
    words = ["--log", world.urls["audit"], "--key", str(key), "--catch-up-s", "20"]
    status, findings, _ = await asyncio.to_thread(verifier.check, verifier._arguments(words))
    return status, [finding.problem for finding in findings]


async def carried(world, round_id):
    """Until both ledgers hold what they are to hold."""

    async def there():
        rows = await world.all_of(f"/allocations?round_id={round_id}&limit=200")
        return all(
            row["line_movement"] == row["need_movement"] == LEDGER_TARGET[row["state"]]
            for row in rows
        )

    await world.until(there, "both ledgers are where matching is")


async def test_ledgers_and_log_add_up_to_the_same_through_a_story_and_not_once_one_is_touched(
    world,
):
    needs = await world.publish([{"quantity": 100}, {"quantity": 40}, {"quantity": 7}])
    offer = await world.open_offer()
    organization = world.of(offer["organization_id"])
    rows = await world.approved()
    by_need = {row["need_id"]: row for row in rows}
    delivered, returned, declined = (by_need[need] for need in needs)
    round_id = rows[0]["round_id"]
    await world.reached(round_id, "reserved")
    await world.act(declined, "declination", organization, {"reason_code": "stock_gone"})
    for row in (delivered, returned):
        await world.act(row, "acceptance", organization)
        await world.act(row, "approval", world.county)

    async def dispatched(row):
        path = f"{world.urls['matching']}/v1/allocations/{row['id']}/dispatch"
        return (await world.client.post(path, headers=organization)).status_code == 200

    for row in (delivered, returned):
        await world.until(lambda row=row: dispatched(row), "the approval is in the log")
    await world.act(delivered, "delivery", organization)
    await world.act(returned, "return", organization, {"reason_code": "damaged"})
    await carried(world, round_id)

    assert await tell(world) == {"needs": 0, "donors": 0, "matching": 0}
    expected = {"delivered": ("100", 1), "returned": ("40", 1), "released": ("7", 1)}
    shown = await said(world, division=COUNTY)
    for producer in ("needs", "donors"):
        assert {k[1]: v[0] for k, v in shown.items() if k[0] == producer} == expected
    assert {k[1]: v[0] for k, v in shown.items() if k[0] == "matching"} == {
        "delivered": ("100", 1),
        "returned": ("40", 1),
        "declined": ("7", 1),
    }
    assert all(told == logged for told, logged in shown.values())
    assert await said(world, division="110000000000") == {}
    [row, *_] = (await world.call("GET", "audit", f"/totals?division={COUNTY}"))["data"]
    assert (row["division_zh"], row["item_class_en"]) == ("茶陵县", "Surgical masks")
    assert (row["state_zh"], row["state_en"]) == ("已谢绝", "declined")
    assert await raised(world) == []
    assert (await verified(world))[0] == 0

    # Behind the services' backs, as superusers of their databases.
    await world.rows(
        "needs",
        "UPDATE commitment SET quantity = 99 WHERE allocation_id = $1",
        UUID(delivered["id"]),
    )
    assert await tell(world, "needs") == {"needs": 1}
    assert await said(world, producer="needs", differing="true") == {
        ("needs", "delivered"): (("99", 1), ("100", 1))
    }
    await world.rows(
        "needs",
        "UPDATE commitment SET quantity = 100 WHERE allocation_id = $1",
        UUID(delivered["id"]),
    )
    await world.rows("needs", "UPDATE need SET delivered = 90 WHERE id = $1", UUID(needs[0]))
    assert await tell(world, "needs") == {"needs": 1}
    await world.rows("needs", "UPDATE need SET delivered = 100 WHERE id = $1", UUID(needs[0]))
    await world.rows(
        "donors",
        "UPDATE reservation SET state = 'returned' WHERE allocation_id = $1",
        UUID(delivered["id"]),
    )
    assert await tell(world, "needs", "donors") == {"needs": 0, "donors": 2}
    alarms = await raised(world)
    assert [(a.alarm, a.producer, a.totals.kind, a.totals.count) for a in alarms] == [
        ("totals_differ", "needs", "ledger", 1),
        ("totals_differ", "needs", "ledger", 1),
        ("totals_differ", "donors", "ledger", 2),
    ]
    assert [(d.book, d.state, d.told_quantity, d.logged_quantity)
            for a in alarms for d in a.totals.differences] == [
        ("allocations", "delivered", "99", "100"),
        ("lines", "delivered", "90", "100"),
        ("allocations", "delivered", "0", "100"),
        ("allocations", "returned", "140", "40"),
    ]  # fmt: skip
    # Whoever trusts nothing of this service finds the same, from the log alone.
    status, problems = await verified(world)
    assert status == 1
    assert [each.partition(": ")[2].split(" (")[0] for each in problems] == [
        f"allocations {COUNTY} mask_surgical pieces delivered told 99 in 1, moved 100 in 1",
        "lines - mask_surgical pieces delivered told 90 in 0, moved 100 in 0",
        f"allocations {COUNTY} mask_surgical pieces delivered told 0 in 0, moved 100 in 1",
    ]


async def test_an_event_that_never_reached_the_feed_is_missed(world):
    """No gap shows it: it was never numbered."""
    await world.rows(
        "needs",
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    )
    await world.rows(
        "needs",
        "CREATE TRIGGER lost BEFORE INSERT ON outbox FOR EACH ROW"
        " WHEN (NEW.type = 'needs.commitment_moved') EXECUTE FUNCTION lose()",
    )
    await world.publish([{"quantity": 13}])
    await world.open_offer()
    rows = await world.approved()
    await carried(world, rows[0]["round_id"])
    await world.rows("needs", "DROP TRIGGER lost ON outbox")
    assert await tell(world, "needs") == {"needs": 2}  # in both books
    shown = await said(world, producer="needs", differing="true")
    held = (str(sum(row["quantity"] for row in rows)), len(rows))
    assert shown == {("needs", "reserved"): (held, ("0", 0))}
    # Donors and matching have told of it: the sides disagree, for a day until it is an alarm.
    differ = await world.rows("audit", "SELECT FROM side WHERE differs_since IS NOT NULL")
    assert len(differ) == len(rows)


async def test_only_who_oversees_asks_for_totals(world):
    for producer in PRODUCERS:
        await world.call("POST", producer, "/totals", world.coordinator, status=403)


# ---------------------------------------------------------------- the log alone


def moved(producer, seq, allocation, state, before=None, quantity=5, **changes):
    data = {
        "allocation_id": str(UUID(int=allocation)),
        "quantity": quantity,
        "item_class": "mask_surgical",
        "unit": "piece",
        "state_before": before,
        "division_code": COUNTY,
    }
    kind = {"needs": "commitment_moved", "donors": "reservation_moved"}.get(producer)
    if kind:
        data["state"] = state
    kind = f"{producer}.{kind or f'allocation_{state}'}"
    return an_event(producer, seq, type=kind, data=data | changes)


def told(producer, seq, day=TODAY, as_of_seq=None, rows=(), part=1, parts=1, **changes):
    data = {
        "day": str(day),
        "occasion": "day_end",
        "as_of_seq": seq - 1 if as_of_seq is None else as_of_seq,
        "part": part,
        "parts": parts,
        "rows": [list(row) for row in rows],
    }
    time = changes.pop("time", f"{max(str(day), str(TODAY))}T16:00:00Z")
    return an_event(producer, seq, type=f"{producer}.totals_told", time=time, data=data | changes)


def row(state, quantity, count, book="allocations", division=COUNTY):
    return (book, division, "mask_surgical", "piece", state, str(quantity), count)


RECKONER = Reckoner(due_s=6 * 3600, differ_s=24 * 3600)


class Reckoning:
    """The audit service, whose own task reckons too: the test waits for whoever does it."""

    def __init__(self, running):
        self.running = running
        self.sessions = running.app.state.sessions

    async def take_in(self, producer, *events):
        await self.running.take_in(producer, events)

    async def step(self):
        """Until somebody has come to the end of the log."""
        async with self.sessions() as session:
            size = await session.scalar(text("SELECT size FROM head"))
        await self.running.signed(size)
        for _ in range(1_000):
            await RECKONER.step(self.sessions, datetime.now(UTC))
            async with self.sessions() as session:
                at = await session.scalar(
                    text("SELECT seq FROM feed_cursor WHERE source = 'totals'")
                )
            if at is not None and at >= size:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("not reckoned")

    async def alarms(self):
        async with self.sessions() as session:
            rows = await session.scalars(
                text(
                    "SELECT data FROM (SELECT 0 AS turn, seq AS at, type, data FROM event"
                    " UNION ALL SELECT 1, position, type, data FROM outbox) AS told"
                    " WHERE type = 'audit.alarm_raised' ORDER BY turn, at"
                )
            )
            return [AlarmRaised.model_validate(data) for data in rows]

    async def tellings(self):
        """(producer, parts) of those that were compared."""
        async with self.sessions() as session:
            statement = "SELECT producer, parts FROM telling WHERE compared_at IS NOT NULL"
            return [tuple(row) for row in await session.execute(text(statement))]

    async def kinds(self):
        return [(alarm.producer, alarm.totals.kind) for alarm in await self.alarms()]


@pytest.fixture
def reckoning(running):
    return Reckoning(running)


async def test_what_was_moved_after_the_place_a_telling_names_does_not_count(reckoning):
    await reckoning.take_in(
        "needs",
        moved("needs", 1, 1, "reserved"),
        moved("needs", 2, 2, "reserved", quantity=7),
        moved("needs", 3, 1, "dispatched", "reserved"),
        told(
            "needs",
            4,
            as_of_seq=2,
            part=1,
            parts=2,
            rows=[row("reserved", 12, 2)],
        ),
        moved("needs", 5, 3, "reserved", quantity=1),
        told(
            "needs",
            6,
            as_of_seq=2,
            part=2,
            parts=2,
            rows=[row("reserved", 12, 0, "lines", None)],
        ),
        told("needs", 7, day=TODAY + timedelta(days=1), as_of_seq=2, rows=[]),
    )
    await reckoning.step()
    [alarm] = await reckoning.alarms()
    assert (alarm.seq, alarm.totals.day, alarm.totals.count) == (7, date(2026, 11, 3), 2)


async def test_a_sum_that_cancels_out_within_the_nation_shows_in_its_county(reckoning):
    other = "430225000000"
    await reckoning.take_in(
        "donors",
        moved("donors", 1, 1, "reserved"),
        told(
            "donors",
            2,
            rows=[row("reserved", 5, 1, division=other), row("reserved", 5, 0, "lines", None)],
        ),
    )
    await reckoning.step()
    [alarm] = await reckoning.alarms()
    assert [
        (d.division_code, d.told_quantity, d.logged_quantity) for d in alarm.totals.differences
    ] == [(COUNTY, "0", "5"), (other, "5", "0")]


async def test_days_are_told_one_after_the_other(reckoning):
    await reckoning.take_in(
        "needs",
        told("needs", 1),
        told("needs", 2, day=TODAY + timedelta(days=3)),
        told("needs", 3, day=TODAY + timedelta(days=3)),
        told("needs", 4, day=TODAY + timedelta(days=3), occasion="asked"),
    )
    await reckoning.step()
    missing, again = [alarm.totals for alarm in await reckoning.alarms()]
    assert (missing.kind, missing.day, missing.count) == ("day_missing", date(2026, 11, 3), 2)
    assert (again.kind, again.day) == ("malformed", date(2026, 11, 5))


async def test_a_day_that_nobody_told_is_an_alarm_once(reckoning):
    await reckoning.take_in("needs", an_event("needs", 1))  # on 1 November
    await reckoning.take_in("donors", told("donors", 1, day=TODAY))
    await reckoning.step()
    due = datetime(2026, 11, 2, 16, 0, tzinfo=UTC) + timedelta(hours=6)  # of 2 November
    await RECKONER.look(reckoning.sessions, due - timedelta(hours=24, seconds=1))
    assert await reckoning.kinds() == []
    for _ in range(2):
        await RECKONER.look(reckoning.sessions, due)
    assert await reckoning.kinds() == [("needs", "day_missing")]
    await RECKONER.look(reckoning.sessions, due + timedelta(days=1))
    assert len(await reckoning.kinds()) == 3


async def test_sides_that_disagree_for_more_than_a_day_are_an_alarm_once(reckoning):
    seen = datetime(2026, 11, 2, tzinfo=UTC)
    for producer in ("donors", "needs"):
        await reckoning.take_in(producer, moved(producer, 1, 1, "reserved"))
    await reckoning.take_in(
        "matching",
        moved("matching", 1, 1, "accepted"),
        moved("matching", 2, 2, "cancelled", "proposed"),
    )
    await reckoning.take_in("donors", moved("donors", 2, 2, "released"))
    await reckoning.step()
    await RECKONER.look(reckoning.sessions, seen + timedelta(days=900))
    assert not [k for k in await reckoning.kinds() if k[1] == "sides"]
    await reckoning.take_in("donors", moved("donors", 3, 1, "dispatched", "reserved"))
    await reckoning.step()
    # The service's own task may have been faster, with its own clock.
    async with reckoning.sessions.begin() as session:
        await session.execute(
            text("UPDATE side SET differs_since = :seen WHERE differs_since IS NOT NULL"),
            {"seen": seen},
        )
    await RECKONER.look(reckoning.sessions, seen + timedelta(hours=23))
    assert not [k for k in await reckoning.kinds() if k[1] == "sides"]
    for _ in range(2):
        await RECKONER.look(reckoning.sessions, seen + timedelta(hours=25))
    [alarm] = [a.totals for a in await reckoning.alarms() if a.totals.kind == "sides"]
    assert alarm.allocation_id == UUID(int=1)
    assert [(s.producer, s.state, s.quantity) for s in alarm.sides] == [
        ("needs", "reserved", "5"),
        ("donors", "dispatched", "5"),
        ("matching", "reserved", "5"),
    ]
    await reckoning.take_in("needs", moved("needs", 2, 1, "dispatched", "reserved"))
    await reckoning.take_in("matching", moved("matching", 3, 1, "dispatched", "accepted"))
    await reckoning.step()
    async with reckoning.sessions() as session:
        assert not await session.scalar(text("SELECT count(*) FROM side WHERE alarmed"))


async def test_nothing_a_producer_says_stops_the_reckoning(reckoning):
    bad: list[dict[str, Any]] = [
        {"rows": "x"},
        {"rows": [row("reserved", 1, 1)] * 2},
        {"rows": [row("reserved", "1e3", 1)]},
        {"rows": [row("x" * 70, 1, 1)]},
        {"rows": [row("\x00", 1, 1)]},
        {"rows": [row("reserved", 1, 1, division="")]},
        {"rows": [row("reserved", 1, 2**63)]},
        {"as_of_seq": 999_999},
        {"as_of_seq": -1},
        {"part": 2},
        {"day": "0001-01-01"},
        {"occasion": "never"},
    ]
    odd = [
        moved("needs", 100, 1, "reserved", quantity=2**60),
        moved("needs", 101, 1, "reserved", quantity="5"),
        moved("needs", 102, 1, ["reserved"]),
        moved("needs", 103, 1, "reserved", before=["reserved"]),
        moved("needs", 104, 1, "reserved", item_class=None),
        moved("needs", 105, 1, "reserved", item_class="x" * 1_000),
        moved("needs", 106, 1, "reserved", allocation_id="x"),
        moved("donors", 107, 1, "reserved"),  # told by another than its producer
        an_event("needs", 108, type="donors.totals_told"),
    ]
    events = [told("needs", seq, **change) for seq, change in enumerate(bad, start=1)]
    for number, event in enumerate([*events, *odd], start=1):
        await reckoning.take_in("needs", event.model_copy(update={"sequence": str(number)}))
    await reckoning.step()
    assert await reckoning.kinds() == [("needs", "malformed")] * len(bad)
    async with reckoning.sessions() as session:
        assert not (await session.execute(text("SELECT * FROM ledger_sum"))).all()


async def test_rows_that_differ_only_in_how_no_division_is_said_stop_nothing(reckoning):
    twice = [row("reserved", 5, 0, "lines", division) for division in (None, "")]
    await reckoning.take_in("needs", told("needs", 1, rows=twice))
    await reckoning.take_in("donors", told("donors", 1))
    await reckoning.step()
    assert await reckoning.kinds() == [("needs", "malformed")]
    assert await reckoning.tellings() == [("donors", 1)]


async def test_what_was_told_and_compared_is_not_replaced(reckoning):
    other = [row("reserved", 77, 1), row("reserved", 77, 0, "lines", None)]
    await reckoning.take_in(
        "needs",
        told("needs", 1, as_of_seq=0),
        told("needs", 2, as_of_seq=0, rows=other),
    )
    await reckoning.step()
    assert await reckoning.kinds() == [("needs", "malformed")]
    assert await reckoning.tellings() == [("needs", 1)]
    async with reckoning.sessions() as session:
        assert not (await session.execute(text("SELECT * FROM told_total"))).all()


@pytest.mark.parametrize(
    "second",
    [
        {"part": 1, "parts": 2},
        {"part": 3, "parts": 3},
        {"part": 2, "parts": 2, "occasion": "asked"},
        {"part": 2, "parts": 2, "rows": [row("reserved", 1, 1)]},
    ],
    ids=["again", "of more parts", "of another occasion", "a row again"],
)
async def test_parts_are_told_once_and_in_their_order(reckoning, second):
    await reckoning.take_in(
        "needs",
        moved("needs", 1, 1, "reserved"),
        told("needs", 2, as_of_seq=1, part=1, parts=2, rows=[row("reserved", 5, 1)]),
        told("needs", 3, as_of_seq=1, **second),
        told(
            "needs",
            4,
            as_of_seq=1,
            part=2,
            parts=2,
            rows=[row("reserved", 5, 0, "lines", None)],
        ),
    )
    await reckoning.step()
    assert await reckoning.kinds() == [("needs", "malformed")]
    assert await reckoning.tellings() == [("needs", 2)]


async def test_a_day_to_come_is_not_told(reckoning):
    """Once it counted as told, no day before it could be missing."""
    await reckoning.take_in(
        "needs",
        told("needs", 1, day=TODAY, time="2026-11-02T15:59:59Z"),
        told("needs", 2, day=date(2200, 12, 31), time="2026-11-03T16:00:00Z"),
        # Whose own clock is as far ahead hides no missing day either.
        told("needs", 3, day=date(2200, 12, 31), time="2200-12-31T16:00:00Z"),
    )
    await reckoning.step()
    kinds = [(alarm.seq, alarm.totals.kind) for alarm in await reckoning.alarms()]
    assert kinds == [(None, "malformed"), (3, "day_missing")]
    await RECKONER.look(reckoning.sessions, datetime(2026, 12, 25, tzinfo=UTC))
    missing = (await reckoning.alarms())[-1]
    assert (missing.producer, missing.totals.day) == ("needs", date(2026, 12, 24))


async def test_a_list_of_totals_is_of_one_standing_from_page_to_page(reckoning):
    await reckoning.take_in(
        "needs",
        moved("needs", 1, 1, "reserved"),
        moved("needs", 2, 2, "dispatched"),
        told("needs", 3, as_of_seq=2, occasion="asked"),
    )
    await reckoning.step()
    client = reckoning.running.client
    first = (await client.get("/v1/totals?limit=1")).json()
    await reckoning.take_in(
        "needs",
        moved("needs", 4, 2, "delivered", "dispatched"),
        told("needs", 5, as_of_seq=4, day=TODAY),
        told("needs", 6, as_of_seq=4, day=TODAY + timedelta(days=1), rows=[]),
    )
    await reckoning.step()
    shown, page = first["data"], first
    while page["links"]["next"]:
        page = (await client.get(page["links"]["next"])).json()
        shown += page["data"]
    assert {(row["day"], row["as_of_seq"]) for row in shown} == {(str(TODAY), 2)}
    assert len(shown) == 4  # two states in two books


@pytest.mark.parametrize("day", ["2026-W01-1", "20261102", "2026-11-02x"])
async def test_a_cursor_of_tellings_holds_a_day_as_we_write_it(reckoning, day):
    await reckoning.take_in("needs", told("needs", 1))
    await reckoning.step()
    cursor = encode_cursor(day, "needs", 0)
    answer = await reckoning.running.client.get(f"/v1/tellings?cursor={cursor}")
    assert answer.status_code in {200, 400}
    assert answer.status_code == 200 or answer.json()["code"] == "invalid_cursor"


async def test_a_reckoner_that_is_stuck_is_not_ready(reckoning):
    await reckoning.running.tamper("ALTER TABLE ledger_sum RENAME TO elsewhere")
    await reckoning.take_in("needs", moved("needs", 1, 1, "reserved"))

    async def reasons():
        return [r for r in (await reckoning.running.ready())["reasons"] if r.startswith("totals")]

    while not (said := await reasons()):  # noqa: ASYNC110 - what is waited for is asked for
        await asyncio.sleep(0.05)
    assert said == ["totals: not reckoned: ProgrammingError"]
    await reckoning.running.tamper("ALTER TABLE elsewhere RENAME TO ledger_sum")
    while await reasons():  # noqa: ASYNC110 - so
        await asyncio.sleep(0.05)


async def test_the_sums_are_made_again_from_the_log(reckoning):
    states = ["reserved", "dispatched", "delivered"]
    events = [
        moved("needs", 3 * n + at + 1, n, state, states[at - 1] if at else None, quantity=n + 1)
        for n in range(20)
        for at, state in enumerate(states[: n % 3 + 1] + ["x"] * (2 - n % 3))
    ]
    await reckoning.take_in("needs", *events)
    await reckoning.step()
    sums = text("SELECT * FROM ledger_sum WHERE allocations <> 0 ORDER BY state")
    async with reckoning.sessions.begin() as session:
        before = (await session.execute(sums)).all()
        for table in ("ledger_sum", "side", "telling", "told_total"):
            await session.execute(text(f"DELETE FROM {table}"))
        await session.execute(text("UPDATE feed_cursor SET seq = 0 WHERE source = 'totals'"))
    await reckoning.step()
    async with reckoning.sessions() as session:
        assert (await session.execute(sums)).all() == before
    assert [(r.state, r.quantity, r.allocations) for r in before] == [
        ("delivered", 63, 6),
        ("dispatched", 77, 7),
        ("reserved", 70, 7),
    ]


@pytest.mark.parametrize(
    ("day", "last", "begun", "overdue"),
    [
        (TODAY, None, None, False),
        (TODAY, None, "2026-11-02T15:59+00:00", True),
        (TODAY, None, "2026-11-02T16:00+00:00", False),
        (TODAY, date(2026, 11, 1), "2026-10-01T00:00+00:00", True),
        (TODAY, TODAY, "2026-10-01T00:00+00:00", False),
    ],
)
def test_a_day_is_overdue_when_its_producer_had_begun(day, last, begun, overdue):
    assert is_overdue(day, last, begun and datetime.fromisoformat(begun)) is overdue


def test_matching_s_states_are_read_as_matching_means_them():
    assert {state.value: target.value for state, target in LEDGER_TARGET.items()} == LEDGER_STATE


def test_where_a_reservation_goes_may_be_unknown():
    movement = movement_of(moved("donors", 1, 1, "reserved", division_code=None).model_dump())
    assert movement
    assert movement.after == ("", "mask_surgical", "piece", "reserved")
    village = moved("needs", 1, 1, "reserved").model_dump() | {"division": "430224101003"}
    movement = movement_of(village)
    assert movement
    assert movement.after.division_code == COUNTY


def test_a_telling_names_a_place_before_itself():
    event = told("needs", 200_000, as_of_seq=99_999).model_dump(mode="json")
    with pytest.raises(Malformed):
        telling_of(event, "needs", 200_000)
    assert telling_of(event, "needs", 199_999).told.as_of_seq == 99_999
