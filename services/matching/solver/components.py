"""Small parts of the graph of whole needs or of lots, solved exactly as integer programmes; pure.

What shares neither needs nor lines with the rest can be solved by itself. Such a part that is small
goes to HiGHS, whose limits here are counts of nodes, never seconds: the same answer on any machine.

Huangfu, Hall (2018), "Parallelizing the dual revised simplex method",
doi:10.1007/s12532-017-0130-5: HiGHS, via scipy.optimize.milp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, diags_array, eye_array, hstack
from scipy.sparse.csgraph import connected_components

from services.matching.solver import placing
from services.matching.solver.instance import IntArray, Stopped

# Larger parts are left as they are: HiGHS needs a second or so for this many, and with lots, which
# double the columns, for half of it.
EDGES_MAX = 600
LOT_EDGES_MAX = 300
# Of all parts looked at in one call, the ones with the most at stake first: half a minute at most.
EDGES_IN_ALL_MAX = 15_000
NODES_MAX = 2_000
# Floats carry no exact quantities beyond; HiGHS accepts a constraint broken by 10^-6.
UNITS_MAX = 10**6


def improve(board: placing.Board, stop: Callable[[], bool]) -> int:
    """Solve the board's small parts where something is left to gain; how many came out better."""
    placing.refresh(board)
    better = 0
    for edges in _parts(board):
        if stop():
            raise Stopped
        better += _improve(board, edges)
    return better


def _parts(board: placing.Board) -> list[IntArray]:
    """The edges of each small part in which a movable need is not on its best edge."""
    edges = np.flatnonzero(board.movable[board.need])
    found = []
    for part in small_parts(
        board.need[edges], board.line[edges], len(board.quantity), len(board.limit), EDGES_MAX
    ):
        own = edges[part]
        if board.limit[board.line[own]].max() <= UNITS_MAX:
            missing = _missing(board, own)
            if missing > placing.LEAST_GAIN:
                found.append((-missing, int(own[0]), own))
    return within([part for _, _, part in sorted(found, key=lambda f: f[:2])])


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


def _missing(board: placing.Board, edges: IntArray) -> float:
    """What the part's needs would have more if each stood on its best edge."""
    missing = 0.0
    needs = np.unique(board.need[edges])
    for need in needs.tolist():
        own = edges[board.need[edges] == need]
        at = board.at[need]
        missing += float(board.profit[own].max()) - (float(board.profit[at]) if at >= 0 else 0.0)
    return missing


def _improve(board: placing.Board, edges: IntArray) -> bool:
    """Groups and line costs count at their present margins; the exact change decides."""
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
