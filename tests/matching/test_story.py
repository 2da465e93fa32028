"""From a published need to a confirmed and closed allocation, through all four services."""

import asyncio
import json

import pytest

from services.audit import verifier


async def test_a_need_is_matched_reserved_approved_delivered_and_confirmed(world):
    [need] = await world.publish([{"quantity": 100}])
    offer = await world.open_offer()
    organization = world.of(offer["organization_id"])
    [allocation] = await world.approved()
    assert allocation["need_id"] == need
    [allocation] = await world.reached(allocation["round_id"], "reserved")
    assert allocation["due_at"] is not None
    assert (allocation["line_movement"], allocation["need_movement"]) == ("reserved", "reserved")

    await world.act(allocation, "acceptance", organization)
    await world.act(allocation, "approval", world.county)

    async def proved():
        found = await world.get(f"/allocations/{allocation['id']}")
        return found if found["approval_proof"] is not None else None

    found = await world.until(proved, "the approval is in the log, and the proof of it is here")
    await check_offline(world, found)
    [listed] = await world.all_of(f"/allocations?round_id={allocation['round_id']}")
    assert listed["approval_proof"] == found["approval_proof"]

    slip = await world.act(allocation, "slip", world.county, status=201)
    sent = await world.act(allocation, "dispatch", organization)
    assert sent["approval_proof"] == found["approval_proof"]
    await world.act(allocation, "delivery", organization)
    wrong = await world.act(
        allocation, "confirmation", organization, {"code": "0000-0000"}, status=403
    )
    assert wrong["code"] == "slip_wrong"
    done = await world.act(allocation, "confirmation", organization, {"code": slip["code"]})
    assert done["state"] == "confirmed"
    [closed] = await world.reached(allocation["round_id"], "closed")
    assert closed["line_movement"] in {"reserved", "dispatched", "delivered"}

    async def carried():
        [row] = await world.all_of(f"/allocations?need_id={need}")
        return (row["line_movement"], row["need_movement"]) == ("delivered", "delivered")

    await world.until(carried, "both ledgers know of the delivery")
    await world.consistent()
    told = await world.client.get(
        f"{world.urls['matching']}/events", headers=world.token("service"), params={"limit": 2000}
    )
    assert [e["type"].removeprefix("matching.") for e in told.json()] == [
        "round_started",
        "round_computed",
        "round_approved",
        "allocation_proposed",
        "allocation_reserved",
        "allocation_accepted",
        "allocation_approved",
        "slip_issued",
        "allocation_dispatched",
        "allocation_delivered",
        "allocation_confirmed",
        "allocation_closed",
    ]
    assert {e["division"] for e in told.json()[3:]} == {"430224101000"}


async def check_offline(world, allocation):
    """With the log's key and the answer alone, by the verifier that shares no code with it."""
    key = (await world.client.get(f"{world.urls['audit']}/v1/key")).text
    policy = verifier.read_keys([key])
    proof = allocation["approval_proof"]
    verifier.prove_receipt(proof["receipt"], verifier.leaf_hash(proof["entry"].encode()), policy)
    with pytest.raises(verifier.Bad):
        verifier.prove_receipt(proof["receipt"], verifier.leaf_hash(b"another"), policy)
    event = json.loads(proof["entry"].partition("\n")[2])
    assert event["type"] == "matching.allocation_approved"
    assert event["data"]["allocation_id"] == allocation["id"]
    assert f"index {allocation['approval_log_index']}\n" in proof["receipt"]


async def test_nothing_is_dispatched_before_the_approval_is_in_the_log(world):
    await world.stop("audit")
    await world.publish([{}])
    offer = await world.open_offer()
    organization = world.of(offer["organization_id"])
    rows = await world.approved()
    await world.reached(rows[0]["round_id"], "reserved")
    mine = [r for r in rows if r["organization_id"] == offer["organization_id"]] or rows
    allocation = mine[0]
    organization = world.of(allocation["organization_id"])
    await world.act(allocation, "acceptance", organization)
    await world.act(allocation, "approval", world.county)
    await asyncio.sleep(0.3)
    refused = await world.act(allocation, "dispatch", organization, status=409)
    assert refused["code"] == "approval_not_in_log"
    await world.start("audit")

    async def dispatched():
        answer = await world.client.post(
            f"{world.urls['matching']}/v1/allocations/{allocation['id']}/dispatch",
            headers=organization,
        )
        return answer.status_code == 200

    await world.until(dispatched, "dispatched once the log has it")

    async def proved():
        found = await world.get(f"/allocations/{allocation['id']}")
        return found if found["approval_proof"] is not None else None

    await check_offline(world, await world.until(proved, "the proof is fetched although it failed"))
    await world.consistent()
