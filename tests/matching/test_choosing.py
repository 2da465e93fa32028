"""One aid of a kind per applicant, against every choice there is."""

import itertools
from collections import Counter

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.matching.planning import plan
from services.matching.planning.candidates import Comparison
from services.matching.planning.choosing import best_choice, rivals
from services.matching.planning.classes import attempt, prepared
from services.matching.policies import policies
from tests.matching.test_planning import a_line, a_need, a_snapshot, pairs

NATIONAL = policies()["national-1"]
PLAIN = NATIONAL.model_copy(
    update={
        "fairness": NATIONAL.fairness.model_copy(update={"levels": []}),
        "diversity": NATIONAL.diversity.model_copy(update={"points_max": 0}),
    }
)


@st.composite
def snapshots(draw):
    needs = [
        a_need(
            number,
            applicant=f"p{draw(st.integers(1, 3))}",
            remaining=draw(st.integers(1, 3)),
            urgency=draw(st.sampled_from(PLAIN.tiers)),
            division_code=draw(st.sampled_from(["430224101000", "430224102000"])),
            poverty_permille=draw(st.sampled_from([100, 900])),
        )
        for number in range(1, draw(st.integers(3, 6)) + 1)
    ]
    lines = [
        a_line(
            number,
            available=draw(st.integers(1, 3)),
            served_division_codes=(
                draw(st.sampled_from(["430224101000", "430224102000", "430224000000"])),
            ),
        )
        for number in range(1, draw(st.integers(1, 3)) + 1)
    ]
    return a_snapshot(needs, lines, PLAIN)


def searched(snapshot):
    """(what is found, what step 1 alone finds, the best of all), each as its rank."""
    of_class = prepared(snapshot.needs, snapshot, Comparison(snapshot))
    edges = of_class.edges
    has_line = np.bincount(edges.need, minlength=len(edges.needs)) > 0
    asking = rivals(edges.needs, ["household"], has_line, of_class.tier)

    def solved(active):
        return attempt(of_class, active, True, lambda: False)

    ranks = []
    for choice in itertools.product(*asking):
        active = np.ones(len(edges.needs), dtype=bool)
        for rows in asking:
            active[rows] = False
        active[list(choice)] = True
        ranks.append((ranked(solved(active)), choice == tuple(rows[0] for rows in asking)))
    found = best_choice(edges, asking, solved)
    [first] = [rank for rank, is_first in ranks if is_first]
    return ranked(found), first, max(rank for rank, _ in ranks)


def ranked(found):
    """Served by every tier, also one of which no need takes part; then welfare."""
    served = Counter({tier.tier: tier.served for tier in found.solution.tiers})
    return tuple(served[tier] for tier in range(3)), found.rank[1]


SOME = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@SOME
@given(snapshots())
def test_never_worse_than_deciding_before_solving_and_never_two(snapshot):
    found, first, best = searched(snapshot)
    assert first <= found <= best
    served = {p.need for p in plan(snapshot).proposals}
    assert len({need.applicant for need in served}) == len(served)


def test_nearly_always_the_best_choice_of_all():
    tried: list[bool] = []

    @SOME
    @given(snapshots())
    def count(snapshot):
        found, _, best = searched(snapshot)
        tried.append(found[0] == best[0])

    count()
    assert sum(tried) >= 0.9 * len(tried), f"{sum(tried)} of {len(tried)}"


def test_where_the_kept_need_comes_out_unserved_the_other_takes_its_place():
    needs = [
        a_need(1, applicant="same", urgency="urgent", division_code="430224101000"),
        a_need(2, applicant="same", division_code="430224102000"),
        a_need(3, urgency="life_threatening", division_code="430224101000"),
    ]
    lines = [
        a_line(1, served_division_codes=("430224101000",)),
        a_line(2, served_division_codes=("430224102000",)),
    ]
    found = plan(a_snapshot(needs, lines))
    assert pairs(found) == [(2, 2, 100), (3, 1, 100)]
    assert [(o.need.need_id.int, o.code) for o in found.outcomes] == [(1, "one_aid_in_round")]


def test_a_need_is_left_to_another_household_where_the_first_has_a_choice():
    needs = [
        a_need(1, applicant="same", division_code="430224101000", poverty_permille=900),
        a_need(2, applicant="same", division_code="430224102000", poverty_permille=900),
        a_need(3, division_code="430224101000", poverty_permille=100),
    ]
    lines = [
        a_line(1, served_division_codes=("430224101000",)),
        a_line(2, served_division_codes=("430224102000",)),
    ]
    assert pairs(plan(a_snapshot(needs, lines))) == [(2, 2, 100), (3, 1, 100)]


def test_a_need_without_any_offer_stands_in_nobodys_way():
    needs = [
        a_need(1, applicant="same", urgency="life_threatening", division_code="430225101000"),
        a_need(2, applicant="same"),
    ]
    assert pairs(plan(a_snapshot(needs, [a_line(1)]))) == [(2, 1, 100)]
