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

from services.matching.solver.instance import Groups, Steps
from shared.vocabulary.divisions import cut_to

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.matching.solver.instance import Instance, IntArray

Level = Literal["province", "city", "county", "township"]
Curve = Literal["utilitarian", "proportional", "alpha"]

PERMILLE = 1_000
PPM = 1_000_000
# Below this share of the even rate the curve goes on straight: what a division with next to
# nothing gets first is no more urgent than this, and one of a single need no infinity.
LOWEST_SHARE = 0.25
# A curve's bonus is cut at this many of the class's greatest weights, a floor's or a cap's is this
# many: a path on which welfare loses more per unit than a floor gains would have to make dozens of
# needs change from their best line to their worst.
CURVE_WEIGHTS_MAX = 4
FLOOR_WEIGHTS = 16


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
    strength_permille: int = 500
    segments: int = 20
    floor_permille: int = 0
    cap_permille: int = 1_000

    @property
    def is_neutral(self) -> bool:
        bent = self.floor_permille or self.cap_permille < PERMILLE
        return not self.levels or not (bent or (self.alpha and self.strength_permille))

    @property
    def alpha(self) -> float:
        """0 of a straight line."""
        return {"utilitarian": 0.0, "proportional": 1.0, "alpha": self.alpha_permille / PERMILLE}[
            self.curve
        ]


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
    shares: defaultdict[str, list[int]] = defaultdict(list)
    quantities: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
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


# -------------------------------------------------------------------- groups


def groups_of(
    terms: FairnessTerms, divisions: Sequence[str], instance: Instance
) -> tuple[Groups, ...]:
    """One Groups per level, coarse to fine; () when the terms change nothing.

    divisions (n,) the code of each need of the instance, whose own groups are not looked at

    A group is the needs of one tier in one division: fairness never argues with urgency. A need
    whose code is coarser than the level (a county's own) is a group with its equals. Nothing is
    withheld for a cap's sake: widths sum to what the group asks, units above the cap come last.
    """
    if terms.is_neutral:
        return ()
    slopes = {int(tier): _Slope.of(terms, instance, int(tier)) for tier in np.unique(instance.tier)}
    coarse_to_fine = [
        level for level in ("province", "city", "county", "township") if level in terms.levels
    ]
    return tuple(_groups(level, divisions, instance, slopes) for level in coarse_to_fine)


def _groups(
    level: str, divisions: Sequence[str], instance: Instance, slopes: dict[int, _Slope]
) -> Groups:
    keys = [
        (tier, cut_to(code, level))
        for tier, code in zip(instance.tier.tolist(), divisions, strict=True)
    ]
    rows = {key: row for row, key in enumerate(sorted(set(keys)))}
    of_need = np.array([rows[key] for key in keys], dtype=np.int64)
    asked = np.zeros(len(rows), dtype=np.int64)
    np.add.at(asked, of_need, instance.required)
    start, width, bonus = [0], [], []
    for (tier, _), units in zip(rows, asked.tolist(), strict=True):
        for units_wide, points in slopes[tier].segments(units):
            width.append(units_wide)
            bonus.append(points)
        start.append(len(width))
    return Groups(
        of_need=of_need,
        start=np.array(start, dtype=np.int64),
        width=np.array(width, dtype=np.int64),
        bonus=np.array(bonus, dtype=np.int64),
    )


