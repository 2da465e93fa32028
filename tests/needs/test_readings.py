"""Who was shown what is not public is told in events: how much, never of whom a list was."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.needs.builders import COUNTY, TOWNSHIP, VILLAGE, a_household, a_need
from tests.needs.conftest import People


async def readings(people: People, who: str) -> list[tuple[str, str | None, dict[str, Any]]]:
    """(subject, division, data) of what this person was shown, oldest first; no empty fields."""
    rows = await people.sql(
        "SELECT subject, division, data FROM (SELECT id, actor, type, subject, division, data"
        " FROM event UNION ALL SELECT id, actor, type, subject, division, data FROM outbox) AS told"
        " WHERE type = 'needs.records_read' AND actor = :who ORDER BY id",
        who=who,
    )
    return [
        (row.subject, row.division, {k: v for k, v in row.data.items() if v is not None})
        for row in rows
    ]


@pytest.fixture
def officer(people: People) -> tuple[str, dict[str, str]]:
    """A county officer of whom no other test knows."""
    name = f"officer-{uuid4().hex[:6]}"
    return name, people.token("county_officer", subject=name, division=COUNTY)


async def test_a_page_of_work_is_told_by_its_size_and_filter(people, officer):
    name, token = officer
    need = await people.need()
    shown = await people.get("/work/needs", token, params={"level": "village", "limit": "1"})
    assert len(shown["data"]) == 1
    told = {"view": "needs", "count": 1, "level": "village", "mine": False}
    assert await readings(people, name) == [("work/needs", COUNTY, told)]
    assert need["applicant_id"] not in json.dumps(await readings(people, name))


async def test_a_page_that_shows_nothing_is_not_told(people, officer):
    name, token = officer
    params = {"state": "withdrawn", "level": "village"}
    assert (await people.get("/work/needs", token, params=params))["data"] == []
    elsewhere = people.token("county_officer", subject=name, division="110101000000")
    assert (await people.get("/work/objections", elsewhere))["data"] == []
    assert await readings(people, name) == []


async def test_one_need_and_one_applicant_are_told(people, officer):
    name, token = officer
    need = await people.need()
    await people.get(f"/work/needs/{need['id']}", token)
    await people.get(f"/applicants/{need['applicant_id']}", token)
    of_need, of_applicant = await readings(people, name)
    told = {"view": "need", "count": 1, "need_id": need["id"]}
    # Of the township: an event never says the village.
    assert of_need == (f"need/{need['id']}", TOWNSHIP, told)
    subject, division, data = of_applicant
    assert (division, data["view"], data["count"]) == (TOWNSHIP, "applicant", 1)
    assert subject == f"applicant/{data['applicant']}"
    assert need["applicant_id"] not in json.dumps(of_applicant)


async def test_objections_with_their_reasons_are_told(people, officer):
    name, token = officer
    need = await people.need()
    await people.pass_all(need["id"])
    await people.post(f"/needs/{need['id']}/objections", None, {"reason": "公示内容不实"}, 201)
    shown = await people.get("/work/objections", token)
    [(subject, division, data)] = await readings(people, name)
    assert (subject, division) == ("work/objections", COUNTY)
    assert data == {"view": "objections", "count": len(shown["data"]), "state": "open"}


async def test_what_is_refused_is_not_told(people):
    name = f"stranger-{uuid4().hex[:6]}"
    stranger = people.token("county_officer", subject=name, division="110101000000")
    need = await people.need()
    await people.get(f"/work/needs/{need['id']}", stranger, expect=403)
    await people.get(f"/applicants/{need['applicant_id']}", stranger, expect=403)
    assert await readings(people, name) == []


async def test_a_creation_that_shows_what_was_there_is_a_reading(people):
    """Whoever knows, or guesses, an external key is answered with the record."""
    applicant = a_household(external_key=f"k-{uuid4().hex}")
    made = await people.post("/applicants", people.clerk, applicant, 201)
    need = a_need(made["id"], external_key=f"k-{uuid4().hex}")
    entered = await people.post("/needs", people.clerk, need, 201)
    assert await readings(people, people.clerk_subject) == []
    await people.post("/applicants", people.clerk, applicant, 200)
    await people.post("/needs", people.clerk, need, 200)
    told = await readings(people, people.clerk_subject)
    assert [(division, data["view"]) for _, division, data in told] == [
        (TOWNSHIP, "applicant"),
        (TOWNSHIP, "need"),
    ]
    assert told[1][2]["need_id"] == entered["id"]
    assert VILLAGE not in json.dumps(told)
