"""Offers through the API, and the clocks with their time as argument."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from services.donors.operations import due
from tests.donors.builders import CHALING, TOWNSHIP, VILLAGE, ZHUZHOU, a_line, an_offer


async def test_an_offer_opens_with_its_approval_when_its_validity_has_begun(people):
    organization = await people.organization(name="湘东慈善会")
    seen = int((await people.events())[-1]["sequence"])
    offer = await people.offer(
        organization_id=organization["id"],
        served_division_codes=[TOWNSHIP, CHALING],
        lines=[a_line(quantity=3, unit="hundred_pieces", lot_min=1)],
    )
    assert offer["state"] == "open"
    events = await people.events(seen)
    assert [e["type"] for e in events] == [
        "donors.offer_drafted",
        "donors.offer_submitted",
        "donors.offer_approved",
        "donors.offer_opened",
    ]
    assert [e["actor"] for e in events] == [people.clerk_subject] * 2 + ["coordinator"] * 2
    opened = events[-1]["data"]
    assert opened["organization_name"] == "湘东慈善会"
    assert opened["organization_verified"] is True
    assert opened["served_division_codes"] == [CHALING, TOWNSHIP]
    assert opened["lines"] == [
        {
            "line_id": offer["lines"][0]["id"],
            "item_class": "school_supplies",
            "item": "书包",
            "specification": None,
            "base_unit": "pieces",
            "total": 300,
            "available": 300,
            "lot_min_base": 100,
        }
    ]


async def test_a_line_without_a_quantity_keeps_the_offer_a_draft_until_it_has_one(people):
    organization = await people.organization()
    body = {
        "offers": [
            an_offer(
                organization["id"],
                external_key=uuid4().hex,
                lines=[a_line(quantity=None, daily_quantity=40)],
            )
        ]
    }
    [item] = (await people.post("/offer-batches", people.clerk, body))["results"]
    assert (item["outcome"], item["state"]) == ("created", "draft")
    assert (item["code"], item["loc"]) == ("quantity_missing", "lines.0.quantity")
    path = f"/offers/{item['id']}"
    refused = await people.post(f"{path}/submission", people.clerk, expect=422)
    assert refused["code"] == "quantity_missing"

    read = await people.client.get(f"/v1{path}", headers=people.clerk)
    line = read.json()["lines"][0]
    assert (line["quantity"], line["daily_quantity"], line["total"]) == (None, 40, None)
    edited = await people.client.patch(
        f"/v1{path}/lines/{line['id']}",
        json={"quantity": 400},
        headers=people.clerk | {"If-Match": read.headers["ETag"]},
    )
    assert edited.status_code == 200
    line = edited.json()["lines"][0]
    assert (line["quantity"], line["total"], line["available"]) == (400, 400, 400)
    assert (await people.post(f"{path}/submission", people.clerk))["state"] == "submitted"


async def test_a_single_offer_to_be_submitted_without_a_quantity_is_refused_whole(people):
    organization = await people.organization()
    key = uuid4().hex
    body = an_offer(organization["id"], external_key=key, lines=[a_line(quantity=None)])
    refused = await people.post("/offers", people.clerk, body, expect=422)
    assert refused["errors"][0]["loc"] == ["lines", 0, "quantity"]
    found = await people.client.get(
        "/v1/offers", params={"external_key": key, "any_state": True}, headers=people.clerk
    )
    assert found.json()["data"] == []


async def test_editing_needs_the_version_that_was_read(people):
    offer = await people.offer(approved=False, submit=False)
    path = f"/v1/offers/{offer['id']}/lines/{offer['lines'][0]['id']}"

    async def edit(if_match, **fields):
        header = {} if if_match is None else {"If-Match": if_match}
        return await people.client.patch(path, json=fields, headers=people.clerk | header)

    assert (await edit(None, quantity=7)).status_code == 428
    assert (await edit('"99"', quantity=7)).status_code == 412
    assert (await edit('W/"1"', quantity=7)).status_code == 412
    first = await edit('"1"', quantity=7)
    assert (first.status_code, first.headers["ETag"]) == (200, '"2"')
    assert (await edit('"1"', quantity=8)).status_code == 412
    assert (await edit('"1", "2"', quantity=8)).status_code == 200
    too_low = await edit("*", lot_min=9)
    assert too_low.json()["code"] == "lot_above_quantity"


async def test_only_a_draft_is_edited_and_only_by_who_entered_it(people, token):
    offer = await people.offer(approved=False)
    path = f"/v1/offers/{offer['id']}/lines/{offer['lines'][0]['id']}"
    star = {"If-Match": "*"}
    refused = await people.client.patch(path, json={"quantity": 7}, headers=people.clerk | star)
    assert (refused.status_code, refused.json()["code"]) == (409, "offer_not_a_draft")
    other = token("entry_clerk", subject="another clerk") | star
    refused = await people.client.patch(path, json={"quantity": 7}, headers=other)
    assert (refused.status_code, refused.json()["code"]) == (403, "not_yours")


@pytest.mark.parametrize(
    ("changes", "code", "loc"),
    [
        ({"category": "no_such"}, "unknown_code", "category"),
        ({"category": "housing"}, "unknown_code", "lines.0.item_class"),
        ({"served_division_codes": [VILLAGE]}, "division_too_fine", "served_division_codes.0"),
        ({"served_division_codes": ["9" * 12]}, "unknown_division", "served_division_codes.0"),
        ({"valid_until": "2025-01-01T00:00:00Z"}, "validity_empty", "valid_until"),
        ({"lines": [a_line(unit="hours")]}, "unit_not_allowed", "lines.0.unit"),
        ({"lines": [a_line(lot_min=101)]}, "lot_above_quantity", "lines.0.lot_min"),
        ({"organization_id": str(uuid4())}, "organization_not_found", None),
    ],
)
async def test_a_batch_says_of_a_row_what_is_wrong_and_keeps_the_others(people, changes, code, loc):
    organization = (await people.organization())["id"]
    body = {"offers": [an_offer(organization) | changes, an_offer(organization)]}
    bad, good = (await people.post("/offer-batches", people.clerk, body))["results"]
    assert (bad["outcome"], bad["code"], bad["loc"]) == ("refused", code, loc)
    assert (good["outcome"], good["state"]) == ("created", "submitted")


async def test_a_batch_repeated_changes_nothing(people):
    organization = (await people.organization())["id"]
    rows = [an_offer(organization, external_key=f"{uuid4().hex}") for _ in range(3)]
    first = (await people.post("/offer-batches", people.clerk, {"offers": rows}))["results"]
    seen = int((await people.events())[-1]["sequence"])
    again = (await people.post("/offer-batches", people.clerk, {"offers": rows}))["results"]
    assert [r["outcome"] for r in again] == ["already_there"] * 3
    assert [r["id"] for r in again] == [r["id"] for r in first]
    assert await people.events(seen) == []


async def test_who_entered_submitted_or_owns_an_offer_does_not_approve_it(people, token):
    organization = await people.organization()
    offer = await people.offer(organization_id=organization["id"], approved=False)
    path = f"/offers/{offer['id']}/approval"
    same = token("alliance_coordinator", people.clerk_subject, division=ZHUZHOU)
    assert (await people.post(path, same, {}, expect=403))["code"] == "entered_by_approver"
    owner = token("alliance_coordinator", "member", division=ZHUZHOU, org=organization["id"])
    assert (await people.post(path, owner, {}, expect=403))["code"] == "entered_by_approver"

    draft = await people.offer(organization_id=organization["id"], approved=False, submit=False)
    await people.post(f"/offers/{draft['id']}/submission", people.of(organization["id"]))
    submitter = token("alliance_coordinator", f"person of {organization['id']}", division=ZHUZHOU)
    path = f"/offers/{draft['id']}/approval"
    assert (await people.post(path, submitter, {}, expect=403))["code"] == "entered_by_approver"
    assert (await people.post(path, people.coordinator, {}))["state"] == "open"


async def test_an_approver_s_division_covers_what_the_offer_serves(people, token):
    offer = await people.offer(approved=False, served_division_codes=[CHALING, "430225000000"])
    path = f"/offers/{offer['id']}"
    narrow = token("alliance_coordinator", "of Chaling", division=CHALING)
    refused = await people.post(f"{path}/approval", narrow, {}, expect=403)
    assert refused["code"] == "outside_division"
    elsewhere = token("alliance_coordinator", "of Wuhan", division="420100000000")
    refused = await people.post(f"{path}/blocking", elsewhere, {"reason": "x"}, expect=403)
    assert refused["code"] == "outside_division"
    blocked = await people.post(f"{path}/blocking", narrow, {"reason": "expired goods"})
    assert blocked["state"] == "blocked"


async def test_an_approval_batch_accounts_for_each_offer(people):
    good = await people.offer(approved=False)
    draft = await people.offer(approved=False, submit=False)
    ids = [good["id"], draft["id"], str(uuid4()), good["id"]]
    body = {"approvals": [{"offer_id": i} for i in ids]}
    results = (await people.post("/offer-approval-batches", people.coordinator, body))["results"]
    assert [(r["outcome"], r["state"], r["code"]) for r in results] == [
        ("approved", "open", None),
        ("refused", None, "offer_move_refused"),
        ("refused", None, "offer_not_found"),
        ("refused", None, "offer_move_refused"),
    ]


async def test_the_clock_opens_what_has_come_to_its_validity_and_expires_what_is_past_it(
    people, app
):
    begin = datetime(2090, 1, 1, tzinfo=UTC)
    offer = await people.offer(
        valid_from=begin.isoformat(), valid_until=(begin + timedelta(days=30)).isoformat()
    )
    assert offer["state"] == "approved"

    async def tick(moment):
        async with app.state.sessions.begin() as session:
            await due.open_due(session, moment)
        async with app.state.sessions.begin() as session:
            await due.expire_due(session, moment)
        return (await people.read(offer["id"]))["state"]

    assert await tick(begin - timedelta(seconds=1)) == "approved"
    assert await tick(begin) == "open"
    assert await tick(begin + timedelta(days=30, seconds=-1)) == "open"
    assert await tick(begin + timedelta(days=30)) == "expired"
    last = (await people.events())[-1]
    assert (last["type"], last["actor"]) == ("donors.offer_expired", "clock:donors")
    assert await tick(begin + timedelta(days=31)) == "expired"


async def test_after_a_long_stop_the_clock_expires_without_opening(people, app):
    offer = await people.offer(
        valid_from="2090-01-01T00:00:00Z", valid_until="2090-02-01T00:00:00Z"
    )
    async with app.state.sessions.begin() as session:
        await due.open_due(session, datetime(2095, 1, 1, tzinfo=UTC))
    async with app.state.sessions.begin() as session:
        await due.expire_due(session, datetime(2095, 1, 1, tzinfo=UTC))
    read = await people.read(offer["id"])
    assert read["state"] == "expired"
    assert (await people.client.get(f"/v1/offers/{offer['id']}")).status_code == 404


async def test_what_is_over_is_not_submitted(people):
    body = {"valid_from": "2020-01-01T00:00:00Z", "valid_until": "2020-06-01T00:00:00Z"}
    organization = (await people.organization())["id"]
    refused = await people.post("/offers", people.clerk, an_offer(organization, **body), expect=409)
    assert refused["code"] == "validity_over"
    [item] = (
        await people.post(
            "/offer-batches", people.clerk, {"offers": [an_offer(organization, **body)]}
        )
    )["results"]
    assert (item["outcome"], item["state"], item["code"]) == ("created", "draft", "validity_over")


async def test_withdrawing_ends_an_offer_for_good(people):
    offer = await people.offer()
    path = f"/offers/{offer['id']}/withdrawal"
    assert (await people.post(path, people.clerk))["state"] == "withdrawn"
    assert (await people.post(path, people.clerk, expect=409))["code"] == "offer_move_refused"


async def test_an_opening_with_the_longest_texts_fits_into_an_event(people):
    longest = "\x01" * 200
    organization = await people.organization(name=longest)
    lines = [a_line(item=longest, specification=longest) for _ in range(10)]
    served = [f"4302241{n:02d}000" for n in range(50)]
    offer = await people.offer(
        organization_id=organization["id"],
        title=longest,
        lines=lines,
        served_division_codes=served,
    )
    assert offer["state"] == "open"
    assert (await people.client.get(f"/v1/offers/{offer['id']}")).json()["title"] == longest
