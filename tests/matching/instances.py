"""Small instances for the solver's tests, and what a linear programme says of them."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import linprog

from services.matching.solver.certificate import Relaxed, Stage, amounts
from services.matching.solver.instance import Groups, Instance, Solution, Steps


def ints(values) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def an_instance(
    *, required, available, edges, tier=None, lot=None, groups=(), steps=None
) -> Instance:
    """edges: (need, line, value)."""
    return Instance(
        required=ints(required),
        tier=ints(tier or [0] * len(required)),
        whole=np.zeros(len(required), dtype=bool),
        available=ints(available),
        lot=ints(lot or [1] * len(available)),
        need=ints([e[0] for e in edges]),
        line=ints([e[1] for e in edges]),
        value=ints([e[2] for e in edges]),
        groups=groups,
        line_steps=steps,
    )


@st.composite
def instances(
    draw, *, quantity_max=12, tiers=3, size=5, lots=False, groups=False, caps=False, steps=False
):
    needs, lines = draw(st.integers(1, size)), draw(st.integers(1, size))
    pairs = list(itertools.product(range(needs), range(lines)))
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=len(pairs)))
    quantities = st.integers(1, quantity_max)
    required = draw(st.lists(quantities, min_size=needs, max_size=needs))
    available = draw(st.lists(quantities, min_size=lines, max_size=lines))
    scale = 2**30 * min(required)
    return an_instance(
        required=required,
        available=available,
        edges=[(n, m, draw(st.integers(0, 1000))) for n, m in sorted(chosen)],
        tier=draw(st.lists(st.integers(0, tiers - 1), min_size=needs, max_size=needs)),
        lot=draw(st.lists(st.integers(1, 4), min_size=lines, max_size=lines)) if lots else None,
        groups=draw(levels(required, scale, caps)) if groups else (),
        steps=draw(line_steps(available, scale)) if steps else None,
    )


@st.composite
def levels(draw, required, scale, caps):
    """Two levels over the needs; a fine group lies in one coarse group."""
    fine = draw(st.lists(st.integers(-1, 2), min_size=len(required), max_size=len(required)))
    coarse_of_fine = draw(st.lists(st.integers(-1, 1), min_size=3, max_size=3))
    coarse = [coarse_of_fine[g] if g >= 0 else draw(st.integers(-1, 1)) for g in fine]
    return (
        draw(level(coarse, 2, sum(required), scale, caps)),
        draw(level(fine, 3, sum(required), scale, caps)),
    )


@st.composite
def level(draw, of_need, count, total, scale, caps):
    start, width, bonus = [0], [], []
    for _ in range(count):
        segments = draw(st.integers(1, 3))
        widths = draw(st.lists(st.integers(0, 6), min_size=segments, max_size=segments))
        if not caps:
            widths[-1] = total
        points = draw(st.lists(st.integers(-900, 900), min_size=segments, max_size=segments))
        width += widths
        bonus += [p * scale // 5 for p in sorted(points, reverse=True)]
        start.append(len(width))
    return Groups(ints(of_need), ints(start), ints(width), ints(bonus))


@st.composite
def line_steps(draw, available, scale):
    start, width, cost = [0], [], []
    for amount in available:
        width += [draw(st.integers(0, amount)), draw(st.integers(1, 12))]
        cost += [0, draw(st.integers(0, 300)) * scale // 5]
        start.append(len(width))
    return Steps(ints(start), ints(width), ints(cost))


def per_need(instance: Instance, quantity: np.ndarray) -> np.ndarray:
    return amounts(instance.need, quantity, len(instance.required))


def assert_feasible(instance: Instance, quantity: np.ndarray) -> None:
    assert (quantity >= 0).all()
    assert (per_need(instance, quantity) <= instance.required).all()
    taken = amounts(instance.line, quantity, len(instance.available))
    assert (taken <= instance.limit).all()
    for groups in instance.groups:
        inside = groups.of_need >= 0
        got = amounts(groups.of_need[inside], per_need(instance, quantity)[inside], len(groups))
        assert (got <= np.add.reduceat(np.append(groups.width, 0), groups.start[:-1])).all()


def last_stage(instance: Instance, solution: Relaxed | Solution) -> Stage:
    """The stage that gave the answer: every earlier need fixed at what it has."""
    given = per_need(instance, solution.quantity)
    now = instance.tier == instance.tier.max()
    return Stage(instance, np.where(now, 0, given), now, int(given[now].sum()))


@dataclass(frozen=True)
class Optimum:
    amount: int
    welfare: float


def optimum(stage: Stage) -> Optimum:
    """The stage by linear programming: the most its needs can get, and the best welfare with it.

    Written from the definition: edges, segments of groups and steps of lines are variables.
    """
    instance = stage.instance
    edges, needs, lines = len(instance.need), len(instance.required), len(instance.available)
    columns = edges
    parts: list[tuple[Any, int]] = []
    every: list[Any] = [*instance.groups, *([instance.line_steps] if instance.line_steps else [])]
    for rows in every:
        parts.append((rows, columns))
        columns += len(rows.width)
    upper: list[tuple[int, int | None]] = [(0, None)] * edges
    welfare = list(instance.weights().astype(float))
    equal: list[Any] = []
    equal_to: list[int] = []
    below: list[Any] = []
    below_to: list[int] = []
    for n in range(needs):
        row = np.zeros(columns)
        row[:edges] = instance.need == n
        (below if stage.now[n] else equal).append(row)
        (below_to if stage.now[n] else equal_to).append(
            instance.required[n] if stage.now[n] else stage.fixed[n]
        )
    for m in range(lines):
        row = np.zeros(columns)
        row[:edges] = instance.line == m
        below.append(row)
        below_to.append(instance.available[m])
    for rows, first in parts:
        is_group = isinstance(rows, Groups)
        upper += [(0, int(w)) for w in rows.width]
        welfare += [float(b) for b in rows.bonus] if is_group else [-float(c) for c in rows.cost]
        for r in range(len(rows.start) - 1):
            row = np.zeros(columns)
            if is_group:
                row[:edges] = (rows.of_need == r)[instance.need]
            else:
                row[:edges] = instance.line == r
            row[first + rows.start[r] : first + rows.start[r + 1]] = -1
            equal.append(row)
            equal_to.append(0)
    total = np.zeros(columns)
    total[:edges] = stage.now[instance.need]

    def best(points, equal, equal_to):
        found = linprog(
            -points,
            A_ub=np.array(below) if below else None,
            b_ub=below_to or None,
            A_eq=np.array(equal) if equal else None,
            b_eq=equal_to or None,
            bounds=upper,
            method="highs",
        )
        assert found.status == 0
        return -float(found.fun or 0)

    amount = round(best(total, equal, equal_to))
    scaled = np.array(welfare) / instance.scale
    return Optimum(amount, best(scaled, [*equal, total], [*equal_to, amount]) * instance.scale)
