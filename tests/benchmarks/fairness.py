"""Fairness, whole needs and placements between rounds, against their bounds on synthetic classes.

`python -m tests.benchmarks.fairness [fairness] [whole] [online] [--large]` prints tables and one
JSON line of ratios. Everything is drawn from fixed seeds: needs and lines lie in the unit square,
needs partly in a dozen towns, each is compared with 13 lines within reach; a value is made of the
need (deprivation), nearness and chance. Stock is 70 % of what is asked unless stated. Ratios mean
the same on any machine, seconds only beside each other.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, vstack
from scipy.spatial import cKDTree

from services.matching.solver import fairness, online
from services.matching.solver.fairness import FairnessTerms
from services.matching.solver.instance import Instance, IntArray, Solution
from services.matching.solver.solve import solve
from services.matching.solver.whole import make_whole

DEGREE = 13
REGIONS = 8
BATCHES = 50
HISTORY = 20_000


@dataclass(frozen=True)
class World:
    """Where lines are and how large; needs are drawn from it as often as wanted."""

    places: NDArray[np.float64]
    towns: NDArray[np.float64]
    shares: NDArray[np.float64]
    tree: cKDTree

    @classmethod
    def of(cls, lines: int) -> World:
        rng = np.random.default_rng(1)
        places, towns = rng.random((lines, 2)), rng.random((12, 2))
        shares = rng.gamma(2.0, 1.0, lines)
        return cls(places, towns, shares / shares.sum(), cKDTree(places))

    def needs(self, count: int, seed: int) -> tuple[Instance, IntArray]:
        """Needs of 1..5 units with stock for all, and the region (8 x 8) each lies in."""
        rng = np.random.default_rng(seed)
        near_town = rng.random(count) < 0.3
        town = self.towns[rng.integers(0, 12, count)] + rng.normal(0, 0.12, (count, 2))
        at = np.where(near_town[:, None], town % 1.0, rng.random((count, 2)))
        # Offers serve whole divisions: more of them do not make their reach smaller.
        within = DEGREE * max(1, len(self.places) // 1_000)
        distance, line = self.tree.query(at, k=within)
        if within > DEGREE:
            drawn = np.argsort(rng.random((count, within)), axis=1)[:, :DEGREE]
            distance = np.take_along_axis(np.asarray(distance), drawn, 1)
            line = np.take_along_axis(line, drawn, 1)
        reach = 3.0 * np.sqrt(within / len(self.places))
        value = 1000 * (
            0.45 * rng.random((count, 1))
            + 0.3 * rng.random((count, DEGREE))
            + 0.25 * np.clip(1 - distance / reach, 0, 1)
        )
        order = np.argsort(line, axis=1)
        required = rng.integers(1, 6, count)
        instance = Instance(
            required=required,
            tier=np.zeros(count, dtype=np.int64),
            whole=np.zeros(count, dtype=np.bool_),
            available=np.full(len(self.places), int(required.sum())),
            lot=np.ones(len(self.places), dtype=np.int64),
            need=np.repeat(np.arange(count), DEGREE),
            line=np.take_along_axis(line, order, 1).ravel().astype(np.int64),
            value=np.take_along_axis(value, order, 1).astype(np.int64).ravel(),
        )
        row = np.minimum((at * REGIONS).astype(np.int64), REGIONS - 1)
        return instance, row[:, 0] * REGIONS + row[:, 1]

    def stocked(self, instance: Instance, share: float) -> Instance:
        units = self.shares * int(instance.required.sum()) * share
        return replace(instance, available=np.maximum(1, units.astype(np.int64)))


def timed(work: Callable[[], Solution]) -> tuple[Solution, float]:
    started = time.perf_counter()
    found = work()
    return found, time.perf_counter() - started


# ------------------------------------------------------------------ fairness


def of_fairness(needs: int, lines: int) -> dict[str, float]:
    """Gini between 64 regions and welfare, of each curve against welfare alone."""
    world = World.of(lines)
    drawn, region = world.needs(needs, 2)
    instance = world.stocked(drawn, 0.7)
    codes = [f"{row + 10}0000000000" for row in region.tolist()]
    base = FairnessTerms(levels=("province",))
    curves = {
        "welfare alone": replace(base, curve="utilitarian"),
        "proportional": replace(base, curve="proportional"),
        "alpha 2, strength 250": replace(base, strength_permille=250),
        "alpha 2": base,
        "alpha 2, strength 1000": replace(base, strength_permille=1_000),
        "alpha 8, strength 4000": replace(base, alpha_permille=8_000, strength_permille=4_000),
        "floor 600": replace(base, curve="utilitarian", floor_permille=600),
    }
    print(f"\nfairness, {needs:,} needs x {lines:,} lines, {REGIONS**2} regions, one tier")
    print(f"{'':24}{'Gini':>8}{'change':>9}{'lowest':>9}{'welfare':>10}{'certified':>11}{'s':>8}")
    ratios: dict[str, float] = {}
    plain, before = 0, 0
    for name, terms in curves.items():
        fair = replace(instance, groups=fairness.groups_of(terms, codes, instance))
        # Both exact, so that the difference is fairness's own.
        started = time.perf_counter()
        found = solve(fair, method="exact")
        seconds = time.perf_counter() - started
        served = per_row(fair.need, found.quantity, needs)
        level = fairness.figures("province", codes, fair.required, served)
        rates = [division.of_quantity_ppm for division in level.divisions]
        gini = fairness.gini_ppm(rates)
        plain, before = plain or found.objective, before or gini
        price = fairness.price_ppm(plain, found.objective)
        print(
            f"{name:24}{gini / 1e6:8.4f}{gini / before - 1:+9.1%}{min(rates) / 1e6:9.3f}"
            f"{-price / 1e6:+10.3%}{found.gap_ppm / 1e6:11.3%}{seconds:8.2f}"
        )
        ratios[f"{name}: gini"] = round(gini / before, 4)
        ratios[f"{name}: welfare"] = round(found.objective / plain, 5)
    return ratios


def per_row(rows: IntArray, quantity: IntArray, count: int) -> IntArray:
    return np.bincount(rows, quantity, count).astype(np.int64)


# --------------------------------------------------------------- whole needs


def of_whole(needs: int, lines: int) -> dict[str, float]:
    """Welfare of all-or-nothing needs, of the divisible optimum's."""
    world = World.of(lines)
    drawn, _ = world.needs(needs, 2)
    instance = replace(world.stocked(drawn, 0.7), whole=np.ones(needs, dtype=np.bool_))
    relaxed, solving = timed(lambda: solve(instance))
    make_whole(*small_whole())  # compiled before it is timed
    found, repairing = timed(lambda: make_whole(instance, relaxed))
    bound = relaxed.tiers[0].bound
    first, best = first_come(instance), by_value(instance)
    print(f"\nwhole needs of 1-5 units, {needs:,} x {lines:,}: welfare of the divisible bound")
    print(f"{'first come, its best line':32}{first / bound:9.2%}")
    print(f"{'by value':32}{best / bound:9.2%}")
    print(f"{'make_whole':32}{found.objective / bound:9.2%}   {repairing:.2f} s")
    print(f"{'(divisible, ' + relaxed.method + ')':32}{'':9}   {solving:.2f} s")
    return {
        "first_come": round(first / bound, 4),
        "by_value": round(best / bound, 4),
        "make_whole": round(found.objective / bound, 5),
    }


