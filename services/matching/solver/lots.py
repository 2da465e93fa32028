"""Smallest lots for needs that may be split: parts planned anew within the room there is; pure.

An answer that knows nothing of lots splits few needs: about as many as there are lines. What came
out below its line's lot is taken back and placed again, urgent needs first, in this order:

* onto parts the need has elsewhere, and onto lines that give a lot or more;
* onto a line whose lot is larger than what is missing, the rest taken off the need's other parts;
* onto a line where another need can give up its place for one elsewhere, losing nothing.

So a need's amount only grows; no edge is given up for good before everything was tried. Small parts
of the graph are then planned exactly where units are still missing: the most units first, among
those the most value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from services.matching.solver import components
from services.matching.solver.compiled import compiled
from services.matching.solver.instance import BoolArray, Instance, IntArray, Stopped

# Rounds over all needs with something missing; what one gives up another may take.
PASSES_MAX = 4


class Parts(NamedTuple):
    """Edges sorted by need. part (e,) and room (m,) change; all else is given.

    first (n+1,), line_first (m+1,), line_edges (e,)   edges of a need; of a line
    order (e,)   the edges of each need again, the most valuable first
    missing (n,) what the need still lacks
    """

    first: IntArray
    order: IntArray
    line_first: IntArray
    line_edges: IntArray
    need: IntArray
    line: IntArray
    lot: IntArray
    part: IntArray
    room: IntArray
    missing: IntArray


class Planner:
    """The divisible needs of one instance."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        able = ~instance.whole[instance.need] & (
            instance.lot[instance.line] <= instance.required[instance.need]
        )
        order = np.lexsort((instance.line, instance.need))
        self.edges = order[able[order]]
        need, line = instance.need[self.edges], instance.line[self.edges]
        needs, lines = len(instance.required), len(instance.available)
        by_line = np.lexsort((need, line))
        self.need, self.line = need, line
        self.first = np.searchsorted(need, np.arange(needs + 1))
        self.order = np.lexsort((line, -instance.value[self.edges], need))
        self.line_edges = by_line
        self.line_first = np.searchsorted(line[by_line], np.arange(lines + 1))

    def settle(self, parts: IntArray, room: IntArray, tier: int, stop: Callable[[], bool]) -> None:
        """Make every part a lot; parts (e,) of the instance's edges is changed, room (m,) too.

        Needs of tiers up to `tier` may change lines, only those of `tier` gain. Raises Stopped.
        """
        instance = self.instance
        given = np.zeros(len(instance.required), dtype=np.int64)
        np.add.at(given, instance.need, parts)
        divisible = ~instance.whole
        board = Parts(
            first=self.first,
            order=self.order,
            line_first=self.line_first,
            line_edges=self.line_edges,
            need=self.need,
            line=self.line,
            lot=instance.lot,
            part=parts[self.edges],
            room=room,
            missing=np.where(divisible, instance.required - given, 0),
        )
        below = np.flatnonzero((parts > 0) & (parts < instance.lot[instance.line]))
        lost = np.zeros(len(parts), dtype=np.bool_)
        lost[below] = divisible[instance.need[below]]
        # Parts on edges no lot can ever pass were never taken over.
        room_back = np.where(lost & ~np.isin(np.arange(len(parts)), self.edges), parts, 0)
        np.add.at(board.room, instance.line, room_back)
        np.add.at(board.missing, instance.need, room_back)
        now = divisible & (instance.tier == tier)
        _settle(board, now)
        self._plan_exactly(board, now, stop)
        parts[divisible[instance.need]] = 0
        parts[self.edges] = board.part

    def _plan_exactly(self, board: Parts, now: BoolArray, stop: Callable[[], bool]) -> None:
        """Small parts of the graph of this tier's needs, where a lot keeps units from someone."""
        edges = np.flatnonzero(now[board.need])
        weight = self.instance.weights()[self.edges]
        parts = components.small_parts(
            board.need[edges],
            board.line[edges],
            len(board.missing),
            len(board.room),
            components.LOT_EDGES_MAX,
        )
        hindered = [
            edges[part]
            for part in parts
            if board.missing[board.need[edges[part]]].any()
            and board.lot[board.line[edges[part]]].max() > 1
        ]
        for own in components.within(hindered):
            if stop():
                raise Stopped
            # As if nothing was planned for these needs yet.
            room, missing = board.room.copy(), board.missing.copy()
            np.add.at(room, board.line[own], board.part[own])
            np.add.at(missing, board.need[own], board.part[own])
            planned = components.plan_lots(
                board.need[own], board.line[own], board.lot[board.line[own]], weight[own],
                missing, room,
            )  # fmt: skip
            if planned is not None and planned.sum() > board.part[own].sum():
                np.add.at(room, board.line[own], -planned)
                np.add.at(missing, board.need[own], -planned)
                board.part[own], board.room[:], board.missing[:] = planned, room, missing


