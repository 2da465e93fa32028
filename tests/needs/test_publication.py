"""Notice, publishing first, objections, renewal and expiry; time comes in as an argument."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.needs.privacy import programme_year
from shared.db import now
from tests.needs.builders import CITY, COUNTY, VILLAGE, a_household, once
from tests.needs.conftest import MakeToken, People, Row


@pytest.fixture
async def urgent(people: People) -> Row:
    """A hospital's need that threatens life: published first."""
    return await people.need(await people.hospital(), urgency="life_threatening")


async def noticed(people: People) -> Row:
    need = await people.need()
    await people.pass_all(need["id"])
    return await people.detail(need["id"])


async def object_to(people: People, need_id: str, reason: str = "该户已有两辆货车") -> Row:
    return dict(await people.post(f"/needs/{need_id}/objections", None, {"reason": reason}, 201))


async def test_a_need_is_public_only_after_its_notice(people: People):
    need = await noticed(people)
    due_at = datetime.fromisoformat(need["notice_ends_at"])
    assert timedelta(days=9, hours=23) < due_at - now() <= timedelta(days=10)
    await people.publish_due(due_at - timedelta(seconds=1))
    await people.get(f"/needs/{need['id']}", expect=404)
    await people.publish_due(due_at)
    published = await people.get(f"/needs/{need['id']}")
    assert published["state"] == "published"
    kind, fact = (await people.events_of(need["id"]))[-1]
    assert kind == "need_published"
    assert fact["verified_by"] == ["committee", "township", "county"]
    assert fact["policy"] == "national-1"
    assert fact["household_class"] == "subsistence_allowance"
    assert fact["deprivation_score_permille"] == 300


async def test_what_is_published_says_the_band_of_the_score_only(people: People):
    body = a_household()
    body["household"]["deprivations"] = ["food", "labour", "safe_housing", "road"]
    applicant = (await people.post("/applicants", people.clerk, body, 201))["id"]
    need = await people.published(applicant=applicant)
    _, fact = (await people.events_of(need["id"]))[-1]
    assert fact["deprivation_score_permille"] == 400
    assert (await people.detail(need["id"]))["cause"] is None
    # A row from before has the exact score.
    await people.sql(
        "UPDATE applicant SET deprivation_score_permille = 499 WHERE id = :id", id=applicant
    )
    later = await people.published(applicant=applicant)
    assert (await people.events_of(later["id"]))[-1][1]["deprivation_score_permille"] == 400


async def test_the_notice_board_masks_the_applicant(people: People):
    need = await noticed(people)
    board = await people.get("/notices?limit=200")
    shown = next(entry for entry in board["data"] if entry["id"] == need["id"])
    assert shown["applicant"] == "欧阳**"
    assert shown["division_name_zh"] == "白洲村"


async def test_what_threatens_life_is_published_first_and_verified_afterwards(
    people: People, urgent: Row
):
    assert (urgent["state"], urgent["publish_first"], urgent["next_level"]) == (
        "published",
        True,
        "county",
    )
    due_at = datetime.fromisoformat(urgent["review_due_at"])
    assert timedelta(days=6, hours=23) < due_at - now() <= timedelta(days=7)
    assert (await people.decide(urgent["id"], people.county))["state"] == "published"
    reviewed = await people.get(f"/needs/{urgent['id']}")
    assert (reviewed["state"], reviewed["review_due_at"]) == ("published", None)
    assert await people.types_of(urgent["id"]) == [
        "need_drafted",
        "need_submitted",
        "need_published",
        "need_verified",
        "need_reviewed",
    ]


async def test_an_overdue_review_suspends_and_a_late_one_takes_it_up_again(
    people: People, urgent: Row
):
    due_at = datetime.fromisoformat(urgent["review_due_at"])
    await people.suspend_overdue(due_at - timedelta(seconds=1))
    assert (await people.detail(urgent["id"]))["state"] == "published"
    await people.suspend_overdue(due_at)
    assert (await people.detail(urgent["id"]))["state"] == "suspended"
    await people.get(f"/needs/{urgent['id']}", expect=404)
    kind, fact = (await people.events_of(urgent["id"]))[-1]
    assert (kind, fact["reason_code"]) == ("need_suspended", "review_overdue")
    assert (await people.decide(urgent["id"], people.county))["state"] == "published"
    assert (await people.types_of(urgent["id"]))[-3:] == [
        "need_verified",
        "need_reviewed",
        "need_published",
    ]


async def test_a_need_published_first_can_be_rejected_by_a_level(people: People, urgent: Row):
    decided = await people.decide(urgent["id"], people.county, "rejected", "数量不实")
    assert decided["state"] == "rejected"
    await people.get(f"/needs/{urgent['id']}", expect=404)