def small_whole() -> tuple[Instance, Solution]:
    world = World.of(20)
    drawn, _ = world.needs(200, 3)
    instance = replace(world.stocked(drawn, 0.7), whole=np.ones(200, dtype=np.bool_))
    return instance, solve(instance)


def first_come(instance: Instance) -> int:
    """Needs as they stand, each its best line with room; millionths."""
    order = np.lexsort((-instance.value, instance.need))
    return in_order(instance, order.tolist())


def by_value(instance: Instance) -> int:
    order = np.argsort(-instance.value / instance.required[instance.need], kind="stable")
    return in_order(instance, order.tolist())


def in_order(instance: Instance, edges: list[int]) -> int:
    room, met, total = instance.available.tolist(), set(), 0
    need, line, value = instance.need.tolist(), instance.line.tolist(), instance.value.tolist()
    required = instance.required.tolist()
    for edge in edges:
        asking = need[edge]
        if asking not in met and room[line[edge]] >= required[asking]:
            met.add(asking)
            room[line[edge]] -= required[asking]
            total += value[edge] * 1_000
    return total


def of_tiny(count: int = 40) -> dict[str, float]:
    """make_whole against HiGHS on instances of a few dozen edges, all of them proved optimal."""
    reached, best, exact = 0, 0.0, 0
    for seed in range(count):
        world = World.of(14)
        drawn, _ = world.needs(30, seed)
        instance = replace(world.stocked(drawn, 0.7), whole=np.ones(30, dtype=np.bool_))
        found = make_whole(instance, solve(instance)).objective // 1_000
        optimum = proved(instance)
        reached, best, exact = reached + found, best + optimum, exact + (found >= optimum - 0.5)
    print(f"\n{count} instances of 30 whole needs: {reached / best:.3%} of the optimum", end="")
    print(f", {exact} of them exactly")
    return {"of_optimum": round(reached / best, 5)}


