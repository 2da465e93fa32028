"""Organizations through the API."""

import asyncio
from uuid import UUID, uuid4

from services.donors.operations import due, organizations
from shared.callers import Caller
from shared.db import now
from tests.donors.builders import a_line, a_uscc, an_offer, an_organization, once


async def test_an_organization_with_a_checked_uscc_becomes_verified_by_approval(people):
    made = await people.organization(approved=False)
    assert (made["state"], made["verified"]) == ("registered", False)
    approved = await people.post(f"/organizations/{made['id']}/approval", people.coordinator, {})
    assert (approved["state"], approved["verified"]) == ("approved", True)


async def test_without_a_uscc_an_approval_needs_a_reason_and_verifies_nothing(people):
    made = await people.organization(approved=False, uscc=None)
    path = f"/organizations/{made['id']}/approval"
    refused = await people.post(path, people.coordinator, {}, expect=422)
    assert refused["code"] == "reason_missing"
    approved = await people.post(path, people.coordinator, {"reason": "known factory"})
    assert (approved["state"], approved["verified"]) == ("approved", False)
    last = (await people.events())[-1]
    assert last["type"] == "donors.organization_approved"
    assert last["data"] == {
        "organization_id": made["id"],
        "verified": False,
        "reason": "known factory",
    }


async def test_a_uscc_with_a_wrong_check_digit_is_refused_with_its_place(people):
    refused = await people.post(
        "/organizations", people.clerk, an_organization(uscc="91110000600037341K"), expect=422
    )
    assert refused["code"] == "invalid_uscc"
    assert refused["errors"][0]["loc"] == ["uscc"]


async def test_one_uscc_is_one_organization(people):
    uscc = a_uscc()
    await people.organization(uscc=uscc)
    refused = await people.post(
        "/organizations", people.clerk, an_organization(uscc=uscc), expect=409
    )
    assert refused["code"] == "uscc_taken"


async def test_who_registered_it_does_not_approve_it_even_with_both_roles(people, token):
    made = await people.organization(approved=False)
    both = token("alliance_coordinator", people.clerk_subject, division="430200000000")
    refused = await people.post(f"/organizations/{made['id']}/approval", both, {}, expect=403)
    assert refused["code"] == "entered_by_approver"


async def test_an_approval_is_made_once(people):
    made = await people.organization()
    refused = await people.post(
        f"/organizations/{made['id']}/approval", people.coordinator, {}, expect=409
    )
    assert refused["code"] == "organization_move_refused"


async def test_a_batch_accounts_for_each_organization(people):
    key, uscc = uuid4().hex, a_uscc()
    rows = [
        an_organization(external_key=key, uscc=uscc),
        an_organization(external_key=key),
        an_organization(uscc=uscc),
        an_organization(kind="no_such_kind"),
        an_organization(division_code="999900000000"),
        an_organization(uscc=None),
    ]
    body = {"organizations": rows}
    results = (await people.post("/organization-batches", people.clerk, body))["results"]
    assert [r["outcome"] for r in results] == [
        "created",
        "already_there",
        "refused",
        "refused",
        "refused",
        "created",
    ]
    assert results[1]["id"] == results[0]["id"]
    assert [(r["code"], r["loc"]) for r in results[2:5]] == [
        ("uscc_taken", None),
        ("unknown_code", "kind"),
        ("unknown_division", "division_code"),
    ]
    again = (await people.post("/organization-batches", people.clerk, body))["results"]
    assert again[0] == results[0] | {"outcome": "already_there"}


async def test_an_external_key_belongs_to_who_entered_it(people, token):
    key = uuid4().hex
    mine = await people.organization(external_key=key)
    other = token("entry_clerk", subject="another clerk")
    theirs = await people.post("/organizations", other, an_organization(external_key=key), 201)
    assert theirs["id"] != mine["id"]
    taken = await people.post(
        "/organizations", people.clerk, an_organization(external_key=key), expect=409
    )
    assert taken["code"] == "external_key_taken"
    for who, expected in ((people.clerk, mine), (other, theirs)):
        found = await people.client.get(
            "/v1/organizations", params={"external_key": key}, headers=who
        )
        assert [o["id"] for o in found.json()["data"]] == [expected["id"]]


