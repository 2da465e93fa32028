"""Fairness between divisions across item classes: points for who is served less than others.

Within a class of many needs, fairness is part of the flow (`solver.fairness`). But a township has
few needs of each of many classes, and rates of two needs are no rates: balancing every class by
itself costs much and evens out nothing. So on levels where a class has few needs a division, its
needs get points by their division's service rate over all classes:

    strength x mean value x ((rate of all / rate of the division) ^ alpha - 1)

the slope of the same concave utility at the rates so far, for one tier. Classes are solved one
after the other in the order of their codes; the rates are those of the classes already solved, and
of welfare alone for those still to come. So each class corrects what is still uneven, and points
vanish as rates meet. (Frank and Wolfe 1956, "An algorithm for quadratic programming",
doi:10.1002/nav.3800030109: the linear part of a concave sum, block by block; without a guarantee
here, for every class is taken once.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.matching.domain import NeedTerms
from services.matching.planning.candidates import PERMILLE, IntArray
from services.matching.solver.fairness import LOWEST_SHARE, PPM, FairnessTerms, Level
from shared.vocabulary.divisions import cut_to

# Below so many needs a division on average, a class does not say how a division fares.
NEEDS_OF_A_RATE = 10
# Points by which a need's value is moved at most, either way: half of what values range over.
POINTS_MAX = 250


def levels_within(terms: FairnessTerms, needs: Sequence[NeedTerms]) -> tuple[Level, ...]:
    """The policy's levels on which these needs of one class are many enough for rates."""
    return tuple(
        level
        for level in terms.levels
        if len(needs)
        >= NEEDS_OF_A_RATE * len({cut_to(need.division_code, level) for need in needs})
    )


class Balance:
    """How every division of every level is served so far, tier by tier.

    needs   all that take part; tier (n,) and given (n,), base units, in their order
    """

    def __init__(
        self, terms: FairnessTerms, needs: Sequence[NeedTerms], tier: IntArray, given: IntArray
    ) -> None:
        self._terms = terms
        self._tier = tier
        self._required = np.array([n.remaining for n in needs], dtype=np.int64)
        self._share = given * PPM // self._required
        self._group: dict[str, IntArray] = {}
        for level in terms.levels:
            keys = [
                (t, cut_to(n.division_code, level))
                for t, n in zip(tier.tolist(), needs, strict=True)
            ]
            rows = {key: row for row, key in enumerate(sorted(set(keys)))}
            self._group[level] = np.array([rows[key] for key in keys], dtype=np.int64)

    def update(self, rows: IntArray, given: IntArray) -> None:
        """rows   of the needs of a class that was solved"""
        self._share[rows] = given * PPM // self._required[rows]

    def points(self, rows: IntArray, levels: Sequence[str], mean_value: int) -> IntArray:
        """(len(rows),) points for the needs of a class, the sum over the levels, bounded."""
        total = np.zeros(len(rows), dtype=np.int64)
        overall = _means(self._tier, self._share)[self._tier[rows]]
        for level in levels:
            group = self._group[level]
            rate = _means(group, self._share)[group[rows]]
            total += self._slope(overall, rate) * mean_value // PPM
        points: IntArray = np.clip(total, -POINTS_MAX, POINTS_MAX)
        return points

    def _slope(self, overall: IntArray, rate: IntArray) -> IntArray:
        """Millionths of the mean value."""
        terms = self._terms
        alpha = {"utilitarian": 0.0, "proportional": 1.0}.get(
            terms.curve, terms.alpha_permille / PERMILLE
        )
        lowest = np.maximum(rate, np.maximum(1, overall * LOWEST_SHARE))
        # Rounded to millionths, so that a last bit of a power makes no difference.
        steep = np.rint(((overall / lowest) ** alpha - 1) * PPM).astype(np.int64)
        slope = np.where(overall > 0, steep * terms.strength_permille // PERMILLE, 0)
        most = PPM * PERMILLE
        slope = np.where(rate < terms.floor_permille * PERMILLE, most, slope)
        capped = (terms.cap_permille < PERMILLE) & (rate >= terms.cap_permille * PERMILLE)
        found: IntArray = np.where(capped, -most, slope)
        return found


def _means(group: IntArray, share: IntArray) -> IntArray:
    """(groups,) rounded down; 0 for a group without needs."""
    count = np.bincount(group)
    total = np.zeros(len(count), dtype=np.int64)
    np.add.at(total, group, share)
    means: IntArray = total // np.maximum(1, count)
    return means
