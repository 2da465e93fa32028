"""Why each need that is not, or not fully, met: facts found in a solved class, vectorised.

The binding reason of a need that lacks something, the first that holds. All of them speak of the
network without lots and wholeness, in which every other need keeps what it has of the flows named:

    smallest_lot             beside its own and more urgent flows there is room for one more unit:
                             only lots stand in its way
    gone_to_more_urgent      there would be room for one more unit if the more urgent took nothing,
                             and no need of its own urgency would lose anything
    not_enough_offered       it holds all there is on its lines
    fairness_cap             by welfare alone, without the policy's fairness, it would get more
    gone_to_better_matches   else: needs of its own urgency hold what it could have

Room is an augmenting path: some line has a unit left, or a need that holds a unit of a line can be
moved to such a line; in a placement, where nobody is moved, a line that has a unit left. Of a need
that is not split, which got nothing, line by line and without moving others:

    unsplittable             no line has as much as it lacks, or lines have, and only in remainders
    gone_to_more_urgent      a line would have enough left if the more urgent took nothing of it
    fairness_cap, gone_to_better_matches   else, as above
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from services.matching.domain import LineTerms, NeedTerms
from services.matching.index import ancestors_of
from services.matching.planning.candidates import BoolArray, Edges, IntArray
from services.matching.planning.results import Json, Outcome
from services.matching.planning.solved import Ledger, Solved, best_not_had, summed

CONDITIONS = ("unit", "applicant_kind", "household_class", "lot", "used_up", "validity")


def outcomes(solved: Solved) -> list[Outcome]:
    """One for each need of the class that is not fully met, sorted by need."""
    edges = solved.edges
    given, required = solved.given(solved.quantity), solved.required
    short = np.flatnonzero(given < required)
    degree = np.bincount(edges.need, minlength=len(edges.needs))
    codes = _codes(solved, given)
    best = best_not_had(solved)
    counted = _counted(solved, given)
    why_none = None
    found = []
    for need in short.tolist():
        terms = edges.needs[need]
        best_line = None if best[need] < 0 else edges.lines[int(edges.line[best[need]])].line_id
        if not solved.active[need]:
            code, counts = "one_aid_in_round", {"eligible": int(degree[need])}
        elif not degree[need]:
            why_none = why_none or WhyNone(edges.lines)
            code, counts = why_none.of(terms)
        else:
            code, counts = codes[need], counted[need]
        found.append(Outcome(terms, code, int(given[need]), counts, best_line))
    return found


def _codes(solved: Solved, given: IntArray) -> dict[int, str]:
    """The binding reason of each active need that has lines and lacks something."""
    edges, required = solved.edges, solved.required
    before = solved.given(solved.before)
    on_lines = summed(edges.need, solved.limit[edges.line], len(edges.needs))
    codes: dict[int, str] = {}
    for tier in np.unique(solved.tier).tolist():
        flow_tier = solved.tier[edges.need]
        upto = np.where(flow_tier <= tier, solved.quantity, 0)
        equals = np.where(flow_tier == tier, solved.quantity, 0)
        lines = len(solved.limit)
        at_all = _largest(edges, solved.limit)
        without_urgent = _largest(edges, solved.limit - summed(edges.line, equals, lines))
        now = _largest(edges, solved.limit - summed(edges.line, upto, lines))
        if solved.placed:
            room, freed = now > 0, without_urgent > 0
        else:
            room = reaches(edges, solved.limit, upto)
            freed = reaches(edges, solved.limit, equals)
        for need in np.flatnonzero((solved.tier == tier) & (given < required)).tolist():
            if solved.kept_back[need]:
                codes[need] = "kept_back"
            elif solved.whole[need]:
                codes[need] = _of_whole(
                    int(at_all[need]),
                    int(without_urgent[need]),
                    int(now[need]),
                    int(required[need]),
                )
            elif room[need]:
                codes[need] = "smallest_lot"
            elif freed[need]:
                codes[need] = "gone_to_more_urgent"
            elif given[need] >= on_lines[need]:
                codes[need] = "not_enough_offered"
            else:
                codes[need] = "gone_to_better_matches"
            if codes[need] == "gone_to_better_matches" and before[need] > given[need]:
                codes[need] = "fairness_cap"
    return codes


def _of_whole(at_all: int, without_urgent: int, now: int, required: int) -> str:
    """From the most any line has: at all, beside the needs as urgent, beside these and the more
    urgent."""
    if at_all < required or now >= required:
        return "unsplittable"
    return "gone_to_more_urgent" if without_urgent >= required else "gone_to_better_matches"


def _largest(edges: Edges, left: IntArray) -> IntArray:
    """(n,) the most that is left on any line of each need."""
    most = np.zeros(len(edges.needs), dtype=np.int64)
    np.maximum.at(most, edges.need, left[edges.line])
    return most


def reaches(edges: Edges, limit: IntArray, flow: IntArray) -> BoolArray:
    """(n,) for which needs there is room for one more unit beside this flow on the edges."""
    needs = len(edges.needs)
    line_open = summed(edges.line, flow, len(limit)) < limit
    holding = np.flatnonzero(flow)
    while True:
        need_open = np.zeros(needs, dtype=bool)
        need_open[edges.need[line_open[edges.line]]] = True
        more = line_open.copy()
        more[edges.line[holding[need_open[edges.need[holding]]]]] = True
        if (more == line_open).all():
            return need_open
        line_open = more


def _counted(solved: Solved, given: IntArray) -> dict[int, Json]:
    """Counts of the active needs that have lines and lack something."""
    edges, tiers = solved.edges, len(solved.urgencies)
    count = len(edges.needs)
    ledger = Ledger(solved)
    lacks = given < solved.required
    kept = np.flatnonzero(lacks[edges.need])
    need, line = edges.need[kept], edges.line[kept]
    units, parts = (
        np.stack([summed(need, table[line, t], count) for t in range(tiers)], axis=1)
        for table in (ledger.units, ledger.parts)
    )
    left = summed(need, ledger.free[line], count)
    own_parts = summed(need, (solved.quantity[kept] > 0).astype(np.int64), count)
    rows = np.arange(count)
    units[rows, solved.tier] -= np.where(lacks, given, 0)
    parts[rows, solved.tier] -= own_parts
    eligible = np.bincount(need, minlength=count)
    before = solved.given(solved.before)
    found = {}
    for row in np.flatnonzero(lacks & (eligible > 0)).tolist():
        counts: Json = {
            "eligible": int(eligible[row]),
            "taken": [
                [urgency, p, u]
                for urgency, p, u in zip(
                    solved.urgencies, parts[row].tolist(), units[row].tolist(), strict=True
                )
                if u
            ],
            "left": int(left[row]),
        }
        if before[row] > given[row]:
            counts["without_fairness"] = int(before[row])
        if edges.cut[row]:
            counts["cut"] = True
        found[row] = counts
    return found


class WhyNone:
    """Why no line of a class may serve a need; needs that ask alike are answered once."""

    def __init__(self, lines: Sequence[LineTerms]) -> None:
        self._lines = lines
        self._serving: dict[str, list[LineTerms]] = {}
        self._of_division: defaultdict[str, list[int]] = defaultdict(list)
        for row, line in enumerate(lines):
            for code in line.served_division_codes:
                self._of_division[code].append(row)
        self._known: dict[tuple[object, ...], tuple[str, Json]] = {}

    def of(self, need: NeedTerms) -> tuple[str, Json]:
        if not self._lines:
            return "no_offer_of_class", {"eligible": 0}
        serving = self._serving_lines(need.division_code)
        if not serving:
            return "no_offer_serves_division", {"eligible": 0, "of_class": len(self._lines)}
        asks = (
            need.division_code,
            need.unit,
            need.applicant_kind,
            need.household_class,
            # Only the lots it lies between matter, and those are few.
            sum(line.lot <= need.remaining for line in serving),
        )
        if asks not in self._known:
            failed = Counter(first_failed(line, need) for line in serving)
            self._known[asks] = (
                "no_eligible_offer",
                {
                    "eligible": 0,
                    "of_class": len(self._lines),
                    "serving": len(serving),
                    "failed": {code: failed[code] for code in CONDITIONS if failed[code]},
                },
            )
        return self._known[asks]

    def _serving_lines(self, division: str) -> list[LineTerms]:
        if division not in self._serving:
            rows = {
                row for code in ancestors_of(division) for row in self._of_division.get(code, ())
            }
            self._serving[division] = [self._lines[row] for row in sorted(rows)]
        return self._serving[division]


def first_failed(line: LineTerms, need: NeedTerms) -> str:
    """The first hard condition the line fails. Validity stands for all that depends on time."""
    if line.unit != need.unit:
        return "unit"
    if line.applicant_kinds and need.applicant_kind not in line.applicant_kinds:
        return "applicant_kind"
    if line.household_classes and need.household_class not in line.household_classes:
        return "household_class"
    if line.lot > need.remaining:
        return "lot"
    if line.available <= 0:
        return "used_up"
    return "validity"


def set_aside(needs: Sequence[NeedTerms], code: str) -> Iterator[Outcome]:
    for need in needs:
        yield Outcome(need, code, 0, {"eligible": 0}, None)
