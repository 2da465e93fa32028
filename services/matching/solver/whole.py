"""Needs that cannot be split, and smallest lots, kept on top of a divisible answer; pure.

Both make the problem NP-hard (a generalized assignment problem), so they are kept by repair, and
the divisible optimum stays the bound. Tier by tier, the most urgent first:

1. Needs of the tier that the answer splits over no lines keep what they have; the others, and
   those pushed aside, look for a place. Lines are improved as knapsacks at falling prices of room
   (`placing`), and small parts of the graph are solved exactly (`components`).
2. Needs that may be split, and were left with less than a line's smallest lot, are planned anew
   within the room there is (`lots`).

What is guaranteed. No whole need is split, none gets a part, no line gives less than its lot or
more than it has. While a tier is repaired, later tiers hold nothing: no need of theirs is in the
way. What a tier's needs hold after its repair they keep in amount, whatever later tiers gain; a
whole need may change its line for that. Among whole needs of a tier welfare decides, not units: of
1000 units, 990 households of one unit and 5 units left over are better than a single need of 1000.
An answer that splits nothing stands as it is, and so with the most units, as for other needs.
What is not guaranteed: that a tier's repair finds its optimum, except where `components` did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from services.matching.solver import components, lots, placing
from services.matching.solver.certificate import (
    MILLIONTHS_PER_POINT,
    amounts,
    dot,
    gap_ppm,
    group_amounts,
    welfare,
)
from services.matching.solver.instance import (
    BoolArray,
    Groups,
    Instance,
    IntArray,
    Solution,
    Steps,
    Stopped,
    Tier,
)
from services.matching.solver.online import room_price
from services.matching.solver.solve import objective

# Thousandths of its price that room keeps while lines are improved, pass after pass. Found on
# synthetic classes of 1..5 units a need: without those above 1000, 0.05 % is lost, with half as
# many 0.1 %; twice as many gain nothing.
THETAS = (
    *(1100, 1050, 1000, 960, 920, 880, 840, 800, 750, 700),
    *(650, 600, 540, 480, 400, 300, 200, 100, 0),
)
# Changes dry up long before; a bound for what floating point might make go round in circles.
PASSES_MAX = 30
# Of a line's knapsack table, in bytes.
CELLS_MAX = 2**22
# That a need is met counts something even where it is worth nothing: points.
FOR_BEING_MET = 1e-3


def make_whole(
    instance: Instance, solution: Solution, stop: Callable[[], bool] = lambda: False
) -> Solution:
    """The solution with whole needs and smallest lots kept; itself when it already does.

    Deterministic. `relaxed_objective` becomes the divisible answer's objective, `served` and
    `welfare` of the tiers what is left of it, `bound` stays; `repairs` counts the needs changed.
    Raises Stopped.
    """
    if keeps(instance, solution.quantity):
        return solution
    repair = _Repair(instance, solution, stop)
    for tier in np.unique(instance.tier).tolist():
        repair.serve(tier)
    quantity = repair.quantity()
    return replace(
        solution,
        quantity=quantity,
        tiers=_tiers(instance, solution, quantity),
        objective=objective(instance, quantity),
        repairs=solution.repairs + _needs_changed(instance, solution.quantity, quantity),
    )


def keeps(instance: Instance, quantity: IntArray) -> bool:
    """Whether every whole need is met by one line or not at all, and every part is a lot."""
    parts = (quantity > 0) & instance.whole[instance.need]
    return not (
        (parts & (quantity != instance.required[instance.need])).any()
        or ((quantity > 0) & (quantity < instance.lot[instance.line])).any()
    )


def _tiers(instance: Instance, solution: Solution, quantity: IntArray) -> tuple[Tier, ...]:
    """With what is served, and the welfare of the needs up to the tier."""
    given = amounts(instance.need, quantity, len(instance.required))
    tiers = []
    for tier in solution.tiers:
        upto = np.where(instance.tier[instance.need] <= tier.tier, quantity, 0)
        reached = welfare(instance, upto) * MILLIONTHS_PER_POINT // instance.scale
        plain = dot(instance.weights(), upto) * MILLIONTHS_PER_POINT // instance.scale
        tiers.append(
            replace(
                tier,
                served=int(given[instance.tier == tier.tier].sum()),
                welfare=reached,
                gap_ppm=max(0, gap_ppm(tier.bound - reached, plain)),
            )
        )
    return tuple(tiers)


def _needs_changed(instance: Instance, before: IntArray, after: IntArray) -> int:
    return len(np.unique(instance.need[before != after]))


class _Repair:
    """parts (e,) what divisible needs get so far; the board holds the whole ones."""

    def __init__(self, instance: Instance, solution: Solution, stop: Callable[[], bool]) -> None:
        self.instance, self.solution, self.stop = instance, solution, stop
        self.parts = np.zeros(len(instance.need), dtype=np.int64)
        quantity = instance.required[instance.need]
        able = (
            instance.whole[instance.need]
            & (quantity >= instance.lot[instance.line])
            & (quantity <= instance.limit[instance.line])
        )
        order = np.lexsort((instance.line, instance.need))
        # (k,) the instance's edge of each edge of the board
        self.edges = order[able[order]]
        self.board = _board(instance, self.edges, solution)
        self.planner = lots.Planner(instance)

    def quantity(self) -> IntArray:
        quantity = self.parts.copy()
        places = self.board.at[self.board.at >= 0]
        edges = self.edges[places]
        quantity[edges] = self.instance.required[self.instance.need[edges]]
        return quantity

    def serve(self, tier: int) -> None:
        instance = self.instance
        divisible = (instance.tier == tier) & ~instance.whole
        self._keep_parts(divisible)
        if (instance.whole & (instance.tier == tier)).any():
            self._place(tier)
        if divisible.any():
            self._plan(tier)

    def _room(self) -> IntArray:
        return self.instance.limit - amounts(
            self.instance.line, self.quantity(), len(self.instance.available)
        )

    def _keep_parts(self, divisible: BoolArray) -> None:
        """As far as earlier tiers' repairs left room."""
        edges = np.flatnonzero(divisible[self.instance.need] & (self.solution.quantity > 0))
        lots.keep(edges, self.instance.line, self.solution.quantity, self._room(), self.parts)

    def _place(self, tier: int) -> None:
        instance, board = self.instance, self.board
        now = instance.whole & (instance.tier == tier)
        board.kept[:] = board.at >= 0
        board.movable[:] = board.kept | now
        self._count_parts()
        unsplit = self.solution.quantity[self.edges] == board.quantity[board.need]
        places = np.flatnonzero(unsplit & now[board.need])
        placing.keep(board, places)
        for theta in THETAS:
            if self.stop():
                raise Stopped
            placing.sweep(board, theta / 1000, CELLS_MAX, PASSES_MAX)
        components.improve(board, self.stop)

    def _count_parts(self) -> None:
        """Let the board know what divisible needs take."""
        instance, board = self.instance, self.board
        given = self.quantity()
        board.used[:] = amounts(instance.line, given, len(instance.available))
        served = group_amounts(instance, amounts(instance.need, given, len(instance.required)))
        if served:
            board.served[:] = np.concatenate(served)

    def _plan(self, tier: int) -> None:
        if self.stop():
            raise Stopped
        self.planner.settle(self.parts, self._room(), tier, self.stop)


