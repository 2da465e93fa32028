"""Small parts of the graph of whole needs or of lots, solved exactly as integer programmes; pure.

What shares neither needs nor lines with the rest can be solved by itself. Such a part that is small
goes to HiGHS, whose limits here are counts of nodes, never seconds: the same answer on any machine.

Huangfu, Hall (2018), "Parallelizing the dual revised simplex method",
doi:10.1007/s12532-017-0130-5: HiGHS, via scipy.optimize.milp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, diags_array, eye_array, hstack
from scipy.sparse.csgraph import connected_components

from services.matching.solver import placing
from services.matching.solver.instance import BoolArray, IntArray, Stopped

# Larger parts are left as they are: HiGHS needs a second or so for this many, and with lots, which
# double the columns, for half of it.
EDGES_MAX = 600
LOT_EDGES_MAX = 300
# Of all parts looked at in one call, the ones with the most at stake first: half a minute at most.
EDGES_IN_ALL_MAX = 15_000
# Of a window into a larger part: lines, and points an edge may lie below its need's best.
WINDOW_LINES = 8
HOPE = 60.0
# A few seconds; a window for each of 1000 lines would bring 0.3 % more, in a minute.
WINDOW_EDGES_IN_ALL_MAX = 2_000
NODES_MAX = 2_000
# Floats carry no exact quantities beyond; HiGHS accepts a constraint broken by 10^-6.
UNITS_MAX = 10**6


def improve(board: placing.Board, stop: Callable[[], bool]) -> int:
    """Solve small parts, and windows into larger ones, where something is left to gain; how many
    came out better. Raises Stopped.
    """
    placing.refresh(board)
    better = 0
    small, large = _parts(board)
    for edges in small:
        if stop():
            raise Stopped
        better += _improve(board, edges)
    left = WINDOW_EDGES_IN_ALL_MAX
    hopeful = _hopeful(board)
    for line in _with_most_room(board, large):
        if stop():
            raise Stopped
        edges = _window(board, line, hopeful)
        left -= len(edges)
        if left < 0:
            break
        if len(edges) <= EDGES_MAX:
            better += _improve(board, edges)
    return better


def _with_most_room(board: placing.Board, edges: IntArray) -> list[int]:
    """The edges' lines, those first whose room left over is worth most."""
    lines = np.unique(board.line[edges])
    room = (board.limit[lines] - board.used[lines]) * board.price[lines]
    found: list[int] = lines[np.argsort(-room, kind="stable")].tolist()
    return found


def _hopeful(board: placing.Board) -> BoolArray:
    """(e,) edges not far below their need's best one, or below being nowhere, where room has its
    price: others are hardly in an optimum.
    """
    points = placing.all_points(board, 1.0)
    best = np.zeros(len(board.quantity))
    np.maximum.at(best, board.need, points)
    near: BoolArray = board.movable[board.need] & (points >= best[board.need] - HOPE)
    return near


def _window(board: placing.Board, line: int, hopeful: BoolArray) -> IntArray:
    """Edges of a line and of those sharing most needs with it, of needs that stand there or
    nowhere.
    """
    own = board.line_edges[board.line_first[line] : board.line_first[line + 1]]
    beside = np.concatenate(
        [np.arange(board.first[n], board.first[n + 1]) for n in board.need[own].tolist()]
    )
    shared = np.bincount(board.line[beside], minlength=len(board.limit))
    shared[line] += len(beside)
    lines = np.argsort(-shared, kind="stable")[:WINDOW_LINES]
    inside = np.zeros(len(board.limit), dtype=np.bool_)
    inside[lines] = True
    edges = np.sort(
        np.concatenate(
            [
                board.line_edges[board.line_first[near] : board.line_first[near + 1]]
                for near in lines.tolist()
            ]
        )
    )
    at = board.at[board.need[edges]]
    here = (at < 0) | inside[board.line[np.maximum(at, 0)]]
    window: IntArray = edges[here & (hopeful[edges] | (at == edges))]
    return window


def _parts(board: placing.Board) -> tuple[list[IntArray], IntArray]:
    """The edges of each small part in which a movable need is not on its best edge; and all edges
    of large parts.
    """
    edges = np.flatnonzero(board.movable[board.need] & (board.limit[board.line] <= UNITS_MAX))
    missing = _missing(board)
    found = []
    large = np.ones(len(edges), dtype=np.bool_)
    for part in small_parts(
        board.need[edges], board.line[edges], len(board.quantity), len(board.limit), EDGES_MAX
    ):
        own = edges[part]
        large[part] = False
        at_stake = float(missing[np.unique(board.need[own])].sum())
        if at_stake > placing.LEAST_GAIN:
            found.append((-at_stake, int(own[0]), own))
    return within([part for _, _, part in sorted(found, key=lambda f: f[:2])]), edges[large]


def within(parts: list[IntArray]) -> list[IntArray]:
    """The first parts that together are not too many edges."""
    total = np.cumsum([len(part) for part in parts])
    return parts[: int(np.searchsorted(total, EDGES_IN_ALL_MAX, side="right"))]


