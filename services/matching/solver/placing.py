"""Needs that go whole to one line each: compiled moves that only ever improve; pure.

Every accepted change raises

    sum of profits + utilities of groups - costs of lines - theta x sum of price x units given

by an amount computed exactly, after the fact, or it is undone. With theta = 0 that is welfare. A
theta above 0 says what room is still worth, at the prices of the divisible optimum: needs then
leave dear lines for cheap ones and the room lost in remainders is gathered where it can be used;
lowering theta by steps turns what was gathered into welfare.

A line is improved as a knapsack: of all needs that could be its own, each worth what it gains
against its best place elsewhere, the best that fit (exact by dynamic programming where quantities
are small, rounded up to a coarser measure where not). Fisher, Jaikumar, Van Wassenhove (1986), "A
multiplier adjustment method for the generalized assignment problem", doi:10.1287/mnsc.32.9.1095,
see the problem line by line in the same way; Yagiura, Ibaraki, Glover (2004), "An ejection chain
approach for the generalized assignment problem", doi:10.1287/ijoc.1030.0036, chain the moves.

Numbers are float64 in a fixed order, on one thread: equal inputs give equal results.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.matching.solver.compiled import compiled
from services.matching.solver.instance import BoolArray, IntArray

FloatArray: TypeAlias = NDArray[np.float64]

# What no welfare outweighs: a unit beyond a group's cap or a line's last step.
FORBIDDEN = 1e15
# What a kept need gains in the knapsack of the only line it can stand on: more than all others.
KEPT = 1e9
# A change must gain this many points, so that rounding is never taken for progress.
LEAST_GAIN = 1e-6


class Segments(NamedTuple):
    """Piecewise linear in units: row r owns start[r] .. start[r+1]; `end` counts from the row's
    own beginning; slope in points per unit. No rows: nothing of the kind."""

    start: IntArray
    end: IntArray
    slope: FloatArray


class Board(NamedTuple):
    """Who stands where. Points: thousandths of a need met in full. Edges are sorted by need.

    quantity (n,), first (n+1,)   need i takes quantity[i]; its edges are first[i] .. first[i+1]
    movable (n,), kept (n,)       may be moved at all; may be moved but not left without a place
    line, need, profit (e,)       of each edge; profit in points
    line_first (m+1,), line_edges (e,)   edges by line
    limit (m,), price (m,)        units a line gives at most; points a unit of its room is worth
    group (levels, n)             row of each need's group, numbered through all levels, or -1
    utility, cost                 of groups, by units served; of lines, by units given

    Changed by moves: at (n,) the edge each need stands on or -1; used (m,), served (groups,) units;
    toll (m,) points for a line's last unit; gain, loss (groups,) for a group's next unit, and for
    its last; stale (m,) lines one of whose needs moved since they were improved.
    """

    quantity: IntArray
    first: IntArray
    movable: BoolArray
    kept: BoolArray
    line: IntArray
    need: IntArray
    profit: FloatArray
    line_first: IntArray
    line_edges: IntArray
    limit: IntArray
    price: FloatArray
    group: IntArray
    utility: Segments
    cost: Segments
    at: IntArray
    used: IntArray
    served: IntArray
    toll: FloatArray
    gain: FloatArray
    loss: FloatArray
    stale: BoolArray


@compiled
def rise(segments: Segments, row: int, here: int, there: int, beyond: float) -> float:
    """Points from `here` units to `there`; each unit past the last segment counts `beyond`."""
    low, high = min(here, there), max(here, there)
    total = 0.0
    for place in range(segments.start[row], segments.start[row + 1]):
        if segments.end[place] > low:
            upto = min(high, segments.end[place])
            total += segments.slope[place] * (upto - low)
            low = upto
            if low == high:
                break
    total += beyond * (high - low)
    return total if there > here else -total


@compiled
def refresh(board: Board) -> None:
    """Set what follows from `used` and `served`."""
    for line in range(len(board.cost.start) - 1):
        _mark_line(board, line)
    for row in range(len(board.served)):
        _mark(board, row)


@compiled
def _mark_line(board: Board, line: int) -> None:
    used = board.used[line]
    board.toll[line] = rise(board.cost, line, max(used - 1, 0), max(used, 1), FORBIDDEN)


@compiled
def _mark(board: Board, row: int) -> None:
    served = board.served[row]
    board.gain[row] = rise(board.utility, row, served, served + 1, -FORBIDDEN)
    board.loss[row] = rise(board.utility, row, max(served - 1, 0), max(served, 1), -FORBIDDEN)


@compiled
def move(board: Board, need: int, edge: int, theta: float) -> float:
    """Put a need on an edge, or nowhere (-1); the exact change in points."""
    old = board.at[need]
    if old == edge:
        return 0.0
    quantity = board.quantity[need]
    change = 0.0
    if old >= 0:
        change -= board.profit[old] + _give(board, board.line[old], -quantity, theta)
    if edge >= 0:
        change += board.profit[edge] - _give(board, board.line[edge], quantity, theta)
    if (old < 0) != (edge < 0):
        more = quantity if old < 0 else -quantity
        for level in range(board.group.shape[0]):
            row = board.group[level, need]
            if row >= 0:
                before = board.served[row]
                change += rise(board.utility, row, before, before + more, -FORBIDDEN)
                board.served[row] = before + more
                _mark(board, row)
    board.at[need] = edge
    for other in range(board.first[need], board.first[need + 1]):
        board.stale[board.line[other]] = True
    return change


@compiled
def _give(board: Board, line: int, more: int, theta: float) -> float:
    """Let a line give more, or less; what that costs in points."""
    before = board.used[line]
    board.used[line] = before + more
    costs: float = theta * board.price[line] * more
    if len(board.cost.start) > 1:
        costs += rise(board.cost, line, before, before + more, FORBIDDEN)
        _mark_line(board, line)
    return costs


@compiled
def points_of(board: Board, edge: int, theta: float) -> float:
    """What a need is worth on an edge, at the present margins of its groups and of the line."""
    need, line = board.need[edge], board.line[edge]
    units = board.toll[line] + theta * board.price[line]
    per_unit = -units
    for level in range(board.group.shape[0]):
        row = board.group[level, need]
        if row >= 0:
            per_unit += board.gain[row] if board.at[need] < 0 else board.loss[row]
    points: float = board.profit[edge] + per_unit * board.quantity[need]
    return points


@compiled
def all_points(board: Board, theta: float) -> FloatArray:
    """(e,) points_of each edge."""
    points = np.empty(len(board.line))
    for edge in range(len(board.line)):
        points[edge] = points_of(board, edge, theta)
    return points


@compiled
def best_place(board: Board, need: int, without: int, theta: float) -> tuple[int, float]:
    """The best edge with room and its points; (-1, 0) when nowhere is better or all there is.

    without   a line that is not looked at
    """
    quantity = board.quantity[need]
    place, most = -1, 0.0
    for edge in range(board.first[need], board.first[need + 1]):
        line = board.line[edge]
        if line == without or board.limit[line] - board.used[line] < quantity:
            continue
        points = points_of(board, edge, theta)
        if points > most or (place < 0 and board.kept[need]):
            place, most = edge, points
    return place, most


class Scratch(NamedTuple):
    """Arrays as long as the longest line has edges."""

    edges: IntArray
    gains: FloatArray
    sizes: IntArray
    moved: IntArray
    before: IntArray


@compiled
def improve_line(board: Board, line: int, theta: float, cells_max: int, scratch: Scratch) -> bool:
    """Give the line its best knapsack of needs; False when nothing was gained."""
    room = board.limit[line] - board.used[line]
    for place in range(board.line_first[line], board.line_first[line + 1]):
        edge = board.line_edges[place]
        if board.at[board.need[edge]] == edge and board.movable[board.need[edge]]:
            room += board.quantity[board.need[edge]]
    count = _offers(board, line, room, theta, scratch)
    if count == 0:
        return False
    chosen = knapsack(scratch.gains[:count], scratch.sizes[:count], room, cells_max)
    change, moves, right = 0.0, 0, True
    # Who leaves goes first. What the knapsack did not know (two who go to the same place, the
    # utility of two of one group) is in the exact change.
    for arriving in (False, True):
        for item in range(count):
            edge = scratch.edges[item]
            need = board.need[edge]
            if chosen[item] != arriving or (board.at[need] == edge) == arriving or not right:
                continue
            place = edge if arriving else best_place(board, need, line, theta)[0]
            right = place >= 0 or not board.kept[need]
            if right:
                scratch.moved[moves], scratch.before[moves] = need, board.at[need]
                change += move(board, need, place, theta)
                moves += 1
    if right and change > LEAST_GAIN:
        return True
    for back in range(moves - 1, -1, -1):
        move(board, scratch.moved[back], scratch.before[back], theta)
    return False


@compiled
def _offers(board: Board, line: int, room: int, theta: float, scratch: Scratch) -> int:
    """Who could stand here, and what each gains against its best place elsewhere; how many."""
    count = 0
    for position in range(board.line_first[line], board.line_first[line + 1]):
        edge = board.line_edges[position]
        need = board.need[edge]
        if not board.movable[need] or board.quantity[need] > room:
            continue
        gain = points_of(board, edge, theta)
        at = board.at[need]
        if at == edge:
            place, points = best_place(board, need, line, theta)
            gain = KEPT if place < 0 and board.kept[need] else gain - points
        elif at >= 0:
            gain -= points_of(board, at, theta)
        if gain > LEAST_GAIN or at == edge:
            scratch.edges[count] = edge
            scratch.gains[count] = gain
            scratch.sizes[count] = board.quantity[need]
            count += 1
    return count


@compiled
def knapsack(gains: FloatArray, sizes: IntArray, room: int, cells_max: int) -> BoolArray:
    """(count,) which items to take: most gain within the room.

    Sizes are rounded up, and the room down, to a measure in which the table has at most cells_max
    cells: what is chosen always fits, and is optimal when the measure is 1.
    """
    count = len(gains)
    if sizes.sum() <= room:
        return gains > 0.0
    # room x count / cells_max, rounded up; the product itself may leave 64 bits.
    whole, rest = room // cells_max, room % cells_max
    measure = max(1, whole * count - (-(rest * count) // cells_max))
    width = room // measure
    best = np.zeros(width + 1)
    took = np.zeros((count, width + 1), dtype=np.bool_)
    for item in range(count):
        size = -(-sizes[item] // measure)
        if gains[item] <= 0.0:
            continue
        for space in range(width, size - 1, -1):
            if best[space - size] + gains[item] > best[space]:
                best[space] = best[space - size] + gains[item]
                took[item, space] = True
    chosen = np.zeros(count, dtype=np.bool_)
    space = width
    for item in range(count - 1, -1, -1):
        if took[item, space]:
            chosen[item] = True
            space -= -(-sizes[item] // measure)
    return chosen


@compiled
def sweep(board: Board, theta: float, cells_max: int, passes_max: int) -> int:
    """Improve line after line until nothing is gained any more; how many lines changed."""
    refresh(board)
    board.stale[:] = True
    longest = 1
    for line in range(len(board.limit)):
        longest = max(longest, board.line_first[line + 1] - board.line_first[line])
    scratch = Scratch(
        np.empty(longest, dtype=np.int64),
        np.empty(longest),
        np.empty(longest, dtype=np.int64),
        np.empty(longest, dtype=np.int64),
        np.empty(longest, dtype=np.int64),
    )
    changes = 0
    for _ in range(passes_max):
        changed = 0
        for line in range(len(board.limit)):
            if not board.stale[line]:
                continue
            board.stale[line] = False
            if improve_line(board, line, theta, cells_max, scratch):
                changed += 1
        changes += changed
        if changed == 0:
            break
    return changes


@compiled
def keep(board: Board, edges: IntArray) -> None:
    """Put needs on these edges as far as there is room."""
    for edge in edges:
        need = board.need[edge]
        line = board.line[edge]
        if board.at[need] < 0 and board.used[line] + board.quantity[need] <= board.limit[line]:
            move(board, need, edge, 0.0)
