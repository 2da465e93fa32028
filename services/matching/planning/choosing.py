"""One aid of a kind per applicant: which of an applicant's needs of one item class takes part.

"At most one of these" between quantities of different sizes is no flow, so it is searched:

1. Of each applicant the most urgent need that has a line takes part, then the longest published.
2. Solve. Whose need comes out with nothing, while there is room for another of his, has that one
   take part instead.
3. Who has another need as urgent for which there is room, and which at the prices found would gain
   more than the one that takes part, has that one take part: what the first held is worth more to
   others. Unless all such gains together are below a thousandth of the class's welfare.
4. Again from 2 as long as it gets better, at most PASSES_MAX times.

Room is as in `outcomes`: beside what needs of the same and of greater urgency are given.

Guaranteed: no applicant is given two. The result is never worse, first by what each tier is served
from the most urgent down, then by welfare, than that of step 1 alone. And unless passes ran out,
where nothing has a smallest lot or is unsplittable: whoever is left with nothing has no other need
for which there would be room. Not guaranteed: the best choice of all (tests compare it with brute
force on small cases).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from services.matching.domain import NeedTerms
from services.matching.planning.candidates import BoolArray, Edges, IntArray
from services.matching.planning.outcomes import reaches
from services.matching.planning.solved import summed
from services.matching.solver.certificate import MILLIONTHS_PER_POINT
from services.matching.solver.instance import MILLION, Instance, Solution
from shared.vocabulary.codes import Urgency

# Each pass solves the class again; needs of one applicant and class are rarely more than three.
PASSES_MAX = 6
# Of a class's welfare: what an exchange must promise before the class is solved again.
WORTH_SOLVING_PPM = 1_000


@dataclass(frozen=True)
class Attempt:
    """One choice of needs, solved.

    active   (n,) needs that take part
    rows     the instance's needs as rows of the class; edges: its edges as rows of the class's
    divisible  before smallest lots and wholeness were kept: what is certified is certified of it
    """

    active: BoolArray
    rows: IntArray
    edges: IntArray
    instance: Instance
    solution: Solution
    divisible: Solution

    def quantity(self, count: int) -> IntArray:
        """(e,) over all edges of the class."""
        found = np.zeros(count, dtype=np.int64)
        found[self.edges] = self.solution.quantity
        return found

    def given(self) -> IntArray:
        """(n,) what each need of the class gets."""
        of_rows = summed(self.instance.need, self.solution.quantity, len(self.rows))
        found = np.zeros(len(self.active), dtype=np.int64)
        found[self.rows] = of_rows
        return found

    @property
    def rank(self) -> tuple[tuple[int, ...], int]:
        tiers = self.solution.tiers
        served = {tier.tier: tier.served for tier in tiers}
        welfare = tiers[-1].welfare if tiers else 0
        return tuple(served.get(tier, 0) for tier in range(len(Urgency))), welfare


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
    best = solve(active)
    seen = {active.tobytes()}
    for _ in range(PASSES_MAX - 1):
        choice = _another(edges, asking, best, seen)
        if choice is None:
            break
        seen.add(choice.tobytes())
        found = solve(choice)
        if found.rank > best.rank:
            best = found
    return best


def _another(
    edges: Edges, asking: Sequence[Sequence[int]], best: Attempt, seen: set[bytes]
) -> BoolArray | None:
    """A choice not solved yet that may be better; None when there is none."""
    if not asking:
        return None
    room = _room(edges, best)
    for found in (_moved_on(edges, asking, best, room), _at_prices(edges, asking, best, room)):
        if found.tobytes() not in seen:
            return found
    return None


def _room(edges: Edges, best: Attempt) -> BoolArray:
    """(n,) whether there is room for the need beside what is given at its urgency and above."""
    quantity = best.quantity(len(edges))
    limit = best.instance.limit
    tier = np.zeros(len(edges.needs), dtype=np.int64)
    tier[best.rows] = best.instance.tier
    urgency = {edges.needs[row].urgency: int(tier[row]) for row in best.rows.tolist()}
    # A tier of which no need takes part has no flow of its own: all of it is beside or below.
    of_need = np.array([urgency.get(n.urgency, len(urgency)) for n in edges.needs], dtype=np.int64)
    found = np.zeros(len(edges.needs), dtype=bool)
    for place in np.unique(of_need).tolist():
        flow = np.where(of_need[edges.need] <= place, quantity, 0)
        found |= (of_need == place) & reaches(edges, limit, flow)
    return found


def _moved_on(
    edges: Edges, asking: Sequence[Sequence[int]], best: Attempt, room: BoolArray
) -> BoolArray:
    """Where nothing was given, the first other need for which there is room."""
    given = summed(edges.need, best.quantity(len(edges)), len(edges.needs))
    active = best.active.copy()
    for rows in asking:
        now = next(row for row in rows if active[row])
        after = next((row for row in rows if row != now and room[row]), None)
        if not given[now] and after is not None:
            active[now], active[after] = False, True
    return active


def _at_prices(
    edges: Edges, asking: Sequence[Sequence[int]], best: Attempt, room: BoolArray
) -> BoolArray:
    """Needs that gain more at the prices of the best solution, within the same urgency."""
    required = np.array([n.remaining for n in edges.needs], dtype=np.int64)
    unit = best.instance.scale // required
    gain = edges.value * unit[edges.need] - best.solution.price[edges.line]
    # Of a whole need, in thousandths: gains of needs of different size can be compared.
    worth = np.full(len(required), -(2**62), dtype=np.int64)
    np.maximum.at(worth, edges.need, gain // np.maximum(1, unit[edges.need]))
    active = best.active.copy()
    gained = 0
    for rows in asking:
        now = next(row for row in rows if active[row])
        urgency = edges.needs[now].urgency
        equals = [
            row for row in rows if row == now or (edges.needs[row].urgency == urgency and room[row])
        ]
        after = max(equals, key=lambda row: (worth[row], -rows.index(row)))
        if worth[after] > worth[now]:
            active[now], active[after] = False, True
            gained += int(worth[after]) - max(0, int(worth[now]))
    # No choice gains more than this at these prices: for next to nothing nothing is solved again.
    millionths = gained * MILLIONTHS_PER_POINT
    if millionths * MILLION < best.solution.objective * WORTH_SOLVING_PPM:
        return best.active
    return active
