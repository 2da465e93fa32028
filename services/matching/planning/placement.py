"""Placements: new needs between rounds, at prices that keep stock back for who is still to come.

One aid per applicant is decided as in a round; nothing else is searched: each need takes what is
worth more to it than the line's stock is expected to be worth to later ones. What that expectation
cost the needs at hand is counted, by placing them once more with nothing kept back.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.matching.planning.candidates import BoolArray, Edges, IntArray
from services.matching.solver.certificate import amounts
from services.matching.solver.instance import Instance, Solution, Tier
from services.matching.solver.online import Placement, Reserves, place, prices_from
from services.matching.solver.solve import objective

# Who is in danger does not wait for who may come.
UNPRICED_TIERS = 1


def reserves(
    earlier: Instance | None, share_permille: int, tiers: int, start_price: IntArray, scale: int
) -> Reserves:
    """What needs of each tier leave for others.

    earlier       needs of the days before, as if they were new; None when there were none: then
                  the last round's prices (start_price, at `scale`) are all that is known
    """
    if earlier is not None and len(earlier.need):
        return prices_from(earlier, share_permille, tiers, UNPRICED_TIERS)
    price = np.tile(start_price, (tiers, 1))
    price[:UNPRICED_TIERS] = 0
    return Reserves(price, np.zeros_like(price), scale)


def placed(instance: Instance, kept: Reserves) -> tuple[Solution, Placement]:
    """The placement as a solution: nothing about it is certified, so its bound is what it has."""
    found = place(instance, kept)
    given = amounts(instance.need, found.quantity, len(instance.required))
    reached = objective(instance, found.quantity)
    tiers = [
        Tier(
            tier=tier,
            asked=int(instance.required[instance.tier == tier].sum()),
            most=int(given[instance.tier == tier].sum()),
            served=int(given[instance.tier == tier].sum()),
            welfare=reached,
            bound=reached,
            gap_ppm=0,
            bonus=0,
        )
        for tier in np.unique(instance.tier).tolist()
    ]
    solution = Solution(
        quantity=found.quantity,
        price=kept.price[-1],
        group_bonus=(),
        tiers=tuple(tiers),
        objective=reached,
        relaxed_objective=reached,
        method="exact",
        repairs=0,
        scale=kept.scale,
    )
    return solution, found


def without_reserves(instance: Instance, kept: Reserves) -> int:
    """The objective if nothing were kept back."""
    nothing = replace(kept, price=np.zeros_like(kept.price), kept=np.zeros_like(kept.kept))
    return objective(instance, place(instance, nothing).quantity)


def kept_waiting(edges: Edges, rows: IntArray, found: Placement) -> tuple[BoolArray, BoolArray]:
    """(n,) needs of the class that got less for later needs' sake, and for more urgent ones'."""
    later = np.zeros(len(edges.needs), dtype=bool)
    urgent = np.zeros(len(edges.needs), dtype=bool)
    later[rows] = found.for_later > 0
    urgent[rows] = found.for_urgent > 0
    return later, urgent
