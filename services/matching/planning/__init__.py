"""A round from its frozen snapshot: candidates, scores, exact assignment, proposals; pure.

Everything is read from the snapshot, in sorted order and in integers: computing it again, after a
crash or by an auditor, gives the same proposals.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import numpy as np

from services.matching.domain import LineTerms, NeedTerms, may_serve
from services.matching.index import LineEntry, OfferIndex, ancestors_of, prefix_of
from services.matching.policies import Policy
from services.matching.ranking import scoring
from services.matching.solver import flow as assignment
from services.matching.text import encoder

# Candidates are read in growing portions; each is this many times the last.
GROWTH = 4


@dataclass(frozen=True)
class Snapshot:
    """What a round is computed from. needs and lines sorted by id.

    set_aside   reason code -> needs left out before the snapshot was taken
    """

    taken_at: datetime
    division_code: str
    needs_seq: int
    donors_seq: int
    policy: Policy
    needs: tuple[NeedTerms, ...]
    lines: tuple[LineTerms, ...]
    set_aside: dict[str, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    need: NeedTerms
    line: LineTerms
    features: tuple[int, ...]
    score: int


@dataclass(frozen=True, slots=True)
class Proposal:
    need: NeedTerms
    line: LineTerms
    quantity: int
    features: tuple[int, ...]
    score: int


@dataclass(frozen=True)
class Plan:
    proposals: tuple[Proposal, ...]
    totals: dict[str, Any]

    def sha256(self) -> str:
        """Over what was decided: need, line and quantity of each proposal, in order."""
        body = json.dumps(
            [
                [str(p.need.need_id), str(p.line.line_id), p.quantity, p.score]
                for p in self.proposals
            ]
        )
        return hashlib.sha256(body.encode()).hexdigest()


# ---------------------------------------------------------- snapshot as bytes


def pack(snapshot: Snapshot) -> tuple[bytes, str]:
    """The snapshot as compressed JSON with sorted keys, and the SHA-256 of that JSON."""
    plain = {**asdict(snapshot), "policy": snapshot.policy.model_dump(mode="json")}
    body = json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain
    ).encode()
    return zlib.compress(body), hashlib.sha256(body).hexdigest()


def _plain(value: Any) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a snapshot")


class SnapshotDamaged(RuntimeError):
    """The stored snapshot is not the one that was frozen."""


def unpack(packed: bytes, sha256: str) -> Snapshot:
    body = zlib.decompress(packed)
    if hashlib.sha256(body).hexdigest() != sha256:
        raise SnapshotDamaged
    plain = json.loads(body)
    return Snapshot(
        taken_at=datetime.fromisoformat(plain["taken_at"]),
        division_code=plain["division_code"],
        needs_seq=plain["needs_seq"],
        donors_seq=plain["donors_seq"],
        policy=Policy.model_validate(plain["policy"]),
        needs=tuple(_need(n) for n in plain["needs"]),
        lines=tuple(_line(m) for m in plain["lines"]),
        set_aside=plain["set_aside"],
    )


def _need(plain: dict[str, Any]) -> NeedTerms:
    return NeedTerms(
        **{
            **plain,
            "need_id": UUID(plain["need_id"]),
            "published_at": datetime.fromisoformat(plain["published_at"]),
            "needed_by": plain["needed_by"] and date.fromisoformat(plain["needed_by"]),
        }
    )


def _line(plain: dict[str, Any]) -> LineTerms:
    return LineTerms(
        **{
            **plain,
            **{name: UUID(plain[name]) for name in ("line_id", "offer_id", "organization_id")},
            **{name: datetime.fromisoformat(plain[name]) for name in ("valid_from", "valid_until")},
            **{
                name: tuple(plain[name])
                for name in ("served_division_codes", "applicant_kinds", "household_classes")
            },
        }
    )


# ------------------------------------------------------------------ the plan


def plan(snapshot: Snapshot, progress: Callable[[int], None] = lambda permille: None) -> Plan:
    """Proposals sorted by need and line. `progress` is told thousandths done."""
    needs, repeated = one_need_each(snapshot)
    candidates, cut = find_candidates(needs, snapshot)
    progress(300)
    by_class: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_class[candidate.need.item_class].append(candidate)
    proposals: list[Proposal] = []
    objective = relaxed = repairs = 0
    for done, item_class in enumerate(sorted(by_class)):
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
    return Plan(tuple(proposals), totals)


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


def need_text(title: str, item: str, specification: str | None) -> str:
    return f"{title} {item} {specification or ''}"


def find_candidates(needs: Sequence[NeedTerms], snapshot: Snapshot) -> tuple[list[Candidate], int]:
    """Each need's likest eligible lines, and how many needs had more than the policy reads."""
    lines = {line.line_id: line for line in snapshot.lines}
    index = OfferIndex(encoder.DIMENSION)
    index.put(
        [LineEntry(m.line_id, m.item_class, m.served_division_codes) for m in snapshot.lines],
        encoder.encode([need_text(m.title, m.item, m.specification) for m in snapshot.lines]),
    )
    vectors = encoder.encode([need_text(n.title, n.item, n.specification) for n in needs])
    most = snapshot.policy.candidates_per_need_max
    found: list[Candidate] = []
    cut = 0
    # Eligibility is checked after retrieval, so a full portion may hide more: those needs ask
    # again.
    asking, portion = list(range(len(needs))), most + 1
    while asking:
        hits = index.search(
            [needs[row].item_class for row in asking],
            [needs[row].division_code for row in asking],
            vectors[asking],
            portion,
        )
        again = []
        for row, near in zip(asking, hits, strict=True):
            need = needs[row]
            eligible = [
                (lines[hit.id], hit.similarity)
                for hit in near
                if may_serve(lines[hit.id], need, snapshot.taken_at)
            ]
            if len(near) == portion < len(lines) and len(eligible) <= most:
                again.append(row)
                continue
            cut += len(eligible) > most
            found.extend(score_pairs(need, eligible[:most], snapshot.policy, snapshot.taken_at))
        asking, portion = again, portion * GROWTH
    return found, cut