def small_parts(
    need: IntArray, line: IntArray, needs: int, lines: int, edges_max: int
) -> list[IntArray]:
    """Positions (in need and line) of the edges of each connected part of at most `edges_max`."""
    if not len(need):
        return []
    graph = csr_array(
        (np.ones(len(need), dtype=np.int8), (need, line + needs)), shape=(needs + lines,) * 2
    )
    label = connected_components(graph, directed=False)[1][need]
    order = np.argsort(label, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    return [part for part in parts if len(part) <= edges_max]


def _missing(board: placing.Board) -> NDArray[np.float64]:
    """(n,) what each need would have more if it stood on its best edge."""
    missing = np.zeros(len(board.quantity))
    np.maximum.at(missing, board.need, board.profit)
    placed = board.at >= 0
    missing[placed] -= board.profit[board.at[placed]]
    return missing


def _improve(board: placing.Board, edges: IntArray) -> bool:
    """Groups and line costs count at their present margins; the exact change decides."""
    if not len(edges):
        # A window in which nothing is hopeful: there is no programme of no variables.
        return False
    needs, of_need = np.unique(board.need[edges], return_inverse=True)
    lines, of_line = np.unique(board.line[edges], return_inverse=True)
    count = len(edges)
    columns = np.arange(count)
    quantity = board.quantity[board.need[edges]]
    inside = board.at[needs]
    room = board.limit[lines] - board.used[lines]
    np.add.at(
        room,
        np.searchsorted(lines, board.line[inside[inside >= 0]]),
        board.quantity[needs[inside >= 0]],
    )
    once = csr_array((np.ones(count), (of_need, columns)), shape=(len(needs), count))
    fits = csr_array((quantity.astype(float), (of_line, columns)), shape=(len(lines), count))
    points = np.array([placing.points_of(board, edge, 0.0) for edge in edges.tolist()])
    answer = milp(
        -points,
        integrality=np.ones(count, dtype=np.int64),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(once, board.kept[needs].astype(float), 1.0),
            LinearConstraint(fits, -np.inf, room.astype(float)),
        ],
        options={"node_limit": NODES_MAX, "mip_rel_gap": 0.0},
    )
    if answer.x is None:
        return False
    return _take(board, needs, edges[answer.x > 0.5])


def _take(board: placing.Board, needs: IntArray, chosen: IntArray) -> bool:
    """Move the needs where the programme has them, if that is possible and better."""
    before = board.at[needs].copy()
    wanted = np.full(len(needs), -1, dtype=np.int64)
    wanted[np.searchsorted(needs, board.need[chosen])] = chosen
    change = 0.0
    for need in needs.tolist():
        change += placing.move(board, need, -1, 0.0)
    for need, edge in zip(needs.tolist(), wanted.tolist(), strict=True):
        change += placing.move(board, need, edge, 0.0)
    lines = np.unique(board.line[chosen])
    right = (board.used[lines] <= board.limit[lines]).all() and not (
        board.kept[needs] & (wanted < 0)
    ).any()
    if right and change > placing.LEAST_GAIN:
        return True
    for need in needs.tolist():
        placing.move(board, need, -1, 0.0)
    for need, edge in zip(needs.tolist(), before.tolist(), strict=True):
        placing.move(board, need, edge, 0.0)
    return False


def plan_lots(
    need: IntArray,
    line: IntArray,
    lot: IntArray,
    weight: IntArray,
    missing: IntArray,
    room: IntArray,
) -> IntArray | None:
    """(e,) units per edge, 0 or at least its lot: the most units, and among those most weight.

    missing, room   of all needs and lines, as `need` and `line` name them

    None when HiGHS gives up, or quantities are beyond what it can count exactly.
    """
    most = np.minimum(missing[need], room[line])
    if most.max(initial=0) > UNITS_MAX:
        return None
    count = len(need)
    needs, of_need = np.unique(need, return_inverse=True)
    lines, of_line = np.unique(line, return_inverse=True)
    columns = np.arange(count)
    units = eye_array(count)
    nothing = csr_array((len(needs), count)), csr_array((len(lines), count))
    once = csr_array((np.ones(count), (of_need, columns)), shape=(len(needs), count))
    fits = csr_array((np.ones(count), (of_line, columns)), shape=(len(lines), count))
    constraints = [
        LinearConstraint(hstack([once, nothing[0]]), -np.inf, missing[needs].astype(float)),
        LinearConstraint(hstack([fits, nothing[1]]), -np.inf, room[lines].astype(float)),
        LinearConstraint(hstack([units, diags_array(-lot.astype(float))]), 0.0, np.inf),
        LinearConstraint(hstack([units, diags_array(-most.astype(float))]), -np.inf, 0.0),
    ]
    planned = None
    # First the units; then their number is demanded and weight decides.
    for points in (np.ones(count), weight / max(1, int(weight.max()))):
        answer = milp(
            np.concatenate([-points, np.zeros(count)]),
            integrality=np.ones(2 * count, dtype=np.int64),
            bounds=Bounds(0.0, np.concatenate([most, np.ones(count)])),
            constraints=constraints,
            options={"node_limit": NODES_MAX, "mip_rel_gap": 0.0},
        )
        if answer.x is None:
            break
        found = np.rint(answer.x[:count]).astype(np.int64)
        if not _is_plan(found, need, line, lot, missing, room):
            break
        planned = found
        total = np.concatenate([np.ones(count), np.zeros(count)])
        constraints.append(LinearConstraint(total, float(found.sum()), np.inf))
    return planned


def _is_plan(
    units: IntArray,
    need: IntArray,
    line: IntArray,
    lot: IntArray,
    missing: IntArray,
    room: IntArray,
) -> bool:
    """Floats decided; whole numbers check."""
    given = np.bincount(need, units, len(missing))
    taken = np.bincount(line, units, len(room))
    lots = (units == 0) | (units >= lot)
    return bool((given <= missing).all() and (taken <= room).all() and lots.all())
