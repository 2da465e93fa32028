"""The bound holds for any prices, and says exactly what an exact answer is worth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching.solver.certificate import Duals, bound, dot, welfare
from services.matching.solver.solve import solve
from tests.matching.instances import assert_feasible, instances, last_stage, optimum

full = instances(groups=True, caps=True, steps=True).filter(lambda i: len(i.need) > 0)


@settings(max_examples=150)
@given(full)
def test_the_exact_answer_is_the_linear_programmes_and_its_prices_prove_it(instance):
    solution = solve(instance, method="exact")
    assert_feasible(instance, solution.quantity)
    stage = last_stage(instance, solution)
    best = optimum(stage)
    assert stage.amount == best.amount == solution.tiers[-1].most
    reached = welfare(instance, solution.quantity)
    assert reached == pytest.approx(best.welfare, rel=1e-7, abs=instance.scale * 1e-4)
    assert [tier.gap_ppm for tier in solution.tiers] == [0] * len(solution.tiers)


@settings(max_examples=150)
@given(full, st.randoms(use_true_random=False))
def test_any_prices_give_a_bound(instance, random):
    solution = solve(instance, method="exact")
    stage = last_stage(instance, solution)
    top = 1200 * int(instance.unit.max())
    guess = Duals(
        np.array([random.randint(-top // 9, top) for _ in instance.available], dtype=np.int64),
        tuple(
            np.array([random.randint(-top, top) for _ in range(len(level))], dtype=np.int64)
            for level in instance.groups
        ),
        random.randint(-top, top),
    )
    assert bound(stage, guess) >= welfare(instance, solution.quantity)


@given(st.lists(st.tuples(st.integers(-(2**59), 2**59), st.integers(-(2**50), 2**50))))
def test_products_are_summed_exactly(pairs):
    assert dot([a for a, _ in pairs], [b for _, b in pairs]) == sum(a * b for a, b in pairs)
