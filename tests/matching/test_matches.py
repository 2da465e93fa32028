"""Offers for a need and needs for an offer over HTTP: order, pages, filters, reasons, freshness."""

from uuid import UUID

import pytest

from services.matching.ranking.scorecard import BUILT_IN
from shared.vocabulary.codes import Urgency
from tests.needs.builders import CITY, COUNTY, TOWNSHIP


@pytest.fixture(scope="module")
async def filled(world):
    """One offer of two lines for many needs, and many offers for one of these."""
    world.many = await world.publish(
        [
            {
                "title": f"口罩 {number % 3}",
                "item": "医用外科口罩",
                "quantity": 10 * (1 + number % 4),
            }
            for number in range(9)
        ]
    )
    world.offer = await world.open_offer(lines=[{"quantity": 500}, {"quantity": 20}])
    for number in range(6):
        await world.open_offer(
            title=f"捐赠口罩 {number % 2}",
            served_division_codes=[[CITY], [COUNTY], [TOWNSHIP]][number % 3],
            lines=[{"quantity": 30 + number % 2}],
        )
    await world.caught_up()
    return world


def places(rows, key):
    return [
        (-row["score_permille"], row["need_id"] if key == "need" else "", row["line_id"])
        for row in rows
    ]


async def test_offers_come_by_score_with_what_it_was_made_of(filled):
    answer = await filled.get(f"/needs/{filled.many[0]}/offers?limit=50")
    rows = answer["data"]
    assert len(rows) == answer["compared"] == 8
    assert not answer["cut"]
    assert places(rows, "line") == sorted(places(rows, "line"))
    for row in rows:
        assert (row["policy"], row["ranking"]) == ("national-1", BUILT_IN)
        assert sum(reason["points"] for reason in row["reasons"]) == row["fit_permille"]
        assert sum(term["points"] for term in row["terms"]) == row["score_permille"]
        assert row["quantity"] == min(10, row["available"])
        assert row["served_division_code"] in {CITY, COUNTY, TOWNSHIP}
        assert all(reason["text_zh"] and reason["text_en"] for reason in row["reasons"])
    near = {row["served_division_code"]: row for row in rows}
    level = {
        code: {r["feature"]: r["points"] for r in row["reasons"]}["level_of_match"]
        for code, row in near.items()
    }
    assert level[TOWNSHIP] >= level[COUNTY] >= level[CITY]


@pytest.mark.parametrize("limit", [1, 3])
async def test_pages_repeat_nothing_and_leave_nothing_out(filled, limit):
    """Many have the same score: equals are told apart by their ids."""
    for path in (f"/needs/{filled.many[0]}/offers", f"/offers/{filled.offer['id']}/needs"):
        whole = await filled.get(f"{path}?limit=50")
        scores = [row["score_permille"] for row in whole["data"]]
        assert len(set(scores)) < len(scores)
        paged = await filled.all_of(f"{path}?limit={limit}")
        assert paged == whole["data"]


async def test_needs_for_an_offer_are_those_each_line_may_serve(filled):
    answer = await filled.get(f"/offers/{filled.offer['id']}/needs?limit=50")
    rows = answer["data"]
    assert places(rows, "need") == sorted(places(rows, "need"))
    assert {row["need_id"] for row in rows} == set(filled.many)
    assert len({row["line_id"] for row in rows}) == 2
    assert len(rows) == answer["compared"]


async def test_needs_are_narrowed_by_urgency_division_class_and_quantity(filled):
    path = f"/offers/{filled.offer['id']}/needs?limit=50"
    whole = (await filled.get(path))["data"]
    for query, keeps in (
        ("urgency=life_threatening", lambda row: row["urgency"] == Urgency.LIFE_THREATENING),
        ("urgency=urgent", lambda row: row["urgency"] == Urgency.URGENT),
        ("quantity_min=30", lambda row: row["remaining"] >= 30),
        ("item_class=mask_surgical", lambda row: True),
        ("item_class=rice", lambda row: False),
        ("category=education_training", lambda row: False),
        (f"division_code={TOWNSHIP}", lambda row: True),
        ("division_code=430000000000", lambda row: True),
        ("division_code=440000000000", lambda row: False),
    ):
        narrowed = (await filled.get(f"{path}&{query}"))["data"]
        assert narrowed == [row for row in whole if keeps(row)], query


async def test_offers_are_narrowed_by_quantity(filled):
    path = f"/needs/{filled.many[0]}/offers?limit=50"
    whole = (await filled.get(path))["data"]
    narrowed = (await filled.get(f"{path}&quantity_min=31"))["data"]
    assert narrowed == [row for row in whole if row["available"] >= 31]
    assert 0 < len(narrowed) < len(whole)


async def test_what_was_applied_a_moment_ago_is_in_the_answer(filled):
    """No answer is older than the feed: not after a publication, nor after a withdrawal."""
    path = f"/offers/{filled.offer['id']}/needs?limit=50"
    for _ in range(3):
        [need] = await filled.publish([{"title": "口罩", "item": "医用外科口罩", "quantity": 7}])
        await filled.caught_up()
        assert need in {row["need_id"] for row in (await filled.get(path))["data"]}
        await filled.get(f"/needs/{need}/offers")
        await filled.call("POST", "needs", f"/needs/{need}/withdrawal", filled.clerk)
        await filled.caught_up()
        assert need not in {row["need_id"] for row in (await filled.get(path))["data"]}
        gone = await filled.get(f"/needs/{need}/offers", status=404)
        assert gone["code"] == "need_not_found"


async def test_a_need_whose_time_is_over_is_compared_with_nothing(filled):
    """As in a round: also in the moment before its expiry is told."""
    [need] = await filled.publish([{"title": "口罩", "item": "医用外科口罩", "quantity": 7}])
    await filled.caught_up()
    assert (await filled.get(f"/needs/{need}/offers"))["data"]
    await filled.rows(
        "matching",
        "UPDATE need_view SET expires_at = now(), changed_seq ="
        " (SELECT max(changed_seq) FROM need_view) + 1 WHERE need_id = $1",
        UUID(need),
    )

    async def nothing():
        answer = await filled.get(f"/needs/{need}/offers")
        return (answer["data"], answer["compared"]) == ([], 0)

    await filled.until(nothing, "the index looks by itself", 5)


async def test_what_another_process_applied_is_seen_soon(filled):
    [row] = await filled.rows(
        "matching",
        "UPDATE need_view SET remaining = remaining - 1, changed_seq ="
        " (SELECT max(changed_seq) FROM need_view) + 1 WHERE need_id = $1 RETURNING remaining",
        filled.many[8],
    )

    async def seen():
        rows = (await filled.get(f"/offers/{filled.offer['id']}/needs?limit=50"))["data"]
        return {r["remaining"] for r in rows if r["need_id"] == filled.many[8]} == {row[0]}

    await filled.until(seen, "the index looks by itself")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/needs/{need}/offers?policy=nonsense", 422, "policy_not_found"),
        ("/needs/{need}/offers?cursor=bm9uc2Vuc2U", 400, "invalid_cursor"),
        ("/offers/{offer}/needs?division_code=999999999999", 422, "division_unknown"),
        ("/offers/{need}/needs", 404, "offer_not_found"),
    ],
)
async def test_what_cannot_be_answered_is_refused(filled, path, status, code):
    asked = path.format(need=filled.many[0], offer=filled.offer["id"])
    assert (await filled.get(asked, status=status))["code"] == code
