"""Whole needs and smallest lots: always kept, near the divisible bound, urgent ones first."""

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.matching.solver import fairness, placing
from services.matching.solver.certificate import welfare
from services.matching.solver.instance import Instance, Solution
from services.matching.solver.solve import solve
from services.matching.solver.whole import keeps, make_whole


def an_instance(*, required, available, edges, tier=None, whole=None, lot=None) -> Instance:
    """edges: (need, line, value)."""
    return Instance(
        required=np.array(required, dtype=np.int64),
        tier=np.array(tier or [0] * len(required), dtype=np.int64),
        whole=np.array(whole or [True] * len(required), dtype=bool),
        available=np.array(available, dtype=np.int64),
        lot=np.array(lot or [1] * len(available), dtype=np.int64),
        need=np.array([e[0] for e in edges], dtype=np.int64),
        line=np.array([e[1] for e in edges], dtype=np.int64),
        value=np.array([e[2] for e in edges], dtype=np.int64),
    )


@st.composite
def instances(draw, *, needs_max=6, lines_max=4, quantity_max=9, tiers=3, mixed=True, lots=True):
    needs, lines = draw(st.integers(1, needs_max)), draw(st.integers(1, lines_max))
    pairs = list(itertools.product(range(needs), range(lines)))
    chosen = sorted(draw(st.lists(st.sampled_from(pairs), unique=True)))
    quantities = st.integers(1, quantity_max)
    return an_instance(
        required=draw(st.lists(quantities, min_size=needs, max_size=needs)),
        available=draw(st.lists(quantities, min_size=lines, max_size=lines)),
        edges=[(n, m, draw(st.integers(0, 1000))) for n, m in chosen],
        tier=draw(st.lists(st.integers(0, tiers - 1), min_size=needs, max_size=needs)),
        whole=draw(st.lists(st.booleans(), min_size=needs, max_size=needs)) if mixed else None,
        lot=draw(st.lists(st.integers(1, 4), min_size=lines, max_size=lines)) if lots else None,
    )


def divisible(instance: Instance) -> Solution:
    """What the solver says when neither lots nor whole needs are asked for."""
    free = replace(
        instance,
        whole=np.zeros_like(instance.whole),
        lot=np.ones_like(instance.lot),
    )
    return solve(free, method="exact")


def per_need(instance, quantity):
    return np.bincount(instance.need, quantity, len(instance.required)).astype(np.int64)


def assert_feasible(instance, quantity):
    assert (quantity >= 0).all()
    assert (per_need(instance, quantity) <= instance.required).all()
    taken = np.bincount(instance.line, quantity, len(instance.available))
    assert (taken <= instance.limit).all()
    assert keeps(instance, quantity)


@settings(max_examples=80)
@given(instances())
def test_no_whole_need_is_split_and_no_part_is_below_its_lot(instance):
    relaxed = divisible(instance)
    found = make_whole(instance, relaxed)
    assert_feasible(instance, found.quantity)
    assert make_whole(instance, found) is found
    assert make_whole(instance, relaxed).quantity.tobytes() == found.quantity.tobytes()
    served = per_need(instance, found.quantity)
    for tier in found.tiers:
        assert tier.served == served[instance.tier == tier.tier].sum()


@settings(max_examples=60)
@given(instances(), st.integers(0, 2))
def test_what_a_tier_gets_does_not_depend_on_later_tiers_needs(instance, last):
    """Later needs, however good, take nothing from the repair of earlier ones."""
    relaxed = divisible(instance)
    with_all = per_need(instance, make_whole(instance, relaxed).quantity)
    early = instance.tier <= last
    edges = early[instance.need]
    # The same answer to start from, without the later needs' part in it.
    alone = replace(
        instance,
        tier=np.where(early, instance.tier, 3),
        need=instance.need[edges],
        line=instance.line[edges],
        value=instance.value[edges],
    )
    start = replace(relaxed, quantity=relaxed.quantity[edges])
    assert (per_need(alone, make_whole(alone, start).quantity)[early] == with_all[early]).all()


def best_of_all(instance: Instance) -> int:
    """Points of the best placement of whole needs of one tier, by trying all."""
    best = 0
    edges = [np.flatnonzero(instance.need == n).tolist() for n in range(len(instance.required))]
    for chosen in itertools.product(*[[*own, None] for own in edges]):
        taken = np.zeros(len(instance.available), dtype=np.int64)
        points = 0
        for edge in chosen:
            if edge is not None:
                taken[instance.line[edge]] += instance.required[instance.need[edge]]
                points += int(instance.value[edge])
        if (taken <= instance.available).all():
            best = max(best, points)
    return best


