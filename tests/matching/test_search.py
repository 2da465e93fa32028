"""Free text, facets and pages over HTTP; what is withdrawn is no longer found."""

import pytest

from tests.needs.builders import CITY, COUNTY, TOWNSHIP

PROVINCE = "430000000000"


@pytest.fixture(scope="module")
async def needs(world):
    """Ids by what was asked for."""
    ids = await world.publish(
        [
            {"title": "儿童口罩 紧急", "item": "儿童口罩", "quantity": 10},
            {"title": "医用外科口罩", "item": "医用外科口罩", "quantity": 20},
            {"title": "口罩", "item": "口罩", "quantity": 30, "urgency": "life_threatening"},
        ]
    )
    await world.caught_up()
    return ids


async def found(world, path):
    return await world.get(f"/search/{path}")


async def test_a_text_finds_needs_the_likest_first(world, needs):
    answer = await found(world, "needs?q=儿童口罩")
    assert answer["data"][0]["need_id"] == needs[0]
    scores = [hit["score_permille"] for hit in answer["data"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["total"] == len(answer["data"])
    nothing = await found(world, "needs?q=挖掘机")
    assert (nothing["data"], nothing["total"]) == ([], 0)


async def test_without_a_text_all_are_listed_newest_first_in_pages(world, needs):
    whole = await found(world, "needs?limit=200")
    ids = [hit["need_id"] for hit in whole["data"]]
    assert ids == sorted(ids, reverse=True)
    assert set(needs) <= set(ids)
    assert whole["total"] == len(ids)
    paged = await world.all_of("/search/needs?limit=1")
    assert [hit["need_id"] for hit in paged] == ids


async def test_pages_of_a_text_neither_repeat_nor_leave_out(world, needs):
    whole = await found(world, "needs?q=口罩")
    paged = await world.all_of("/search/needs?q=口罩&limit=1")
    assert paged == whole["data"]
    assert len(paged) >= 3


async def test_facets_count_what_the_filters_leave(world, needs):
    whole = await found(world, "needs?limit=200")
    facets = whole["facets"]
    assert sum(f["count"] for f in facets["categories"]) == whole["total"]
    assert sum(f["count"] for f in facets["urgencies"]) == whole["total"]
    [province] = facets["divisions"]
    assert (province["code"], province["name_zh"], province["count"]) == (
        PROVINCE,
        "湖南省",
        whole["total"],
    )
    county = await found(world, f"needs?division_code={COUNTY}&q=口罩")
    below = {f["code"]: f["count"] for f in county["facets"]["divisions"]}
    assert below == {TOWNSHIP: county["total"]}
    for name, facet in (("category", "categories"), ("item_class", "item_classes")):
        for entry in facets[facet]:
            narrowed = await found(world, f"needs?{name}={entry['code']}")
            assert narrowed["total"] == entry["count"]
            assert {hit[name] for hit in narrowed["data"]} == {entry["code"]}


async def test_offers_are_found_by_text_and_by_what_they_serve(world):
    offer = await world.open_offer(title="捐赠防护服", lines=[{"item": "一次性医用防护服"}])
    await world.caught_up()
    answer = await found(world, "offers?q=防护服")
    assert answer["data"][0]["offer_id"] == offer["id"]
    inside = await found(world, f"offers?q=防护服&division_code={TOWNSHIP}")
    assert inside["data"] == answer["data"]
    assert inside["facets"]["divisions"][0]["code"] == TOWNSHIP
    above = await found(world, f"offers?q=防护服&division_code={PROVINCE}")
    assert [f["code"] for f in above["facets"]["divisions"]] == [CITY]
    elsewhere = await found(world, "offers?q=防护服&division_code=440000000000")
    assert elsewhere["total"] == 0


async def test_a_suspended_or_withdrawn_need_is_not_found(world):
    [need] = await world.publish([{"title": "轮椅坡道板", "quantity": 1}])
    await world.caught_up()
    assert (await found(world, "needs?q=轮椅坡道板"))["total"] == 1
    await world.call("POST", "needs", f"/needs/{need}/withdrawal", world.clerk)
    await world.caught_up()
    assert (await found(world, "needs?q=轮椅坡道板"))["total"] == 0


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("q=...", "query_empty"),
        ("category=nonsense", "category_unknown"),
        ("item_class=nonsense", "item_class_unknown"),
        ("division_code=999999999999", "division_unknown"),
    ],
)
async def test_what_is_not_known_is_said(world, query, code):
    answer = await world.get(f"/search/needs?{query}", status=422)
    assert answer["code"] == code


async def test_a_cursor_of_another_list_is_refused(world):
    answer = await world.get("/search/needs?cursor=bm9uc2Vuc2U", status=400)
    assert answer["code"] == "invalid_cursor"
