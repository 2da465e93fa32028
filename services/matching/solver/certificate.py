"""How far an answer can be from the best one: a bound from any prices whatever.

Lagrangian dual of one stage. Let every line ask its price p per unit, every group pay its bonus l
and the stage pay b for each unit of its own needs, which have to get `amount` in all. Then no
assignment has more welfare than

    sum over lines           most of  p z - cost(z)              over what the line may give, z
  + sum over earlier needs   amount x best of (weight - p)
  + sum over the stage's     required x best of (0, weight + l + b - p)
  + sum over groups          most of  utility(y) - utility(earlier) - l y
  + utility(earlier) - b x amount

because each constraint that was priced holds with equality or costs nothing to break. Prices need
not be good, only the bound is better when they are: whoever doubts a round recomputes it with
these few lines and no solver. Everything is exact: products are summed in limbs of 30 bits.

Geoffrion (1974), "Lagrangean relaxation for integer programming", doi:10.1007/BFb0120690.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from services.matching.solver.compiled import compiled
from services.matching.solver.instance import (
    MILLION,
    BoolArray,
    Groups,
    Instance,
    IntArray,
    Steps,
    Tier,
)

MILLIONTHS_PER_POINT = 1_000
# Below every profit: weights, bonuses and prices stay below 2^50.
NOTHING = -(2**62)


@dataclass(frozen=True)
class Stage:
    """One tier beside the earlier ones' amounts.

    fixed   (n,) what each earlier need gets, exactly; 0 for all others
    now     (n,) the stage's own needs
    amount  what these get in all
    """

    instance: Instance
    fixed: IntArray
    now: BoolArray
    amount: int


@dataclass(frozen=True)
class Duals:
    """price (m,) >= 0; group (per level (g,)); bonus: of the stage's units."""

    price: IntArray
    group: tuple[IntArray, ...]
    bonus: int

    @classmethod
    def none(cls, instance: Instance) -> Duals:
        return cls(
            np.zeros(len(instance.available), dtype=np.int64),
            tuple(np.zeros(len(level), dtype=np.int64) for level in instance.groups),
            0,
        )


@dataclass(frozen=True)
class Relaxed:
    """An answer before lots and whole needs are kept, and what proves it."""

    quantity: IntArray
    duals: Duals
    tiers: tuple[Tier, ...]
    method: Literal["exact", "auction"]


def certify(stage: Stage, tier: int, most: int, quantity: IntArray, duals: Duals) -> Tier:
    """The tier's line in the answer: what was reached against what the prices allow."""
    instance = stage.instance
    plain = by_value(instance, quantity)
    reached, best = plain + by_groups_and_lines(instance, quantity), bound(stage, duals)
    return Tier(
        tier=tier,
        asked=int(instance.required[stage.now].sum()),
        most=most,
        served=stage.amount,
        welfare=reached * MILLIONTHS_PER_POINT // instance.scale,
        bound=-(-best * MILLIONTHS_PER_POINT // instance.scale),
        gap_ppm=gap_ppm(best - reached, plain),
        bonus=duals.bonus,
    )


def gap_ppm(gap: int, plain: int) -> int:
    """In millionths of the welfare by value alone, rounded up."""
    return -(-gap * MILLION // max(1, plain))


def welfare(instance: Instance, quantity: IntArray) -> int:
    """In weights; see `instance`."""
    return by_value(instance, quantity) + by_groups_and_lines(instance, quantity)


def by_value(instance: Instance, quantity: IntArray) -> int:
    """The part of the welfare that single edges bring."""
    return from_limbs(_values(instance.need, instance.value, instance.unit, quantity))


def by_groups_and_lines(instance: Instance, quantity: IntArray) -> int:
    """The groups' utilities less the lines' costs."""
    total = 0
    if instance.groups:
        given = amounts(instance.need, quantity, len(instance.required))
        for level in instance.groups:
            total += dot(level.bonus, _used(level, _of_groups(level, given)))
    if instance.line_steps is not None:
        taken = amounts(instance.line, quantity, len(instance.available))
        total -= dot(instance.line_steps.cost, _used(instance.line_steps, taken))
    return total


def bound(stage: Stage, duals: Duals) -> int:
    """No assignment with the stage's amounts has more welfare, in weights."""
    instance = stage.instance
    price = np.maximum(duals.price, 0)
    return (
        _of_lines(instance, price)
        + _of_needs(stage, price, extra(instance, duals))
        + _of_levels(stage, duals)
        - duals.bonus * stage.amount
    )


def extra(instance: Instance, duals: Duals) -> IntArray:
    """(n,) what a unit of each need is paid beside its weight, when the need is of the stage."""
    paid = np.full(len(instance.required), duals.bonus, dtype=np.int64)
    for level, bonus in zip(instance.groups, duals.group, strict=True):
        inside = level.of_need >= 0
        paid[inside] += bonus[level.of_need[inside]]
    return paid


def _of_lines(instance: Instance, price: IntArray) -> int:
    steps = instance.line_steps
    if steps is None:
        return dot(price, instance.available)
    profit = np.repeat(price, np.diff(steps.start)) - steps.cost
    return dot(np.maximum(profit, 0), _used(steps, instance.available))


def _of_needs(stage: Stage, price: IntArray, paid: IntArray) -> int:
    instance = stage.instance
    supply = np.where(stage.now, instance.required, stage.fixed)
    best = np.where(stage.now, 0, NOTHING)
    _best_profits(
        instance.need,
        instance.line,
        instance.value,
        instance.unit,
        np.where(stage.now, paid, 0),
        price,
        best,
    )
    asking = supply > 0
    return dot(supply[asking], best[asking])


def _of_levels(stage: Stage, duals: Duals) -> int:
    total = 0
    for level, bonus in zip(stage.instance.groups, duals.group, strict=True):
        used = _used(level, _of_groups(level, stage.fixed))
        more = np.maximum(level.bonus - np.repeat(bonus, np.diff(level.start)), 0)
        total += dot(level.bonus, used) + dot(more, level.width - used)
    return total


def left(rows: Groups | Steps, given: IntArray) -> IntArray:
    """(s,) what is left of each segment when each row's first `given` units are used."""
    unused: IntArray = rows.width - _used(rows, given)
    return unused


def _used(rows: Groups | Steps, given: IntArray) -> IntArray:
    """(s,) how many units of each segment the row's `given` (rows,) units fill, in order."""
    ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(rows.width)])
    counts = np.diff(rows.start)
    before = ends[:-1] - np.repeat(ends[rows.start[:-1]], counts)
    used: IntArray = np.clip(np.repeat(given, counts) - before, 0, rows.width)
    return used