def _board(instance: Instance, edges: IntArray, solution: Solution) -> placing.Board:
    needs, lines = len(instance.required), len(instance.available)
    need, line = instance.need[edges], instance.line[edges]
    by_line = np.lexsort((need, line))
    levels = np.full((len(instance.groups), needs), -1, dtype=np.int64)
    first = 0
    for row, level in enumerate(instance.groups):
        levels[row] = np.where(level.of_need >= 0, level.of_need + first, -1)
        first += len(level)
    utility = _segments([(g, g.bonus) for g in instance.groups], instance.scale)
    steps = instance.line_steps
    return placing.Board(
        quantity=instance.required,
        first=np.searchsorted(need, np.arange(needs + 1)),
        movable=np.zeros(needs, dtype=np.bool_),
        kept=np.zeros(needs, dtype=np.bool_),
        line=line,
        need=need,
        profit=instance.value[edges].astype(np.float64) + FOR_BEING_MET,
        line_first=np.searchsorted(line[by_line], np.arange(lines + 1)),
        line_edges=by_line,
        limit=instance.limit,
        price=room_price(solution) / solution.scale,
        group=levels,
        utility=utility,
        cost=_segments([(steps, steps.cost)] if steps else [], instance.scale),
        at=np.full(needs, -1, dtype=np.int64),
        used=np.zeros(lines, dtype=np.int64),
        served=np.zeros(first, dtype=np.int64),
        toll=np.zeros(lines),
        gain=np.zeros(first),
        loss=np.zeros(first),
        stale=np.ones(lines, dtype=np.bool_),
    )


def _segments(rows: list[tuple[Groups | Steps, IntArray]], scale: int) -> placing.Segments:
    """Rows of several levels one after the other."""
    start, end, slope, first = [np.zeros(1, dtype=np.int64)], [], [], 0
    for level, weight in rows:
        before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(level.width)])
        counts = np.diff(level.start)
        end.append(before[1:] - np.repeat(before[level.start[:-1]], counts))
        slope.append(weight / scale)
        start.append(level.start[1:] + first)
        first += len(level.width)
    return placing.Segments(
        start=np.concatenate(start),
        end=np.concatenate([np.zeros(0, dtype=np.int64), *end]),
        slope=np.concatenate([np.zeros(0), *slope]),
    )
