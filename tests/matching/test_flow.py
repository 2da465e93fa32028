"""The assignment against brute force, linear programming and maximum flows."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import linprog
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from services.matching.solver.instance import PRICE_MAX, BadInstance, Instance, rescaled
from services.matching.solver.solve import solve
from tests.matching.instances import an_instance, assert_feasible, instances, per_need


def max_flow_of_prefix(instance: Instance, tier: int) -> int:
    """scipy's own algorithm on the needs of tiers <= tier."""
    needs, lines = len(instance.required), len(instance.available)
    graph = np.zeros((needs + lines + 2, needs + lines + 2), dtype=np.int32)
    for n, m in zip(instance.need, instance.line, strict=True):
        graph[n, needs + m] = min(instance.required[n], instance.available[m])
    for n in range(needs):
        graph[needs + lines, n] = instance.required[n] if instance.tier[n] <= tier else 0
    graph[needs : needs + lines, needs + lines + 1] = instance.available
    return int(maximum_flow(csr_array(graph), needs + lines, needs + lines + 1).flow_value)


def best_weight(instance: Instance, weight: np.ndarray, served: np.ndarray) -> float:
    """The linear programme: greatest weight when each need gets exactly `served`."""
    edges = len(instance.need)
    lines = np.zeros((len(instance.available), edges))
    lines[instance.line, np.arange(edges)] = 1
    needs = np.zeros((len(instance.required), edges))
    needs[instance.need, np.arange(edges)] = 1
    found = linprog(
        -weight.astype(float),
        A_ub=lines,
        b_ub=instance.available,
        A_eq=needs,
        b_eq=served,
        bounds=(0, None),
        method="highs",
    )
    assert found.status == 0
    return -float(found.fun or 0)


@settings(max_examples=150)
@given(instances())
def test_every_prefix_of_tiers_gets_its_maximum_flow(instance):
    quantity = solve(instance).quantity
    assert_feasible(instance, quantity)
    served = per_need(instance, quantity)
    for tier in range(3):
        assert served[instance.tier <= tier].sum() == max_flow_of_prefix(instance, tier)


@settings(max_examples=100)
@given(instances().filter(lambda i: len(i.need) > 0))
def test_within_the_amounts_the_weight_is_the_linear_programmes_optimum(instance):
    quantity = solve(instance).quantity
    weight = instance.weights()
    reached = int((weight * quantity).sum())
    optimum = best_weight(instance, weight, per_need(instance, quantity))
    assert abs(reached - optimum) <= 1e-6 * max(1.0, optimum)


@settings(max_examples=80)
@given(instances(quantity_max=3, tiers=1, size=2))
def test_one_tier_is_the_best_of_all_integral_assignments(instance):
    weight = instance.weights()
    best = (0, 0)
    bounds = [
        range(min(instance.required[n], instance.available[m]) + 1)
        for n, m in zip(instance.need, instance.line, strict=True)
    ]
    for candidate in itertools.product(*bounds):
        x = np.array(candidate, dtype=np.int64)
        taken = np.bincount(instance.line, weights=x, minlength=len(instance.available))
        if (per_need(instance, x) <= instance.required).all() and (
            taken <= instance.available
        ).all():
            best = max(best, (int(x.sum()), int((weight * x).sum())))
    quantity = solve(instance).quantity
    assert (int(quantity.sum()), int((weight * quantity).sum())) == best


def test_an_urgent_need_is_served_before_a_better_match():
    instance = an_instance(
        required=[10, 10], available=[10], edges=[(0, 0, 1000), (1, 0, 1)], tier=[1, 0]
    )
    assert solve(instance).quantity.tolist() == [0, 10]


def test_an_earlier_tier_is_rerouted_but_never_lessened_for_a_later_one():
    # Need 0 would take line 0, the only one need 1 can use; it moves to line 1 and both are met.
    instance = an_instance(
        required=[5, 5], available=[5, 5], edges=[(0, 0, 1000), (0, 1, 1), (1, 0, 500)], tier=[0, 1]
    )
    assert solve(instance).quantity.tolist() == [0, 5, 5]


def test_a_small_need_counts_as_much_as_a_large_one_of_the_same_score():
    # 100 units: two needs of 50 met in full are two shares, the need of 100 is one.
    instance = an_instance(
        required=[100, 50, 50], available=[100], edges=[(0, 0, 900), (1, 0, 800), (2, 0, 800)]
    )
    result = solve(instance)
    assert result.quantity.tolist() == [0, 50, 50]
    assert result.objective == 2 * 800 * 1000


def test_the_same_instance_gives_the_same_bytes():
    rng = np.random.default_rng(7)
    pairs = sorted({(int(a), int(b)) for a, b in rng.integers(0, 60, (900, 2))})
    instance = an_instance(
        required=rng.integers(1, 50, 60).tolist(),
        available=rng.integers(1, 60, 60).tolist(),
        edges=[(a, b, int(rng.integers(0, 1000))) for a, b in pairs],
        tier=rng.integers(0, 3, 60).tolist(),
    )
    assert solve(instance).quantity.tobytes() == solve(replace(instance)).quantity.tobytes()


def test_quantities_of_money_do_not_overflow():
    # Fen: up to 10^12 yuan x 100 a need, beside one of a single yuan.
    instance = an_instance(
        required=[10**14, 100, 10**14],
        available=[10**14, 10**14],
        edges=[(0, 0, 1000), (0, 1, 1000), (1, 0, 10), (2, 1, 999), (2, 0, 999)],
        tier=[1, 0, 1],
    )
    result = solve(instance)
    assert_feasible(instance, result.quantity)
    assert per_need(instance, result.quantity)[1] == 100
    assert result.quantity.sum() == 2 * 10**14


def test_quantities_whose_sum_leaves_64_bits_are_refused():
    instance = an_instance(required=[2**50] * 2**13, available=[1], edges=[])
    with pytest.raises(BadInstance, match="sum"):
        solve(instance)


def test_a_price_beyond_every_weight_is_carried_to_another_scale_without_overflow():
    # 1000 points a unit of a class of single units, asked of one of 10^7 units and more a need.
    dear = rescaled(np.array([1_000 * 10**12, 3]), 10**12, 2**62)
    assert dear.tolist() == [PRICE_MAX, 3 * 2**62 // 10**12]
    instance = an_instance(required=[10**9], available=[10**9], edges=[(0, 0, 500)])
    assert solve(instance, method="auction", start_price=dear[:1]).quantity.tolist() == [10**9]


def test_nothing_to_assign_is_an_empty_answer():
    result = solve(an_instance(required=[3], available=[2], edges=[]))
    assert result.quantity.tolist() == []
    assert result.objective == 0
