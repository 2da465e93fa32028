"""Free text, facets and pages over HTTP; what is withdrawn is no longer found."""

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching.index import Document, WordIndex, finding
from services.matching.text.tokens import counted
from shared.vocabulary import divisions
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


# ------------------------------------------------ hits, facets and pages by themselves

CODES = [
    "000000000000",
    "430000000000",
    "430200000000",
    "430224000000",
    "430224101000",
    "430225000000",
    "440000000000",
    # Of a city without counties: the level below it is the township.
    "441900000000",
    "441900003000",
]
TEXTS = ["口罩", "儿童口罩", "口罩 医用", "手套", "crutches"]
documents = st.lists(
    st.tuples(
        st.sampled_from(range(len(TEXTS))),
        st.integers(0, 2),
        st.lists(st.sampled_from(CODES), min_size=1, max_size=3, unique=True),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(
    made=documents,
    text=st.sampled_from([None, "口罩", "儿童口罩", "手套"]),
    facet=st.sampled_from([None, 0, 1]),
    division=st.sampled_from([None, *CODES]),
    count=st.integers(1, 7),
)
def test_hits_facets_and_pages_against_their_definition(made, text, facet, division, count):
    words = WordIndex(1)
    told = {UUID(int=(n * 37 % 101) << 64 | n): one for n, one in enumerate(made, start=1)}
    words.put(
        [
            Document(key, counted([TEXTS[t]])[0], (f,), tuple(int(c) for c in codes))
            for key, (t, f, codes) in told.items()
        ]
    )
    query = None if text is None else words.query(text)
    found = finding.find(words, query, finding.Filter((facet,), division))
    hits = dict(
        zip([words.ids[s] for s in found.serials.tolist()], found.scores.tolist(), strict=True)
    )
    reached = [] if query is None else words.scores(query).tolist()
    expected = {
        key
        for key, (_, f, codes) in told.items()
        if (query is None or reached[words.serial_of[key]] * 4 >= query.greatest > 0)
        and facet in (None, f)
        and (division is None or any(touches(code, division) for code in codes))
    }
    assert hits.keys() == expected
    counts = dict(finding.facet(words, found, 0))
    assert counts == Counter(told[key][1] for key in expected)
    around = division or CODES[0]
    below = Counter[str]()
    for key in expected:
        codes = told[key][2]
        if any(divisions.covers(code, around) for code in codes):
            below[around] += 1
        else:
            below.update({child(code, around) for code in codes if divisions.covers(around, code)})
    assert dict(finding.division_facet(words, found, around)) == below
    pages, behind = [], None
    while page := finding.page(words, found, behind, count):
        pages += page
        behind = page[-1]
    assert [p.id for p in pages] == sorted(expected, key=lambda k: (-hits[k], -k.int))


def touches(code, division):
    return divisions.covers(code, division) or divisions.covers(division, code)


def child(code, around):
    """The outermost of what contains the code, below the division."""
    chain = [*reversed(divisions.ancestors(code)), code]
    return next(one for one in chain if divisions.covers(around, one) and one != around)
