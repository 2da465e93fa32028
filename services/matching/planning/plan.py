"""A round from its frozen snapshot: item class by item class, to proposals, reasons and totals.

Everything is read from the snapshot, in sorted order and in whole numbers: computing it again,
after a crash or by an auditor, with any number of threads, gives the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.matching.domain import NeedTerms, aided_since
from services.matching.planning import explaining, outcomes, placement
from services.matching.planning.candidates import BoolArray, Comparison, Edges, IntArray
from services.matching.planning.choosing import Attempt, best_choice, rivals
from services.matching.planning.overview import totals_of
from services.matching.planning.results import Json, Outcome, Part, Plan, Proposal
from services.matching.planning.snapshot import Snapshot
from services.matching.planning.solved import Solved
from services.matching.policies import Policy
from services.matching.solver import fairness
from services.matching.solver.instance import Instance, Method, Stopped, rescaled
from services.matching.solver.solve import objective, solve
from services.matching.solver.whole import make_whole

# Prices are kept in these parts of a point (thousandth of a need) per base unit, so that they
# mean the same whatever the scale of the instance they come from.
PRICE_SCALE = 10**12
SOLVED_PERMILLE = 950


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
    by_class: defaultdict[str, list[NeedTerms]] = defaultdict(list)
    for need in taking_part:
        by_class[need.item_class].append(need)
    comparison = Comparison(snapshot)
    parts: list[Part] = []
    done = 0
    progress(0, "comparing")
    for item_class, needs in sorted(by_class.items()):
        part = (kept_parts or {}).get(item_class)
        if part is None:
            if stop():
                raise Stopped
            part = solve_class(item_class, needs, snapshot, comparison, stop)
            on_part(part)
        parts.append(part)
        done += len(needs)
        progress(SOLVED_PERMILLE * done // len(taking_part), "solving")
    progress(SOLVED_PERMILLE, "explaining")
    return merged(snapshot, parts, excluded)


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


# ----------------------------------------------------------------- one class


@dataclass(frozen=True)
class Class:
    """One item class, compared, not yet solved; tier, whole (n,) and limit (m,) beside edges."""

    policy: Policy
    edges: Edges
    tier: IntArray
    whole: BoolArray
    start_price: IntArray

    def instance(self, active: BoolArray) -> tuple[Instance, IntArray, IntArray]:
        """The instance of the active needs, its needs and its edges as rows of the class."""
        edges = self.edges
        rows = np.flatnonzero(active)
        chosen = np.flatnonzero(active[edges.need])
        place = np.cumsum(active) - 1
        lines = edges.lines
        bare = Instance(
            required=np.array([edges.needs[r].remaining for r in rows.tolist()], dtype=np.int64),
            tier=self.tier[rows],
            whole=self.whole[rows],
            available=np.array([m.available for m in lines], dtype=np.int64),
            lot=np.array([m.lot for m in lines], dtype=np.int64),
            need=place[edges.need[chosen]],
            line=edges.line[chosen],
            value=edges.value[chosen],
        )
        return bare, rows, chosen

    def solved(self, chosen: Attempt, before: IntArray) -> Solved:
        """before   (e,) by welfare alone"""
        price = rescaled(chosen.solution.price, chosen.solution.scale, chosen.instance.scale)
        return Solved(
            urgencies=self.policy.tiers,
            edges=self.edges,
            instance=chosen.instance,
            active=chosen.active,
            tier=self.tier,
            whole=self.whole,
            limit=chosen.instance.limit,
            quantity=chosen.quantity(len(self.edges)),
            before=before,
            price=price,
            kept_back=np.zeros(len(self.edges.needs), dtype=bool),
        )


def solve_class(
    item_class: str,
    needs: Sequence[NeedTerms],
    snapshot: Snapshot,
    comparison: Comparison,
    stop: Callable[[], bool],
) -> Part:
    """needs   of the class, sorted by id"""
    policy = snapshot.policy
    of_class = prepared(needs, snapshot, comparison)
    edges = of_class.edges
    kinds = policy.one_aid_applicant_kinds if policy.one_aid_days else []
    has_line = np.bincount(edges.need, minlength=len(needs)) > 0
    asking = rivals(needs, kinds, has_line, of_class.tier)
    if snapshot.kind == "placement":
        return place_class(item_class, of_class, snapshot, comparison, asking)
    chosen = best_choice(edges, asking, lambda active: attempt(of_class, active, True, stop))
    fair = bool(chosen.instance.groups)
    plain = attempt(of_class, chosen.active, False, stop) if fair else chosen
    solved = of_class.solved(chosen, plain.quantity(len(edges)))
    return part_of(item_class, solved, chosen, plain.solution.objective)


def place_class(
    item_class: str,
    of_class: Class,
    snapshot: Snapshot,
    comparison: Comparison,
    asking: Sequence[Sequence[int]],
) -> Part:
    policy, edges = snapshot.policy, of_class.edges
    earlier = [n for n in snapshot.earlier if n.item_class == item_class]
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
        return Attempt(active, rows, chosen, instance, solution, solution.tiers)

    chosen = best_choice(edges, asking, placed)
    _, found = placement.placed(chosen.instance, kept)
    later, urgent = placement.kept_waiting(edges, chosen.rows, found)
    solved = replace(
        of_class.solved(chosen, chosen.quantity(len(edges))),
        kept_back=later | urgent,
        placed=True,
    )
    part = part_of(item_class, solved, chosen, chosen.solution.objective)
    unreserved = placement.without_reserves(chosen.instance, kept)
    strictness = {
        "kept_for_later": int(later.sum()),
        "kept_for_more_urgent": int(urgent.sum()),
        "objective_without_reserves": unreserved,
    }
    return replace(part, totals={**part.totals, **strictness})


def prepared(needs: Sequence[NeedTerms], snapshot: Snapshot, comparison: Comparison) -> Class:
    """needs   of one class, sorted by id"""
    policy = snapshot.policy
    edges = comparison.edges(needs[0].item_class, needs)
    tiers: dict[str, int] = {urgency: place for place, urgency in enumerate(policy.tiers)}
    return Class(
        policy=policy,
        edges=edges,
        tier=np.array([tiers[n.urgency] for n in needs], dtype=np.int64),
        whole=np.array([is_whole(policy, n) for n in needs], dtype=bool),
        start_price=np.array(
            [snapshot.start_prices.get(str(m.line_id), 0) for m in edges.lines], dtype=np.int64
        ),
    )


def is_whole(policy: Policy, need: NeedTerms) -> bool:
    unsplittable = policy.unsplittable
    return need.unit in unsplittable.units or need.item_class in unsplittable.item_classes


def attempt(
    of_class: Class, active: BoolArray, with_fairness: bool, stop: Callable[[], bool]
) -> Attempt:
    policy, edges = of_class.policy, of_class.edges
    bare, rows, chosen = of_class.instance(active)
    instance = with_terms(
        policy, bare, [edges.needs[r] for r in rows.tolist()], edges, with_fairness
    )
    method: Method = "exact" if len(chosen) <= policy.solver.exact_edges_max else "auction"
    solution = solve(
        instance,
        method=method,
        start_price=rescaled(of_class.start_price, PRICE_SCALE, instance.scale),
        gap_ppm=policy.solver.gap_ppm,
        stop=stop,
    )
    kept = make_whole(instance, solution, stop)
    return Attempt(active, rows, chosen, instance, kept, solution.tiers)


def with_terms(
    policy: Policy, bare: Instance, needs: Sequence[NeedTerms], edges: Edges, with_fairness: bool
) -> Instance:
    """The instance with the policy's diversity and, where asked for, its fairness."""
    diversity = fairness.DiversityTerms(**policy.diversity.model_dump())
    steps = fairness.line_steps(diversity, [m.organization_id for m in edges.lines], bare)
    stepped = Instance(**{**_fields(bare), "line_steps": steps})
    if not with_fairness:
        return stepped
    plain = policy.fairness.model_dump()
    terms = fairness.FairnessTerms(**{**plain, "levels": tuple(plain["levels"])})
    groups = fairness.groups_of(terms, [n.division_code for n in needs], stepped)
    return Instance(**{**_fields(stepped), "groups": groups})


def _fields(instance: Instance) -> Json:
    return {name: getattr(instance, name) for name in Instance.__dataclass_fields__}


def part_of(item_class: str, solved: Solved, chosen: Attempt, welfare_plain: int) -> Part:
    """welfare_plain   the objective by welfare alone, without fairness"""
    edges = solved.edges
    solution = chosen.solution
    after, before = solved.given(solved.quantity), solved.given(solved.before)
    prices = rescaled(solution.price, solution.scale, PRICE_SCALE)
    return Part(
        item_class=item_class,
        proposals=tuple(explaining.proposals(solved)),
        outcomes=tuple(outcomes.outcomes(solved)),
        totals={
            "tiers": [
                {**vars(tier), "served": repaired.served}
                for tier, repaired in zip(chosen.certified, solution.tiers, strict=True)
            ],
            "method": solution.method,
            "edges": len(edges),
            "objective": objective(chosen.instance, solution.quantity),
            "objective_without_lots": solution.relaxed_objective,
            "objective_without_fairness": welfare_plain,
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
