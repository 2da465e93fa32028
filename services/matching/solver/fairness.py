"""Fairness between divisions, and diversity between organizations, as concave steps; pure.

A division's utility in what it receives is concave: its first units count more than its last. Cut
into straight parts it becomes parallel arcs of falling bonus from the division to its needs, and
since the division tree is laminar (of two divisions one contains the other, or they share nothing)
the assignment stays an integral min-cost flow, on all levels at once.

The bonus of a unit that lifts a division from the rate r is

    strength x weight x ((rho / r) ^ alpha - 1)

with `weight` the mean value of one unit in the tier, and rho the rate all would have if the stock
were shared evenly. So strength means the same in a class of two fen and of two trucks, in plenty
and in want: 1000 thousandths with alpha 2 let a unit count three units more in a division served at
half the even rate. alpha 1 is proportional fairness, 2 that of potential delay, large ones approach
max-min.

Mo, Walrand (2000), "Fair end-to-end window-based congestion control", doi:10.1109/90.879343.
Bertsimas, Farias, Trichakis (2011), "The price of fairness", doi:10.1287/opre.1100.0865.
Gini's coefficient: mean absolute difference over twice the mean.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from shared.vocabulary.divisions import cut_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

Level = Literal["province", "city", "county", "township"]
Curve = Literal["utilitarian", "proportional", "alpha"]

PERMILLE = 1_000
PPM = 1_000_000
# Below this share of the even rate the curve goes on straight: what a division with next to
# nothing gets first is no more urgent than this, and one of a single need no infinity.
LOWEST_SHARE = 0.25


@dataclass(frozen=True)
class FairnessTerms:
    """What a policy says about fairness. All thousandths; the policy's own fields, one to one.

    levels             of the division tree that are balanced; their bonuses add up; empty = none
    curve              utilitarian: straight, no bonus; proportional: alpha 1; alpha: as stated
    alpha_permille     of the curve `alpha`; 2000 = alpha 2
    strength_permille  what the curve counts for beside welfare; 1000 as in the module's formula
    segments           straight parts the curve is cut into
    floor_permille     every division of every level is brought to this rate before welfare counts
    cap_permille       above this rate a division is served only with what no other can use
    """

    levels: tuple[Level, ...] = ()
    curve: Curve = "alpha"
    alpha_permille: int = 2_000
    strength_permille: int = 1_000
    segments: int = 20
    floor_permille: int = 0
    cap_permille: int = 1_000

    @property
    def is_neutral(self) -> bool:
        curved = self.curve != "utilitarian" and self.strength_permille and self.alpha_permille
        return not self.levels or not (
            curved or self.floor_permille or self.cap_permille < PERMILLE
        )


@dataclass(frozen=True)
class DiversityTerms:
    """How an organization's further units of an item class count less; the policy's fields.

    free_permille  share of the class's supply that one organization gives without deduction
    steps          equal parts the rest of its share is cut into, each dearer than the last
    points_max     thousandths of value taken off the last unit of who would give everything
    """

    free_permille: int = PERMILLE
    steps: int = 5
    points_max: int = 0


# ------------------------------------------------------------------- figures


@dataclass(frozen=True)
class DivisionRate:
    """How well one division's needs are served.

    rate_ppm           mean over its needs of the share that is met: each need counts the same,
                       whatever its size or item class
    of_quantity_ppm    units served of units asked; means something within one item class only
    met                needs served in full
    """

    division_code: str
    needs: int
    met: int
    rate_ppm: int
    of_quantity_ppm: int


@dataclass(frozen=True)
class LevelFigures:
    """The divisions of one level, by code; lowest and highest by rate, the first code of equals."""

    level: str
    divisions: tuple[DivisionRate, ...]
    gini_ppm: int
    lowest: DivisionRate | None
    highest: DivisionRate | None

    def as_json(self) -> dict[str, Any]:
        return {
            "divisions": len(self.divisions),
            "gini_ppm": self.gini_ppm,
            "lowest": None if self.lowest is None else vars(self.lowest),
            "highest": None if self.highest is None else vars(self.highest),
        }


def figures(
    level: Level, divisions: Sequence[str], required: IntArray, served: IntArray
) -> LevelFigures:
    """Service rates of one level.

    divisions (n,) code of each need; required, served (n,) base units, 0 <= served <= required

    Needs of several item classes may be given together: then read `rate_ppm`.
    """
    shares, quantities = defaultdict(list), defaultdict(lambda: [0, 0])
    for code, asked, got in zip(divisions, required.tolist(), served.tolist(), strict=True):
        if not 0 <= got <= asked or asked == 0:
            raise ValueError(f"{got} served of {asked}")
        within = cut_to(code, level)
        shares[within].append(got * PPM // asked)
        quantities[within][0] += got
        quantities[within][1] += asked
    rates = tuple(
        DivisionRate(
            division_code=code,
            needs=len(shares[code]),
            met=sum(share == PPM for share in shares[code]),
            rate_ppm=sum(shares[code]) // len(shares[code]),
            of_quantity_ppm=quantities[code][0] * PPM // quantities[code][1],
        )
        for code in sorted(shares)
    )
    return LevelFigures(
        level=level,
        divisions=rates,
        gini_ppm=gini_ppm([rate.rate_ppm for rate in rates]),
        lowest=min(rates, key=lambda rate: rate.rate_ppm, default=None),
        highest=max(rates, key=lambda rate: rate.rate_ppm, default=None),
    )


def gini_ppm(values: Sequence[int]) -> int:
    """Gini's coefficient of whole numbers >= 0, in millionths rounded down; 0 of nothing at all.

    Exact: sum over pairs of |x - y|, over n times the sum, from the sorted values.
    """
    if any(value < 0 for value in values):
        raise ValueError("a negative value")
    total = sum(values)
    if not total:
        return 0
    count = len(values)
    apart = sum((2 * place - count + 1) * int(value) for place, value in enumerate(sorted(values)))
    return apart * PPM // (count * total)


def price_ppm(welfare_without: int, welfare_with: int) -> int:
    """Welfare given up for fairness, in millionths of the welfare without it; never below 0.

    Where smallest lots or unsplittable needs are repaired, either may come out better by chance.
    """
    if welfare_without <= 0:
        return 0
    return max(0, (welfare_without - welfare_with) * PPM // welfare_without)


def before_and_after(
    levels: Sequence[Level],
    divisions: Sequence[str],
    required: IntArray,
    served_without: IntArray,
    served_with: IntArray,
) -> list[dict[str, Any]]:
    """Per level: figures of welfare alone (`before`) and with fairness (`after`), and a table.

    Ready for JSON; `table` has a row for each division, the worst served before first.
    """
    found = []
    for level in levels:
        before = figures(level, divisions, required, served_without)
        after = figures(level, divisions, required, served_with)
        table = [
            {
                "division_code": old.division_code,
                "needs": old.needs,
                "before_ppm": old.rate_ppm,
                "after_ppm": new.rate_ppm,
            }
            for old, new in zip(before.divisions, after.divisions, strict=True)
        ]
        table.sort(key=lambda row: (row["before_ppm"], row["division_code"]))
        found.append(
            {
                "level": level,
                "divisions": len(before.divisions),
                "before": before.as_json(),
                "after": after.as_json(),
                "table": table,
            }
        )
    return found
