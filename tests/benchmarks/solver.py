"""How much faster the auction is than an exact min-cost flow, and a change than a new start.

`python -m tests.benchmarks.solver [--needs 1000000] [--lines 100000] [--tiers 1] [--no-flow]`

Both sides get the same arrays in the same run and are timed by the processor time of their one
thread: other work on the machine then changes the ratio little. Walls are printed beside.
`--needs 10000000 --lines 1000000 --no-flow` takes about 12 GB and some minutes.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from services.matching.solver.instance import Instance
from services.matching.solver.solve import solve
from services.matching.solver.standing import Standing

Answer = TypeVar("Answer")
# Of the 13 lines a need could use, so many lie in its own cell of the map; the others in three of
# the eight around it.
LOCAL, AROUND = 7, 2
LINES_PER_CELL = 10
SHARE_OF_DEMAND = 0.7
CHANGE = 0.01


def generate(needs: int, lines: int, *, seed: int = 1, tiers: int = 1) -> Instance:
    """Needs of 1 to 61 units (mostly few) on a map of square cells, sorted by cell.

    A value is two fifths the need's own, the rest the pair's; a line of the same cell is worth 150
    more. Lines have 70 % of what is asked, unevenly.
    """
    rng = np.random.default_rng(seed)
    side = max(3, int(np.sqrt(lines / LINES_PER_CELL)))
    cells = side * side
    first = np.searchsorted(np.arange(lines) * cells // lines, np.arange(cells + 1))
    cell = np.sort(rng.integers(0, cells, needs))
    turn = rng.integers(0, 2**30, needs)
    edges = LOCAL + 3 * AROUND
    line = np.empty((needs, edges), dtype=np.int32)
    size = first[cell + 1] - first[cell]
    for k in range(LOCAL):
        line[:, k] = first[cell] + (turn + k) % size
    around = np.argsort(rng.random((needs, 8), dtype=np.float32), axis=1)[:, :3]
    down, right = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]).T
    for d in range(3):
        way = around[:, d]
        other = (cell // side + down[way]) % side * side + (cell % side + right[way]) % side
        size = first[other + 1] - first[other]
        for k in range(AROUND):
            line[:, LOCAL + AROUND * d + k] = first[other] + (turn + k) % size
    own = rng.integers(0, 400, (needs, 1), dtype=np.int16)
    value = own + rng.integers(0, 450, line.shape, dtype=np.int16)
    value[:, :LOCAL] += 150
    required = 1 + np.minimum(rng.exponential(5, needs).astype(np.int64), 60)
    share = rng.exponential(1, lines) + 0.3
    share *= SHARE_OF_DEMAND * required.sum() / share.sum()
    return Instance(
        required=required,
        tier=rng.integers(0, tiers, needs),
        whole=np.zeros(needs, dtype=bool),
        available=np.maximum(1, share.astype(np.int64)),
        lot=np.ones(lines, dtype=np.int64),
        need=np.repeat(np.arange(needs, dtype=np.int32), edges).astype(np.int64),
        line=line.ravel().astype(np.int64),
        value=value.ravel().astype(np.int64),
    )


def scattered(instance: Instance, last: int, seed: int = 3) -> Instance:
    """The same with `last` needs, drawn from everywhere, behind all others."""
    needs = len(instance.required)
    edges = len(instance.need) // needs
    is_last = np.zeros(needs, dtype=bool)
    is_last[np.random.default_rng(seed).choice(needs, last, replace=False)] = True
    order = np.concatenate([np.flatnonzero(~is_last), np.flatnonzero(is_last)])
    rows = (order[:, None] * edges + np.arange(edges)).ravel()
    return replace(
        instance,
        required=instance.required[order],
        tier=instance.tier[order],
        line=instance.line[rows],
        value=instance.value[rows],
    )


def split(instance: Instance, last: int) -> tuple[Instance, tuple[np.ndarray, ...]]:
    """Without its last needs, and these as `Standing.add` takes them."""
    first = len(instance.required) - last
    cut = int(np.searchsorted(instance.need, first))
    head = replace(
        instance,
        required=instance.required[:first],
        tier=instance.tier[:first],
        whole=instance.whole[:first],
        need=instance.need[:cut],
        line=instance.line[:cut],
        value=instance.value[:cut],
    )
    rest = (instance.required[first:], instance.need[cut:] - first, instance.line[cut:])
    return head, (*rest, instance.value[cut:])


def timed(work: Callable[[], Answer]) -> tuple[Answer, float, float]:
    """The answer, seconds of this thread, seconds on the wall."""
    cpu, wall = time.thread_time(), time.perf_counter()
    answer = work()
    return answer, time.thread_time() - cpu, time.perf_counter() - wall


def memory_gb() -> float:
    """The most this process has used so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def flow_of_one_tier(instance: Instance, amount: int) -> float:
    """OR-tools alone, as one would call it: build and solve; the welfare in points."""
    from ortools.graph.python import min_cost_flow

    needs, lines = len(instance.required), len(instance.available)
    source, sink = needs + lines, needs + lines + 1
    # Finer costs overflow its potentials, see `flow`.
    weight = instance.weights() // max(1, int(1000 * instance.unit.max()) * sink**2 // 2**60)
    flow = min_cost_flow.SimpleMinCostFlow()
    edges = flow.add_arcs_with_capacity_and_unit_cost(
        instance.need.astype(np.int32),
        (instance.line + needs).astype(np.int32),
        np.minimum(instance.required[instance.need], instance.available[instance.line]),
        -weight,
    )
    rows = np.arange(needs + lines, dtype=np.int32)
    flow.add_arcs_with_capacity_and_unit_cost(
        np.full(needs, source, dtype=np.int32),
        rows[:needs],
        instance.required,
        np.zeros(needs, dtype=np.int64),
    )
    flow.add_arcs_with_capacity_and_unit_cost(
        rows[needs:],
        np.full(lines, sink, dtype=np.int32),
        instance.available,
        np.zeros(lines, dtype=np.int64),
    )
    flow.set_nodes_supplies(np.array([source, sink], dtype=np.int32), np.array([amount, -amount]))
    if flow.solve() != flow.OPTIMAL:
        raise RuntimeError("the flow was not solved")
    quantity = np.asarray(flow.flows(edges), dtype=np.int64)
    share = quantity / instance.required[instance.need]
    return float((instance.value * share).sum())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--needs", type=int, default=100_000)
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--tiers", type=int, default=1)
    parser.add_argument("--gap-ppm", type=int, default=1000)
    parser.add_argument("--no-flow", action="store_true", help="without OR-tools (memory, time)")
    given = parser.parse_args()
    warm_up()
    ratios: dict[str, float] = {}
    instance = generate(given.needs, given.lines, tiers=given.tiers)
    print(f"{given.needs} needs, {given.lines} lines, {len(instance.need)} edges")
    print(f"{'':<34}{'cpu s':>9}{'wall s':>9}{'GB at most':>12}")
    answer, fresh, wall = timed(lambda: solve(instance, method="auction", gap_ppm=given.gap_ppm))
    gaps = ", ".join(f"{tier.gap_ppm / 1e4:.3f} %" for tier in answer.tiers)
    print(
        f"{f'{answer.method}, certified {gaps}':<34}{fresh:>9.2f}{wall:>9.2f}{memory_gb():>12.2f}"
    )
    ratios["gap_percent"] = answer.gap_ppm / 1e4
    ratios["gb"] = round(memory_gb(), 2)
    if given.tiers == 1:
        changed(instance, fresh, given.gap_ppm, ratios)
    if not given.no_flow and given.tiers == 1:
        points, exact, wall = timed(lambda: flow_of_one_tier(instance, answer.tiers[0].most))
        print(f"{'OR-tools SimpleMinCostFlow':<34}{exact:>9.2f}{wall:>9.2f}{memory_gb():>12.2f}")
        below = 1 - answer.objective / 1000 / points
        ratios["flow_to_auction"] = round(exact / fresh, 1)
        print(f"{exact / fresh:.1f} x faster than the flow, {below:.4%} below its welfare")
    print(json.dumps(ratios))
    return 0