async def test_two_at_once_with_the_same_key_make_one_organization(people):
    body = {"organizations": [an_organization(external_key=uuid4().hex)]}
    batches = await asyncio.gather(
        *(people.post("/organization-batches", people.clerk, body) for _ in range(8))
    )
    outcomes = sorted(batch["results"][0]["outcome"] for batch in batches)
    assert outcomes == ["already_there"] * 7 + ["created"]
    assert len({batch["results"][0]["id"] for batch in batches}) == 1


async def test_an_approval_batch_accounts_for_each(people):
    good = await people.organization(approved=False)
    bare = await people.organization(approved=False, uscc=None)
    missing = str(uuid4())
    body = {
        "approvals": [
            {"organization_id": good["id"]},
            {"organization_id": bare["id"]},
            {"organization_id": missing},
            {"organization_id": bare["id"], "reason": "visited"},
        ]
    }
    results = (await people.post("/organization-approval-batches", people.coordinator, body))[
        "results"
    ]
    assert [(r["outcome"], r["code"]) for r in results] == [
        ("approved", None),
        ("refused", "reason_missing"),
        ("refused", "organization_not_found"),
        ("approved", None),
    ]


async def test_the_public_sees_approved_organizations_and_no_foreign_key(people):
    hidden = await people.organization(approved=False)
    key = uuid4().hex
    shown = await people.organization(external_key=key)
    assert (await people.client.get(f"/v1/organizations/{hidden['id']}")).status_code == 404
    answer = await people.client.get(f"/v1/organizations/{shown['id']}")
    assert answer.json()["external_key"] is None
    mine = await people.client.get(f"/v1/organizations/{shown['id']}", headers=people.clerk)
    assert mine.json()["external_key"] == key
    listed = await people.client.get("/v1/organizations", params={"limit": 200})
    ids = [o["id"] for o in listed.json()["data"]]
    assert shown["id"] in ids
    assert hidden["id"] not in ids


async def test_blocking_an_organization_blocks_its_offers_and_takes_no_new_ones(people):
    offer = await people.offer()
    organization = offer["organization_id"]
    seen = (await people.events())[-1]["sequence"]
    blocked = await people.post(
        f"/organizations/{organization}/blocking", people.coordinator, {"reason": "forged papers"}
    )
    assert blocked["state"] == "blocked"
    assert (await people.read(offer["id"]))["state"] == "blocked"
    assert [e["type"] for e in await people.events(int(seen))] == [
        "donors.organization_blocked",
        "donors.offer_blocked",
    ]
    refused = await people.post("/offers", people.clerk, an_offer(organization), expect=409)
    assert refused["code"] == "organization_blocked"
    held = await people.move(offer["lines"][0]["id"], uuid4(), 5)
    assert held.json()["code"] == "offer_not_open"


async def test_an_organization_registers_nobody_and_acts_for_itself_only(people):
    ours, theirs = await people.organization(), await people.organization()
    us = people.of(ours["id"])
    refused = await people.post("/organizations", us, an_organization(), expect=403)
    assert refused["code"] == "not_yours"
    refused = await people.post("/offers", us, an_offer(theirs["id"]), expect=403)
    assert refused["code"] == "not_yours"
    made = await people.post("/offers", us, an_offer(ours["id"], submit=False), 201)
    for path in ("submission", "withdrawal"):
        refused = await people.post(
            f"/offers/{made['id']}/{path}", people.of(theirs["id"]), expect=403
        )
        assert refused["code"] == "not_yours"
    assert (await people.post(f"/offers/{made['id']}/submission", us))["state"] == "submitted"
    assert (await people.post(f"/offers/{made['id']}/withdrawal", us))["state"] == "withdrawn"


