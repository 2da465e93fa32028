"""The fast answer: needs bid for units, prices rise until nobody wants to move.

A need with units to place looks at what each line would leave it (weight - price), and bids for
its best line what makes the second best as good, and a step more. Units bid for least are lost to
it, and their needs bid again. When all is still, every unit lies within a step of its need's best:
the steps bound the gap, and `certificate` measures it. Steps are relative to the need (so many
points of its value), so that a class may hold needs of very different sizes.

Tiers. Needs of earlier tiers are paid so much extra that they never stay out, the stage's own
nothing at first; then augmenting paths bring every earlier need back to its amount and the stage
to its maximum flow, exactly. When that cost too much welfare, the stage's needs are paid too.

Groups. Each group's needs are paid its bonus at which it stands; what it stands at is found by
repeating from the last prices. Group caps are left to the exact solver.

Bertsekas & Castañon (1989), "The auction algorithm for the transportation problem",
doi:10.1007/BF02055195; steps are shortened as in Bertsekas' epsilon scaling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from services.matching.solver import kernels
from services.matching.solver.augment import augment, by_line
from services.matching.solver.certificate import (
    Duals,
    Relaxed,
    Stage,
    amounts,
    certify,
    extra,
    group_amounts,
    group_caps,
)
from services.matching.solver.instance import (
    MILLION,
    VALUE_MAX,
    BoolArray,
    Groups,
    Instance,
    IntArray,
    Steps,
    Stopped,
    Tier,
)
from services.matching.solver.kernels import Ints

# A step of 20 points was seen to leave a gap of 0.1 % where lines have 70 % of what is asked.
POINTS_PER_GAP = 16_000
# Of the gap asked for, what the next try aims at when the last step was too long.
AIM = 0.7
# Steps are in 1024ths of a point.
STEP_BITS = 10
# Bids in one go, between two looks at `stop`: some tenths of a second.
BIDS_AT_ONCE = 500_000
# Bids per need and line before a phase is given up; measured instances take about 10.
BIDS_MOST = 100
# Times a stage is tried, each with shorter steps or more pay, before the exact solver is asked.
TRIES = 6
GROUP_ROUNDS = 24
# Earlier needs are paid as much as this many of the greatest weights.
FORCED = 4
# start, line, value, needs of `kernels`.
Wants: TypeAlias = tuple[Ints, Ints, Ints, IntArray]


class GapNotReached(Exception):
    """The auction did not certify its answer within its bounds; the exact solver will."""


@dataclass(frozen=True)
class Start:
    """What an auction goes on from: an earlier one's answer.

    quantity (e,) or, when nothing is given yet, (0,); given (n,) its sum per need; price (m,)
    """

    quantity: IntArray
    given: IntArray
    price: IntArray

    @classmethod
    def nothing(cls, instance: Instance, price: IntArray | None) -> Start:
        zeros = np.zeros(len(instance.available), dtype=np.int64)
        return cls(
            np.zeros(0, dtype=np.int64),
            np.zeros(len(instance.required), dtype=np.int64),
            zeros if price is None else np.maximum(price, 0),
        )


def solve_tiers(
    instance: Instance,
    *,
    start_price: IntArray | None,
    gap_ppm: int,
    stop: Callable[[], bool],
) -> Relaxed:
    """Every tier with its certified gap; GapNotReached when one stays above `gap_ppm`."""
    if not caps_are_idle(instance):
        raise GapNotReached("a group's cap may bind")
    market = Market(instance, stop)
    start = Start.nothing(instance, start_price)
    duals = Duals.none(instance)
    tiers = []
    for tier in np.unique(instance.tier):
        now = instance.tier == tier
        stage = Search(market, int(tier), now, np.where(now, 0, start.given), gap_ppm)
        start, duals, answer = stage.run(start)
        tiers.append(answer)
    return Relaxed(start.quantity, duals, tuple(tiers), "auction")


def caps_are_idle(instance: Instance) -> bool:
    """Whether no group's segments can run out."""
    return all(
        bool((group_caps(level) >= asked).all())
        for level, asked in zip(
            instance.groups, group_amounts(instance, instance.required), strict=True
        )
    )


