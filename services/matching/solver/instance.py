"""What the solver is asked and what it answers: one item class, whole numbers only.

The welfare of quantities x is, in weights (see `Instance.scale`),

    sum over edges  value x unit[need] x quantity
  + sum over groups of every level  utility(units the group's needs get)
  - sum over lines  cost(units the line gives)

with unit[need] = scale // required: a need met in full counts its value, however large it is.
Utilities are concave, costs convex, both piecewise linear: it stays a min-cost flow.

Order of power. Tiers are solved one after the other, the most urgent first, and their amounts
frozen: tier k gets the greatest total that leaves every earlier need exactly what it has. While no
group's cap binds, this total makes every prefix of tiers a maximum flow (proof in `flow`). Within
those amounts the welfare of all needs solved so far is the greatest possible.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Method: TypeAlias = Literal["auto", "exact", "auction"]

VALUE_MAX = 1_000
# Fen of 10^13 yuan; with it a price times a quantity stays within three limbs of 30 bits.
QUANTITY_MAX = 2**50
# Weight of one point of the smallest need: six digits finer than the points, and 1000 points of
# it, bonuses and sums of a few prices stay far below 2^63.
UNIT_MAX = 2**30
# Of a bonus or a cost: as large as a hundred of the greatest weights, for floors.
BONUS_MAX = 100 * VALUE_MAX * UNIT_MAX
# What all needs, or all lines, come to: sums of quantities stay whole numbers of 64 bits.
TOTAL_MAX = 2**62
# No weight with its bonuses comes near it: a price beyond keeps everybody away just the same.
PRICE_MAX = 2**55
MILLION = 1_000_000


class BadInstance(ValueError):
    """The arrays contradict each other or leave their bounds."""


class Stopped(RuntimeError):
    """`stop()` said so: nothing was decided."""


class NotSolved(RuntimeError):
    """A solver refused an instance that is feasible by construction: a bug, or an overflow."""


@dataclass(frozen=True)
class Groups:
    """One level of the division tree.

    of_need  (n,) the need's group, -1: none on this level
    start    (g+1,) group r owns the segments start[r] .. start[r+1]
    width    (s,) units of the segment, >= 0; their sum is the group's cap
    bonus    (s,) weight per unit, signed, falling within a group
    """

    of_need: IntArray
    start: IntArray
    width: IntArray
    bonus: IntArray

    def __len__(self) -> int:
        return len(self.start) - 1


@dataclass(frozen=True)
class Steps:
    """What giving ever more costs a line; row r of `start` (m+1,) is line r.

    width (s,) units >= 0, beyond their sum the line gives nothing; cost (s,) weight per unit, >= 0,
    rising within a line
    """

    start: IntArray
    width: IntArray
    cost: IntArray


@dataclass(frozen=True)
class Instance:
    """One item class; quantities in its base unit.

    required   (n,) what each need still lacks, >= 1
    tier       (n,) 0 is served first
    whole      (n,) all or nothing, and from one line
    available  (m,) what each line still has, >= 1
    lot        (m,) smallest quantity the line gives to one need, >= 1
    need, line (e,) edges, as rows of the above; each pair once
    value      (e,) what meeting the need in full by this line is worth, in thousandths, 0..1000
    groups     levels, coarse to fine; laminar: needs of one group share their coarser groups
    """

    required: IntArray
    tier: IntArray
    whole: BoolArray
    available: IntArray
    lot: IntArray
    need: IntArray
    line: IntArray
    value: IntArray
    groups: tuple[Groups, ...] = ()
    line_steps: Steps | None = None

    @cached_property
    def scale(self) -> int:
        """Weight of one point (thousandth) of one need met in full.

        Relative to the smallest need, so that it does not depend on the class's unit. Needs more
        than about 10^8 times larger than the smallest are told apart with ever fewer digits.
        """
        if not len(self.required):
            return UNIT_MAX
        return min(UNIT_MAX * int(self.required.min()), 2**62)

    @cached_property
    def unit(self) -> IntArray:
        """(n,) weight of a point per base unit given."""
        return self.scale // self.required

    def weights(self) -> IntArray:
        """(e,) weight per base unit."""
        return self.value * self.unit[self.need]

    @cached_property
    def limit(self) -> IntArray:
        """(m,) what each line gives at most, its steps considered."""
        if self.line_steps is None:
            return self.available
        return np.minimum(self.available, _sums(self.line_steps.start, self.line_steps.width))

    def checked(self) -> Instance:
        """Itself, or BadInstance."""
        for message, right in self._conditions():
            if not right:
                raise BadInstance(message)
        return self

    def _conditions(self) -> Iterator[tuple[str, bool]]:
        n, m, e = len(self.required), len(self.available), len(self.need)
        yield "tier and whole are per need", len(self.tier) == n == len(self.whole)
        yield "lot is per line", len(self.lot) == m
        yield "line and value are per edge", len(self.line) == e == len(self.value)
        yield "required is 1..2^50", _within(self.required, 1, QUANTITY_MAX)
        yield "available is 1..2^50", _within(self.available, 1, QUANTITY_MAX)
        yield "lot is at least 1", _within(self.lot, 1, QUANTITY_MAX)
        for asked_or_offered in (self.required, self.available):
            yield (
                "quantities sum to 2^62 at most",
                (float(asked_or_offered.sum(dtype=np.float64)) <= TOTAL_MAX),
            )
        yield "edges name needs", _within(self.need, 0, n - 1)
        yield "edges name lines", _within(self.line, 0, m - 1)
        yield "value is 0..1000", _within(self.value, 0, VALUE_MAX)
        for level in self.groups:
            yield "of_need is per need", len(level.of_need) == n
            yield "of_need names groups", _within(level.of_need, -1, len(level) - 1)
            yield "groups' segments", _segments(level.start, level.width, -level.bonus)
        yield "groups are laminar", laminar(self.groups)
        if self.line_steps is not None:
            steps = self.line_steps
            yield "line_steps are per line", len(steps.start) == m + 1
            yield "line_steps' segments", _segments(steps.start, steps.width, steps.cost)
            yield "costs are not negative", _within(steps.cost, 0, BONUS_MAX)


def _within(values: IntArray, least: int, most: int) -> bool:
    return not len(values) or (int(values.min()) >= least and int(values.max()) <= most)


def _segments(start: IntArray, width: IntArray, rising: IntArray) -> bool:
    if len(start) < 1 or start[0] != 0 or start[-1] != len(width) or len(width) != len(rising):
        return False
    if (np.diff(start) < 0).any() or not _within(width, 0, QUANTITY_MAX * 2**10):
        return False
    first = np.zeros(len(width) + 1, dtype=bool)
    first[start] = True
    falls = np.flatnonzero(np.diff(rising) < 0) + 1
    return bool(first[falls].all()) and _within(rising, -BONUS_MAX, BONUS_MAX)


def parents(groups: tuple[Groups, ...]) -> list[IntArray]:
    """Per level (g,): the coarser group each group lies in, numbered through all levels; -1: none.

    A group without needs has none.
    """
    above = np.full(len(groups[0].of_need) if groups else 0, -1, dtype=np.int64)
    found = []
    first = 0
    for level in groups:
        inside = level.of_need >= 0
        parent = np.full(len(level), -1, dtype=np.int64)
        parent[level.of_need[inside]] = above[inside]
        found.append(parent)
        above = np.where(inside, level.of_need + first, above)
        first += len(level)
    return found


def laminar(groups: tuple[Groups, ...]) -> bool:
    above = np.full(len(groups[0].of_need) if groups else 0, -1, dtype=np.int64)
    first = 0
    for level, parent in zip(groups, parents(groups), strict=True):
        inside = level.of_need >= 0
        if (parent[level.of_need[inside]] != above[inside]).any():
            return False
        above = np.where(inside, level.of_need + first, above)
        first += len(level)
    return True


def _sums(start: IntArray, width: IntArray) -> IntArray:
    """(rows,) the sum of each row's segments."""
    total = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(width)])
    sums: IntArray = total[start[1:]] - total[start[:-1]]
    return sums


