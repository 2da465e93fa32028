"""Who sees which offers, filters, cursors, and how many statements a page costs."""

from uuid import uuid4

import pytest
from sqlalchemy import event

from tests.donors.builders import CHALING, TOWNSHIP, ZHUZHOU, a_line


async def listed(people, who=None, **params):
    answer = await people.client.get("/v1/offers", params=params, headers=who)
    assert answer.status_code == 200, answer.text
    return [offer["id"] for offer in answer.json()["data"]]


async def test_the_public_sees_offers_once_they_have_been_open(people):
    opened = await people.offer()
    draft = await people.offer(approved=False, submit=False)
    ended = await people.offer()
    await people.post(f"/offers/{ended['id']}/withdrawal", people.clerk)
    never = await people.offer(approved=False)
    await people.post(f"/offers/{never['id']}/withdrawal", people.clerk)
    assert (await people.client.get(f"/v1/offers/{draft['id']}")).status_code == 404
    assert (await people.client.get(f"/v1/offers/{never['id']}")).status_code == 404
    assert (await people.client.get(f"/v1/offers/{ended['id']}")).status_code == 200
    found = await listed(people, limit=200)
    assert opened["id"] in found
    assert not {draft["id"], ended["id"], never["id"]} & set(found)
    assert draft["id"] not in await listed(people, state="draft")
    assert ended["id"] in await listed(people, state="withdrawn")


async def test_an_organization_sees_its_own_drafts_and_no_other_s(people):
    ours, theirs = await people.organization(), await people.organization()
    mine = await people.offer(organization_id=ours["id"], approved=False, submit=False)
    await people.offer(organization_id=theirs["id"], approved=False, submit=False)
    assert await listed(people, people.of(ours["id"]), state="draft") == [mine["id"]]
    assert mine["id"] in await listed(people, people.coordinator, any_state=True)
    read = await people.client.get(f"/v1/offers/{mine['id']}", headers=people.of(theirs["id"]))
    assert read.status_code == 404


async def test_what_serves_a_division_and_what_is_served_within_it(people, token):
    people.coordinator = token("alliance_coordinator", "national", division="000000000000")
    organization = (await people.organization())["id"]
    made = {
        code: (await people.offer(organization_id=organization, served_division_codes=[code]))["id"]
        for code in ("000000000000", ZHUZHOU, CHALING, TOWNSHIP, "430225000000")
    }

    async def found(**params):
        ids = set(await listed(people, organization_id=organization, **params))
        return {code for code, offer in made.items() if offer in ids}

    assert await found(serves=CHALING) == {"000000000000", ZHUZHOU, CHALING}
    assert await found(serves="430224101201") == {"000000000000", ZHUZHOU, CHALING, TOWNSHIP}
    assert await found(serves_within=CHALING) == {CHALING, TOWNSHIP}
    assert await found(serves_within=ZHUZHOU) == {ZHUZHOU, CHALING, TOWNSHIP, "430225000000"}
    assert await found(serves_within="000000000000") == set(made)
    assert await found(serves=CHALING, serves_within=CHALING) == {CHALING}


async def test_filters_by_kind_category_item_class_and_text(people):
    organization = (await people.organization())["id"]
    bags = await people.offer(organization_id=organization, title="开学 100% 捐赠")
    seats = await people.offer(
        organization_id=organization,
        kind="training_seats",
        lines=[a_line(item_class="skills_training", item="月嫂培训", unit="seats")],
    )
    hours = await people.offer(
        organization_id=organization,
        kind="service_hours",
        category="medical_care",
        title="义诊",
        lines=[a_line(item_class="medical_hours", item="全科", unit="hours")],
    )

    async def found(**params):
        return await listed(people, organization_id=organization, **params)

    assert await found() == [hours["id"], seats["id"], bags["id"]]
    assert await found(kind="service_hours") == [hours["id"]]
    assert await found(category="education_training") == [seats["id"], bags["id"]]
    assert await found(item_class="skills_training") == [seats["id"]]
    assert await found(q="月嫂") == [seats["id"]]
    assert await found(q="100%") == [bags["id"]]
    assert await found(q="1%0") == []


async def test_pages_follow_each_other_without_gap_or_repeat(people):
    organization = (await people.organization())["id"]
    made = [(await people.offer(organization_id=organization))["id"] for _ in range(7)]
    path, seen = f"/v1/offers?organization_id={organization}&limit=3", []
    while path:
        answer = await people.client.get(path)
        body = answer.json()
        seen.append([o["id"] for o in body["data"]])
        path = body["links"]["next"]
        assert body["meta"] == {"limit": 3, "has_more": path is not None}
        assert ("Link" in answer.headers) == (path is not None)
    assert seen == [made[6:3:-1], made[3:0:-1], made[:1]]


@pytest.mark.parametrize("cursor", ["xyz", "W10", "WyJub3QgYSB1dWlkIl0"])
async def test_a_made_up_cursor_is_refused(people, cursor):
    for path in ("/v1/offers", "/v1/organizations"):
        answer = await people.client.get(path, params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_a_page_costs_the_same_few_statements_however_long_it_is(people, app):
    for _ in range(6):
        await people.offer(lines=[a_line(), a_line()])
    statements = []

    def note(connection, cursor, statement, *rest):
        statements.append(statement)

    event.listen(app.state.callers.engine.sync_engine, "before_cursor_execute", note)
    try:
        for limit in (1, 6):
            statements.clear()
            assert len(await listed(people, limit=limit)) == limit
            # Offers, their organizations, lines and divisions.
            assert len([s for s in statements if "FROM outbox" not in s]) == 4
        statements.clear()
        await people.client.get("/v1/organizations", params={"limit": 6})
        assert len(statements) == 1
    finally:
        event.remove(app.state.callers.engine.sync_engine, "before_cursor_execute", note)


async def test_text_with_a_nul_is_refused_not_stored(people):
    for path in ("/v1/offers", "/v1/organizations"):
        answer = await people.client.get(path, params={"q": "a\x00b"})
        assert answer.status_code == 422
    assert await listed(people, organization_id=str(uuid4())) == []