class Search:
    """One stage: auctions with ever shorter steps, or more pay, until the gap is small enough."""

    def __init__(
        self, market: Market, tier: int, now: BoolArray, fixed: IntArray, gap_ppm: int
    ) -> None:
        self.market, self.tier, self.now, self.fixed = market, tier, now, fixed
        self.instance = market.instance
        self.gap_ppm = gap_ppm
        self.points = max(1, gap_ppm * POINTS_PER_GAP * 2**STEP_BITS // MILLION)
        self.moved = False

    def run(self, start: Start) -> tuple[Start, Duals, Tier]:
        top = VALUE_MAX * int(self.instance.unit.max())
        groups = GroupBonuses(self.instance, self.fixed, self.now)
        bonus = max(0, -groups.least())
        reached = 0
        for _ in range(TRIES):
            for _ in range(GROUP_ROUNDS if self.instance.groups else 1):
                duals = Duals(start.price, groups.bonus, bonus)
                found = self._auction(start, duals)
                duals = replace(duals, price=found.price)
                amount = int(found.given[self.now].sum())
                stage = Stage(self.instance, self.fixed, self.now, amount)
                answer = certify(stage, self.tier, amount, found.quantity, duals)
                reached = answer.gap_ppm
                if answer.gap_ppm <= self.gap_ppm:
                    return found, duals, answer
                if not groups.move(found.given):
                    break
            if not len(start.quantity):
                # A guess of prices that did not lead there is not asked again.
                start = Start.nothing(self.instance, None)
            if self.moved:
                bonus = 8 * bonus + top
            else:
                shorter = int(self.points * AIM * self.gap_ppm / reached)
                self.points = max(1, min(self.points // 2, shorter))
        raise GapNotReached(f"tier {self.tier}: {reached} ppm")

    def _auction(self, start: Start, duals: Duals) -> Start:
        """The stage's answer; `moved` tells whether paths had to force anything in."""
        supply = np.where(self.now, self.instance.required, self.fixed)
        forced = FORCED * VALUE_MAX * int(self.instance.unit.max()) + abs(duals.bonus)
        paid = np.where(self.now, extra(self.instance, duals), forced)
        found = self.market.auction(start, supply, paid, self.points)
        given = found.given
        free = self.instance.limit - amounts(self.instance.line, found.quantity, len(found.price))
        self.moved = False
        for asking, may_lose in (
            (self.fixed > 0, self.fixed == 0),
            (supply > 0, np.zeros(len(supply), dtype=np.bool_)),
        ):
            lacks = np.where(asking, supply - given, 0)
            market = self.market
            if complete(
                market.start, market.line, market.need, found.quantity, lacks, free, may_lose
            ):
                self.moved = True
                given = amounts(self.instance.need, found.quantity, len(supply))
        return replace(found, given=given)


def complete(
    start: Ints, line: Ints, need: Ints, quantity: IntArray, lacks: IntArray, free: IntArray,
    may_lose: BoolArray,
) -> bool:  # fmt: skip
    """Whether `quantity` had to be changed so that needs get the most; see `augment`."""
    if not lacks.any() or not (free.any() or may_lose.any()):
        return False
    return (
        augment(start, line, need, *by_line(line, len(free)), quantity, lacks, free, may_lose) > 0
    )


class GroupBonuses:
    """What each group's needs are paid; moved until it is what the group's next unit earns."""

    def __init__(self, instance: Instance, fixed: IntArray, now: BoolArray) -> None:
        self.instance, self.fixed = instance, fixed
        asked = np.where(now, instance.required, 0)
        share = min(1.0, float(instance.limit.sum()) / max(1, int(asked.sum() + fixed.sum())))
        guess = fixed + (asked * share).astype(np.int64)
        self.bonus = tuple(
            slopes(level, given)[0]
            for level, given in zip(instance.groups, group_amounts(instance, guess), strict=True)
        )
        self.speed = tuple(np.full(len(level), 0.5) for level in instance.groups)
        self.last = tuple(np.zeros(len(level)) for level in instance.groups)

    def least(self) -> int:
        return sum(int(bonus.min(initial=0)) for bonus in self.bonus)

    def move(self, given: IntArray) -> bool:
        """Towards what the groups earn now; false when they stand there.

        A group that would turn back goes half as fast, one that goes on a little faster.
        """
        moved = False
        bonuses = []
        for row, (level, got, first) in enumerate(
            zip(
                self.instance.groups,
                group_amounts(self.instance, given),
                group_amounts(self.instance, self.fixed),
                strict=True,
            )
        ):
            following, last = slopes(level, got)
            last = np.where(got > first, last, np.maximum(self.bonus[row], following))
            way = np.clip(self.bonus[row], following, last) - self.bonus[row]
            turned = way * self.last[row]
            self.speed[row][turned < 0] *= 0.5
            self.speed[row][turned > 0] = np.minimum(self.speed[row][turned > 0] * 1.3, 1.0)
            self.last[row][:] = np.sign(way)
            bonuses.append(self.bonus[row] + np.rint(way * self.speed[row]).astype(np.int64))
            moved = moved or bool((way != 0).any())
        self.bonus = tuple(bonuses)
        return moved


def slopes(level: Groups, given: IntArray) -> tuple[IntArray, IntArray]:
    """(g,) what each group's next unit earns, and its last; a full group's next is its last."""
    rows = len(level)
    counts = np.diff(level.start)
    ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(level.width)])
    upto = ends[1:] - np.repeat(ends[level.start[:-1]], counts)
    row = np.repeat(np.arange(rows), counts)
    following = np.zeros(rows, dtype=np.int64)
    last = np.zeros(rows, dtype=np.int64)
    # Later segments first: the earliest that fits is written last.
    for s in range(len(level.bonus) - 1, -1, -1):
        if level.width[s] == 0:
            continue
        if upto[s] > given[row[s]] or following[row[s]] == 0:
            following[row[s]] = level.bonus[s]
        if upto[s] >= given[row[s]]:
            last[row[s]] = level.bonus[s]
    return following, last


def room_for(available: IntArray, edges: IntArray, steps: IntArray) -> IntArray:
    """(m+1,) where each line's book begins.

    No more bids than units, nor, after merging, than edges; and those of nobody.
    """
    books = np.minimum(available, edges + edges // 2 + 8) + steps + 1
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(books)])