@settings(max_examples=80)
@given(instances(needs_max=5, lines_max=3, tiers=1, mixed=False, lots=False))
def test_small_instances_of_whole_needs_reach_the_best_of_all(instance):
    relaxed = divisible(instance)
    assume(not keeps(instance, relaxed.quantity))  # else it stands, with the most units there are
    found = make_whole(instance, relaxed)
    reached = int(instance.value[found.quantity > 0].sum())
    assert reached == best_of_all(instance)


def test_an_answer_that_splits_nothing_stands_with_the_most_units():
    """Though one need alone, in the other's place, would be worth more: so it is for all needs."""
    instance = an_instance(
        required=[1, 1], available=[1, 1], edges=[(0, 0, 10), (0, 1, 500), (1, 1, 20)]
    )
    relaxed = divisible(instance)
    assert relaxed.quantity.tolist() == [1, 0, 1]
    assert make_whole(instance, relaxed) is relaxed


@settings(max_examples=60)
@given(instances(tiers=1, mixed=False, lots=False))
def test_welfare_never_beats_the_bound_by_value_alone(instance):
    """The divisible optimum without a duty to hand out everything bounds the whole one."""
    found = make_whole(instance, divisible(instance))
    edges = len(instance.need)
    if edges == 0:
        return
    from scipy.optimize import linprog

    above = np.zeros((len(instance.required) + len(instance.available), edges))
    above[instance.need, np.arange(edges)] = 1
    above[len(instance.required) + instance.line, np.arange(edges)] = 1
    share = instance.value / instance.required[instance.need]
    bound = linprog(
        -share, A_ub=above, b_ub=np.concatenate([instance.required, instance.available])
    )
    assert int(instance.value[found.quantity > 0].sum()) <= -float(bound.fun or 0) + 1e-6


def test_a_need_split_over_two_lines_moves_to_one_and_pushes_another_aside():
    # 4 fits only where 3 stands; 3 has another place.
    instance = an_instance(
        required=[4, 3], available=[4, 3], edges=[(0, 0, 900), (1, 0, 950), (1, 1, 800)]
    )
    assert make_whole(instance, divisible(instance)).quantity.tolist() == [4, 0, 3]


def test_many_small_needs_are_worth_more_than_one_large_that_fills_the_line():
    instance = an_instance(
        required=[1] * 8 + [10], available=[10], edges=[(n, 0, 500) for n in range(9)]
    )
    found = make_whole(instance, divisible(instance))
    assert found.quantity.tolist() == [1] * 8 + [0]
    assert found.objective == 8 * 500 * 1000
    assert found.objective <= found.relaxed_objective


def test_an_urgent_whole_need_is_not_crowded_out_by_the_normal():
    instance = an_instance(
        required=[5, 3, 3],
        available=[6],
        edges=[(0, 0, 10), (1, 0, 1000), (2, 0, 1000)],
        tier=[0, 1, 1],
    )
    assert make_whole(instance, divisible(instance)).quantity.tolist() == [5, 0, 0]


def test_a_part_below_the_lot_is_raised_from_the_needs_other_part():
    # The divisible answer is 10 + 2; line 1 gives no less than 5.
    instance = an_instance(
        required=[12],
        available=[10, 7],
        edges=[(0, 0, 900), (0, 1, 800)],
        whole=[False],
        lot=[1, 5],
    )
    found = make_whole(instance, divisible(instance))
    assert found.quantity.tolist() == [7, 5]
    assert found.tiers[0].served == found.tiers[0].most == 12


def most_units(instance: Instance) -> int:
    """Of divisible needs of one tier, by trying every quantity on every edge."""
    best = 0
    choices = [
        [0, *range(int(instance.lot[m]), int(min(instance.required[n], instance.available[m])) + 1)]
        for n, m in zip(instance.need, instance.line, strict=True)
    ]
    for chosen in itertools.product(*choices):
        quantity = np.array(chosen, dtype=np.int64)
        taken = np.bincount(instance.line, quantity, len(instance.available))
        if (taken <= instance.available).all() and (
            per_need(instance, quantity) <= instance.required
        ).all():
            best = max(best, int(quantity.sum()))
    return best


@settings(max_examples=40)
@given(instances(needs_max=2, lines_max=2, quantity_max=6, tiers=1, mixed=False))
def test_small_instances_with_lots_hand_out_as_many_units_as_can_be(instance):
    instance = replace(instance, whole=np.zeros_like(instance.whole))
    found = make_whole(instance, divisible(instance))
    assert found.tiers[0].served == most_units(instance)


def test_a_lot_is_made_room_for_by_a_need_that_can_go_elsewhere():
    instance = an_instance(
        required=[5, 6],
        available=[8, 4],
        edges=[(0, 0, 500), (1, 0, 900), (1, 1, 100)],
        whole=[False, False],
        lot=[5, 1],
        tier=[1, 0],
    )
    found = make_whole(instance, divisible(instance))
    assert_feasible(instance, found.quantity)
    assert per_need(instance, found.quantity).tolist()[1] == 6