def score_pairs(
    need: NeedTerms, lines: Sequence[tuple[LineTerms, float]], policy: Policy, at: datetime
) -> list[Candidate]:
    """Score (line, similarity) pairs for one need."""
    if not lines:
        return []
    ancestors = set(ancestors_of(need.division_code))
    need_words = frozenset(encoder.tokens(need.specification or ""))
    rows = [
        scoring.features(
            scoring.Pair(
                similarity=similarity,
                need_words=need_words,
                line_words=frozenset(encoder.tokens(f"{line.item} {line.specification or ''}"))
                if need_words
                else frozenset(),
                required=need.remaining,
                available=line.available,
                served_digits=len(prefix_of(nearest_served(line, ancestors))),
                waiting_days=max(0, (at - need.published_at).days),
                poverty=need.poverty_permille,
                verified=line.organization_verified,
            ),
            policy.waiting_days_full,
        )
        for line, similarity in lines
    ]
    totals = scoring.scores(np.array(rows, dtype=np.int64), policy.weights.model_dump())
    return [
        Candidate(need, line, row, int(score))
        for (line, _), row, score in zip(lines, rows, totals, strict=True)
    ]


def nearest_served(line: LineTerms, ancestors: set[str]) -> str:
    """The finest served division that covers the need."""
    return max(ancestors.intersection(line.served_division_codes), key=lambda c: len(prefix_of(c)))


def _assign(
    candidates: list[Candidate], policy: Policy
) -> tuple[list[Proposal], assignment.Assignment]:
    candidates = sorted(candidates, key=lambda c: (c.need.need_id.bytes, c.line.line_id.bytes))
    needs = sorted({c.need for c in candidates}, key=lambda n: n.need_id.bytes)
    lines = sorted({c.line for c in candidates}, key=lambda m: m.line_id.bytes)
    need_row = {need.need_id: row for row, need in enumerate(needs)}
    line_row = {line.line_id: row for row, line in enumerate(lines)}
    tiers: dict[str, int] = {urgency: place for place, urgency in enumerate(policy.tiers)}

    def column(values: Sequence[int]) -> assignment.IntArray:
        return np.array(values, dtype=np.int64)

    solution = assignment.solve(
        assignment.Instance(
            required=column([n.remaining for n in needs]),
            tier=column([tiers[n.urgency] for n in needs]),
            available=column([m.available for m in lines]),
            lot=column([m.lot for m in lines]),
            need=column([need_row[c.need.need_id] for c in candidates]),
            line=column([line_row[c.line.line_id] for c in candidates]),
            score=column([c.score for c in candidates]),
        )
    )
    proposals = [
        Proposal(c.need, c.line, int(quantity), c.features, c.score)
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
