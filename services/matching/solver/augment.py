"""The most a stage can give, whatever an approximate method left: augmenting paths, compiled.

Dinic's algorithm on the assignment itself: paths from needs that lack units, over lines, their
holders and these needs' other lines, to lines with units left. When no path is found the total is
a maximum flow: that last search is the proof. Needs on the way keep their totals.

Dinitz (1970), "Algorithm for solution of a problem of maximum flow in networks with power
estimation". Breadth-first levels, then a blocking flow along them.
"""

from __future__ import annotations

import numpy as np

from services.matching.solver.compiled import compiled
from services.matching.solver.instance import BoolArray, IntArray
from services.matching.solver.kernels import Ints


@compiled
def by_line(line: Ints, lines: int) -> tuple[IntArray, IntArray]:
    """(m+1,) starts and (e,) edges, those of line j at start[j] .. start[j+1]."""
    start = np.zeros(lines + 1, dtype=np.int64)
    for e in range(len(line)):
        start[line[e] + 1] += 1
    for j in range(lines):
        start[j + 1] += start[j]
    edges = np.empty(len(line), dtype=np.int64)
    ends = start[:-1].copy()
    for e in range(len(line)):
        edges[ends[line[e]]] = e
        ends[line[e]] += 1
    return start, edges


@compiled
def augment(
    start: Ints, line: Ints, need: Ints, line_start: Ints, line_edge: Ints,
    quantity: Ints, lacks: Ints, free: Ints, may_lose: BoolArray,
) -> int:  # fmt: skip
    """Change quantity (e,) until no need of lacks (n,) can get more; the units gained.

    free (m,) what lines have left; may_lose (n,): these give up units when no line has any left,
    and lack them then. Arrays are changed in place.
    """
    needs, lines = len(lacks), len(free)
    gained = 0
    spare = np.zeros(lines, dtype=np.int64)
    for e in range(len(quantity)):
        if may_lose[need[e]]:
            spare[line[e]] += quantity[e]
    lost = np.zeros(needs, dtype=np.int64)
    taken = np.empty(lines + 1, dtype=np.int64)
    freed = np.empty(lines + 1, dtype=np.int64)
    while True:
        need_level, line_level, reached = _levels(
            start, line, need, line_start, line_edge, quantity, lacks, free, spare
        )
        if not reached:
            break
        at_need = start[:-1].copy()
        at_line = line_start[:-1].copy()
        for i in range(needs):
            while lacks[i] > 0:
                part = _one_path(
                    i, start, line, need, line_start, line_edge, quantity, lacks, free, spare,
                    may_lose, lost, need_level, line_level, at_need, at_line, taken, freed,
                )  # fmt: skip
                if part == 0:
                    break
                lacks[i] -= part
                gained += part
    lacks += lost
    return gained


@compiled
def _levels(
    start: Ints, line: Ints, need: Ints, line_start: Ints, line_edge: Ints,
    quantity: Ints, lacks: Ints, free: Ints, spare: Ints,
) -> tuple[IntArray, IntArray, bool]:  # fmt: skip
    """How many needs lie before each node on the shortest way; -1: not reached."""
    need_level = np.full(len(lacks), -1, dtype=np.int64)
    line_level = np.full(len(free), -1, dtype=np.int64)
    queue = np.empty(len(lacks), dtype=np.int64)
    last = 0
    for i in range(len(lacks)):
        if lacks[i] > 0:
            need_level[i] = 0
            queue[last] = i
            last += 1
    first = 0
    found = -1
    while first < last:
        i = queue[first]
        first += 1
        if found >= 0 and need_level[i] >= found:
            break
        for e in range(start[i], start[i + 1]):
            j = line[e]
            if line_level[j] >= 0:
                continue
            line_level[j] = need_level[i] + 1
            if free[j] > 0 or spare[j] > 0:
                found = line_level[j]
                continue
            for k in range(line_start[j], line_start[j + 1]):
                other = need[line_edge[k]]
                if quantity[line_edge[k]] > 0 and need_level[other] < 0:
                    need_level[other] = line_level[j]
                    queue[last] = other
                    last += 1
    return need_level, line_level, found >= 0


@compiled
def _one_path(
    source: int, start: Ints, line: Ints, need: Ints, line_start: Ints,
    line_edge: Ints, quantity: Ints, lacks: Ints, free: Ints, spare: Ints,
    may_lose: BoolArray, lost: Ints, need_level: Ints, line_level: Ints,
    at_need: Ints, at_line: Ints, taken: Ints, freed: Ints,
) -> int:  # fmt: skip
    """Send units from `source` along one path of rising levels; 0: there is none any more.

    taken[d] is the edge by which units enter a line, freed[d] that by which they leave its holder.
    """
    depth = 0
    i = source
    while True:
        # From need i to a line one level up.
        j = -1
        while at_need[i] < start[i + 1]:
            e = at_need[i]
            if line_level[line[e]] == need_level[i] + 1:
                j = line[e]
                taken[depth] = e
                break
            at_need[i] += 1
        if j < 0:
            if depth == 0:
                return 0
            depth -= 1
            at_line[line[taken[depth]]] += 1
            i = need[taken[depth]]
            j = line[taken[depth]]
        if free[j] > 0 or spare[j] > 0:
            break
        # From the line to a holder of the same level.
        other = -1
        while at_line[j] < line_start[j + 1]:
            e = line_edge[at_line[j]]
            if quantity[e] > 0 and need_level[need[e]] == line_level[j]:
                other = need[e]
                freed[depth] = e
                break
            at_line[j] += 1
        if other < 0:
            at_need[i] += 1
            continue
        depth += 1
        i = other
    part: int = lacks[source]
    for d in range(depth):
        part = min(part, quantity[freed[d]])
    evicted = -1
    if free[j] > 0:
        part = min(part, free[j])
        free[j] -= part
    else:
        for k in range(line_start[j], line_start[j + 1]):
            e = line_edge[k]
            if quantity[e] > 0 and may_lose[need[e]]:
                evicted = e
                break
        part = min(part, quantity[evicted])
        quantity[evicted] -= part
        lost[need[evicted]] += part
        spare[j] -= part
    for d in range(depth + 1):
        quantity[taken[d]] += part
        if d < depth:
            quantity[freed[d]] -= part
    return part