async def test_a_returned_need_is_not_published_first_a_second_time(people: People, urgent: Row):
    await people.decide(urgent["id"], people.county, "returned", "请补充型号")
    again = await people.post(f"/needs/{urgent['id']}/submission", people.clerk)
    assert (again["state"], again["publish_first"]) == ("submitted", False)


async def test_an_objection_stops_publication_until_it_is_dismissed(people: People):
    need = await noticed(people)
    objection = await object_to(people, need["id"])
    assert (await people.detail(need["id"]))["state"] == "suspended"
    late = now() + timedelta(days=11)
    await people.publish_due(late)
    assert (await people.detail(need["id"]))["state"] == "suspended"
    decided = await people.post(
        f"/objections/{objection['id']}/decision",
        people.supervisor,
        {"outcome": "dismissed", "reason": "经核实不属实"},
    )
    assert decided["state"] == "dismissed"
    assert (await people.detail(need["id"]))["state"] == "noticed"
    await people.publish_due(late)
    assert (await people.detail(need["id"]))["state"] == "published"


async def test_dismissed_after_the_notice_ended_publishes_at_once(people: People):
    need = await noticed(people)
    objection = await object_to(people, need["id"])
    await people.end_notice(need["id"])
    await people.post(
        f"/objections/{objection['id']}/decision",
        people.supervisor,
        {"outcome": "dismissed", "reason": "经核实不属实"},
    )
    assert (await people.detail(need["id"]))["state"] == "published"


async def test_one_of_two_objections_dismissed_leaves_it_suspended(people: People):
    need = await noticed(people)
    first = await object_to(people, need["id"])
    await object_to(people, need["id"], "与村干部是亲属")
    await people.post(
        f"/objections/{first['id']}/decision",
        people.supervisor,
        {"outcome": "dismissed", "reason": "经核实不属实"},
    )
    assert (await people.detail(need["id"]))["state"] == "suspended"


async def test_an_upheld_objection_rejects_the_need(people: People):
    need = await noticed(people)
    objection = await object_to(people, need["id"])
    await people.post(
        f"/objections/{objection['id']}/decision",
        people.supervisor,
        {"outcome": "upheld", "reason": "属实"},
    )
    assert (await people.detail(need["id"]))["state"] == "rejected"
    assert (await people.types_of(need["id"]))[-4:] == [
        "objection_received",
        "need_suspended",
        "objection_decided",
        "need_rejected",
    ]
    refused = await people.post(
        f"/objections/{objection['id']}/decision",
        people.supervisor,
        {"outcome": "dismissed", "reason": "再议"},
        409,
    )
    assert refused["code"] == "objection_closed"


async def test_the_chain_that_passed_it_decides_no_objection(people: People, token: MakeToken):
    need = await noticed(people)
    objection = await object_to(people, need["id"])
    body = {"outcome": "dismissed", "reason": "没有问题"}
    path = f"/objections/{objection['id']}/decision"
    assert (await people.post(path, people.county, body, 403))["code"] == "part_of_chain"
    entered = token("county_officer", subject=people.clerk_subject, division=COUNTY)
    assert (await people.post(path, entered, body, 403))["code"] == "part_of_chain"
    assert (await people.post(path, people.village, body, 403))["code"] == "forbidden"
    await people.post(path, token("city_officer", subject="above", division=CITY), body, 200)


async def test_an_objection_suspends_a_need_published_first_as_well(people: People, urgent: Row):
    objection = await object_to(people, urgent["id"])
    assert (await people.detail(urgent["id"]))["state"] == "suspended"
    assert (await people.decide(urgent["id"], people.county))["state"] == "suspended"
    await people.post(
        f"/objections/{objection['id']}/decision",
        people.supervisor,
        {"outcome": "dismissed", "reason": "经核实不属实"},
    )
    assert (await people.detail(urgent["id"]))["state"] == "published"


async def test_no_objection_after_an_ordinary_publication(people: People):
    need = await people.published()
    refused = await people.post(f"/needs/{need['id']}/objections", None, {"reason": "太晚了"}, 409)
    assert refused["code"] == "not_open_to_objection"


async def test_officers_read_the_reasons_of_open_objections(people: People):
    need = await noticed(people)
    objection = await object_to(people, need["id"], "该户已搬离本村")
    listed = await people.get("/work/objections?limit=200", people.supervisor)
    mine = next(entry for entry in listed["data"] if entry["id"] == objection["id"])
    assert (mine["reason"], mine["division_code"]) == ("该户已搬离本村", VILLAGE)