def proved(instance: Instance) -> float:
    edges = len(instance.need)
    columns = np.arange(edges)
    once = csr_array((np.ones(edges), (instance.need, columns)))
    fits = csr_array(
        (instance.required[instance.need].astype(float), (instance.line, columns)),
        shape=(len(instance.available), edges),
    )
    room = np.concatenate([np.ones(len(instance.required)), instance.available])
    found = milp(
        -instance.value.astype(float),
        integrality=np.ones(edges, dtype=np.int64),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(vstack([once, fits]), -np.inf, room),
    )
    return -float(found.fun or 0)


# -------------------------------------------------------------------- online


def of_online(needs: int, lines: int, share: float) -> dict[str, float]:
    """Needs that come in batches, each placed for good, against the optimum in hindsight."""
    world = World.of(lines)
    future = world.stocked(world.needs(needs, 2)[0], share)
    past, _ = world.needs(HISTORY, 99)
    bound = solve(future).tiers[0].bound
    started = time.perf_counter()
    priced = in_batches(future, past)
    seconds = time.perf_counter() - started
    once, greedy = in_batches(future, past, learning_every=BATCHES), in_batches(future, None)
    print(f"\nonline, {needs:,} needs in {BATCHES} batches, {lines:,} lines, stock {share:.0%}:")
    print(f"{'who comes first':32}{greedy / bound:9.2%}   of the optimum in hindsight")
    print(f"{'prices learned once':32}{once / bound:9.2%}   (from {HISTORY:,} earlier needs)")
    print(f"{'prices learned at each batch':32}{priced / bound:9.2%}   {seconds:.2f} s in all")
    return {
        "greedy": round(greedy / bound, 4),
        "learned_once": round(once / bound, 4),
        "learned_each_batch": round(priced / bound, 4),
    }


def in_batches(future: Instance, past: Instance | None, learning_every: int = 1) -> float:
    """Welfare in millionths."""
    needs = len(future.required)
    room, total = future.available, 0.0
    reserves = online.prices_from(future, 0, tiers=1)
    for batch in range(BATCHES):
        first, last = batch * needs // BATCHES, (batch + 1) * needs // BATCHES
        if past is not None and batch % learning_every == 0:
            to_come = 1_000 * (needs - first) // len(past.required)
            reserves = online.prices_from(replace(past, available=room), to_come, tiers=1)
        edges = slice(first * DEGREE, last * DEGREE)
        new = replace(
            future,
            required=future.required[first:last],
            tier=future.tier[first:last],
            whole=future.whole[first:last],
            available=room,
            need=future.need[edges] - first,
            line=future.line[edges],
            value=future.value[edges],
        )
        quantity = online.place(new, reserves).quantity
        room = room - per_row(new.line, quantity, len(room))
        total += float((new.value * quantity / new.required[new.need]).sum()) * 1_000
    return total


def main(arguments: list[str]) -> None:
    large = "--large" in arguments
    parts = [a for a in arguments if not a.startswith("--")] or ["fairness", "whole", "online"]
    sizes = [(10_000, 1_000)] + ([(100_000, 10_000)] if large else [])
    ratios: dict[str, dict[str, float]] = {}
    for needs, lines in sizes:
        if "fairness" in parts:
            ratios[f"fairness {needs}"] = of_fairness(needs, lines)
        if "whole" in parts:
            ratios[f"whole {needs}"] = of_whole(needs, lines)
    if "whole" in parts:
        ratios["whole tiny"] = of_tiny()
    if "online" in parts:
        for share in (0.7, 0.3):
            ratios[f"online {share:.0%}"] = of_online(100_000, 2_000, share)
    print(json.dumps({"benchmark": "fairness", "ratios": ratios}))


if __name__ == "__main__":
    main(sys.argv[1:])
