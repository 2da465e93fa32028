"""What allocations hold of a need: never more than required, whoever asks at the same time."""

import asyncio
from uuid import uuid4

import pytest

from tests.needs.conftest import People, Row


@pytest.fixture
async def need(people: People) -> Row:
    return await people.need(await people.hospital(), urgency="life_threatening", quantity=100)


async def test_a_quantity_moves_from_reserved_to_delivered(people: People, need: Row):
    allocation = uuid4()
    assert (await people.put(need["id"], allocation, 40))["need_remaining"] == 60
    await people.put(need["id"], allocation, 40, "dispatched")
    await people.put(need["id"], allocation, 40, "delivered")
    public = await people.get(f"/needs/{need['id']}")
    assert (public["reserved"], public["in_transit"], public["delivered"]) == (0, 0, 40)
    assert (public["met"], public["state"]) == ("partly", "published")
    moved = [fact for kind, fact in await people.events_of(need["id"]) if "commitment" in kind]
    assert [(fact["state"], fact["need_remaining"]) for fact in moved] == [
        ("reserved", 60),
        ("dispatched", 60),
        ("delivered", 60),
    ]


async def test_never_more_than_is_required(people: People, need: Row):
    await people.put(need["id"], uuid4(), 70)
    refused = await people.put(need["id"], uuid4(), 31, expect=409)
    assert refused["code"] == "need_exceeded"
    await people.put(need["id"], uuid4(), 30)


async def test_the_same_put_again_changes_nothing_and_tells_nobody(people: People, need: Row):
    allocation = uuid4()
    first = await people.put(need["id"], allocation, 10)
    assert await people.put(need["id"], allocation, 10) == first
    assert (await people.types_of(need["id"])).count("commitment_moved") == 1


async def test_a_move_backward_is_refused(people: People, need: Row):
    allocation = uuid4()
    await people.put(need["id"], allocation, 10)
    await people.put(need["id"], allocation, 10, "dispatched")
    refused = await people.put(need["id"], allocation, 10, "reserved", expect=409)
    assert refused["code"] == "movement_forbidden"
    refused = await people.put(need["id"], allocation, 11, "delivered", expect=409)
    assert refused["code"] == "commitment_differs"


async def test_a_release_that_comes_first_shuts_out_the_late_reservation(people: People, need: Row):
    allocation = uuid4()
    await people.put(need["id"], allocation, 10, "released")
    refused = await people.put(need["id"], allocation, 10, "reserved", expect=409)
    assert refused["code"] == "movement_forbidden"
    assert (await people.get(f"/needs/{need['id']}"))["reserved"] == 0


async def test_only_a_published_need_is_reserved_for_but_what_is_held_may_move(
    people: People, need: Row
):
    held = uuid4()
    await people.put(need["id"], held, 10)
    await people.post(f"/needs/{need['id']}/withdrawal", people.clerk)
    refused = await people.put(need["id"], uuid4(), 10, expect=409)
    assert refused["code"] == "need_not_open"
    await people.put(need["id"], held, 10, "dispatched")
    await people.put(need["id"], held, 10, "returned")


async def test_all_delivered_closes_and_a_return_opens_again(people: People, need: Row):
    allocation = uuid4()
    for state in ("reserved", "dispatched", "delivered"):
        await people.put(need["id"], allocation, 100, state)
    closed = await people.get(f"/needs/{need['id']}")
    assert (closed["state"], closed["met"]) == ("closed", "fully")
    assert (await people.types_of(need["id"]))[-2:] == ["commitment_moved", "need_closed"]
    await people.put(need["id"], allocation, 100, "returned")
    assert (await people.get(f"/needs/{need['id']}"))["state"] == "published"
    assert (await people.types_of(need["id"]))[-1] == "need_published"


async def test_a_batch_applies_some_and_refuses_others(people: People, need: Row):
    a, b, c, d = [str(uuid4()) for _ in range(4)]
    items = [
        {"need_id": need["id"], "allocation_id": a, "quantity": 60, "state": "reserved"},
        {"need_id": need["id"], "allocation_id": b, "quantity": 60, "state": "reserved"},
        {"need_id": str(uuid4()), "allocation_id": c, "quantity": 1, "state": "reserved"},
        {"need_id": need["id"], "allocation_id": d, "quantity": 40, "state": "reserved"},
        {"need_id": need["id"], "allocation_id": a, "quantity": 60, "state": "dispatched"},
    ]
    for _ in range(2):  # a repeat answers as the first, but what was past cannot come again
        answer = await people.call(
            "PUT", "/commitments", people.matching, {"commitments": items[:4]}, 200
        )
        assert [(r["outcome"], r["code"]) for r in answer["results"]] == [
            ("applied", None),
            ("refused", "need_exceeded"),
            ("refused", "need_not_found"),
            ("applied", None),
        ]
    await people.call("PUT", "/commitments", people.matching, {"commitments": items[4:]}, 200)
    listed = await people.get(f"/needs/{need['id']}/commitments", people.matching)
    held = {entry["allocation_id"]: entry["state"] for entry in listed["data"]}
    assert held == {a: "dispatched", d: "reserved"}


async def test_32_clients_at_once_never_exceed_the_need(people: People, need: Row):
    async def reserve(quantity: int) -> int:
        answer = await people.client.put(
            f"/v1/needs/{need['id']}/commitments/{uuid4()}",
            json={"quantity": quantity, "state": "reserved"},
            headers=people.matching,
        )
        assert answer.status_code in {200, 409}, answer.text
        return quantity if answer.status_code == 200 else 0

    held = sum(await asyncio.gather(*(reserve(7) for _ in range(32))))
    assert held == 98  # 14 of 7; the fifteenth would make 105
    assert (await people.get(f"/needs/{need['id']}"))["reserved"] == 98


async def test_32_repeats_of_one_reservation_at_once_hold_it_once(people: People, need: Row):
    allocation = uuid4()
    answers = await asyncio.gather(*(people.put(need["id"], allocation, 9) for _ in range(32)))
    assert {answer["need_remaining"] for answer in answers} == {91}
    assert (await people.types_of(need["id"])).count("commitment_moved") == 1


async def test_batches_in_opposite_order_do_not_wait_for_each_other_for_ever(people: People):
    hospital = await people.hospital()
    needs = [(await people.need(hospital, urgency="life_threatening"))["id"] for _ in range(10)]

    async def reserve(ids: list[str]) -> None:
        items = [
            {"need_id": i, "allocation_id": str(uuid4()), "quantity": 1, "state": "reserved"}
            for i in ids
        ]
        await people.call("PUT", "/commitments", people.matching, {"commitments": items}, 200)

    await asyncio.gather(*(reserve(needs if i % 2 else needs[::-1]) for i in range(8)))
    for need_id in needs:
        assert (await people.get(f"/needs/{need_id}"))["reserved"] == 8


async def test_only_services_commit(people: People, need: Row):
    body = {"quantity": 1, "state": "reserved"}
    path = f"/needs/{need['id']}/commitments/{uuid4()}"
    await people.call("PUT", path, people.coordinator, body, 403)
    await people.call("PUT", path, None, body, 401)


async def test_the_database_refuses_more_than_required(people: People, need: Row):
    with pytest.raises(Exception, match="held_within_required"):
        await people.sql("UPDATE need SET reserved = 101 WHERE id = :id", id=need["id"])
