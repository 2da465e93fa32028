"""The public list: filters, search in two languages, stable cursors, one query a page."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event

from services.needs.app import create_app
from services.needs.searching import query, vector
from shared.issuer import Issuer
from tests.needs.builders import COUNTY, OTHER_COUNTY, VILLAGE, a_need
from tests.needs.conftest import MakeToken, People, Row, settings_of

ITEMS = [
    ("mask_surgical", "医用外科口罩", "Surgical masks, blue"),
    ("protective_clothing", "医用防护服", "Protective clothing"),
    ("gloves", "一次性丁腈手套", "Nitrile gloves"),
]


@pytest.fixture(scope="module")
async def app(
    module_database: Callable[[str], str], issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
):
    folder: Path = tmp_path_factory.mktemp("listing")
    made = create_app(settings_of(module_database("needs"), issuer, folder))
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture(scope="module")
async def listed(app: FastAPI, token: MakeToken) -> dict[str, str]:
    """Nine published needs, three items in three divisions: (division, item class) -> id."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        people = People(app, client, token)
        made = {}
        for division in (VILLAGE, COUNTY, OTHER_COUNTY):
            applicant = await people.hospital(division_code=division)
            rows = [
                a_need(
                    applicant,
                    item_class=item_class,
                    item=item,
                    title=f"需要{item}",
                    specification=specification,
                    urgency="life_threatening",
                    submit=True,
                )
                for item_class, item, specification in ITEMS
            ]
            results = (await people.post("/need-batches", people.clerk, {"needs": rows}))["results"]
            for row, result in zip(rows, results, strict=True):
                made[f"{division} {row['item_class']}"] = result["id"]
        return made


async def ids(people: People, **filters: str) -> set[str]:
    listed = await people.get("/needs", None, params={"limit": "200", **filters})
    return {need["id"] for need in listed["data"]}


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 9),
        ({"division": "000000000000"}, 9),
        ({"division": "430000000000"}, 9),
        ({"division": COUNTY}, 6),
        ({"division": VILLAGE}, 3),
        ({"division": VILLAGE[:9] + "000"}, 3),
        ({"division": "110000000000"}, 0),
        ({"category": "medical_care"}, 9),
        ({"category": "housing"}, 0),
        ({"item_class": "gloves"}, 3),
        ({"urgency": "life_threatening"}, 9),
        ({"urgency": "normal"}, 0),
        ({"met": "unmet"}, 9),
        ({"met": "partly"}, 0),
        ({"met": "fully"}, 0),
        ({"q": "口罩"}, 3),
        ({"q": "防护"}, 3),
        ({"q": "防护服"}, 3),
        ({"q": "防服"}, 0),
        ({"q": "服"}, 3),
        ({"q": "防护服 手套"}, 0),
        ({"q": "需要 手套"}, 3),
        ({"q": "SURGICAL mask"}, 3),
        ({"q": "protective clothing"}, 3),
        ({"q": "Nitril"}, 3),
        ({"q": "!!! ' & | <->"}, 0),
        ({"q": "口罩", "division": OTHER_COUNTY, "category": "medical_care"}, 1),
    ],
)
async def test_filters_and_search(people: People, listed: Row, filters: Row, count: int):
    assert len(await ids(people, **filters)) == count


async def test_pages_are_complete_without_repeats_while_needs_are_added(
    people: People, listed: Row
):
    hospital = await people.hospital(division_code=OTHER_COUNTY)
    seen: list[str] = []
    path = "/needs?limit=2"
    while path:
        page = await people.get(path)
        seen += [need["id"] for need in page["data"]]
        # What comes in meanwhile is newer than the cursor, so it moves no page.
        added = await people.need(hospital, urgency="life_threatening", item="新增", title="新增")
        path = (page["links"]["next"] or "").removeprefix("/v1")
        await people.post(f"/needs/{added['id']}/withdrawal", people.clerk)
    assert len(seen) == len(set(seen)) == 9
    assert set(seen) == set(listed.values())


@pytest.mark.parametrize("cursor", ["nonsense", "WzFd", "WyJhIiwiYiJd"])
async def test_a_cursor_that_is_not_ours_is_refused(people: People, cursor: str):
    refused = await people.get(f"/needs?cursor={cursor}", expect=400)
    assert refused["code"] == "invalid_cursor"


@pytest.mark.parametrize(
    "path", ["/needs?limit=50", "/needs?q=口罩&limit=50", "/notices", "/policy-activations"]
)
async def test_a_public_list_is_one_query(app: FastAPI, people: People, listed: Row, path: str):
    statements: list[str] = []

    def count(_conn, _cursor, statement, *_rest) -> None:
        statements.append(statement)

    event.listen(app.state.callers.engine.sync_engine, "before_cursor_execute", count)
    try:
        await people.get(path)
    finally:
        event.remove(app.state.callers.engine.sync_engine, "before_cursor_execute", count)
    assert len(statements) == 1, statements


async def test_a_household_is_not_named_in_the_public_list(people: People):
    need = await people.need(urgency="life_threatening", title="寡居老人缺药")
    public = await people.get(f"/needs/{need['id']}")
    assert public["institution_name"] is None
    assert "欧阳" not in str(public)
    await people.post(f"/needs/{need['id']}/withdrawal", people.clerk)


async def test_code_lists_and_divisions_are_public(people: People):
    categories = await people.get("/vocabulary/categories")
    assert {"code": "housing", "name_zh": "住房", "name_en": "Housing"} in categories
    units = {unit["code"]: unit for unit in await people.get("/vocabulary/units")}
    assert units["ten_thousand_pieces"]["factor"] == 10_000
    await people.get("/vocabulary/secrets", expect=404)
    cities = await people.get("/divisions?parent=430000000000")
    assert {"code": "430200000000", "level": "city"}.items() <= next(
        city for city in cities if city["name_zh"] == "株洲市"
    ).items()


def test_search_terms_of_chinese_are_pairs_and_of_others_words():
    assert vector(["防护服 N95"]) == "'防':1 '防护':1 '护':2 '护服':2 '服':3 'n95':4"
    assert query("防护服") == "('防护' <1> '护服')"
    assert query("N95口罩") == "('n95':* <1> '口罩')"
    assert query("n95 mask") == "('n95':*) & ('mask':*)"
    assert query("，。！") is None