@compiled
def keep(
    edges: IntArray, line: IntArray, wanted: IntArray, room: IntArray, parts: IntArray
) -> None:
    """Give these edges, in their order, what is wanted as far as the lines' room goes."""
    for edge in edges:
        parts[edge] = min(room[line[edge]], wanted[edge])
        room[line[edge]] -= parts[edge]


@compiled
def _settle(board: Parts, now: BoolArray) -> None:
    needs = len(board.missing)
    for need in range(needs):
        if now[need]:
            # Its own room first: a line's others keep theirs until it is their turn.
            for edge in range(board.first[need], board.first[need + 1]):
                if 0 < board.part[edge] < board.lot[board.line[edge]]:
                    _take(board, edge, -board.part[edge])
            _place(board, need)
    for _ in range(PASSES_MAX):
        gained = False
        for need in range(needs):
            if now[need] and board.missing[need] > 0:
                before = board.missing[need]
                _place(board, need)
                if board.missing[need] > 0:
                    _exchange(board, need)
                gained = gained or board.missing[need] < before
        if not gained:
            break


@compiled
def _take(board: Parts, edge: int, units: int) -> None:
    board.part[edge] += units
    board.room[board.line[edge]] -= units
    board.missing[board.need[edge]] -= units


@compiled
def _place(board: Parts, need: int) -> None:
    """What is missing, where there is room: first without, then with taking off other parts."""
    for place in range(board.first[need], board.first[need + 1]):
        edge = board.order[place]
        line = board.line[edge]
        units = min(board.missing[need], board.room[line])
        if units > 0 and board.part[edge] + units >= board.lot[line]:
            _take(board, edge, units)
    if board.missing[need] == 0:
        return
    for place in range(board.first[need], board.first[need + 1]):
        edge = board.order[place]
        line = board.line[edge]
        if board.part[edge] > 0 or board.room[line] < board.lot[line]:
            continue
        # More than is missing, so the need's other parts give what they can spare, dear ones last.
        over = board.lot[line] - board.missing[need]
        spare = 0
        for other in range(board.first[need], board.first[need + 1]):
            if board.part[other] > 0:
                spare += board.part[other] - board.lot[board.line[other]]
        if spare < over:
            continue
        for back in range(board.first[need + 1] - 1, board.first[need] - 1, -1):
            other = board.order[back]
            if board.part[other] > 0 and over > 0:
                units = min(over, board.part[other] - board.lot[board.line[other]])
                _take(board, other, -units)
                over -= units
        _take(board, edge, board.lot[line])
        return


@compiled
def _exchange(board: Parts, need: int) -> None:
    """On some line another need moves units elsewhere, and this one takes their place."""
    for place in range(board.first[need], board.first[need + 1]):
        edge = board.order[place]
        line = board.line[edge]
        least = 1 if board.part[edge] > 0 else board.lot[line]
        if board.missing[need] < least:
            continue
        for wanted in (board.missing[need], least):
            short = wanted - board.room[line]
            if short > 0 and _clear(board, line, need, short):
                _take(board, edge, min(board.missing[need], board.room[line]))
                break
        if board.missing[need] == 0:
            return


@compiled
def _clear(board: Parts, line: int, without: int, short: int) -> bool:
    """Free so many units of a line by moving one part, or some of it, to another line."""
    for position in range(board.line_first[line], board.line_first[line + 1]):
        edge = board.line_edges[position]
        part = board.part[edge]
        need = board.need[edge]
        if part < short or need == without:
            continue
        units = short if part - short >= board.lot[line] else part
        for place in range(board.first[need], board.first[need + 1]):
            other = board.order[place]
            elsewhere = board.line[other]
            if (
                elsewhere != line
                and board.room[elsewhere] >= units
                and board.part[other] + units >= board.lot[elsewhere]
            ):
                _take(board, edge, -units)
                _take(board, other, units)
                return True
    return False
