"""New needs between rounds: stock is kept back for those to come, and what that cost is counted."""

import random
from dataclasses import replace
from datetime import timedelta

from services.matching import contract
from services.matching.planning import plan, wording
from services.matching.policies import policies
from services.matching.ranking.scorecard import reasoned
from tests.matching.test_planning import AT, a_line, a_need, a_snapshot, pairs

POLICY = policies()["national-1"].model_copy(update={"forecast_permille": 1000})


def a_placement(needs, lines, earlier=(), **fields):
    return replace(
        a_snapshot(needs, lines, POLICY), kind="placement", earlier=tuple(earlier), **fields
    )


def earlier(count: int, **fields):
    return [
        a_need(1_000 + number, published_at=AT - timedelta(days=40), **fields)
        for number in range(count)
    ]


def test_what_the_more_urgent_are_expected_to_ask_for_is_kept_from_the_others():
    needs = [a_need(1), a_need(2, urgency="life_threatening", remaining=30)]
    expected = earlier(3, urgency="life_threatening", remaining=100)
    found = plan(a_placement(needs, [a_line(1, available=300)], expected))
    # The most urgent never waits; the other does, for 300 units may still be asked by such.
    assert pairs(found) == [(2, 1, 30)]
    [outcome] = found.outcomes
    assert (outcome.code, outcome.given) == ("kept_back", 0)
    assert found.totals["kept_back"] == found.totals["kept_for_more_urgent"] == 1
    assert found.totals["welfare_without_reserves"] > found.totals["welfare"]
    zh, en = wording.outcome_words(outcome.code, outcome.counts, 100, 0, "yuan")
    assert (
        zh == "缺 100 元，未得：适用的供给有 1 条，数量留给后来更紧急或更适合的需求，下一轮再算。"
    )
    assert en.startswith("Nothing of 100 yuan met: 1 offer would fit, kept back for needs to come")
    read = contract.OverviewRead.model_validate(wording.overview(found.totals, reasoned()))
    assert "1 项需求少得或暂无" in read.text_zh
    assert "1 need gets less, for the sake of needs to come" in read.text_en


def test_nothing_of_a_placement_is_told_to_be_proven_best():
    found = plan(a_placement([a_need(1), a_need(2)], [a_line(1, available=300)]))
    read = contract.OverviewRead.model_validate(wording.overview(found.totals, reasoned()))
    assert (read.gap_ppm, {tier.gap_ppm for tier in read.tiers}) == (None, {None})
    assert contract.RoundTotals.model_validate(found.totals).gap_ppm is None
    assert read.methods == {"placed": 1}
    assert "未证明最优" in read.text_zh
    assert "not proven best" in read.text_en


def test_without_demand_to_come_everything_is_given():
    found = plan(a_placement([a_need(1), a_need(2)], [a_line(1, available=300)]))
    assert pairs(found) == [(1, 1, 100), (2, 1, 100)]
    assert found.totals["kept_back"] == 0


def test_the_last_rounds_prices_are_used_where_there_was_no_earlier_demand():
    line = a_line(1, available=300)
    # More than any need gains: a thousand points a unit.
    dear = {str(line.line_id): 1_000 * 10**12}
    found = plan(a_placement([a_need(1)], [line], start_prices=dear))
    assert found.proposals == ()
    assert [o.code for o in found.outcomes] == ["kept_back"]
    urgent = a_need(1, urgency="life_threatening")
    assert pairs(plan(a_placement([urgent], [line], start_prices=dear))) == [(1, 1, 100)]


def test_a_placement_is_deterministic_and_can_be_read():
    chance = random.Random(4)
    needs = [
        a_need(
            n,
            applicant=f"p{chance.randrange(60)}",
            remaining=chance.randint(1, 90),
            urgency=chance.choice(POLICY.tiers),
        )
        for n in range(1, 80)
    ]
    lines = [
        a_line(n, available=chance.randint(20, 300), lot=chance.choice([1, 5])) for n in range(1, 9)
    ]
    snapshot = a_placement(needs, lines, earlier(40, remaining=60, urgency="life_threatening"))
    first, again = plan(snapshot), plan(snapshot)
    assert first == again
    contract.OverviewRead.model_validate(wording.overview(first.totals, snapshot.card))
    given: dict[object, int] = {}
    for p in first.proposals:
        given[p.line.line_id] = given.get(p.line.line_id, 0) + p.quantity
        assert p.quantity >= p.line.lot
    assert all(given.get(m.line_id, 0) <= m.available for m in lines)
    assert {o.code for o in first.outcomes} >= {"kept_back"}


def test_a_scarce_rounds_prices_let_a_better_need_in_and_keep_a_worse_one_out():
    # Two units for three needs: a unit is worth what the second gained, or a little less.
    needs = [a_need(n, remaining=1, poverty_permille=poor) for n, poor in ((1, 900), (2, 600))]
    third = a_need(3, remaining=1, poverty_permille=400)
    before = plan(a_snapshot([*needs, third], [a_line(1, available=2)], POLICY))
    assert [p.need.need_id.int for p in before.proposals] == [1, 2]
    # The line has one unit again, and nothing is known of earlier demand.
    line = a_line(1, available=1)
    for poor, placed in ((700, [(4, 1, 1)]), (300, [])):
        late = a_need(4, remaining=1, poverty_permille=poor)
        found = plan(a_placement([late], [line], start_prices=before.prices))
        assert pairs(found) == placed
