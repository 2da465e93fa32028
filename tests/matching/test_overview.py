"""What a coordinator reads adds up, and says what it says of the same proposals."""

from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from services.matching import contract
from services.matching.planning import plan, wording
from services.matching.policies import policies
from shared.vocabulary import divisions
from tests.matching.test_outcomes import PLAIN
from tests.matching.test_planning import a_large_snapshot, a_line, a_need, a_snapshot

NATIONAL = policies()["national-1"]


@pytest.fixture(scope="module")
def snapshot():
    whole = a_large_snapshot()
    # Fewer classes, so that divisions have several needs of each.
    return replace(
        whole,
        needs=tuple(replace(n, item_class=f"class_{n.need_id.int % 5}") for n in whole.needs[:900]),
        lines=tuple(replace(m, item_class=f"class_{m.line_id.int % 5}") for m in whole.lines[:240]),
    )


@pytest.fixture(scope="module")
def found(snapshot):
    return plan(snapshot)


def shares(found, snapshot) -> dict[object, int]:
    """Millionths of each need that are met."""
    given: Counter[object] = Counter()
    for p in found.proposals:
        given[p.need.need_id] += p.quantity
    return {n.need_id: given[n.need_id] * 1_000_000 // n.remaining for n in snapshot.needs}


def test_totals_count_what_is_proposed(snapshot, found):
    totals = found.totals
    met = shares(found, snapshot)
    assert totals["proposals"] == len(found.proposals)
    assert totals["needs_met"] == sum(share > 0 for share in met.values())
    assert sum(row["needs"] for row in totals["outcomes"]) == len(found.outcomes)
    assert len(found.outcomes) == sum(share < 1_000_000 for share in met.values())
    for tier in totals["tiers"]:
        needs = [n for n in snapshot.needs if n.urgency == tier["urgency"]]
        assert tier["needs"] == len(needs)
        assert tier["fully_met"] == sum(met[n.need_id] == 1_000_000 for n in needs)
        assert tier["fully_met"] + tier["partly_met"] + tier["unmet"] == len(needs)
        assert tier["rate_permille"] == sum(met[n.need_id] for n in needs) // len(needs) // 1_000
        assert max(tier["served"], tier["most"]) <= tier["asked"]
    assert totals["gap_ppm"] <= NATIONAL.solver.gap_ppm


def test_fairness_is_told_before_and_after_by_division(snapshot, found):
    before = shares(plan(replace(snapshot, policy=PLAIN)), snapshot)
    after = shares(found, snapshot)
    assert before != after
    for level in found.totals["fairness"]:
        for when, met in (("before", before), ("after", after)):
            rates: defaultdict[str, list[int]] = defaultdict(list)
            for need in snapshot.needs:
                rates[divisions.cut_to(need.division_code, level["level"])].append(
                    met[need.need_id]
                )
            mean = {code: sum(of) // len(of) for code, of in rates.items()}
            assert level["divisions"] == len(mean)
            assert level[when]["lowest"]["rate_ppm"] == min(mean.values())
            assert level[when]["highest"]["rate_ppm"] == max(mean.values())
            assert {r["division_code"]: r[f"{when}_ppm"] for r in level["table"]} == mean
    townships = found.totals["fairness"][-1]
    assert townships["level"] == "township"
    assert townships["after"]["gini_ppm"] <= townships["before"]["gini_ppm"]


def test_the_price_of_fairness_is_what_welfare_loses(snapshot, found):
    plain = plan(replace(snapshot, policy=PLAIN))
    without, kept = plain.totals["welfare"], found.totals["welfare"]
    assert found.totals["welfare_without_fairness"] == without
    assert found.totals["price_of_fairness_ppm"] == max(0, (without - kept) * 10**6 // without)
    assert plain.totals["price_of_fairness_ppm"] == 0


def test_ten_samples_are_drawn_by_lot_from_every_story(found):
    drawn = found.totals["samples"]
    assert len(drawn) == len({(s["need_id"], s["line_id"]) for s in drawn}) == 10
    stories = {(p.explanation["better"] or {}).get("kept_by") for p in found.proposals}
    assert {(s["explanation"]["better"] or {}).get("kept_by") for s in drawn} == stories
    assert {s["code"] for s in found.totals["unmet_samples"]} == {o.code for o in found.outcomes}


def test_it_reads_well(snapshot, found):
    read = contract.OverviewRead.model_validate(wording.overview(found.totals, snapshot.card))
    assert read.text_zh.startswith("900 项需求与 240 条供给：")
    assert read.text_en.startswith("900 needs and 240 offers: ")
    county = next(level for level in read.fairness if level.level == "county")
    assert county.after.lowest is not None
    assert county.after.lowest.name_zh in {"茶陵县", "炎陵县"}
    for sample in read.samples:
        assert sum(f.points for f in sample.explanation.features) == sample.explanation.fit_permille
        assert sum(t.points for t in sample.explanation.terms) == sample.explanation.value_permille


def test_a_round_of_nothing_has_an_overview_too():
    empty = plan(a_snapshot([], [a_line(1)]))
    read = contract.OverviewRead.model_validate(
        wording.overview(empty.totals, a_snapshot([], []).card)
    )
    assert (read.needs, read.proposals, read.fairness) == (0, 0, [])
    one = plan(a_snapshot([a_need(1)], []))
    assert [o.code for o in one.outcomes] == ["no_offer_of_class"]
