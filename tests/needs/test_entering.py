"""Entering and editing needs: checks, keys, batches, versions."""

import asyncio
import time
from uuid import uuid4

import pytest

from tests.needs.builders import OTHER_COUNTY, VILLAGE, a_hospital, a_household, a_need, once
from tests.needs.conftest import MakeToken, People, Row


@pytest.mark.parametrize(
    ("changes", "code", "loc"),
    [
        ({"category": "luxury"}, "unknown_code", ["category"]),
        ({"item_class": "unobtainium"}, "unknown_code", ["item_class"]),
        ({"category": "housing"}, "class_of_other_category", ["item_class"]),
        ({"unit": "furlongs"}, "unknown_code", ["unit"]),
        ({"unit": "yuan"}, "unit_not_allowed", ["unit"]),
        ({"cause": "laziness"}, "unknown_code", ["cause"]),
        ({"quantity": 0}, "invalid_content", ["body", "quantity"]),
        ({"quantity": 1.5}, "invalid_content", ["body", "quantity"]),
        ({"title": "a\x00b"}, "invalid_content", ["body", "title"]),
        ({"colour": "red"}, "invalid_content", ["body", "colour"]),
    ],
)
async def test_a_need_that_is_not_valid_is_refused_with_its_place(
    people: People, changes: Row, code: str, loc: list[str]
):
    body = a_need(str(uuid4())) | changes
    body["applicant_id"] = await people.hospital()
    refused = await people.post("/needs", people.clerk, body, 422)
    assert (refused["code"], refused["errors"][0]["loc"]) == (code, loc)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"division_code": "999999999999"}, "unknown_code"),
        ({"division_code": OTHER_COUNTY[:2] * 6}, "unknown_code"),
        ({"division_code": "110101000000"}, "outside_division"),
        ({"personal": None}, "applicant_incomplete"),
        ({"name": "李明"}, "applicant_incomplete"),
        ({"kind": "village"}, "applicant_incomplete"),
    ],
)
async def test_an_applicant_that_is_not_whole_is_refused(people: People, changes: Row, code: str):
    answer = await people.client.post(
        "/v1/applicants", json=a_household(**changes), headers=people.clerk | once()
    )
    assert answer.status_code in {403, 422}
    assert answer.json()["code"] == code


async def test_quantities_are_kept_as_entered_and_in_base_units(people: People):
    need = await people.need(await people.hospital(), quantity=3, unit="ten_thousand_pieces")
    assert (need["quantity"], need["unit"]) == (3, "ten_thousand_pieces")
    assert (need["base_quantity"], need["base_unit"]) == (30_000, "pieces")


async def test_a_known_key_changes_nothing_and_belongs_to_who_entered_it(
    people: People, token: MakeToken
):
    hospital = await people.hospital()
    key = uuid4().hex
    first = await people.need(hospital, external_key=key)
    body = a_need(hospital, external_key=key, title="另一个标题", submit=True)
    again = await people.post("/needs", people.clerk, body, 200)
    assert again == first
    people.clerk = token("village_officer", subject=uuid4().hex, division="430200000000")
    assert (await people.need(hospital, external_key=key))["id"] != first["id"]


async def test_a_batch_says_what_became_of_each_row(people: People):
    hospital = await people.hospital()
    known = await people.need(hospital, external_key=uuid4().hex)
    twice = uuid4().hex
    rows = [
        a_need(hospital, submit=True),
        a_need(hospital, submit=True, quantity=None),
        a_need(hospital, external_key=known["external_key"]),
        a_need(hospital, external_key=twice),
        a_need(hospital, external_key=twice),
        a_need(hospital, unit="yuan"),
        a_need(str(uuid4())),
        a_need(hospital, submit=True, urgency="life_threatening"),
        a_need(hospital, text="电话13807312345"),
    ]
    results = (await people.post("/need-batches", people.clerk, {"needs": rows}))["results"]
    assert [(r["outcome"], r["state"], r["code"], r["loc"]) for r in results] == [
        ("created", "submitted", None, None),
        ("created", "draft", None, None),
        ("already_there", "submitted", None, None),
        ("created", "draft", None, None),
        ("already_there", "draft", None, None),
        ("refused", None, "unit_not_allowed", "unit"),
        ("refused", None, "applicant_not_found", None),
        ("created", "published", None, None),
        ("refused", None, "personal_data_in_text", "text"),
    ]
    assert results[3]["id"] == results[4]["id"]
    assert results[2]["id"] == known["id"]


