"""An auction that stays open: needs come and go and lines get more, at the prices that stand.

New needs only raise prices, so they bid and whoever they outbid bids again: the work follows what
changes, not the size of the class. Withdrawn needs and new units leave lines with units nobody
wants at their price; these ask less until somebody does.

Each change ends with the certificate of the whole. Any prices prove a bound, so new needs are
added to the proof at the prices it was made with: what those have moved since costs the bound only
in second order (1 % new needs: 0.004 % of the welfare), and the others need not be looked at. Where
that no longer proves the gap it is measured anew at the prices that stand; when that has grown too
large, or units were left although needs lack them, all is put right or solved afresh.

One tier, neither groups nor line steps: those are for rounds (`solve`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.matching.solver import auction, changes, kernels
from services.matching.solver.auction import Market, Start
from services.matching.solver.certificate import (
    MILLIONTHS_PER_POINT,
    amounts,
    dot,
    from_limbs,
    gap_ppm,
)
from services.matching.solver.instance import UNIT_MAX, BadInstance, Instance, IntArray, Tier

Number = TypeVar("Number", bound=np.generic)
# Needs so many times smaller than the smallest begin a new scale: their weights leave the bounds.
SMALLER_MOST = 64
# A column grows to this many eighths of what it holds.
EIGHTHS = 9
# New needs that bid together: what they set in motion stays in the processor's cache. A fifth
# faster than all 10,000 at once; from 50 to 500 it hardly matters.
WAVE = 200


class _Column(Generic[Number]):
    """An array with room at its end, so that a few rows more do not copy all."""

    def __init__(self, values: NDArray[Number]) -> None:
        self._all = np.zeros((len(values) * EIGHTHS // 8, *values.shape[1:]), dtype=values.dtype)
        self._all[: len(values)] = values
        self.rows = self._all[: len(values)]

    def append(self, values: NDArray[Number]) -> NDArray[Number]:
        size = len(self.rows) + len(values)
        if size > len(self._all):
            grown = np.zeros((size * EIGHTHS // 8, *values.shape[1:]), dtype=values.dtype)
            grown[: len(self.rows)] = self.rows
            self._all = grown
        self._all[len(self.rows) : size] = values
        self.rows = self._all[:size]
        return self.rows


@dataclass(frozen=True)
class _Proof:
    """A Lagrangian bound of all that stands: price (m,) it is taken at, in weights what the needs
    add to it. `rows` needs are in it."""

    price: IntArray
    asked: int
    rows: int


class Standing:
    """What is held (see `held`), at which `price` (m,), and how good that is (`tier`).

    Rows of needs and lines keep their numbers; a withdrawn need's row stays and asks for nothing.
    Raises auction.GapNotReached when not even a fresh auction certifies the gap: use `solve`.
    """

    def __init__(
        self, instance: Instance, *, gap_ppm: int = 1000, stop: Callable[[], bool] = lambda: False
    ) -> None:
        instance.checked()
        if len(np.unique(instance.tier)) > 1 or instance.groups or instance.line_steps is not None:
            raise BadInstance("one tier, without groups and line steps")
        if (instance.need[1:] < instance.need[:-1]).any():
            raise BadInstance("edges are sorted by need")
        self.gap_ppm, self.stop = gap_ppm, stop
        self._fresh(instance)

    def _fresh(self, instance: Instance) -> None:
        self.scale = instance.scale
        self.market = market = Market(instance, self.stop)
        now = np.ones(len(instance.required), dtype=np.bool_)
        search = auction.Search(market, 0, now, np.zeros(len(now), dtype=np.int64), self.gap_ppm)
        found, duals, self.tier = search.run(Start.nothing(instance, None))
        self.bonus, self.points = duals.bonus, search.points
        self._start = _Column(market.start)
        self._line, self._value = _Column(market.line), _Column(market.value)
        self._required = _Column(instance.required.copy())
        self._needs = _Column(market.needs)
        self.available = instance.available.copy()
        market.asks = (*market.asks[:1], self.available, market.asks[2], self.available)
        self._edges = np.bincount(instance.line, minlength=len(self.available))
        self._move_books()
        if search.moved:
            self._reopen(found)
        self._rows_changed()
        self._measure()

    @property
    def price(self) -> IntArray:
        return self.market.price

    def held(self) -> tuple[IntArray, IntArray, IntArray]:
        """need, line, quantity: rows and units of everything held, sorted."""
        quantity = self._quantity()
        edges = np.flatnonzero(quantity)
        need = np.searchsorted(self._start.rows, edges, side="right") - 1
        return need, self._line.rows[edges].astype(np.int64), quantity[edges]

    def instance(self) -> Instance:
        """Everything that stands; rows that ask for nothing stay, without edges."""
        counts = np.diff(self._start.rows)
        needs = np.repeat(np.arange(len(counts)), counts)
        kept = self._required.rows[needs] > 0
        rows = np.zeros(len(counts), dtype=np.int64)
        required = self._required.rows
        least = int(required[required > 0].min()) if required.any() else 1
        return Instance(
            required=np.where(required > 0, required, least),
            tier=rows,
            whole=rows > 0,
            available=self.available.copy(),
            lot=np.ones(len(self.available), dtype=np.int64),
            need=needs[kept],
            line=self._line.rows[kept].astype(np.int64),
            value=self._value.rows[kept].astype(np.int64),
        )

    def add(self, required: IntArray, need: IntArray, line: IntArray, value: IntArray) -> Tier:
        """New needs (k,) get the rows after those there are; edges (f,) sorted by need, 0..k-1."""
        old = len(self._required.rows)
        Instance(
            required=required,
            tier=np.zeros(len(required), dtype=np.int64),
            whole=np.zeros(len(required), dtype=np.bool_),
            available=self.available,
            lot=np.ones(len(self.available), dtype=np.int64),
            need=need,
            line=line,
            value=value,
        ).checked()
        self._required.append(required)
        unit = self.scale // required
        step = np.maximum(1, unit * self.points >> auction.STEP_BITS)
        self._needs.append(np.stack([unit, np.full(len(unit), self.bonus), step, required], axis=1))
        ends = np.cumsum(np.bincount(need, minlength=len(required)), dtype=np.int64)
        self._start.append(ends + self._start.rows[-1])
        self._line.append(line.astype(np.uint32))
        self._value.append(value.astype(np.int16))
        self._edges += np.bincount(line, minlength=len(self._edges))
        self._make_room()
        self._rows_changed()
        if int(unit.max(initial=0)) > SMALLER_MOST * UNIT_MAX:
            return self._afresh()
        ends_at = old + len(required)
        for first in range(old, ends_at, WAVE):
            self.market.bid(np.arange(first, min(first + WAVE, ends_at)))
            self._worth += from_limbs(self.market.state[3:])
        self._prove(self._proof)
        return self._settled()

    def withdraw(self, rows: IntArray) -> Tier:
        """These needs ask for nothing any more."""
        market = self.market
        self._required.rows[rows] = 0
        self._needs.rows[rows, kernels.LACKS] = 0
        changes.forget(rows, market.start, market.line, *self._books(), market.price, *market.asks)
        market.lower()
        self._measure()
        return self._settled()

    def supply(self, rows: IntArray, units: IntArray) -> Tier:
        """Lines get more units; each row once."""
        market = self.market
        self.available[rows] += units
        self._make_room()
        for row in rows.tolist():
            kernels.ask_line(*self._books(), market.price, row, *market.asks, market.price)
        market.lower()
        self._measure()
        return self._settled()

    def _books(self) -> tuple[IntArray, IntArray, IntArray]:
        return self.market.room, self.market.count, self.market.book

    def _rows_changed(self) -> None:
        market = self.market
        market.start, market.line, market.value = (
            self._start.rows,
            self._line.rows,
            self._value.rows,
        )
        market.needs = self._needs.rows
        if len(market.needs) > len(market.queued):
            market.make_queue(len(market.needs) * EIGHTHS // 8)

    def _make_room(self) -> None:
        """Books are large enough for the lines' edges and units."""
        ones = np.ones(len(self._edges), dtype=np.int64)
        asked = np.diff(auction.room_for(self.available, self._edges, ones))
        if (asked > np.diff(self.market.room)).any():
            self._move_books()

    def _move_books(self) -> None:
        """Into larger ones, with room for as many edges as there are."""
        room, count, book = self._books()
        ones = np.ones(len(count), dtype=np.int64)
        larger = auction.room_for(self.available, self._edges * 2, ones)
        moved = np.zeros((int(larger[-1]), 3), dtype=np.int64)
        changes.move_books(room, count, book, larger, moved)
        self.market.room, self.market.book = larger, moved

    def _quantity(self) -> IntArray:
        quantity = np.zeros(len(self._line.rows), dtype=np.int64)
        kernels.held(*self._books(), quantity)
        return quantity

    def _settled(self) -> Tier:
        """Certified; completed where units and needs were left, afresh where the gap has grown."""
        self._count()
        if self._lacks and self._asked - self._lacks < self.available.sum() and self._complete():
            self._measure()
        elif self._certified().gap_ppm > self.gap_ppm:
            self._prove(_Proof(self.price.copy(), 0, 0))
        self.tier = self._certified()
        return self.tier if self.tier.gap_ppm <= self.gap_ppm else self._afresh()

    def _count(self) -> None:
        """What the needs ask for, and what of it they lack, in units."""
        self._asked = int(self._required.rows.sum())
        self._lacks = int(self._needs.rows[:, kernels.LACKS].sum())

    def _measure(self) -> None:
        """The welfare of what is held, and its bound at the prices that stand."""
        self._count()
        self._worth = from_limbs(
            changes.held_worth(*self._books(), self._value.rows, self._needs.rows)
        )
        self._prove(_Proof(self.price.copy(), 0, 0))
        self.tier = self._certified()

    def _prove(self, proof: _Proof) -> None:
        """The proof with the needs that are not in it yet."""
        more = changes.asked_worth(
            *self.market.wants(), proof.price, self._required.rows, proof.rows
        )
        rows = len(self._required.rows)
        self._proof = replace(proof, asked=proof.asked + from_limbs(more), rows=rows)

    def _certified(self) -> Tier:
        amount, worth = self._asked - self._lacks, self._worth
        best = dot(self._proof.price, self.available) + self._proof.asked - self.bonus * amount
        return replace(
            self.tier,
            asked=self._asked,
            most=amount,
            served=amount,
            welfare=worth * MILLIONTHS_PER_POINT // self.scale,
            bound=-(-best * MILLIONTHS_PER_POINT // self.scale),
            gap_ppm=gap_ppm(best - worth, worth),
        )

    def _complete(self) -> bool:
        """Units left go to needs that lack some, over whatever paths; the books follow.

        Whether there was any.
        """
        quantity = self._quantity()
        needs = len(self._required.rows)
        rows = np.repeat(np.arange(needs), np.diff(self._start.rows))
        given = amounts(rows, quantity, needs)
        free = self.available - amounts(self._line.rows, quantity, len(self.available))
        lacks = self._required.rows - given
        nobody = np.zeros(needs, dtype=np.bool_)
        if not auction.complete(
            self._start.rows, self._line.rows, rows, quantity, lacks, free, nobody
        ):
            return False
        given = amounts(rows, quantity, needs)
        self._reopen(Start(quantity, given, self.market.price.copy()))
        return True

    def _reopen(self, found: Start) -> None:
        rows = np.repeat(np.arange(len(found.given)), np.diff(self._start.rows))
        kernels.open_books(
            *self._books(), self.market.price, found.quantity, rows, self._line.rows,
            *self.market.asks, found.price,
        )  # fmt: skip
        self._needs.rows[:, kernels.LACKS] = self._required.rows - found.given

    def _afresh(self) -> Tier:
        gone = np.flatnonzero(self._required.rows == 0)
        self._fresh(self.instance())
        # Rows without edges hold nothing.
        self._required.rows[gone] = 0
        self._needs.rows[gone, kernels.LACKS] = 0
        self._measure()
        return self.tier
