"""One class of items, solved by the method that fits; quantities are divisible here.

Smallest lots and whole needs are kept afterwards, by `whole.make_whole`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from services.matching.solver import auction, flow
from services.matching.solver.certificate import MILLIONTHS_PER_POINT, Relaxed
from services.matching.solver.instance import (
    VALUE_MAX,
    Instance,
    IntArray,
    Method,
    Solution,
)

log = logging.getLogger(__name__)

# Fewer edges are solved exactly: a tenth of a second.
AUCTION_EDGES = 200_000


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
    and never change what is certified. `gap_ppm` is asked of the auction: where it does not get
    there the answer is exact, and says so. Raises BadInstance, Stopped.
    """
    instance.checked()
    if method == "auto":
        method = "exact" if len(instance.need) < AUCTION_EDGES else "auction"
    found = _divisible(instance, method, start_price, gap_ppm, stop)
    reached = objective(instance, found.quantity)
    return Solution(
        quantity=found.quantity,
        price=found.duals.price,
        group_bonus=found.duals.group,
        tiers=found.tiers,
        objective=reached,
        relaxed_objective=reached,
        method=found.method,
        repairs=0,
        scale=instance.scale,
    )


def _divisible(
    instance: Instance,
    method: Method,
    start_price: IntArray | None,
    gap_ppm: int,
    stop: Callable[[], bool],
) -> Relaxed:
    """The exact method where the auction gives up."""
    if method == "auction":
        order = _by_need(instance.need)
        part = instance
        if order is not None:
            part = replace(
                instance,
                need=instance.need[order],
                line=instance.line[order],
                value=instance.value[order],
            )
        try:
            found = auction.solve_tiers(part, start_price=start_price, gap_ppm=gap_ppm, stop=stop)
        except auction.GapNotReached as reason:
            log.info("auction left to the exact solver: %s", reason)
        else:
            if order is None:
                return found
            quantity = np.zeros(len(instance.need), dtype=np.int64)
            quantity[order] = found.quantity
            return replace(found, quantity=quantity)
    return flow.solve_tiers(instance, stop)


def _by_need(need: IntArray) -> IntArray | None:
    """The order of the edges by need; None: they have it."""
    if (need[1:] >= need[:-1]).all():
        return None
    order: IntArray = np.argsort(need, kind="stable")
    return order


def objective(instance: Instance, quantity: IntArray) -> int:
    """Sum over edges of value x quantity / required, in millionths, each edge rounded down."""
    used = np.flatnonzero(quantity)
    if int(quantity.max(initial=0)) < 2**63 // (VALUE_MAX * MILLIONTHS_PER_POINT):
        points = instance.value[used] * quantity[used] * MILLIONTHS_PER_POINT
        return int((points // instance.required[instance.need[used]]).sum())
    return sum(
        int(v) * MILLIONTHS_PER_POINT * int(x) // int(r)
        for v, x, r in zip(
            instance.value[used],
            quantity[used],
            instance.required[instance.need[used]],
            strict=True,
        )
    )