@settings(max_examples=60)
@given(instances(needs_max=5, tiers=2), st.integers(1, 3000), st.integers(1, 1000))
def test_groups_and_their_floors_are_kept_in_sight(instance, strength, floor):
    terms = fairness.FairnessTerms(
        levels=("county",), strength_permille=strength, floor_permille=floor
    )
    codes = [f"53011{2 + n % 2}001000" for n in range(len(instance.required))]
    groups = fairness.groups_of(terms, codes, instance)
    fair = replace(instance, groups=groups)
    found = make_whole(fair, divisible(fair))
    assert_feasible(fair, found.quantity)


def test_a_floor_decides_which_whole_need_is_met():
    instance = an_instance(
        required=[5, 5, 5], available=[10], edges=[(0, 0, 900), (1, 0, 900), (2, 0, 100)]
    )
    terms = fairness.FairnessTerms(levels=("county",), curve="utilitarian", floor_permille=400)
    codes = ["530112001000", "530112001000", "530113001000"]
    fair = replace(instance, groups=fairness.groups_of(terms, codes, instance))
    assert make_whole(instance, divisible(instance)).quantity.tolist() == [5, 5, 0]
    assert make_whole(fair, divisible(fair)).quantity[2] == 5


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=8),
    st.integers(1, 30),
)
def test_a_knapsack_is_the_best_of_all_subsets_and_fits_when_measured_coarsely(items, room):
    gains = np.array([gain for gain, _ in items], dtype=np.float64)
    sizes = np.array([size for _, size in items], dtype=np.int64)
    best = max(
        sum(gains[list(chosen)])
        for count in range(len(items) + 1)
        for chosen in itertools.combinations(range(len(items)), count)
        if sizes[list(chosen)].sum() <= room
    )
    chosen = placing.knapsack(gains, sizes, room, 10**6)
    assert gains[chosen].sum() == best
    assert sizes[chosen].sum() <= room
    coarse = placing.knapsack(gains, sizes, room, 10)
    assert sizes[coarse].sum() <= room


def test_a_knapsack_of_very_large_room_is_measured_without_overflow():
    count, room = 2**14, 2**50
    chosen = placing.knapsack(np.ones(count), np.full(count, 2**38), room, 2**22)
    assert 0 < chosen.sum() <= 2**12


def test_whole_needs_come_near_the_bound_where_organizations_steps_cost_something():
    rng = np.random.default_rng(3)
    bound = reached = 0
    for _ in range(20):
        edges = [
            (n, m, int(rng.integers(100, 1000)))
            for n in range(60)
            for m in sorted(rng.choice(12, 5, replace=False).tolist())
        ]
        bare = an_instance(
            required=rng.integers(1, 6, 60).tolist(),
            available=rng.integers(5, 25, 12).tolist(),
            edges=edges,
        )
        terms = fairness.DiversityTerms(free_permille=100, steps=5, points_max=300)
        steps = fairness.line_steps(terms, [m // 3 for m in range(12)], bare)
        instance = replace(bare, line_steps=steps)
        relaxed = divisible(instance)
        found = make_whole(instance, relaxed)
        assert_feasible(instance, found.quantity)
        bound += welfare(instance, relaxed.quantity) * 1000 // instance.scale
        reached += welfare(instance, found.quantity) * 1000 // instance.scale
    assert reached >= 0.985 * bound


def test_a_crowded_class_comes_within_a_percent_and_a_half_of_the_divisible_bound():
    rng = np.random.default_rng(11)
    needs, lines, degree = 1500, 150, 10
    rows = np.repeat(np.arange(needs), degree)
    columns = np.concatenate([rng.choice(lines, degree, replace=False) for _ in range(needs)])
    required = rng.integers(1, 6, needs)
    own = np.repeat(rng.integers(0, 500, needs), degree)
    instance = an_instance(
        required=required.tolist(),
        available=rng.multinomial(int(required.sum() * 0.7), np.ones(lines) / lines).tolist(),
        edges=list(zip(rows, columns, own + rng.integers(0, 500, len(rows)), strict=True)),
    )
    found = make_whole(instance, divisible(instance))
    assert_feasible(instance, found.quantity)
    assert found.objective >= 0.985 * found.relaxed_objective


def test_large_quantities_are_measured_coarsely_and_still_fit():
    instance = an_instance(
        required=[3 * 10**12 + n for n in range(12)],
        available=[10**13, 10**13 + 7, 5 * 10**12],
        edges=[(n, m, 100 * (n % 7) + 50 * m + 1) for n in range(12) for m in range(3)],
    )
    found = make_whole(instance, divisible(instance))
    assert_feasible(instance, found.quantity)
    assert (found.quantity > 0).sum() == 7
