"""A round from its frozen snapshot: candidates, scores, exact assignment, proposals; pure.

Everything is read from the snapshot, in sorted order and in integers: computing it again, after a
crash or by an auditor, gives the same proposals.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np

from services.matching.domain import NeedTerms
from services.matching.planning.pairs import Candidate, find_candidates
from services.matching.planning.results import Part, Plan, Proposal
from services.matching.planning.snapshot import Snapshot
from services.matching.policies import Policy
from services.matching.solver.instance import Instance, IntArray, Solution
from services.matching.solver.solve import solve


class Stopped(Exception):
    """The plan was asked to stop; nothing of it is to be kept but its parts."""


def plan(
    snapshot: Snapshot,
    progress: Callable[[int], None] = lambda permille: None,
    stop: Callable[[], bool] = lambda: False,
    kept_parts: Mapping[str, Part] | None = None,
    on_part: Callable[[Part], None] = lambda part: None,
) -> Plan:
    """`progress` is told thousandths done; Stopped is raised soon after `stop` says so.

    kept_parts  item class -> what was solved before this computation was broken off
    on_part     is told each item class as it is solved
    """
    needs, repeated = one_need_each(snapshot)
    candidates, cut = find_candidates(needs, snapshot)
    progress(300)
    by_class: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_class[candidate.need.item_class].append(candidate)
    proposals: list[Proposal] = []
    objective = relaxed = repairs = 0
    for done, item_class in enumerate(sorted(by_class)):
        if stop():
            raise Stopped
        found, solution = _assign(by_class[item_class], snapshot.policy)
        proposals.extend(found)
        objective += solution.objective
        relaxed += solution.relaxed_objective
        repairs += solution.repairs
        progress(300 + 600 * (done + 1) // len(by_class))
    proposals.sort(key=lambda p: (p.need.need_id.bytes, p.line.line_id.bytes))
    set_aside = Counter(snapshot.set_aside)
    set_aside["one_aid_in_round"] += repeated
    set_aside["no_candidate"] += len(needs) - len({c.need.need_id for c in candidates})
    totals = {
        "proposals": len(proposals),
        "needs_met": len({p.need.need_id for p in proposals}),
        "lines_used": len({p.line.line_id for p in proposals}),
        "tiers": _tiers(snapshot, proposals),
        "objective": objective,
        "objective_without_lots": relaxed,
        "lot_repairs": repairs,
        "candidates_cut": cut,
        "set_aside": [{"code": c, "needs": n} for c, n in sorted(set_aside.items()) if n],
    }
    return Plan(tuple(proposals), (), totals, {})


def one_need_each(snapshot: Snapshot) -> tuple[list[NeedTerms], int]:
    """The needs without an applicant's second of the same item class, and how many those were.

    The more urgent stays, then the longer published. One that stays may come out unserved while the
    other could have been: a limit of deciding before solving.
    """
    policy = snapshot.policy
    if policy.one_aid_days == 0:
        return list(snapshot.needs), 0
    order: dict[str, int] = {urgency: place for place, urgency in enumerate(policy.tiers)}
    taken: set[tuple[str, str]] = set()
    kept: list[NeedTerms] = []
    for need in sorted(
        snapshot.needs, key=lambda n: (order[n.urgency], n.published_at, n.need_id.bytes)
    ):
        key = (need.applicant, need.item_class)
        if need.applicant_kind in policy.one_aid_applicant_kinds:
            if key in taken:
                continue
            taken.add(key)
        kept.append(need)
    kept.sort(key=lambda n: n.need_id.bytes)
    return kept, len(snapshot.needs) - len(kept)


def _assign(candidates: list[Candidate], policy: Policy) -> tuple[list[Proposal], Solution]:
    candidates = sorted(candidates, key=lambda c: (c.need.need_id.bytes, c.line.line_id.bytes))
    needs = sorted({c.need for c in candidates}, key=lambda n: n.need_id.bytes)
    lines = sorted({c.line for c in candidates}, key=lambda m: m.line_id.bytes)
    need_row = {need.need_id: row for row, need in enumerate(needs)}
    line_row = {line.line_id: row for row, line in enumerate(lines)}
    tiers: dict[str, int] = {urgency: place for place, urgency in enumerate(policy.tiers)}

    def column(values: Sequence[int]) -> IntArray:
        return np.array(values, dtype=np.int64)

    solution = solve(
        Instance(
            required=column([n.remaining for n in needs]),
            tier=column([tiers[n.urgency] for n in needs]),
            whole=np.zeros(len(needs), dtype=bool),
            available=column([m.available for m in lines]),
            lot=column([m.lot for m in lines]),
            need=column([need_row[c.need.need_id] for c in candidates]),
            line=column([line_row[c.line.line_id] for c in candidates]),
            value=column([c.score for c in candidates]),
        )
    )
    proposals = [
        Proposal(c.need, c.line, int(quantity), c.features, c.score, c.score, {})
        for c, quantity in zip(candidates, solution.quantity, strict=True)
        if quantity
    ]
    return proposals, solution


def _tiers(snapshot: Snapshot, proposals: Sequence[Proposal]) -> list[dict[str, Any]]:
    given: Counter[UUID] = Counter()
    for proposal in proposals:
        given[proposal.need.need_id] += proposal.quantity
    rows = []
    for urgency in snapshot.policy.tiers:
        needs = [n for n in snapshot.needs if n.urgency == urgency]
        fully = sum(given[n.need_id] >= n.remaining for n in needs)
        touched = sum(given[n.need_id] > 0 for n in needs)
        rows.append(
            {
                "urgency": urgency,
                "needs": len(needs),
                "fully_met": fully,
                "partly_met": touched - fully,
                "unmet": len(needs) - touched,
            }
        )
    return rows
