"""Who decides which need at which level, and what follows."""

import asyncio
from uuid import uuid4

from tests.needs.builders import CITY, COUNTY, OTHER_COUNTY, TOWNSHIP, VILLAGE, a_need
from tests.needs.conftest import MakeToken, People


async def test_a_village_need_climbs_three_levels_and_goes_on_notice(people: People):
    need = await people.need()
    assert (need["state"], need["next_level"]) == ("submitted", "village")
    await people.decide(need["id"], people.village)
    assert (await people.detail(need["id"]))["state"] == "village_verified"
    await people.decide(need["id"], people.township)
    decided = await people.decide(need["id"], people.county)
    assert decided["state"] == "noticed"
    detail = await people.detail(need["id"])
    assert detail["next_level"] is None
    assert detail["notice_ends_at"] is not None
    assert await people.types_of(need["id"]) == [
        "need_drafted",
        "need_submitted",
        "need_verified",
        "need_verified",
        "need_verified",
        "need_noticed",
    ]


async def test_a_county_hospital_starts_at_the_county(people: People):
    need = await people.need(await people.hospital(division_code=COUNTY))
    assert need["next_level"] == "county"
    assert (await people.decide(need["id"], people.county))["state"] == "noticed"


async def test_a_city_hospital_starts_and_ends_at_the_city(people: People):
    need = await people.need(await people.hospital(division_code=CITY))
    assert need["next_level"] == "city"
    assert (await people.decide(need["id"], people.city))["state"] == "noticed"


async def test_a_province_is_decided_by_a_city_officer_who_covers_it(
    people: People, token: MakeToken
):
    province = "430000000000"
    people.clerk = token("village_officer", subject="provincial clerk", division=province)
    need = await people.need(await people.hospital(division_code=province))
    refused = await people.decide(need["id"], people.city, expect=403)
    assert refused["code"] == "outside_division"
    provincial = token("city_officer", subject="provincial", division=province)
    assert (await people.decide(need["id"], provincial))["state"] == "noticed"


async def test_the_level_is_decided_by_its_role_only(people: People):
    need = await people.need()
    refused = await people.decide(need["id"], people.county, expect=403)
    assert refused["code"] == "not_your_level"


async def test_an_officer_of_another_county_is_refused(people: People, token: MakeToken):
    need = await people.need(await people.hospital())
    stranger = token("county_officer", subject="stranger", division=OTHER_COUNTY)
    refused = await people.decide(need["id"], stranger, expect=403)
    assert refused["code"] == "outside_division"


async def test_nobody_decides_what_they_entered(people: People, token: MakeToken):
    need = await people.need()
    same = token("village_committee", subject=people.clerk_subject, division=VILLAGE)
    assert (await people.decide(need["id"], same, expect=403))["code"] == "entered_by_you"


async def test_nobody_decides_twice_whatever_roles_they_hold(people: People, token: MakeToken):
    need = await people.need()
    await people.decide(need["id"], people.village)
    promoted = token("township_officer", subject="committee", division=TOWNSHIP)
    assert (await people.decide(need["id"], promoted, expect=409))["code"] == "decided_by_you"


async def test_who_declared_a_relation_decides_nothing(people: People):
    need = await people.need()
    declared = await people.post(
        f"/needs/{need['id']}/recusals", people.village, {"reason_code": "relative"}, 201
    )
    assert declared["reason_code"] == "relative"
    again = await people.post(
        f"/needs/{need['id']}/recusals", people.village, {"reason_code": "neighbour"}, 201
    )
    assert again == declared
    assert (await people.decide(need["id"], people.village, expect=403))["code"] == (
        "recusal_declared"
    )
    assert (await people.types_of(need["id"])).count("recusal_declared") == 1


async def test_returning_takes_a_reason(people: People):
    need = await people.need()
    refused = await people.decide(need["id"], people.village, "returned", expect=422)
    assert refused["code"] == "reason_required"


