"""The ledger of offer lines: never below zero, always the total, under concurrency."""

import asyncio
import random
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from services.donors.operations import due
from shared.db import now
from tests.donors.builders import a_line

COLUMNS = ("available", "reserved", "in_transit", "delivered", "written_off")


async def columns(app, line):
    async with app.state.reading_sessions() as session:
        row = await session.execute(
            text(f"SELECT {', '.join(COLUMNS)}, total FROM offer_line WHERE id = :line"),
            {"line": line},
        )
        return row.one()._asdict()


async def reservations(app, line):
    async with app.state.reading_sessions() as session:
        rows = await session.execute(
            text(
                "SELECT state, sum(quantity)::bigint FROM reservation"
                " WHERE line_id = :line GROUP BY state"
            ),
            {"line": line},
        )
        return {state: int(quantity) for state, quantity in rows}


async def test_a_reservation_travels_to_its_delivery(people, app):
    line, allocation = await people.line(quantity=10), uuid4()
    for state, expected in (
        ("reserved", (4, 6, 0, 0, 0)),
        ("dispatched", (4, 0, 6, 0, 0)),
        ("delivered", (4, 0, 0, 6, 0)),
        ("returned", (10, 0, 0, 0, 0)),
    ):
        answer = await people.move(line, allocation, 6, state)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "line_id": line,
            "allocation_id": str(allocation),
            "quantity": 6,
            "state": state,
            "line_available": expected[0],
        }
        found = await columns(app, line)
        assert tuple(found[c] for c in COLUMNS) == expected


async def test_what_is_lost_on_the_way_is_written_off(people, app):
    line, allocation = await people.line(quantity=10), uuid4()
    await people.move(line, allocation, 6)
    await people.move(line, allocation, 6, "dispatched")
    assert (await people.move(line, allocation, 6, "written_off")).status_code == 200
    found = await columns(app, line)
    assert tuple(found[c] for c in COLUMNS) == (4, 0, 0, 0, 6)


async def test_repeating_a_put_changes_nothing_and_tells_nothing(people, app):
    line, allocation = await people.line(quantity=10), uuid4()
    first = await people.move(line, allocation, 6)
    seen = int((await people.events())[-1]["sequence"])
    again = await people.move(line, allocation, 6)
    assert (again.status_code, again.json()) == (200, first.json())
    assert (await columns(app, line))["reserved"] == 6
    assert await people.events(seen) == []


async def test_nothing_moves_backward(people):
    line, allocation = await people.line(quantity=10), uuid4()
    await people.move(line, allocation, 6)
    await people.move(line, allocation, 6, "dispatched")
    for state in ("reserved", "released"):
        refused = await people.move(line, allocation, 6, state)
        assert (refused.status_code, refused.json()["code"]) == (409, "movement_refused")
    other = await people.move(line, allocation, 5, "delivered")
    assert other.json()["code"] == "reservation_quantity_differs"


async def test_a_release_that_overtakes_its_reservation_stops_it(people, app):
    line, allocation = await people.line(quantity=10), uuid4()
    assert (await people.move(line, allocation, 6, "released")).status_code == 200
    late = await people.move(line, allocation, 6)
    assert late.json()["code"] == "movement_refused"
    assert (await columns(app, line))["available"] == 10


async def test_more_than_is_available_is_refused(people):
    line = await people.line(quantity=10)
    assert (await people.move(line, uuid4(), 7)).status_code == 200
    refused = await people.move(line, uuid4(), 4)
    assert (refused.status_code, refused.json()["code"]) == (409, "not_enough_available")
    assert (await people.move(uuid4(), uuid4(), 4)).json()["code"] == "offer_line_not_found"


async def test_the_smallest_lot_yields_to_taking_all_that_is_left(people):
    line = await people.line(quantity=25, lot_min=10)
    assert (await people.move(line, uuid4(), 5)).json()["code"] == "below_smallest_lot"
    for quantity in (10, 10, 5):
        assert (await people.move(line, uuid4(), quantity)).status_code == 200


async def test_an_offer_is_exhausted_with_its_last_line_and_replenished_by_a_release(people):
    offer = await people.offer(lines=[a_line(quantity=5), a_line(quantity=3)])
    first, second = (line["id"] for line in offer["lines"])
    one, two = uuid4(), uuid4()
    await people.move(first, one, 5)
    assert (await people.read(offer["id"]))["state"] == "open"
    seen = int((await people.events())[-1]["sequence"])
    await people.move(second, two, 3)
    assert (await people.read(offer["id"]))["state"] == "exhausted"
    assert (await people.move(second, uuid4(), 1)).json()["code"] == "not_enough_available"
    await people.move(first, one, 5, "released")
    assert (await people.read(offer["id"]))["state"] == "open"
    events = await people.events(seen)
    assert [(e["type"], e["data"].get("line_available")) for e in events] == [
        ("donors.reservation_moved", 0),
        ("donors.offer_exhausted", None),
        ("donors.reservation_moved", 5),
        ("donors.offer_replenished", None),
    ]
    assert {e["subject"] for e in events} == {f"offer/{offer['id']}"}


