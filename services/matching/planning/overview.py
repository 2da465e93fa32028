"""A round as a coordinator reads it before approving: totals, tiers, fairness, samples."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeVar
from uuid import UUID

import numpy as np

from services.matching.planning.results import Json, Outcome, Part, Proposal
from services.matching.planning.snapshot import Snapshot
from services.matching.solver import fairness

LEVELS: tuple[fairness.Level, ...] = ("province", "city", "county", "township")
# Divisions listed one by one: a picture of more would not be read, a province has fewer counties.
TABLE_MAX = 400
SAMPLES = 10
Picked = TypeVar("Picked")


def totals_of(
    snapshot: Snapshot,
    parts: Sequence[Part],
    proposals: Sequence[Proposal],
    outcomes: Sequence[Outcome],
) -> Json:
    """`contract.OverviewRead` without names and sentences, which `wording` adds when it is read."""
    given: Counter[UUID] = Counter()
    for proposal in proposals:
        given[proposal.need.need_id] += proposal.quantity
    codes = Counter(outcome.code for outcome in outcomes)
    plain, kept = _sum(parts, "objective_without_fairness"), _sum(parts, "objective")
    tiers = _tiers(snapshot, parts, outcomes, given)
    # A placement is no optimum of anything, and nothing about it is certified.
    placed = snapshot.kind == "placement"
    return {
        "kind": snapshot.kind,
        "needs": len(snapshot.needs),
        "lines": len(snapshot.lines),
        "proposals": len(proposals),
        "needs_met": len(given),
        "lines_used": len({p.line.line_id for p in proposals}),
        "tiers": tiers,
        "welfare": kept,
        "welfare_without_lots": _sum(parts, "objective_without_lots"),
        "gap_ppm": None if placed else max((tier["gap_ppm"] for tier in tiers), default=0),
        "lot_repairs": _sum(parts, "lot_repairs"),
        "methods": dict(
            sorted(Counter("placed" if placed else p.totals["method"] for p in parts).items())
        ),
        "pairs": _sum(parts, "edges"),
        "candidates_cut": _sum(parts, "candidates_cut"),
        "set_aside": [
            {"code": code, "needs": codes[code] + snapshot.set_aside.get(code, 0)}
            for code in sorted(codes.keys() | snapshot.set_aside.keys())
            if code.startswith("one_aid") or code in snapshot.set_aside
        ],
        "outcomes": [{"code": code, "needs": count} for code, count in sorted(codes.items())],
        "fairness": _fairness(snapshot, parts, given),
        "welfare_without_fairness": plain,
        "price_of_fairness_ppm": fairness.price_ppm(plain, kept),
        "kept_back": _sum(parts, "kept_back"),
        "kept_for_later": _sum(parts, "kept_for_later"),
        "kept_for_more_urgent": _sum(parts, "kept_for_more_urgent"),
        "welfare_without_reserves": _sum(parts, "objective_without_reserves"),
        "samples": [_sample(p) for p in samples(proposals)],
        "unmet_samples": [_unmet_sample(o) for o in _unmet(outcomes)],
    }


def _sum(parts: Iterable[Part], name: str) -> int:
    return sum(part.totals[name] for part in parts)


def _tiers(
    snapshot: Snapshot,
    parts: Sequence[Part],
    outcomes: Sequence[Outcome],
    given: Counter[UUID],
) -> list[Json]:
    """Needs are counted without those whose applicant had an aid, or has another need met."""
    aside = {o.need.need_id for o in outcomes if o.code.startswith("one_aid")}
    solved: defaultdict[int, list[Json]] = defaultdict(list)
    for part in parts:
        for tier in part.totals["tiers"]:
            solved[tier["tier"]].append(tier)
    rows = []
    for place, urgency in enumerate(snapshot.policy.tiers):
        needs = [n for n in snapshot.needs if n.urgency == urgency and n.need_id not in aside]
        fully = sum(given[n.need_id] >= n.remaining for n in needs)
        touched = sum(given[n.need_id] > 0 for n in needs)
        shares = sum(given[n.need_id] * fairness.PPM // n.remaining for n in needs)
        rows.append(
            {
                "urgency": urgency,
                "needs": len(needs),
                "fully_met": fully,
                "partly_met": touched - fully,
                "unmet": len(needs) - touched,
                "rate_permille": shares // max(1, len(needs)) // 1_000,
                **{
                    name: sum(tier[name] for tier in solved[place])
                    for name in ("asked", "most", "served")
                },
                # No sum of gaps is a greater share of the sum of welfares than the worst of them.
                "gap_ppm": None
                if snapshot.kind == "placement"
                else max((tier["gap_ppm"] for tier in solved[place]), default=0),
            }
        )
    return rows


def _fairness(snapshot: Snapshot, parts: Sequence[Part], given: Counter[UUID]) -> list[Json]:
    needs = snapshot.needs
    if not needs:
        return []
    before = {need: units for part in parts for need, units in part.totals["before"].items()}
    served = [given[n.need_id] for n in needs]
    unfair = [before.get(str(n.need_id), units) for n, units in zip(needs, served, strict=True)]
    found = fairness.before_and_after(
        LEVELS,
        [n.division_code for n in needs],
        np.array([n.remaining for n in needs], dtype=np.int64),
        np.array(unfair, dtype=np.int64),
        np.array(served, dtype=np.int64),
    )
    return [
        {**level, "table": level["table"][:TABLE_MAX]} for level in found if level["divisions"] > 1
    ]


# ------------------------------------------------------------------- samples


def samples(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Ten proposals by lot, in turn from those of each story: had the best line, or was kept from
    it by this or that. The lot is the SHA-256 of the need and the line, so that nobody picks."""
    stories: defaultdict[str, list[Proposal]] = defaultdict(list)
    for proposal in proposals:
        better = proposal.explanation["better"]
        stories[better["kept_by"] if better else ""].append(proposal)
    return _in_turn(
        [
            sorted(of, key=lambda p: _lot(p.need.need_id, p.line.line_id))[:SAMPLES]
            for _, of in sorted(stories.items())
        ]
    )