async def test_the_same_batch_from_two_connections_at_once_is_entered_once(people: People):
    body = {"applicants": [a_hospital(external_key=uuid4().hex) for _ in range(20)]}
    answers = await asyncio.gather(
        *(people.post("/applicant-batches", people.clerk, body) for _ in range(4))
    )
    assert len({tuple(r["id"] for r in answer["results"]) for answer in answers}) == 1
    outcomes = [r["outcome"] for answer in answers for r in answer["results"]]
    assert (outcomes.count("created"), outcomes.count("already_there")) == (20, 60)
    applicant = answers[0]["results"][0]["id"]
    needs = {"needs": [a_need(applicant, external_key=uuid4().hex) for _ in range(20)]}
    answers = await asyncio.gather(
        *(people.post("/need-batches", people.clerk, needs) for _ in range(4))
    )
    assert len({tuple(r["id"] for r in answer["results"]) for answer in answers}) == 1


async def test_a_replayed_batch_answers_the_stored_body(people: People):
    body = {"applicants": [a_hospital(external_key=uuid4().hex)]}
    key = once()
    answers = [
        await people.client.post("/v1/applicant-batches", json=body, headers=people.clerk | key)
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert answers[1].json()["results"][0]["outcome"] == "created"


async def test_an_edit_needs_the_version_that_was_read(people: People):
    need = await people.need(await people.hospital(), submit=False)
    path = f"/needs/{need['id']}"
    missing = await people.call("PATCH", path, people.clerk, {"quantity": 5}, 428)
    assert missing["code"] == "precondition_required"
    answer = await people.client.get(f"/v1/work{path}", headers=people.clerk)
    tag = {"If-Match": answer.headers["ETag"]}
    edited = await people.call("PATCH", path, people.clerk, {"quantity": 5}, 200, headers=tag)
    assert (edited["base_quantity"], edited["title"]) == (5, need["title"])
    stale = await people.call("PATCH", path, people.clerk, {"quantity": 6}, 412, headers=tag)
    assert stale["code"] == "precondition_failed"


async def test_a_submitted_need_is_not_edited(people: People):
    need = await people.need(await people.hospital())
    refused = await people.call(
        "PATCH",
        f"/needs/{need['id']}",
        people.clerk,
        {"quantity": 5},
        409,
        headers={"If-Match": f'"{need["version"]}"'},
    )
    assert refused["code"] == "not_editable"


async def test_a_returned_need_is_not_edited_below_what_is_held(people: People):
    need = await people.need(await people.hospital(), urgency="life_threatening")
    await people.put(need["id"], uuid4(), 60)
    await people.decide(need["id"], people.county, "returned", "请核对数量")
    detail = await people.detail(need["id"])
    refused = await people.call(
        "PATCH",
        f"/needs/{need['id']}",
        people.clerk,
        {"quantity": 59},
        409,
        headers={"If-Match": f'"{detail["version"]}"'},
    )
    assert refused["code"] == "quantity_held"


async def test_a_clerk_of_another_county_changes_nothing(people: People, token: MakeToken):
    need = await people.need(await people.hospital())
    people.clerk = token("village_officer", subject="stranger", division=OTHER_COUNTY)
    for path in ("submission", "withdrawal", "renewal"):
        refused = await people.post(f"/needs/{need['id']}/{path}", people.clerk, expect=403)
        assert refused["code"] == "outside_division"
    refused = await people.get(f"/work/needs/{need['id']}", people.clerk, expect=403)
    assert refused["code"] == "outside_division"


async def test_a_household_record_is_scored_by_the_versioned_index(people: People):
    body = a_household(division_code=VILLAGE)
    body["household"]["deprivations"] = ["food", "labour", "road", "electricity"]
    made = await people.post("/applicants", people.clerk, body, 201)
    assert made["name"] == "**"
    seen = await people.get(f"/applicants/{made['id']}", people.county)
    assert seen["name"] == "欧阳**"
    assert seen["deprivation_score_permille"] == 350
    assert seen["household"] == {"other_causes": []} | body["household"]
    rows = await people.sql("SELECT deprivation_index FROM applicant WHERE id = :id", id=made["id"])
    assert rows[0][0] == "deprivation-index-1"


async def test_a_key_of_a_refused_row_stands_for_nobody(people: People):
    """The second row must not be answered with the id of an applicant that was not written."""
    known = a_household()
    await people.post("/applicants", people.clerk, known, 201)
    batch = {"applicants": [known | {"external_key": "row 7"}] * 2}
    results = (await people.post("/applicant-batches", people.clerk, batch))["results"]
    assert [(r["outcome"], r["code"], r["id"]) for r in results] == [
        ("refused", "applicant_exists", None)
    ] * 2


async def test_screening_a_batch_leaves_the_service_answering(people: People):
    """Text that looks like numbers costs some 20 ms: a batch of it must not hold up the rest."""
    applicant = await people.hospital()
    body = a_need(applicant, text=("1 2 3 4 5 6 7 8 9 + (0) " * 90)[:2000])
    turns = 0  # of another, each after the batch has worked for a while

    async def take_turns() -> None:
        nonlocal turns
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0)
            turns += time.perf_counter() - began > 0.002

    others = asyncio.create_task(take_turns())
    await people.post("/need-batches", people.clerk, {"needs": [body] * 60})
    others.cancel()
    assert turns > 40