@pytest.mark.parametrize("end", ["withdrawal", "blocking", "expiry"])
async def test_an_ended_offer_takes_nothing_new_and_lets_what_is_held_go_on(people, app, end):
    offer = await people.offer(lines=[a_line(quantity=10)])
    line, held = offer["lines"][0]["id"], uuid4()
    await people.move(line, held, 4)
    if end == "withdrawal":
        await people.post(f"/offers/{offer['id']}/withdrawal", people.clerk)
    elif end == "blocking":
        await people.post(f"/offers/{offer['id']}/blocking", people.coordinator, {"reason": "x"})
    else:
        async with app.state.sessions.begin() as session:
            await due.expire_due(session, now().replace(year=2150))
    state = (await people.read(offer["id"]))["state"]
    assert state in {"withdrawn", "blocked", "expired"}
    assert (await people.move(line, uuid4(), 1)).json()["code"] == "offer_not_open"
    for movement in ("dispatched", "delivered", "returned"):
        assert (await people.move(line, held, 4, movement)).status_code == 200
    assert (await people.read(offer["id"]))["state"] == state


async def test_a_batch_accounts_for_each_reservation(people, app):
    offer = await people.offer(lines=[a_line(quantity=25, lot_min=10), a_line(quantity=3)])
    line, other = (row["id"] for row in offer["lines"])
    rest, ten, also_ten, too_much, lost = (uuid4() for _ in range(5))
    items = [
        (line, rest, 5, "reserved"),  # the rest, once the two below have taken theirs
        (line, ten, 10, "reserved"),
        (line, also_ten, 10, "reserved"),
        (other, too_much, 4, "reserved"),
        (other, lost, 3, "dispatched"),
        (str(uuid4()), lost, 3, "reserved"),
        (line, ten, 10, "reserved"),
    ]
    body = {
        "reservations": [
            {"line_id": str(i), "allocation_id": str(a), "quantity": q, "state": s}
            for i, a, q, s in items
        ]
    }
    answer = await people.client.put("/v1/reservations", json=body, headers=people.matching)
    results = answer.json()["results"]
    assert [(r["outcome"], r["code"]) for r in results] == [
        ("applied", None),
        ("applied", None),
        ("applied", None),
        ("refused", "not_enough_available"),
        ("refused", "movement_refused"),
        ("refused", "offer_line_not_found"),
        ("applied", None),
    ]
    assert (await columns(app, line))["reserved"] == 25
    again = await people.client.put("/v1/reservations", json=body, headers=people.matching)
    assert again.json() == answer.json()
    assert (await columns(app, line))["reserved"] == 25


async def test_32_clients_on_one_line_never_take_more_than_there_is(people, app):
    line = await people.line(quantity=100)
    answers = await asyncio.gather(*(people.move(line, uuid4(), 7) for _ in range(32)))
    done = [a for a in answers if a.status_code == 200]
    assert len(done) == 14
    assert {a.json()["code"] for a in answers if a.status_code != 200} == {"not_enough_available"}
    found = await columns(app, line)
    assert (found["available"], found["reserved"]) == (2, 98)


async def test_32_clients_moving_back_and_forth_keep_every_sum(people, app):
    """Single puts and batches over several lines, in any order: no deadlock, no lost update."""
    lines = [await people.line(quantity=60, lot_min=1) for _ in range(3)]
    chance = random.Random(7)

    async def client_of(number: int) -> list[httpx.Response]:
        own = random.Random(number)
        answers = []
        for _ in range(4):
            batch = [
                {
                    "line_id": line,
                    "allocation_id": str(uuid4()),
                    "quantity": own.randint(1, 9),
                    "state": "reserved",
                }
                for line in own.sample(lines, 3)
            ]
            for state in ("reserved", own.choice(["released", "dispatched"]), "delivered"):
                body = {"reservations": [item | {"state": state} for item in batch]}
                answers.append(
                    await people.client.put("/v1/reservations", json=body, headers=people.matching)
                )
            answers.append(await people.move(own.choice(lines), uuid4(), own.randint(1, 9)))
        return answers

    order = list(range(32))
    chance.shuffle(order)
    for answers in await asyncio.gather(*(client_of(number) for number in order)):
        assert {a.status_code for a in answers} <= {200, 409}
    for line in lines:
        found, held = await columns(app, line), await reservations(app, line)
        assert sum(found[c] for c in COLUMNS) == found["total"] == 60
        assert min(found[c] for c in COLUMNS) >= 0
        assert found["reserved"] == held.get("reserved", 0)
        assert found["in_transit"] == held.get("dispatched", 0)
        assert found["delivered"] == held.get("delivered", 0)


async def test_the_database_refuses_a_ledger_that_does_not_add_up(people, app):
    line = await people.line(quantity=10)
    for change in ("available = -1, reserved = 11", "available = 11", "total = 11"):
        with pytest.raises(Exception, match="ck_offer_line_"):
            async with app.state.sessions.begin() as session:
                await session.execute(
                    text(f"UPDATE offer_line SET {change} WHERE id = :line"), {"line": line}
                )


async def test_reservations_of_a_line_are_listed_page_by_page(people):
    line = await people.line(quantity=100)
    made = sorted(str(uuid4()) for _ in range(5))
    for number, allocation in enumerate(made, start=1):
        await people.move(line, allocation, number)
    path, seen = f"/v1/offer-lines/{line}/reservations?limit=2", []
    while path:
        answer = (await people.client.get(path, headers=people.matching)).json()
        seen += [(r["allocation_id"], r["quantity"]) for r in answer["data"]]
        path = answer["links"]["next"]
    assert [allocation for allocation, _ in seen] == made
    missing = await people.client.get(
        f"/v1/offer-lines/{uuid4()}/reservations", headers=people.matching
    )
    assert missing.json()["code"] == "offer_line_not_found"