async def test_a_returned_need_is_edited_and_begins_at_the_first_level_again(
    people: People, token: MakeToken
):
    need = await people.need()
    await people.decide(need["id"], people.village)
    await people.decide(need["id"], people.township, "returned", "数量与人数不符")
    returned = await people.detail(need["id"])
    assert (returned["state"], returned["next_level"]) == ("returned", None)
    edited = await people.call(
        "PATCH",
        f"/needs/{need['id']}",
        people.clerk,
        {"quantity": 30},
        200,
        headers={"If-Match": f'"{returned["version"]}"'},
    )
    assert edited["base_quantity"] == 30
    again = await people.post(f"/needs/{need['id']}/submission", people.clerk)
    assert (again["state"], again["next_level"]) == ("submitted", "village")
    # Who decided it before, even the first time round, does not decide it again.
    assert (await people.decide(need["id"], people.village, expect=409))["code"] == (
        "decided_by_you"
    )
    second = token("village_committee", subject="second of the committee", division=VILLAGE)
    await people.decide(need["id"], second)


async def test_a_rejected_need_stays_rejected(people: People):
    need = await people.need()
    await people.decide(need["id"], people.village, "rejected", "不属于帮扶范围")
    refused = await people.post(f"/needs/{need['id']}/submission", people.clerk, expect=409)
    assert refused["code"] == "state_forbids"
    refused = await people.decide(need["id"], people.township, expect=409)
    assert refused["code"] == "nothing_to_decide"


