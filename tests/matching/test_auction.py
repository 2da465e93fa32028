"""The auction against linear programmes, brute force, maximum flows and the exact solver."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.matching.solver import auction, compiled, flow, kernels
from services.matching.solver import solve as solving
from services.matching.solver.certificate import Relaxed, amounts, welfare
from services.matching.solver.instance import Instance, Stopped
from services.matching.solver.solve import solve
from services.matching.solver.standing import Standing
from tests.benchmarks.solver import generate, split
from tests.matching.instances import (
    an_instance,
    assert_feasible,
    instances,
    ints,
    last_stage,
    optimum,
    per_need,
)

some = settings(max_examples=100)


def never() -> bool:
    return False


def auctioned(instance: Instance, gap_ppm: int = 1000, start_price=None) -> Relaxed:
    """Whatever the auction certifies; an instance it gives up on shows nothing about it."""
    try:
        return auction.solve_tiers(instance, start_price=start_price, gap_ppm=gap_ppm, stop=never)
    except auction.GapNotReached:
        assume(False)
        raise


def assert_certified(instance: Instance, answer: Relaxed, gap_ppm: int = 1000) -> None:
    """Feasible, with the linear programme's amount, within the gap, and the bound is one."""
    assert_feasible(instance, answer.quantity)
    best = optimum(last_stage(instance, answer))
    assert answer.tiers[-1].served == best.amount
    reached = welfare(instance, answer.quantity)
    plain = int((instance.weights() * answer.quantity).sum())
    rounding = instance.scale * 1e-3
    assert reached >= best.welfare - plain * gap_ppm / 1e6 - rounding
    assert answer.tiers[-1].bound * instance.scale / 1000 >= best.welfare - rounding
    assert all(tier.gap_ppm <= gap_ppm for tier in answer.tiers)


@some
@given(instances(size=6).filter(lambda i: len(i.need) > 0))
def test_it_is_within_the_certified_gap_of_the_linear_programme(instance):
    assert_certified(instance, auctioned(instance))


@some
@given(instances(size=6, groups=True, steps=True).filter(lambda i: len(i.need) > 0))
def test_so_it_is_with_groups_and_line_steps(instance):
    assert_certified(instance, auctioned(instance))


@some
@given(instances(size=6, groups=True, caps=True))
def test_a_cap_that_may_bind_is_left_to_the_exact_solver(instance):
    assume(not auction.caps_are_idle(instance))
    solution = solve(instance, method="auction")
    assert solution.method == "exact"
    assert_feasible(instance, solution.quantity)


@some
@given(instances(tiers=4, size=7))
def test_tiers_get_what_the_exact_solver_gives_them(instance):
    exact = flow.solve_tiers(instance, never)
    answer = auctioned(instance)
    assert [t.most for t in answer.tiers] == [t.most for t in exact.tiers]
    served = per_need(instance, answer.quantity)
    for tier in answer.tiers:
        assert served[instance.tier == tier.tier].sum() == tier.most


@settings(max_examples=60)
@given(instances(quantity_max=3, tiers=1, size=2).filter(lambda i: len(i.need) > 0))
def test_one_tier_is_near_the_best_of_all_integral_assignments(instance):
    weight = instance.weights()
    best = (0, 0)
    bounds = [
        range(min(instance.required[n], instance.available[m]) + 1)
        for n, m in zip(instance.need, instance.line, strict=True)
    ]
    for candidate in itertools.product(*bounds):
        x = ints(candidate)
        taken = amounts(instance.line, x, len(instance.available))
        if (per_need(instance, x) <= instance.required).all() and (
            taken <= instance.available
        ).all():
            best = max(best, (int(x.sum()), int((weight * x).sum())))
    answer = auctioned(instance)
    assert answer.quantity.sum() == best[0]
    assert int((weight * answer.quantity).sum()) >= best[1] * 0.999


@some
@given(instances(tiers=2, size=6), st.randoms(use_true_random=False))
def test_start_prices_change_nothing_that_is_certified(instance, random):
    assume(len(instance.need))
    top = 1000 * int(instance.unit.max())
    guess = ints([random.randint(0, top) for _ in instance.available])
    answer = auctioned(instance, start_price=guess)
    assert_certified(instance, answer)
    assert [t.most for t in answer.tiers] == [
        t.most for t in flow.solve_tiers(instance, never).tiers
    ]


@some
@given(instances(tiers=1, size=6, quantity_max=1000), st.randoms(use_true_random=False))
def test_permuted_rows_serve_as_much_within_the_same_gap(instance, random):
    needs = list(range(len(instance.required)))
    random.shuffle(needs)
    place = np.argsort(needs)
    shuffled = replace(
        instance,
        required=instance.required[needs],
        tier=instance.tier[needs],
        need=place[instance.need],
    )
    one, other = solve(instance, method="auction"), solve(shuffled, method="auction")
    assert one.tiers[0].served == other.tiers[0].served
    assert abs(one.objective - other.objective) <= max(one.objective, 1) * 2e-3 + 1e3


@pytest.fixture(scope="module")
def town() -> Instance:
    return generate(3000, 300, seed=4)


def test_a_town_is_within_the_gap_of_the_flow(town):
    exact = solve(town, method="exact")
    answer = solve(town, method="auction", gap_ppm=500)
    assert answer.method == "auction"
    assert answer.gap_ppm <= 500
    assert answer.tiers[0].served == exact.tiers[0].served
    assert exact.objective * 0.9995 <= answer.objective <= exact.objective


