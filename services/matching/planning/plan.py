"""A round from its frozen snapshot: item class by item class, to proposals, reasons and totals.

Everything is read from the snapshot, in sorted order and in whole numbers: computing it again,
after a crash or by an auditor, with any number of threads, gives the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from services.matching.domain import NeedTerms, aided_since
from services.matching.planning import explaining, outcomes, placement
from services.matching.planning.balance import Balance, levels_within
from services.matching.planning.candidates import (
    BoolArray,
    Comparison,
    IntArray,
)
from services.matching.planning.choosing import Attempt, best_choice
from services.matching.planning.classes import (
    PRICE_SCALE,
    Class,
    attempt,
    fairness_of,
    prepared,
)
from services.matching.planning.overview import totals_of
from services.matching.planning.results import Outcome, Part, Plan, Proposal
from services.matching.planning.snapshot import Snapshot
from services.matching.planning.solved import Solved
from services.matching.solver.instance import Stopped, rescaled
from services.matching.solver.online import room_price
from services.matching.solver.solve import objective

COMPARED_PERMILLE, SOLVED_PERMILLE = 600, 950


def plan(
    snapshot: Snapshot,
    progress: Callable[[int, str], None] = lambda permille, stage: None,
    stop: Callable[[], bool] = lambda: False,
    kept_parts: Mapping[str, Part] | None = None,
    on_part: Callable[[Part], None] = lambda part: None,
) -> Plan:
    """`progress` is told thousandths done and the stage; Stopped is raised soon after `stop` says
    so.

    kept_parts  item class -> what was solved before this computation was broken off
    on_part     is told each item class as it is solved
    """
    snapshot = snapshot.sorted()
    taking_part, excluded = in_period(snapshot)
    work = _Work(snapshot, taking_part, dict(kept_parts or {}), stop, progress)
    progress(0, "comparing")
    work.compare()
    parts = []
    for part, is_new in work.solve():
        if is_new:
            on_part(part)
        parts.append(part)
    progress(SOLVED_PERMILLE, "explaining")
    return merged(snapshot, parts, excluded)


class _Work:
    """The classes of a round: first each by welfare alone, then one after the other with
    fairness, which looks at all of them."""

    def __init__(
        self,
        snapshot: Snapshot,
        needs: Sequence[NeedTerms],
        parts: dict[str, Part],
        stop: Callable[[], bool],
        progress: Callable[[int, str], None],
    ) -> None:
        self._snapshot, self._needs, self._parts = snapshot, needs, parts
        self._stop, self._progress = stop, progress
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for row, need in enumerate(needs):
            rows[need.item_class].append(row)
        self._rows = {code: np.array(of, dtype=np.int64) for code, of in sorted(rows.items())}
        self._comparison = Comparison(snapshot)
        self._plain: dict[str, tuple[Class, Attempt]] = {}
        self._given = np.zeros(len(needs), dtype=np.int64)
        self._new: set[str] = set()

    def compare(self) -> None:
        """Solve by welfare alone what is not kept."""
        place = {need.need_id: row for row, need in enumerate(self._needs)}
        done = 0
        for code, rows in self._rows.items():
            part = self._parts.get(code)
            if part is not None:
                for p in part.proposals:
                    self._given[place[p.need.need_id]] += p.quantity
            elif self._snapshot.kind == "placement":
                self._parts[code] = self._placed(code)
            else:
                self._plain[code] = self._alone(code)
                self._given[rows] = self._plain[code][1].given()
            done += len(rows)
            self._progress(COMPARED_PERMILLE * done // len(self._needs), "comparing")

    def solve(self) -> Iterator[tuple[Part, bool]]:
        """Each class's part, and whether it is new."""
        terms = fairness_of(self._snapshot.policy)
        tiers: dict[str, int] = {u: place for place, u in enumerate(self._snapshot.policy.tiers)}
        tier = np.array([tiers[n.urgency] for n in self._needs], dtype=np.int64)
        balance = None if terms.is_neutral else Balance(terms, self._needs, tier, self._given)
        done = 0
        for code, rows in self._rows.items():
            self._look_up()
            if code in self._plain:
                of_class, plain = self._plain.pop(code)
                chosen = plain
                if balance is not None:
                    chosen = fair(of_class, plain, balance, rows, self._stop)
                    balance.update(rows, chosen.given())
                yield part_of(of_class, of_class.solved(chosen, plain), chosen, plain), True
            else:
                yield self._parts[code], code in self._new
            done += len(rows)
            span = SOLVED_PERMILLE - COMPARED_PERMILLE
            self._progress(COMPARED_PERMILLE + span * done // len(self._needs), "solving")

    def _alone(self, code: str) -> tuple[Class, Attempt]:
        self._look_up()
        of_class = self._prepared(code)
        return of_class, best_choice(
            of_class.edges,
            of_class.asking,
            lambda active: attempt(of_class, active, False, self._stop),
        )

    def _placed(self, code: str) -> Part:
        self._look_up()
        self._new.add(code)
        return place_class(self._prepared(code), self._snapshot, self._comparison)

    def _prepared(self, code: str) -> Class:
        needs = [self._needs[row] for row in self._rows[code].tolist()]
        return prepared(needs, self._snapshot, self._comparison)

    def _look_up(self) -> None:
        if self._stop():
            raise Stopped


def in_period(snapshot: Snapshot) -> tuple[list[NeedTerms], list[NeedTerms]]:
    """The needs that take part, and those whose applicant had an aid of the class too lately."""
    policy = snapshot.policy
    if not policy.one_aid_days:
        return list(snapshot.needs), []
    since = aided_since(snapshot.taken_at, policy.one_aid_days)
    limited = set(policy.one_aid_applicant_kinds)
    late = [
        n.aided_at is not None and n.aided_at >= since and n.applicant_kind in limited
        for n in snapshot.needs
    ]
    taking = [n for n, is_late in zip(snapshot.needs, late, strict=True) if not is_late]
    return taking, [n for n, is_late in zip(snapshot.needs, late, strict=True) if is_late]


def merged(snapshot: Snapshot, parts: Sequence[Part], excluded: Sequence[NeedTerms]) -> Plan:
    found: list[Proposal] = [p for part in parts for p in part.proposals]
    unmet: list[Outcome] = [o for part in parts for o in part.outcomes]
    unmet.extend(outcomes.set_aside(excluded, "one_aid_in_period"))
    found.sort(key=lambda p: (p.need.need_id.bytes, p.line.line_id.bytes))
    unmet.sort(key=lambda o: o.need.need_id.bytes)
    prices = {line: price for part in parts for line, price in part.prices.items()}
    return Plan(
        proposals=tuple(found),
        outcomes=tuple(unmet),
        totals=totals_of(snapshot, parts, found, unmet),
        prices=dict(sorted(prices.items())),
    )


def fair(
    of_class: Class,
    plain: Attempt,
    balance: Balance,
    rows: IntArray,
    stop: Callable[[], bool],
) -> Attempt:
    """The same needs with fairness: in the flow where the class is large, by points elsewhere.

    rows   of the class's needs in the balance
    """
    edges = of_class.edges
    terms = fairness_of(of_class.policy)
    within = levels_within(terms, edges.needs)
    across = [level for level in terms.levels if level not in within]
    mean = int(edges.value.mean()) if len(edges) else 0
    points = balance.points(rows, across, mean)
    if not within and not points.any():
        return plain
    return attempt(of_class, plain.active, True, stop, points)


def place_class(of_class: Class, snapshot: Snapshot, comparison: Comparison) -> Part:
    policy, edges = snapshot.policy, of_class.edges
    earlier = [n for n in snapshot.earlier if n.item_class == of_class.item_class]
    past = prepared(earlier, snapshot, comparison) if earlier else None
    kept = placement.reserves(
        None if past is None else past.instance(np.ones(len(earlier), dtype=bool))[0],
        policy.forecast_permille,
        len(policy.tiers),
        of_class.start_price,
        PRICE_SCALE,
    )

    def placed(active: BoolArray) -> Attempt:
        instance, rows, chosen = of_class.instance(active)
        solution, _ = placement.placed(instance, kept)
        return Attempt(active, rows, chosen, instance, solution, solution)

    chosen = best_choice(edges, of_class.asking, placed)
    _, found = placement.placed(chosen.instance, kept)
    later, urgent = placement.kept_waiting(edges, chosen.rows, found)
    solved = replace(
        of_class.solved(chosen, chosen),
        kept_back=later | urgent,
        placed=True,
    )
    part = part_of(of_class, solved, chosen, chosen)
    unreserved = placement.without_reserves(chosen.instance, kept)
    strictness = {
        "kept_for_later": int(later.sum()),
        "kept_for_more_urgent": int(urgent.sum()),
        "objective_without_reserves": unreserved,
    }
    return replace(part, totals={**part.totals, **strictness})


def part_of(of_class: Class, solved: Solved, chosen: Attempt, plain: Attempt) -> Part:
    """plain   by welfare alone, without fairness"""
    edges = solved.edges
    # What is worth what, without the points of fairness.
    worth, _, _ = of_class.instance(chosen.active)
    solution = chosen.solution
    after, before = solved.given(solved.quantity), solved.given(solved.before)
    prices = rescaled(room_price(solution), solution.scale, PRICE_SCALE)
    return Part(
        item_class=of_class.item_class,
        proposals=tuple(explaining.proposals(solved)),
        outcomes=tuple(outcomes.outcomes(solved)),
        totals={
            "tiers": [
                {**vars(tier), "served": repaired.served}
                for tier, repaired in zip(chosen.divisible.tiers, solution.tiers, strict=True)
            ],
            "method": solution.method,
            "edges": len(edges),
            "objective": objective(worth, solution.quantity),
            "objective_without_lots": objective(worth, chosen.divisible.quantity),
            "objective_without_fairness": objective(worth, plain.solution.quantity),
            "lot_repairs": solution.repairs,
            "candidates_cut": int(edges.cut.sum()),
            "kept_back": int(solved.kept_back.sum()),
            "kept_for_later": 0,
            "kept_for_more_urgent": 0,
            "objective_without_reserves": solution.objective,
            # Only where fairness changed it: need -> what it would have had.
            "before": {
                str(edges.needs[row].need_id): int(before[row])
                for row in np.flatnonzero(before != after).tolist()
            },
        },
        prices={
            str(line.line_id): price
            for line, price in zip(edges.lines, prices.tolist(), strict=True)
            if price
        },
    )