def _of_groups(level: Groups, given: IntArray) -> IntArray:
    """(g,) what each group's needs get."""
    inside = level.of_need >= 0
    return amounts(level.of_need[inside], given[inside], len(level))


def group_amounts(instance: Instance, given: IntArray) -> tuple[IntArray, ...]:
    """Per level (g,): what each group's needs get when need i gets given[i]."""
    return tuple(_of_groups(level, given) for level in instance.groups)


def group_caps(level: Groups) -> IntArray:
    """(g,) what each group's segments hold in all."""
    ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(level.width)])
    caps: IntArray = ends[level.start[1:]] - ends[level.start[:-1]]
    return caps


def amounts(rows: IntArray, quantity: IntArray, count: int) -> IntArray:
    """(count,) the quantities summed per row, exactly (np.bincount sums in floats)."""
    total = np.zeros(count, dtype=np.int64)
    _add_at(rows, quantity, total)
    return total


def dot(a: Sequence[int] | IntArray, b: Sequence[int] | IntArray) -> int:
    """The exact sum of products, however large; factors within 2^59 and one of them below 2^51."""
    return from_limbs(_products(np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)))


def from_limbs(limbs: Iterable[int]) -> int:
    high, middle, low = limbs
    return (int(high) << 60) + (int(middle) << 30) + int(low)


@compiled
def _products(a: IntArray, b: IntArray) -> tuple[int, int, int]:
    high, middle, low = 0, 0, 0
    for k in range(len(a)):
        high, middle, low = with_product(high, middle, low, a[k], b[k])
    return high, middle, low


@compiled
def _values(
    need: IntArray, value: IntArray, unit: IntArray, quantity: IntArray
) -> tuple[int, int, int]:
    high, middle, low = 0, 0, 0
    for e in range(len(quantity)):
        if quantity[e]:
            weight = value[e] * unit[need[e]]
            high, middle, low = with_product(high, middle, low, weight, quantity[e])
    return high, middle, low


@compiled
def with_product(high: int, middle: int, low: int, a: int, b: int) -> tuple[int, int, int]:
    """Limbs of 30 bits, the lower two never negative, the product added."""
    mask = (1 << 30) - 1
    a1, a0, b1, b0 = a >> 30, a & mask, b >> 30, b & mask
    low += a0 * b0
    middle += a1 * b0 + a0 * b1 + (low >> 30)
    return high + a1 * b1 + (middle >> 30), middle & mask, low & mask


@compiled
def _add_at(rows: IntArray, quantity: IntArray, total: IntArray) -> None:
    for k in range(len(rows)):
        total[rows[k]] += quantity[k]


@compiled
def _best_profits(
    need: IntArray,
    line: IntArray,
    value: IntArray,
    unit: IntArray,
    paid: IntArray,
    price: IntArray,
    best: IntArray,
) -> None:
    """Raise best (n,) to the best profit any edge offers each need."""
    for e in range(len(need)):
        i = need[e]
        best[i] = max(best[i], value[e] * unit[i] + paid[i] - price[line[e]])
