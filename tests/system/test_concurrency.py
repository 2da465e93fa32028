"""Many at the same time get no more than there is."""

import asyncio
from random import Random
from uuid import uuid4

from tests.system import ledger, world
from tests.system.harness import until
from tests.system.life import Life
from tests.system.world import COUNTY, Person

CLIENTS = 32


async def test_two_rounds_at_once_over_the_same_needs_and_offers_keep_the_invariants(system):
    township = "430224106000"
    people = await world.seed(system, township, needs=30, offers=10, chance=Random(1))
    # Both are frozen before either is approved: each proposes what the other proposes too.
    lives = [Life(people, Random(n)) for n in range(2)]
    await asyncio.gather(*(life.go_through("compute") for life in lives))
    proposed = [await _proposals(system, life) for life in lives]
    assert proposed[0] == proposed[1]
    assert proposed[0]
    await asyncio.gather(*(life.approve_round() for life in lives))
    for life in lives:
        await life.nothing_in("proposed")
    states = [await life.states() for life in lives]
    # What the second could not have is undone, what it could is held: nothing between.
    assert {state for each in states for state in each} <= {"reserved", "cancelled"}
    assert sum(each.count("reserved") for each in states) >= len(proposed[0]) * 3 // 4
    assert any("cancelled" in each for each in states)
    assert await ledger.broken_offers(system) == []
    assert await ledger.broken_needs(system) == []
    await asyncio.gather(*(_to_the_end(life) for life in lives))
    await ledger.settled(system)
    assert await ledger.broken_offers(system) == []
    assert await ledger.broken_needs(system) == []


async def _proposals(system, life):
    rows = await system.fetch(
        "matching",
        "SELECT need_id, line_id, quantity FROM proposal WHERE round_id = $1 ORDER BY 1, 2",
        life.round,
    )
    return [tuple(row) for row in rows]


async def _to_the_end(life):
    for stage in ("accept", "approve", "dispatch", "deliver", "confirm", "close"):
        await life.go_through(stage)


async def test_32_clients_reserving_the_same_line_get_no_more_than_there_is(system):
    total, each = 100, 9  # 11 fit
    line = await _an_open_line(system, "430224115000", total)
    service = Person(system, "service", "matching")
    answers = await asyncio.gather(
        *(
            service.ask(
                "PUT",
                "donors",
                f"/v1/offer-lines/{line}/reservations/{uuid4()}",
                {"quantity": each, "state": "reserved"},
            )
            for _ in range(CLIENTS)
        )
    )
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 11 + [409] * (CLIENTS - 11), statuses
    codes = {answer.json()["code"] for answer in answers if answer.status_code == 409}
    assert codes == {"not_enough_available"}
    row = (await system.fetch("donors", "SELECT * FROM offer_line WHERE id = $1", line))[0]
    assert (row["available"], row["reserved"], row["total"]) == (1, 99, 100)
    assert await ledger.broken_offers(system) == []


async def test_32_clients_repeating_one_reservation_make_it_once(system):
    line = await _an_open_line(system, "430224116000", 50)
    service = Person(system, "service", "matching")
    path = f"/v1/offer-lines/{line}/reservations/{uuid4()}"
    answers = await asyncio.gather(
        *(
            service.ask("PUT", "donors", path, {"quantity": 20, "state": "reserved"})
            for _ in range(CLIENTS)
        )
    )
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["line_available"] for answer in answers} == {30}


async def test_32_clients_committing_to_the_same_need_stay_within_its_requirement(system):
    need, required = await _a_published_need(system)
    each = required // 5  # 5 fit
    service = Person(system, "service", "matching")
    answers = await asyncio.gather(
        *(
            service.ask(
                "PUT",
                "needs",
                f"/v1/needs/{need}/commitments/{uuid4()}",
                {"quantity": each, "state": "reserved"},
            )
            for _ in range(CLIENTS)
        )
    )
    fit = required // each
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * fit + [409] * (CLIENTS - fit), statuses
    row = (await system.fetch("needs", "SELECT * FROM need WHERE id = $1", need))[0]
    assert row["reserved"] == fit * each <= row["base_quantity"] == required
    assert await ledger.broken_needs(system) == []


async def _an_open_line(system, township, quantity):
    people = await world.seed(system, township, needs=0, offers=1, chance=Random(quantity))
    [organization] = people.organizations
    body = world.offer(organization, "bedding", quantity, COUNTY)
    created = await people.clerk.post("donors", "/v1/offers", body)
    await people.coordinator.post("donors", f"/v1/offers/{created['id']}/approval", {})

    async def is_open():
        offer = await people.coordinator.get("donors", f"/v1/offers/{created['id']}")
        return offer["state"] == "open" and offer["lines"][0]["id"]

    return await until(is_open, "offer open")


async def _a_published_need(system):
    people = await world.seed(system, "430224203000", needs=1, offers=0, chance=Random(7))
    need = await people.clerk.get("needs", f"/v1/needs/{people.needs[0]}")
    return need["id"], need["base_quantity"]