async def test_a_published_need_expires_unless_it_is_renewed(people: People):
    need = await people.published()
    expires_at = datetime.fromisoformat(need["expires_at"])
    renewed = await people.post(f"/needs/{need['id']}/renewal", people.clerk)
    assert datetime.fromisoformat(renewed["expires_at"]) > expires_at
    await people.expire_due(expires_at)
    assert (await people.detail(need["id"]))["state"] == "published"
    await people.expire_due(datetime.fromisoformat(renewed["expires_at"]))
    assert (await people.detail(need["id"]))["state"] == "expired"
    refused = await people.post(f"/needs/{need['id']}/renewal", people.clerk, expect=409)
    assert refused["code"] == "not_renewable"


async def test_a_withdrawn_need_is_gone_from_the_public(people: People):
    need = await people.published()
    await people.post(f"/needs/{need['id']}/withdrawal", people.clerk)
    await people.get(f"/needs/{need['id']}", expect=404)
    again = await people.post(f"/needs/{need['id']}/withdrawal", people.clerk, expect=409)
    assert again["code"] == "state_forbids"


async def test_policies_say_what_they_shorten_and_who_put_them_into_force(people: People):
    listed = {policy["code"]: policy for policy in await people.get("/policies")}
    assert listed["national-1"]["notice_s"] == 10 * 86_400
    assert "缩短" in listed["example-1"]["says_zh"]
    assert "shortened" in listed["example-1"]["says_en"]
    division = "430281000000"
    body = {"policy": "emergency-hubei-2020", "division_code": division, "reason": "疫情应急"}
    made = await people.post("/policy-activations", people.coordinator, body, 201)
    reaching = await people.get(f"/policy-activations?division={division}")
    assert [entry["id"] for entry in reaching["data"]] == [made["id"]]
    unknown = await people.post(
        "/policy-activations", people.coordinator, body | {"policy": "no-such"}, 422
    )
    assert unknown["code"] == "unknown_code"
    far = await people.post(
        "/policy-activations", people.coordinator, body | {"division_code": "420000000000"}, 403
    )
    assert far["code"] == "outside_division"