@dataclass(frozen=True)
class _Slope:
    """The bonus of a unit as a function of the rate, for one tier of one instance.

    even      the rate all would have if what earlier tiers leave were shared evenly
    weight    mean weight of one unit; greatest: the greatest of any
    """

    terms: FairnessTerms
    even: float
    weight: int
    greatest: int

    @staticmethod
    def of(terms: FairnessTerms, instance: Instance, tier: int) -> _Slope:
        now = instance.tier == tier
        asked = int(instance.required[now].sum())
        earlier = int(instance.required[instance.tier < tier].sum())
        left = max(0, int(instance.limit.sum()) - earlier)
        values = instance.value[now[instance.need]]
        mean = int(values.sum()) // len(values) if len(values) else 0
        return _Slope(
            terms=terms,
            even=min(1.0, max(0.05, left / asked)),
            weight=max(1, mean * instance.scale * int(now.sum()) // asked),
            greatest=max(1, int(instance.weights().max(initial=0))),
        )

    def segments(self, asked: int) -> Iterator[tuple[int, int]]:
        """(width, bonus), falling, of a division that asks for so many units."""
        last = 0
        for rate in self._breaks():
            # The floor is reached, and the cap not passed, when a unit straddles either.
            end = -(-rate * asked // PERMILLE)
            if end > last:
                bonus = self._curve((last + end) / (2 * asked)) + self._border(last, asked)
                yield end - last, bonus
                last = end

    def _breaks(self) -> list[int]:
        """Rates in thousandths, ends of segments, the last 1000; finest around the even rate."""
        terms = self.terms
        around = round(self.even * PERMILLE)
        low, high = around // 2, min(PERMILLE, around * 3 // 2)
        parts = max(1, terms.segments - 2) if terms.alpha else 0
        breaks = {low + (high - low) * part // parts for part in range(parts + 1) if parts}
        breaks |= {terms.floor_permille, terms.cap_permille, PERMILLE}
        return sorted(breaks)

    def _curve(self, rate: float) -> int:
        shortfall = self.even / max(rate, LOWEST_SHARE * self.even)
        steepness = shortfall**self.terms.alpha - 1
        # Rounded to millionths, so that a last bit of pow() makes no difference.
        bonus: int = round(steepness * PPM) * self.weight * self.terms.strength_permille
        bonus //= PPM * PERMILLE
        most = CURVE_WEIGHTS_MAX * self.greatest
        return max(-most, min(most, bonus))

    def _border(self, had: int, asked: int) -> int:
        if had * PERMILLE < self.terms.floor_permille * asked:
            return FLOOR_WEIGHTS * self.greatest
        if had * PERMILLE >= self.terms.cap_permille * asked:
            return -FLOOR_WEIGHTS * self.greatest
        return 0


# ----------------------------------------------------------------- diversity


def line_steps(
    terms: DiversityTerms, organizations: Sequence[object], instance: Instance
) -> Steps | None:
    """What giving ever more costs each line; None when the terms change nothing.

    organizations (m,) whose line it is: anything that can be a key

    The ladder is the organization's: what counts is its share of the class's supply (or of what is
    asked, when that is less). Its lines climb it side by side, each in proportion to its own
    quantity, so that the tenth identical parcel of one organization comes after the first of
    another, and a small organization pays nothing.
    """
    whole = min(int(instance.limit.sum()), int(instance.required.sum()))
    if not terms.points_max or terms.free_permille >= PERMILLE or not whole:
        return None
    owned: defaultdict[object, int] = defaultdict(int)
    for organization, units in zip(organizations, instance.available.tolist(), strict=True):
        owned[organization] += units
    point = instance.scale * len(instance.required) // int(instance.required.sum())
    rungs = [
        (
            terms.free_permille + (PERMILLE - terms.free_permille) * step // terms.steps,
            max(1, point * terms.points_max * step // terms.steps) if step else 0,
        )
        for step in range(terms.steps + 1)
    ]
    start, width, cost = [0], [], []
    for organization, units in zip(organizations, instance.available.tolist(), strict=True):
        last = 0
        for place, (share, points) in enumerate(rungs):
            # Units of this line when the organization's share is reached, were all its lines equal.
            end = share * whole * units // (PERMILLE * owned[organization])
            end = units if place == terms.steps else min(end, units)
            if end > last:
                width.append(end - last)
                cost.append(points)
                last = end
        start.append(len(width))
    return Steps(
        start=np.array(start, dtype=np.int64),
        width=np.array(width, dtype=np.int64),
        cost=np.array(cost, dtype=np.int64),
    )
