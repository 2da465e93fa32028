"""Small parts of a board of whole needs, solved exactly as integer programmes; pure.

What shares neither needs nor lines with the rest can be solved by itself. Such a part that is small
goes to HiGHS, whose limits here are counts of nodes, never seconds: the same answer on any machine.

Huangfu, Hall (2018), "Parallelizing the dual revised simplex method",
doi:10.1007/s12532-017-0130-5: HiGHS, via scipy.optimize.milp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from services.matching.solver import placing
from services.matching.solver.instance import IntArray, Stopped

# Larger parts are left as they are: HiGHS needs a second or so for this many.
EDGES_MAX = 600
# Parts looked at in one call, the ones with the most points at stake first.
PARTS_MAX = 200
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
    if not len(edges):
        return []
    needs, nodes = len(board.quantity), len(board.quantity) + len(board.limit)
    ends = (board.need[edges], board.line[edges] + needs)
    graph = csr_array((np.ones(len(edges), dtype=np.int8), ends), shape=(nodes, nodes))
    label = connected_components(graph, directed=False)[1][board.need[edges]]
    found = []
    order = np.argsort(label, kind="stable")
    for part in np.split(edges[order], np.flatnonzero(np.diff(label[order])) + 1):
        if len(part) <= EDGES_MAX and board.limit[board.line[part]].max() <= UNITS_MAX:
            missing = _missing(board, part)
            if missing > placing.LEAST_GAIN:
                found.append((-missing, int(part[0]), part))
    return [part for _, _, part in sorted(found, key=lambda f: f[:2])[:PARTS_MAX]]


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