def changed(instance: Instance, fresh: float, gap_ppm: int, ratios: dict[str, float]) -> None:
    """One percent new needs, to an auction that stayed open."""
    last = int(len(instance.required) * CHANGE)
    head, rest = split(scattered(instance, last), last)
    standing = Standing(head, gap_ppm=gap_ppm)
    tier, added, wall = timed(lambda: standing.add(*rest))
    label = f"+1 % needs, certified {tier.gap_ppm / 1e4:.3f} %"
    print(f"{label:<34}{added:>9.3f}{wall:>9.3f}{memory_gb():>12.2f}")
    ratios["new_to_added"] = round(fresh / added, 1)
    gone = np.arange(0, len(instance.required), 1000)
    tier, withdrawn, wall = timed(lambda: standing.withdraw(gone))
    label = f"-0.1 % needs, certified {tier.gap_ppm / 1e4:.3f} %"
    print(f"{label:<34}{withdrawn:>9.3f}{wall:>9.3f}{memory_gb():>12.2f}")
    ratios["new_to_withdrawn"] = round(fresh / withdrawn, 1)


def warm_up() -> None:
    """Everything is compiled before anything is timed."""
    small = generate(500, 50)
    solve(small, method="auction", gap_ppm=3000)
    head, rest = split(small, 5)
    standing = Standing(head, gap_ppm=3000)
    standing.add(*rest)
    standing.withdraw(np.array([1]))


if __name__ == "__main__":
    sys.exit(main())