async def test_what_is_created_twice_with_one_key_is_created_once(people):
    header = people.clerk | once()
    body = an_organization()
    first = await people.client.post("/v1/organizations", json=body, headers=header)
    again = await people.client.post("/v1/organizations", json=body, headers=header)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    other = await people.client.post("/v1/organizations", json=an_organization(), headers=header)
    assert other.json()["code"] == "idempotency_key_reused"
    missing = await people.client.post("/v1/organizations", json=body, headers=people.clerk)
    assert (missing.status_code, missing.json()["code"]) == (400, "idempotency_key_missing")


async def test_who_may_do_what(people, token):
    made = await people.organization(approved=False)
    officer = token("county_officer", subject="officer", division="430224000000")
    for method, path, body in (
        ("POST", "/organizations", an_organization()),
        ("POST", f"/organizations/{made['id']}/approval", {}),
        ("POST", f"/organizations/{made['id']}/blocking", {"reason": "x"}),
        ("POST", "/offers", an_offer(made["id"])),
        ("PUT", f"/offer-lines/{uuid4()}/reservations/{uuid4()}", _put()),
        ("PUT", "/reservations", {"reservations": [_put(line=True)]}),
        ("GET", f"/offer-lines/{uuid4()}/reservations", None),
    ):
        for who, status in (({}, 401), (officer, 403)):
            answer = await people.client.request(
                method, f"/v1{path}", json=body, headers=who | once()
            )
            assert answer.status_code == status, (method, path, answer.text)
    refused = await people.post(
        f"/organizations/{made['id']}/approval", people.clerk, {}, expect=403
    )
    assert refused["code"] == "forbidden"


def _put(*, line: bool = False) -> dict[str, object]:
    body: dict[str, object] = {"quantity": 1, "state": "reserved"}
    return body | ({"line_id": str(uuid4()), "allocation_id": str(uuid4())} if line else {})


async def test_an_offer_of_an_unapproved_organization_opens_after_its_approval(people, app):
    organization = await people.organization(approved=False)
    offer = await people.offer(organization_id=organization["id"], lines=[a_line()])
    assert offer["state"] == "approved"
    async with app.state.sessions.begin() as session:
        await due.open_due(session, now())
    assert (await people.read(offer["id"]))["state"] == "approved"
    await people.post(f"/organizations/{organization['id']}/approval", people.coordinator, {})
    async with app.state.sessions.begin() as session:
        assert await due.open_due(session, now()) == 1
    assert (await people.read(offer["id"]))["state"] == "open"


async def test_approving_and_blocking_at_once_leaves_no_open_offer_of_a_blocked_organization(
    people,
):
    for _ in range(5):
        organization = (await people.organization())["id"]
        offers = [
            await people.offer(organization_id=organization, approved=False) for _ in range(4)
        ]
        body = {"approvals": [{"offer_id": o["id"]} for o in offers]}
        await asyncio.gather(
            people.client.post(
                f"/v1/organizations/{organization}/blocking",
                json={"reason": "x"},
                headers=people.coordinator | once(),
            ),
            people.client.post(
                "/v1/offer-approval-batches", json=body, headers=people.coordinator | once()
            ),
        )
        assert {(await people.read(o["id"]))["state"] for o in offers} == {"blocked"}


async def test_an_offer_entered_while_its_organization_is_being_blocked_waits_and_is_refused(
    people, app
):
    organization = (await people.organization())["id"]
    coordinator = Caller("coordinator", frozenset({"alliance_coordinator"}), frozenset())
    async with app.state.sessions.begin() as session:
        await organizations.block(session, coordinator, UUID(organization), "forged papers")
        entering = asyncio.create_task(
            people.client.post(
                "/v1/offers", json=an_offer(organization), headers=people.clerk | once()
            )
        )
        await asyncio.sleep(0.3)
        assert not entering.done()
    answer = await entering
    assert (answer.status_code, answer.json()["code"]) == (409, "organization_blocked")