@dataclass(frozen=True)
class Tier:
    """One stage; amounts in base units, welfare and bound in millionths of a need met in full.

    asked    what the tier's needs lack
    most     what the tier can get beside the earlier tiers' amounts (a maximum flow)
    served   what it gets; equal to `most` unless lots or whole needs took some away
    welfare  of all needs up to this tier when it was solved, bonuses and costs included
    bound    no assignment of these amounts has more (Lagrangian dual bound)
    gap_ppm  bound - welfare, in millionths of the welfare by value alone
    bonus    weight per unit at which the tier's last unit found its place; 0: nothing was forced
    """

    tier: int
    asked: int
    most: int
    served: int
    welfare: int
    bound: int
    gap_ppm: int
    bonus: int


@dataclass(frozen=True)
class Solution:
    """quantity (e,) per edge.

    price        (m,) weight per unit of each line: what one more unit would add
    group_bonus  per level (g,) weight per unit at which the group stands
    scale        of prices and bonuses: the instance's; of another instance: see `rescaled`
    objective    sum of value x share of the need met, in millionths (bonuses and costs apart)
    relaxed_objective  the same before `whole.make_whole` kept lots and whole needs
    repairs      the needs it changed
    """

    quantity: IntArray
    price: IntArray
    group_bonus: tuple[IntArray, ...]
    tiers: tuple[Tier, ...]
    objective: int
    relaxed_objective: int
    method: Literal["exact", "auction"]
    repairs: int
    scale: int

    @property
    def gap_ppm(self) -> int:
        return max((tier.gap_ppm for tier in self.tiers), default=0)


def rescaled(price: IntArray, scale: int, to: int) -> IntArray:
    """Prices of one instance as start prices of another, whose scale is `to`; PRICE_MAX at most."""
    if scale == to:
        return price
    return np.array([min(int(p) * to // scale, PRICE_MAX) for p in price], dtype=np.int64)
