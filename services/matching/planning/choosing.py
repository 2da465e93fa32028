"""One aid of a kind per applicant: which of an applicant's needs of one item class takes part.

"At most one of these" between quantities of different sizes is no flow, so it is searched:

1. Of each applicant the most urgent need that has a line takes part, then the longest published.
2. Solve. Where that need comes out with nothing, the applicant's next one takes its place.
3. Where at the prices found another need of the same urgency would gain more than the one that
   takes part, it takes its place: what that one held is worth more to others.
4. Again from 2, until nothing changes or PASSES_MAX; the best solution seen is kept.

Guaranteed: no applicant is given two. The result is never worse, first by what each tier is served
from the most urgent down, then by welfare, than that of step 1 alone. And unless passes ran out,
whoever is left with nothing had each of his needs take part once and come out with nothing. Not
guaranteed: the best choice of all (tests compare it with brute force on small cases).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from services.matching.domain import NeedTerms
from services.matching.planning.candidates import BoolArray, Edges, IntArray
from services.matching.solver.instance import Instance, Solution

# Each pass solves the class again; needs of one applicant and class are rarely more than three.
PASSES_MAX = 6


@dataclass(frozen=True)
class Attempt:
    """One choice of needs, solved.

    active   (n,) needs that take part
    rows     the instance's needs as rows of the class; edges: its edges as rows of the class's
    """

    active: BoolArray
    rows: IntArray
    edges: IntArray
    instance: Instance
    solution: Solution

    def quantity(self, count: int) -> IntArray:
        """(e,) over all edges of the class."""
        found = np.zeros(count, dtype=np.int64)
        found[self.edges] = self.solution.quantity
        return found

    @property
    def rank(self) -> tuple[tuple[int, ...], int]:
        tiers = self.solution.tiers
        return tuple(tier.served for tier in tiers), tiers[-1].welfare if tiers else 0


def rivals(
    needs: Sequence[NeedTerms], kinds: Iterable[str], has_line: BoolArray, tier: IntArray
) -> list[list[int]]:
    """Rows of the needs of each applicant who asks more than once, the first choice first.

    Needs without any line stand last: they stand in nobody's way.
    """
    limited = set(kinds)
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, need in enumerate(needs):
        if need.applicant_kind in limited:
            rows[need.applicant].append(row)

    def first(row: int) -> tuple[bool, int, object, bytes]:
        need = needs[row]
        return not has_line[row], int(tier[row]), need.published_at, need.need_id.bytes

    return [sorted(of, key=first) for of in rows.values() if len(of) > 1]


def best_choice(
    edges: Edges, asking: Sequence[Sequence[int]], solve: Callable[[BoolArray], Attempt]
) -> Attempt:
    """asking   the rows of `rivals`; solve: a choice -> its solution"""
    active = np.ones(len(edges.needs), dtype=bool)
    for rows in asking:
        active[list(rows[1:])] = False
    best = last = solve(active)
    seen = {active.tobytes()}
    tried = {row for rows in asking for row in rows if active[row]}
    degree = np.bincount(edges.need, minlength=len(edges.needs))
    for _ in range(PASSES_MAX - 1):
        choice = _moved_on(edges, asking, last, tried, degree)
        if choice is None:
            choice = _at_prices(edges, asking, best)
        if choice is None or choice.tobytes() in seen:
            break
        seen.add(choice.tobytes())
        tried.update(row for rows in asking for row in rows if choice[row])
        last = solve(choice)
        if last.rank > best.rank:
            best = last
    return best


def _moved_on(
    edges: Edges,
    asking: Sequence[Sequence[int]],
    last: Attempt,
    tried: set[int],
    degree: IntArray,
) -> BoolArray | None:
    """The next choice where the last one gave nothing; None when there is no other left."""
    given = np.zeros(len(edges.needs), dtype=np.int64)
    np.add.at(given, edges.need, last.quantity(len(edges)))
    active = last.active.copy()
    for rows in asking:
        now = next(row for row in rows if active[row])
        after = next((row for row in rows if row not in tried and degree[row]), None)
        if not given[now] and after is not None:
            active[now], active[after] = False, True
    return None if (active == last.active).all() else active


def _at_prices(edges: Edges, asking: Sequence[Sequence[int]], best: Attempt) -> BoolArray | None:
    """The choice that gains most at the prices of the best solution, within the same urgency."""
    required = np.array([n.remaining for n in edges.needs], dtype=np.int64)
    unit = best.instance.scale // required
    gain = edges.value * unit[edges.need] - best.solution.price[edges.line]
    # Of a whole need, in thousandths: gains of needs of different size can be compared.
    worth = np.full(len(required), -1, dtype=np.int64)
    np.maximum.at(worth, edges.need, gain // np.maximum(1, unit[edges.need]))
    active = best.active.copy()
    for rows in asking:
        now = next(row for row in rows if active[row])
        urgency = edges.needs[now].urgency
        equals = [row for row in rows if edges.needs[row].urgency == urgency]
        after = max(equals, key=lambda row: (worth[row], -rows.index(row)))
        if worth[after] > worth[now]:
            active[now], active[after] = False, True
    return None if (active == best.active).all() else active