class Market:
    """The instance in the auction's own arrays, and the books; see `kernels`."""

    def __init__(self, instance: Instance, stop: Callable[[], bool]) -> None:
        self.instance, self.stop = instance, stop
        needs, lines = len(instance.required), len(instance.available)
        self.need = instance.need.astype(np.int32)
        self.line = instance.line.astype(np.uint32)
        self.value = instance.value.astype(np.int16)
        self.start = np.searchsorted(instance.need, np.arange(needs + 1))
        steps = instance.line_steps or Steps(
            np.arange(lines + 1), instance.available, np.zeros(lines, dtype=np.int64)
        )
        self.asks = (steps.start, steps.width, steps.cost, instance.available)
        edges = np.bincount(instance.line, minlength=lines)
        self.room = room_for(instance.available, edges, np.diff(steps.start))
        self.count = np.zeros(lines, dtype=np.int64)
        self.book = np.zeros((int(self.room[-1]), 3), dtype=np.int64)
        self.price = np.zeros(lines, dtype=np.int64)
        self.needs = np.zeros((needs, 4), dtype=np.int64)
        self.make_queue(needs)

    def make_queue(self, needs: int) -> None:
        blocks = needs // kernels.BLOCK + 1
        self.queue = np.zeros(blocks * kernels.BLOCK, dtype=np.int64)
        self.queued = np.zeros(needs, dtype=np.bool_)
        self.ring = np.zeros((blocks, 2), dtype=np.int64)
        self.state = np.zeros(6, dtype=np.int64)

    def auction(self, start: Start, supply: IntArray, paid: IntArray, points: int) -> Start:
        """Let all bid from `start`; needs get at most `supply`."""
        books = (self.room, self.count, self.book)
        self.needs[:, kernels.UNIT] = self.instance.unit
        self.needs[:, kernels.PAID] = paid
        self.needs[:, kernels.STEP] = np.maximum(1, self.instance.unit * points >> STEP_BITS)
        self.needs[:, kernels.LACKS] = supply - start.given
        self.price[:] = start.price
        kernels.open_books(
            *books, self.price, start.quantity, self.need, self.line, *self.asks, start.price
        )
        if len(start.quantity):
            kernels.release(*self.wants(), *books, self.price, *self.asks)
        self.bid(np.flatnonzero(self.needs[:, kernels.LACKS]))
        self.lower()
        quantity = np.zeros(len(self.line), dtype=np.int64)
        kernels.held(self.room, self.count, self.book, quantity)
        return Start(
            quantity, amounts(self.instance.need, quantity, len(supply)), self.price.copy()
        )

    def wants(self) -> Wants:
        return self.start, self.line, self.value, self.needs

    def bid(self, rows: IntArray) -> None:
        """The needs of `rows` bid, and whoever they outbid."""
        kernels.call(self.needs, self.queue, self.queued, self.ring, self.state, rows)
        most = BIDS_MOST * (len(self.needs) + len(self.price)) + BIDS_AT_ONCE
        for _ in range(0, most, BIDS_AT_ONCE):
            if self.stop():
                raise Stopped
            if kernels.bid_all(
                *self.wants(), self.room, self.count, self.book, self.price,
                self.queue, self.queued, self.ring, self.state, BIDS_AT_ONCE,
            ):  # fmt: skip
                return
            if self.price.max() > kernels.PRICE_MAX // 2:
                break
        raise GapNotReached("needs outbid each other for too long")

    def lower(self) -> None:
        """Lines ask no more than its cost for what nobody wants; needs that stayed out bid again.

        Needs that would rather move there are not called: they would leave the same behind them
        elsewhere. What that costs is in the gap.
        """
        books = (self.room, self.count, self.book)
        left = kernels.unsold(*books, *self.asks)
        if left.any():
            ask = np.where(left > 0, 0, self.price + 1)
            kernels.ask_again(*books, self.price, *self.asks, ask)
            self.bid(np.flatnonzero(self.needs[:, kernels.LACKS]))
