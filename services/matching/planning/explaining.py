"""Why each proposal: the points of its line, the next best, and the better one that was not had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from services.matching.planning.candidates import TERMS, IntArray, significant
from services.matching.planning.results import Json, Proposal
from services.matching.planning.solved import Ledger, Solved, best_not_had

LEVELS = {0: "nation", 2: "province", 4: "city", 6: "county", 9: "township", 12: "village"}


def proposals(solved: Solved) -> list[Proposal]:
    """Sorted by need and line."""
    edges = solved.edges
    chosen = np.flatnonzero(solved.quantity)
    columns = (
        edges.need[chosen],
        edges.line[chosen],
        solved.quantity[chosen],
        edges.values[chosen],
        edges.fit[chosen],
        edges.value[chosen],
    )
    return [
        Proposal(edges.needs[need], edges.lines[line], quantity, tuple(values), fit, value, why)
        for need, line, quantity, values, fit, value, why in zip(
            *(column.tolist() for column in columns), _explanations(solved, chosen), strict=True
        )
    ]


def _explanations(solved: Solved, chosen: IntArray) -> Iterator[Json]:
    edges = solved.edges
    degree = np.bincount(edges.need, minlength=len(edges.needs))
    columns = (
        degree[edges.need[chosen]],
        edges.points[chosen],
        edges.given[chosen],
        edges.terms[chosen],
        edges.served[chosen],
        significant(edges.served[chosen]),
    )
    rank, second, by, better = _ranks(solved, chosen)
    ids = [str(line.line_id) for line in edges.lines]
    seconds = [
        None if e < 0 else {"line": ids[line], "by": points}
        for e, line, points in zip(
            second.tolist(), edges.line[second].tolist(), by.tolist(), strict=True
        )
    ]
    for place, compared, points, given, terms, served, digits, other, kept_from in zip(
        rank.tolist(),
        *(column.tolist() for column in columns),
        seconds,
        _kept_from(solved, chosen, better, ids),
        strict=True,
    ):
        yield {
            "level": LEVELS[digits],
            "served": f"{served:012}",
            "compared": compared,
            "rank": place,
            "points": points,
            "terms": {name: list(pair) for name, *pair in zip(TERMS, given, terms, strict=True)},
            "second": other,
            "better": kept_from,
        }


def _ranks(solved: Solved, chosen: IntArray) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Per chosen edge: its place among its need's by value, from 1; the next best edge of its need
    and by how much it is worse; the best edge of greater value that the need did not get (enough
    of). -1: there is none."""
    edges = solved.edges
    order = np.lexsort((edges.line, -edges.value, edges.need))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    after = np.append(order, -1)[place[chosen] + 1]
    same = (after >= 0) & (edges.need[after] == edges.need[chosen])
    second = np.where(same, after, -1)
    by = np.where(same, edges.value[chosen] - edges.value[after], 0)
    degree = np.bincount(edges.need, minlength=len(edges.needs))
    rank = place[chosen] - (np.cumsum(degree) - degree)[edges.need[chosen]] + 1
    best = best_not_had(solved, order)[edges.need[chosen]]
    worth = np.where(best >= 0, edges.value[best], -1)
    return rank, second, by, np.where(worth > edges.value[chosen], best, -1)


def _kept_from(
    solved: Solved, chosen: IntArray, better: IntArray, ids: Sequence[str]
) -> list[Json | None]:
    """Per chosen edge the better line and what kept its need from it."""
    edges = solved.edges
    ledger = Ledger(solved)
    unit = np.ones(len(edges.needs), dtype=np.int64)
    unit[solved.active] = np.maximum(1, solved.instance.unit)
    price = solved.price[edges.line[better]] // unit[edges.need[better]]
    by = edges.value[better] - edges.value[chosen]
    found: list[Json | None] = []
    for e, points, asked in zip(better.tolist(), by.tolist(), price.tolist(), strict=True):
        if e < 0:
            found.append(None)
            continue
        line = int(edges.line[e])
        found.append(
            {
                "line": ids[line],
                "by": points,
                "kept_by": _kept_by(solved, ledger, e),
                "taken": _taken(solved, ledger, e),
                "price": asked,
            }
        )
    return found


def _kept_by(solved: Solved, ledger: Ledger, e: int) -> str:
    """What kept the need of this edge from its line."""
    edges = solved.edges
    need, line = int(edges.need[e]), int(edges.line[e])
    tier, free = int(solved.tier[need]), int(ledger.free[line])
    units = ledger.units[line]
    if free > 0:
        if solved.whole[need] and free < edges.needs[need].remaining:
            return "unsplittable"
        if free < edges.lines[line].lot:
            return "smallest_lot"
        if solved.placed:
            return "kept_back"
        return "gap" if solved.instance.line_steps is None else "diversity"
    if units[:tier].any():
        return "more_urgent"
    if solved.before[e] > solved.quantity[e]:
        return "fairness"
    return "better_matches" if units[tier] > solved.quantity[e] else "others_served"


def _taken(solved: Solved, ledger: Ledger, e: int) -> list[list[str | int]]:
    """[[urgency, allocations, quantity]] of the edge's line without what its need has of it."""
    line, own = int(solved.edges.line[e]), int(solved.quantity[e])
    tier_of_need = int(solved.tier[solved.edges.need[e]])
    rows: list[list[str | int]] = []
    for tier, urgency in enumerate(solved.urgencies):
        units, parts = int(ledger.units[line, tier]), int(ledger.parts[line, tier])
        if own and tier == tier_of_need:
            units, parts = units - own, parts - 1
        if units:
            rows.append([urgency, parts, units])
    return rows