async def test_a_repeated_decision_answers_the_same(people: People):
    need = await people.need()
    key = once()
    path = f"/v1/needs/{need['id']}/decisions"
    answers = [
        await people.client.post(path, json={"outcome": "passed"}, headers=people.village | key)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    missing = await people.client.post(path, json={"outcome": "passed"}, headers=people.village)
    assert (missing.status_code, missing.json()["code"]) == (400, "idempotency_key_missing")


@pytest.mark.parametrize(("outcome", "state"), [("dismissed", "published"), ("upheld", "rejected")])
async def test_an_objection_of_before_a_return_still_blocks_publication(
    people: People, token: MakeToken, urgent: Row, outcome: str, state: str
):
    objection = await object_to(people, urgent["id"])
    await people.decide(urgent["id"], people.county, "returned", "请补充证明")
    await people.post(f"/needs/{urgent['id']}/submission", people.clerk)
    second = token("county_officer", subject="second of the county", division=COUNTY)
    assert (await people.decide(urgent["id"], second))["state"] == "noticed"
    late = now() + timedelta(days=11)
    await people.publish_due(late)
    assert (await people.detail(urgent["id"]))["state"] == "noticed"
    body = {"outcome": outcome, "reason": "经核实"}
    await people.post(f"/objections/{objection['id']}/decision", people.supervisor, body)
    await people.publish_due(late)
    assert (await people.detail(urgent["id"]))["state"] == state


async def delivered_and_sent_back(people: People, need_id: str, *, before_return: Any) -> None:
    """All of a need on its way arrives, which closes it; something happens; it is sent back."""
    allocation = uuid4()
    await people.put(need_id, allocation, 100)
    await people.put(need_id, allocation, 100, "dispatched")
    await before_return(allocation)
    await people.put(need_id, allocation, 100, "returned")


async def test_what_is_sent_back_is_not_public_again_while_an_objection_is_open(
    people: People, urgent: Row
):
    made: list[Row] = []

    async def objected(allocation: Any) -> None:
        made.append(await object_to(people, urgent["id"]))
        await people.put(urgent["id"], allocation, 100, "delivered")
        assert (await people.detail(urgent["id"]))["state"] == "closed"

    await delivered_and_sent_back(people, urgent["id"], before_return=objected)
    assert (await people.detail(urgent["id"]))["state"] == "suspended"
    assert (await people.types_of(urgent["id"]))[-1] == "need_suspended"
    await people.get(f"/needs/{urgent['id']}", expect=404)
    await people.post(
        f"/objections/{made[0]['id']}/decision",
        people.supervisor,
        {"outcome": "dismissed", "reason": "经核实不属实"},
    )
    assert (await people.detail(urgent["id"]))["state"] == "published"


async def test_an_objection_upheld_after_delivery_rejects_the_need_for_good(
    people: People, urgent: Row
):
    async def upheld(allocation: Any) -> None:
        objection = await object_to(people, urgent["id"])
        await people.put(urgent["id"], allocation, 100, "delivered")
        await people.post(
            f"/objections/{objection['id']}/decision",
            people.supervisor,
            {"outcome": "upheld", "reason": "属实"},
        )
        assert (await people.detail(urgent["id"]))["state"] == "rejected"

    await delivered_and_sent_back(people, urgent["id"], before_return=upheld)
    assert (await people.detail(urgent["id"]))["state"] == "rejected"


async def test_delivery_does_not_replace_the_verification_that_is_owed(people: People, urgent: Row):
    async def delivered(allocation: Any) -> None:
        await people.put(urgent["id"], allocation, 100, "delivered")
        closed = await people.detail(urgent["id"])
        assert (closed["state"], closed["next_level"]) == ("closed", "county")

    await delivered_and_sent_back(people, urgent["id"], before_return=delivered)
    assert (await people.detail(urgent["id"]))["state"] == "published"
    await people.suspend_overdue(now() + timedelta(days=8))
    assert (await people.detail(urgent["id"]))["state"] == "suspended"


async def test_a_delivered_need_published_first_is_still_verified_or_rejected(
    people: People, urgent: Row
):
    allocation = uuid4()
    for state in ("reserved", "dispatched", "delivered"):
        await people.put(urgent["id"], allocation, 100, state)
    returned = await people.decide(urgent["id"], people.county, "returned", "请补充", expect=409)
    assert returned["code"] == "state_forbids"
    assert (await people.decide(urgent["id"], people.county))["state"] == "closed"
    assert (await people.types_of(urgent["id"]))[-2:] == ["need_verified", "need_reviewed"]


async def test_nobody_decides_their_own_objection(people: People, token: MakeToken):
    need = await noticed(people)
    objector = token("city_officer", subject="objector", division=CITY)
    body = {"reason": "该户不符合条件"}
    objection = await people.post(f"/needs/{need['id']}/objections", objector, body, 201)
    path = f"/objections/{objection['id']}/decision"
    refused = await people.post(path, objector, {"outcome": "upheld", "reason": "属实"}, 403)
    assert refused["code"] == "part_of_chain"


async def test_who_decided_an_objection_does_not_verify_the_need(
    people: People, urgent: Row, token: MakeToken
):
    objection = await object_to(people, urgent["id"])
    judge = token("county_officer", subject="judge", division=COUNTY)
    body = {"outcome": "dismissed", "reason": "经核实不属实"}
    await people.post(f"/objections/{objection['id']}/decision", judge, body)
    refused = await people.decide(urgent["id"], judge, expect=409)
    assert refused["code"] == "decided_by_you"
    listed = await people.get("/work/needs?mine=true&limit=200", judge)
    assert urgent["id"] not in {need["id"] for need in listed["data"]}


async def test_a_need_keeps_the_pseudonym_it_was_entered_under(people: People, urgent: Row):
    """Told under two years' pseudonyms, a need would join the years of its applicant."""
    await people.sql(
        "UPDATE need SET created_at = created_at - interval '1 year' WHERE id = :id",
        id=urgent["id"],
    )
    objection = await object_to(people, urgent["id"])
    await people.post(
        f"/objections/{objection['id']}/decision",
        people.supervisor,
        {"outcome": "dismissed", "reason": "经核实不属实"},
    )
    told = [
        data["applicant"]
        for kind, data in await people.events_of(urgent["id"])
        if kind == "need_published"
    ]
    row = (
        await people.sql(
            "SELECT applicant_id, created_at FROM need WHERE id = :id", id=urgent["id"]
        )
    )[0]
    privacy = people.app.state.privacy
    assert told[-1] == privacy.pseudonym(row.applicant_id, programme_year(row.created_at))


async def test_a_notice_that_names_a_household_says_nothing_of_its_health(people: People):
    need = await noticed(people)
    board = await people.get("/notices?limit=200")
    shown = next(entry for entry in board["data"] if entry["id"] == need["id"])
    assert shown["applicant"] == "欧阳**"
    assert [shown[name] for name in ("category", "item_class", "title", "item")] == [None] * 4
    hospital = await people.need(await people.hospital())
    await people.decide(hospital["id"], people.county)
    board = await people.get("/notices?limit=200")
    shown = next(entry for entry in board["data"] if entry["id"] == hospital["id"])
    assert (shown["applicant"], shown["category"]) == ("茶陵县人民医院", "medical_care")