async def test_two_officers_deciding_at_once_give_one_decision(people: People, token: MakeToken):
    need = await people.need()
    committee = [
        token("village_committee", subject=f"member {i}", division=VILLAGE) for i in range(6)
    ]
    answers = await asyncio.gather(
        *(
            people.client.post(
                f"/v1/needs/{need['id']}/decisions",
                json={"outcome": "passed"},
                headers=who | {"Idempotency-Key": uuid4().hex},
            )
            for who in committee
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201, 403, 403, 403, 403, 403]
    rows = await people.sql("SELECT count(*) FROM verification WHERE need_id = :id", id=need["id"])
    assert rows[0][0] == 1


async def test_a_batch_decides_some_and_refuses_others(people: People):
    applicant = await people.household()
    mine = [await people.need(applicant) for _ in range(3)]
    draft = await people.need(applicant, submit=False)
    await people.decide(mine[2]["id"], people.village, "rejected", "重复申请")
    ids = [mine[0]["id"], draft["id"], mine[0]["id"], mine[2]["id"], str(uuid4()), mine[1]["id"]]
    body = {"decisions": [{"need_id": i, "outcome": "passed"} for i in ids]}
    results = (await people.post("/decision-batches", people.village, body))["results"]
    assert [(r["outcome"], r["state"], r["code"]) for r in results] == [
        ("decided", "village_verified", None),
        ("refused", None, "nothing_to_decide"),
        ("refused", None, "decided_by_you"),
        ("refused", None, "nothing_to_decide"),
        ("refused", None, "need_not_found"),
        ("decided", "village_verified", None),
    ]


async def test_a_policy_asks_for_the_city_as_well(people: People, monkeypatch):
    from dataclasses import replace

    from services.needs import policies

    with_city = replace(policies.policies()["national-1"], code="with-city", city_level=True)
    known = {**policies.policies(), "with-city": with_city}
    monkeypatch.setattr("services.needs.operations.policies.policies", lambda: known)
    village = "430224102201"
    body = {"policy": "with-city", "division_code": village, "reason": "试行市级复核"}
    await people.post("/policy-activations", people.coordinator, body, 201)
    need = await people.need(await people.household(division_code=village))
    people.village = people.token("village_committee", subject="v2", division=village)
    people.township = people.token("township_officer", subject="t2", division="430224102000")
    await people.pass_all(need["id"])
    detail = await people.detail(need["id"])
    assert (detail["state"], detail["next_level"]) == ("county_verified", "city")
    assert (await people.decide(need["id"], people.city))["state"] == "noticed"


async def test_each_decision_keeps_the_policy_it_was_taken_under(people: People):
    township = "430224103000"
    village = "430224103201"
    need = await people.need(await people.household(division_code=village))
    assert need["policy"] == "national-1"
    people.village = people.token("village_committee", subject="v3", division=village)
    await people.decide(need["id"], people.village)
    body = {"policy": "example-1", "division_code": township, "reason": "演示"}
    await people.post("/policy-activations", people.coordinator, body, 201)
    people.township = people.token("township_officer", subject="t3", division=township)
    await people.decide(need["id"], people.township)
    rows = await people.sql(
        "SELECT level, policy FROM verification WHERE need_id = :id ORDER BY at", id=need["id"]
    )
    assert [tuple(row) for row in rows] == [("village", "national-1"), ("township", "example-1")]


async def test_the_work_list_shows_what_awaits_this_officer(people: People, token: MakeToken):
    village = "430224104201"
    applicant = await people.household(division_code=village)
    first, second = [await people.need(applicant) for _ in range(2)]
    officer = token("village_committee", subject="v4", division=village)
    listed = await people.get("/work/needs?mine=true", officer)
    assert [need["id"] for need in listed["data"]] == [first["id"], second["id"]]
    await people.decide(first["id"], officer)
    listed = await people.get("/work/needs?mine=true", officer)
    assert [need["id"] for need in listed["data"]] == [second["id"]]
    listed = await people.get("/work/needs?level=township", officer)
    assert [need["id"] for need in listed["data"]] == [first["id"]]


async def test_a_draft_without_a_quantity_cannot_be_submitted(people: People):
    applicant = await people.household()
    need = await people.post(
        "/needs", people.clerk, a_need(applicant, quantity=None, submit=True), 201
    )
    assert need["state"] == "draft"
    refused = await people.post(f"/needs/{need['id']}/submission", people.clerk, expect=409)
    assert refused["code"] == "need_incomplete"


async def test_nobody_decides_what_they_have_edited_or_whom_they_registered(
    people: People, token: MakeToken
):
    applicant = await people.household()
    need = await people.need(applicant, submit=False)
    registrar = token("village_committee", subject=people.clerk_subject, division=VILLAGE)
    editor = token("village_officer", subject="editor", division=VILLAGE)
    edit = {"title": "医用外科口罩二百只", "quantity": 200}
    await people.call(
        "PATCH", f"/needs/{need['id']}", editor, edit, headers={"If-Match": f'"{need["version"]}"'}
    )
    assert (await people.events_of(need["id"]))[-1][0] == "need_edited"
    await people.post(f"/needs/{need['id']}/submission", people.clerk)
    same = token("village_committee", subject="editor", division=VILLAGE)
    assert (await people.decide(need["id"], same, expect=403))["code"] == "entered_by_you"
    listed = await people.get("/work/needs?mine=true&limit=200", same)
    assert need["id"] not in {row["id"] for row in listed["data"]}
    theirs = token("village_officer", subject="another", division=VILLAGE)
    second = await people.post("/needs", theirs, a_need(applicant, submit=True), 201)
    refused = await people.decide(second["id"], registrar, expect=403)
    assert refused["code"] == "entered_by_you"
    assert (await people.decide(second["id"], people.village))["state"] == "village_verified"


async def test_a_relation_to_a_household_holds_for_all_its_needs(people: People, token: MakeToken):
    applicant = await people.household()
    first = await people.published(applicant=applicant)
    second = await people.need(applicant)
    cousin = token("village_committee", subject="cousin", division=VILLAGE)
    unrelated = await people.need()
    await people.post(f"/needs/{second['id']}/recusals", cousin, {"reason_code": "kin"})
    third = await people.need(applicant)
    assert (await people.decide(third["id"], cousin, expect=403))["code"] == "recusal_declared"
    listed = await people.get("/work/needs?mine=true&limit=200", cousin)
    waiting = {row["id"] for row in listed["data"]}
    assert not {second["id"], third["id"]} & waiting
    assert unrelated["id"] in waiting
    # Told of what is being met already; what is published later names all who are related.
    assert (await people.events_of(first["id"]))[-1][0] == "recusal_declared"
    assert "recusal_declared" not in await people.types_of(third["id"])
    await people.pass_all(third["id"])
    await people.end_notice(third["id"])
    await people.publish_due()
    assert (await people.events_of(third["id"]))[-1][1]["recused"] == ["cousin"]
