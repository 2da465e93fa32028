"""One class of items, solved: which method, and smallest lots kept afterwards.

Smallest lots make the problem NP-hard; they are kept by repair: an edge that came out below its
line's smallest lot is dropped and everything is solved again. `relaxed_objective` says what was
lost at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from services.matching.solver import flow
from services.matching.solver.certificate import MILLIONTHS_PER_POINT, amounts
from services.matching.solver.instance import Instance, IntArray, Method, Solution

# After this many rounds of dropping edges what is still below its lot is given up, so that the
# time is bounded; each round drops one edge at least.
REPAIRS_MAX = 50


def solve(
    instance: Instance,
    *,
    method: Method = "auto",
    start_price: IntArray | None = None,
    gap_ppm: int = 1000,
    stop: Callable[[], bool] = lambda: False,
) -> Solution:
    """Deterministic: equal arguments give equal bytes.

    start_price (m,) guesses at the lines' prices, in weights of this instance; they may save time
    and never change what is certified. Raises BadInstance, Stopped.
    """
    instance.checked()
    kept = np.ones(len(instance.need), dtype=bool)
    first = found = flow.solve_tiers(instance, kept, stop)
    repairs = 0
    while True:
        quantity = found.quantity
        below = (quantity > 0) & (quantity < instance.lot[instance.line])
        if not below.any():
            break
        if repairs == REPAIRS_MAX:
            quantity = np.where(below, 0, quantity)
            break
        kept &= ~below
        repairs += 1
        found = flow.solve_tiers(instance, kept, stop)
    given = amounts(instance.need, quantity, len(instance.required))
    tiers = tuple(
        replace(tier, most=relaxed.most, served=int(given[instance.tier == tier.tier].sum()))
        for tier, relaxed in zip(found.tiers, first.tiers, strict=True)
    )
    return Solution(
        quantity=quantity,
        price=found.duals.price,
        group_bonus=found.duals.group,
        tiers=tiers,
        objective=objective(instance, quantity),
        relaxed_objective=objective(instance, first.quantity),
        method="exact",
        repairs=repairs,
        scale=instance.scale,
    )


def objective(instance: Instance, quantity: IntArray) -> int:
    """Sum over edges of value x quantity / required, in millionths, each edge rounded down."""
    used = np.flatnonzero(quantity)
    return sum(
        int(v) * MILLIONTHS_PER_POINT * int(x) // int(r)
        for v, x, r in zip(
            instance.value[used],
            quantity[used],
            instance.required[instance.need[used]],
            strict=True,
        )
    )