def test_a_town_in_tiers_gets_each_prefix_of_them_in_full(town):
    tiers = np.random.default_rng(5).integers(0, 3, len(town.required))
    town = replace(town, tier=tiers)
    exact = solve(town, method="exact")
    answer = solve(town, method="auction", gap_ppm=2000)
    assert answer.method == "auction"
    assert [t.served for t in answer.tiers] == [t.most for t in exact.tiers]


def test_needs_of_very_different_sizes_are_certified_or_left_to_the_flow(town):
    sizes = 10 ** np.random.default_rng(6).integers(0, 7, len(town.required))
    share = town.available / town.available.sum()
    town = replace(
        town,
        required=sizes,
        available=np.maximum(1, (share * 0.7 * sizes.sum()).astype(np.int64)),
    )
    answer = solve(town, method="auction")
    assert answer.gap_ppm <= 1000


def test_sums_of_money_do_not_overflow(town):
    town = replace(town, required=town.required * 10**12, available=town.available * 10**12)
    assert solve(town, method="auction").gap_ppm <= 1000


def test_the_same_instance_gives_the_same_bytes_for_any_number_of_threads(town):
    program = (
        "import hashlib, numpy as np\n"
        "from services.matching.solver.solve import solve\n"
        "from tests.benchmarks.solver import generate\n"
        "s = solve(generate(3000, 300, seed=4), method='auction')\n"
        "print(hashlib.sha256(s.quantity.tobytes() + s.price.tobytes()).hexdigest())\n"
    )
    seen = set()
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "NUMBA_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
        )
        seen.add(done.stdout)
    assert len(seen) == 1


def test_code_is_compiled_where_nothing_can_be_written(monkeypatch):
    def no_locator(*args, **kwargs):
        if kwargs.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr("numba.njit", no_locator)
    assert compiled.compiled(len) is len


def test_stop_is_heard_between_bids(town, monkeypatch):
    monkeypatch.setattr(auction, "BIDS_AT_ONCE", 100)
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        solve(town, method="auction", stop=lambda: next(asked))


def test_where_the_gap_is_not_reached_the_answer_is_exact(town, monkeypatch):
    monkeypatch.setattr(auction, "BIDS_MOST", 0)
    monkeypatch.setattr(auction, "BIDS_AT_ONCE", 50)
    assert solve(town, method="auction").method == "exact"


def test_edges_in_any_order_are_answered_in_that_order(town):
    order = np.random.default_rng(2).permutation(len(town.need))
    shuffled = replace(town, need=town.need[order], line=town.line[order], value=town.value[order])
    answer = solve(shuffled, method="auction")
    assert_feasible(shuffled, answer.quantity)
    assert answer.gap_ppm <= 1000


def test_small_classes_are_solved_exactly_and_large_ones_by_auction(town, monkeypatch):
    assert solve(town).method == "exact"
    monkeypatch.setattr(solving, "AUCTION_EDGES", 1000)
    assert solve(town).method == "auction"


def test_bids_of_one_edge_are_merged_when_a_book_is_full():
    book = np.array([[5, 7, 1], [6, 9, 2], [8, 7, 3], [9, -1, 4]], dtype=np.int64)
    assert kernels._merge(book, 0, 4) == 3
    assert sorted(map(tuple, book[:3].tolist())) == [(6, 9, 2), (8, 7, 4), (9, -1, 4)]


# ----------------------------------------------------------- an auction that stays open


def assert_stands(standing: Standing) -> None:
    """Feasible, all that can be served is, and no better than the exact answer allows."""
    whole = standing.instance()
    need, line, quantity = standing.held()
    assert (quantity > 0).all()
    assert (amounts(line, quantity, len(whole.available)) <= whole.available).all()
    given = amounts(need, quantity, len(whole.required))
    assert (given <= whole.required).all()
    exact = solve(whole, method="exact")
    tier = standing.tier
    assert tier.served == exact.tiers[0].most == quantity.sum()
    assert tier.gap_ppm <= 1000
    assert tier.bound >= exact.objective
    assert tier.welfare >= exact.objective * 0.999 - 1


def test_needs_come_and_go_and_lines_get_more():
    town = generate(1200, 120, seed=9)
    head, rest = split(town, 200)
    first, second = split(head, 100)
    standing = Standing(first)
    standing.add(*second)
    assert_stands(standing)
    standing.add(*rest)
    assert_stands(standing)
    standing.withdraw(np.arange(0, 1200, 7))
    assert_stands(standing)
    standing.supply(np.arange(0, 120, 3), np.full(40, 60, dtype=np.int64))
    assert_stands(standing)


@settings(max_examples=60)
@given(instances(tiers=1, size=6), st.data())
def test_an_open_auction_is_as_good_as_a_new_one_after_every_change(instance, data):
    last = data.draw(st.integers(0, len(instance.required) - 1))
    head, rest = split(instance, last)
    lines = len(instance.available)
    try:
        standing = Standing(head)
        if len(rest[0]):
            standing.add(*rest)
        gone = data.draw(st.sets(st.integers(0, len(instance.required) - 1), max_size=2))
        standing.withdraw(ints(sorted(gone)))
        standing.supply(ints([data.draw(st.integers(0, lines - 1))]), ints([3]))
    except auction.GapNotReached:
        assume(False)
    need, _, quantity = standing.held()
    left = standing.instance()
    assert not set(need.tolist()) & gone
    exact = solve(left, method="exact")
    assert standing.tier.served == exact.tiers[0].most == quantity.sum()
    assert standing.tier.gap_ppm <= 1000
    assert standing.tier.bound >= exact.objective - 1


def test_tiers_are_for_rounds_not_for_an_open_auction():
    instance = an_instance(
        required=[1, 1], available=[1], edges=[(0, 0, 5), (1, 0, 5)], tier=[0, 1]
    )
    with pytest.raises(ValueError, match="one tier"):
        Standing(instance)
