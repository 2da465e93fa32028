"""Placing new needs between rounds at reserve prices, so that later ones find what they need; pure.

A new need takes its best line only if that is worth at least what the line's stock is expected to
be worth to later needs. That expectation is learned from earlier needs, as a dual price: the price
at which the demand that earlier needs would still make, scaled to the time left, equals the stock
left. Serving each need or batch as well as possible without prices gains nothing over serving who
comes first; prices are nearly all of the difference to knowing the future. They are learned anew at
each placement, from the stock then left.

Order of power holds ahead of time too. Units that more urgent needs are expected to ask for are
kept back from the less urgent, whatever these would gain (protection levels); the most urgent may
take everything. What this strictness cost is counted need by need.

Ahani, Gölz, Procaccia, Teytelboym, Trapp (2024), "Dynamic placement in refugee resettlement",
doi:10.1287/opre.2021.0534: potentials from duals of a matching with earlier arrivals.
Agrawal, Wang, Ye (2014), "A dynamic near-optimal algorithm for online linear programming",
doi:10.1287/opre.2014.1289. Littlewood (1972) for protection levels. The prices are found by
subgradient steps whose length adapts per line (Riedmiller, Braun 1993, "RPROP",
doi:10.1109/ICNN.1993.298623), and averaged: nearly optimal, and they generalise better than an
exact vertex of the dual would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.matching.solver.certificate import amounts
from services.matching.solver.compiled import compiled
from services.matching.solver.instance import BoolArray, Instance, IntArray, Solution, rescaled

FloatArray: TypeAlias = NDArray[np.float64]

PERMILLE = 1_000
# Steps of the prices; the later half is averaged. More changes less than the sample's own noise.
STEPS = 100
# The first step, as a share of a mean unit's value; then a step grows while the price keeps its
# direction and shrinks when it turns.
FIRST_STEP, GROWS, SHRINKS = 0.2, 1.2, 0.6


@dataclass(frozen=True)
class Reserves:
    """What needs of each tier leave for others; row t for tier t, the last for later ones too.

    price (T, m) weight per unit at `scale`: what a unit is worth to later needs of the tier
    kept  (T, m) units left for needs of more urgent tiers
    """

    price: IntArray
    kept: IntArray
    scale: int


@dataclass(frozen=True)
class Placement:
    """quantity (e,) per edge; and units that strictness kept from each need, (n,):

    for_later   a line had them, but the need is worth less to it than later ones of its tier
    for_urgent  a line had them, but they are kept back for more urgent needs
    """

    quantity: IntArray
    for_later: IntArray
    for_urgent: IntArray


def room_price(solution: Solution) -> IntArray:
    """(m,) what one more unit of each line would add to welfare, in weights of `solution.scale`.

    A solution's own prices also carry what its last stage pays for every unit it has to hand out
    (`Tier.bonus`): a need that is asked whether it is worth the room must not be asked that.
    """
    forced = solution.tiers[-1].bonus if solution.tiers else 0
    return np.maximum(solution.price - forced, 0)


def prices_from(
    earlier: Instance, share_left_permille: int, tiers: int, unpriced_tiers: int = 0
) -> Reserves:
    """Reserves learned from earlier needs.

    earlier              needs of a past period as if they were new, with their edges to today's
                         lines, `available` being what these still have, 0 allowed
    share_left_permille  of the demand of that period, how much is still to come before stock is
                         renewed: 1000 = as much again; more than 1000 is allowed; 0 = nothing
    tiers                rows wanted, at least 1
    unpriced_tiers       so many of the most urgent tiers take what there is, at any value: who is
                         in danger does not wait for who may come

    Without demand to come everything is free. Deterministic.
    """
    if share_left_permille < 0 or tiers < 1:
        raise ValueError(f"share_left_permille {share_left_permille}, tiers {tiers}")
    lines = len(earlier.available)
    price = np.zeros((tiers, lines), dtype=np.int64)
    kept = np.zeros((tiers, lines), dtype=np.int64)
    if not share_left_permille or not len(earlier.need):
        return Reserves(price, kept, earlier.scale)
    # The sample is left as it is and the stock scaled to it.
    stock = earlier.available * (PERMILLE / share_left_permille)
    taken = np.zeros(lines)
    order = np.lexsort((earlier.line, earlier.need))
    need, line = earlier.need[order], earlier.line[order]
    weight = earlier.weights()[order] / earlier.scale
    for tier in range(tiers):
        asks = np.where(earlier.tier == tier, earlier.required, 0)
        kept[tier] = np.minimum(
            np.ceil(taken * share_left_permille / PERMILLE), earlier.available
        ).astype(np.int64)
        if not asks.any():
            continue
        prices = np.zeros(lines)
        if tier >= unpriced_tiers:
            prices = _learn(need, line, weight, asks, stock - taken, STEPS)
        taken += _expected(need, line, weight, asks, stock - taken, prices)
        price[tier] = np.rint(prices * earlier.scale).astype(np.int64)
    return Reserves(price, kept, earlier.scale)


def place(instance: Instance, reserves: Reserves) -> Placement:
    """New needs one after the other, the most urgent first, then as they stand.

    A need takes from the line where value minus price is greatest, none below 0, what is neither
    taken nor kept back, and then from the next. Smallest lots and whole needs are kept; groups and
    line steps are not looked at. Deterministic.
    """
    rows = np.minimum(np.arange(int(instance.tier.max(initial=0)) + 1), len(reserves.price) - 1)
    price = np.array(
        [rescaled(reserves.price[row], reserves.scale, instance.scale) for row in rows]
    )
    order = np.lexsort((instance.line, instance.need))
    needs = len(instance.required)
    shelf = _Shelf(
        first=np.searchsorted(instance.need[order], np.arange(needs + 1)),
        line=instance.line[order],
        weight=instance.weights()[order],
        required=instance.required,
        tier=instance.tier,
        whole=instance.whole,
        lot=instance.lot,
        price=price,
        kept=reserves.kept[rows],
        room=instance.limit.copy(),
        quantity=np.zeros(len(order), dtype=np.int64),
        for_later=np.zeros(needs, dtype=np.int64),
        for_urgent=np.zeros(needs, dtype=np.int64),
    )
    _place_all(shelf, np.lexsort((np.arange(needs), instance.tier)))
    quantity = np.zeros(len(order), dtype=np.int64)
    quantity[order] = shelf.quantity
    missing = instance.required - amounts(instance.need, quantity, needs)
    return Placement(
        quantity,
        for_later=np.minimum(shelf.for_later, missing),
        for_urgent=np.minimum(shelf.for_urgent, missing),
    )


class _Shelf(NamedTuple):
    """Edges by need, first[i] .. first[i+1]; price, kept (tiers, m). The last four change."""

    first: IntArray
    line: IntArray
    weight: IntArray
    required: IntArray
    tier: IntArray
    whole: BoolArray
    lot: IntArray
    price: IntArray
    kept: IntArray
    room: IntArray
    quantity: IntArray
    for_later: IntArray
    for_urgent: IntArray


@compiled
def _learn(
    need: IntArray,
    line: IntArray,
    weight: FloatArray,
    asks: IntArray,
    stock: FloatArray,
    steps: int,
) -> FloatArray:
    """(m,) prices per unit at which the needs' demand about equals the stock. Edges by need."""
    lines = len(stock)
    first_step = FIRST_STEP * _mean_best(need, weight, asks)
    price, total = np.zeros(lines), np.zeros(lines)
    step, last = np.full(lines, first_step), np.zeros(lines)
    for round_ in range(steps):
        demand = np.zeros(lines)
        edge = 0
        while edge < len(need):
            asking = need[edge]
            best, profit = -1, 0.0
            while edge < len(need) and need[edge] == asking:
                if weight[edge] - price[line[edge]] > profit:
                    best, profit = line[edge], weight[edge] - price[line[edge]]
                edge += 1
            if best >= 0:
                demand[best] += asks[asking]
        for row in range(lines):
            excess = (demand[row] - stock[row]) / max(stock[row], 1.0)
            excess = min(1.0, max(-1.0, excess))
            if excess * last[row] > 0.0:
                step[row] *= GROWS
            elif excess * last[row] < 0.0:
                step[row] *= SHRINKS
            price[row] = max(0.0, price[row] + step[row] * excess)
            last[row] = excess
        if round_ >= steps // 2:
            total += price
    return total / (steps - steps // 2)


@compiled
def _mean_best(need: IntArray, weight: FloatArray, asks: IntArray) -> float:
    """Mean over units asked of the most each is worth anywhere."""
    total, units, edge = 0.0, 0.0, 0
    while edge < len(need):
        asking = need[edge]
        best = 0.0
        while edge < len(need) and need[edge] == asking:
            best = max(best, weight[edge])
            edge += 1
        total += best * asks[asking]
        units += asks[asking]
    return total / max(units, 1.0)


@compiled
def _expected(
    need: IntArray,
    line: IntArray,
    weight: FloatArray,
    asks: IntArray,
    stock: FloatArray,
    price: FloatArray,
) -> FloatArray:
    """(m,) units the needs take from the stock at these prices, and then at any."""
    room = stock.copy()
    left = asks.astype(np.float64)
    for paying in (True, False):
        edge = 0
        while edge < len(need):
            asking, first = need[edge], edge
            while edge < len(need) and need[edge] == asking:
                edge += 1
            while left[asking] > 0.0:
                best, most = -1, -np.inf
                for own in range(first, edge):
                    profit = weight[own] - price[line[own]]
                    if room[line[own]] > 0.0 and profit > most and (profit >= 0.0 or not paying):
                        best, most = line[own], profit
                if best < 0:
                    break
                units = min(left[asking], room[best])
                left[asking] -= units
                room[best] -= units
    return stock - room


@compiled
def _place_all(shelf: _Shelf, needs: IntArray) -> None:
    for need in needs:
        _place(shelf, need)


@compiled
def _place(shelf: _Shelf, need: int) -> None:
    """What the need takes; and when it lacks some, what lines still had and kept for others."""
    row, missing = shelf.tier[need], shelf.required[need]
    while missing > 0:
        best, most = -1, np.int64(-1)
        for edge in range(shelf.first[need], shelf.first[need + 1]):
            line = shelf.line[edge]
            free = shelf.room[line] - shelf.kept[row, line]
            if not _may_take(shelf, need, line, free, missing) or shelf.quantity[edge] > 0:
                continue
            profit = shelf.weight[edge] - shelf.price[row, line]
            if profit > most:
                best, most = edge, profit
        if best < 0:
            break
        line = shelf.line[best]
        units = min(missing, shelf.room[line] - shelf.kept[row, line])
        shelf.quantity[best] = units
        shelf.room[line] -= units
        missing -= units
    if missing == 0:
        return
    for edge in range(shelf.first[need], shelf.first[need + 1]):
        line = shelf.line[edge]
        room = shelf.room[line]
        free = room - shelf.kept[row, line]
        if shelf.quantity[edge] > 0:
            shelf.for_urgent[need] += min(missing, room)
        elif _may_take(shelf, need, line, free, missing):
            # Only the price stood in its way.
            shelf.for_later[need] += min(missing, free)
        elif _may_take(shelf, need, line, room, missing):
            shelf.for_urgent[need] += min(missing, room)


@compiled
def _may_take(shelf: _Shelf, need: int, line: int, units: int, missing: int) -> bool:
    """Whether so many units suffice for a whole need, or for a lot that is not too much."""
    lot = shelf.lot[line]
    least = max(shelf.required[need], lot) if shelf.whole[need] else lot
    return bool(units >= least and missing >= lot)