def _unmet(outcomes: Sequence[Outcome]) -> list[Outcome]:
    codes: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        codes[outcome.code].append(outcome)
    return _in_turn(
        [
            sorted(of, key=lambda o: _lot(o.need.need_id))[:SAMPLES]
            for _, of in sorted(codes.items())
        ]
    )


def _in_turn(kinds: Sequence[Sequence[Picked]]) -> list[Picked]:
    turns = [kind[place] for place in range(SAMPLES) for kind in kinds if place < len(kind)]
    return turns[:SAMPLES]


def _lot(*ids: UUID) -> bytes:
    return hashlib.sha256(b"".join(one.bytes for one in ids)).digest()


def _sample(proposal: Proposal) -> Json:
    need, line = proposal.need, proposal.line
    return {
        "need_id": str(need.need_id),
        "line_id": str(line.line_id),
        "need_title": need.title,
        "offer_title": line.title,
        "item_class": need.item_class,
        "urgency": need.urgency,
        "division_code": need.division_code,
        "quantity": proposal.quantity,
        "lacking": need.remaining,
        "unit": need.unit,
        "features": list(proposal.features),
        "fit": proposal.fit,
        "value": proposal.value,
        "explanation": proposal.explanation,
    }


def _unmet_sample(outcome: Outcome) -> Json:
    need = outcome.need
    return {
        "need_id": str(need.need_id),
        "code": outcome.code,
        "item_class": need.item_class,
        "unit": need.unit,
        "urgency": need.urgency,
        "division_code": need.division_code,
        "need_title": need.title,
        "lacking": need.remaining,
        "given": outcome.given,
        "counts": outcome.counts,
        "best_line_id": None if outcome.best_line_id is None else str(outcome.best_line_id),
    }
