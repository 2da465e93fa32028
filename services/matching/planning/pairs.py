"""One need or one line at a time: what the routes of matches still read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from services.matching.domain import LineTerms, NeedTerms, may_serve
from services.matching.index import LineEntry, OfferIndex, ancestors_of, prefix_of
from services.matching.planning.snapshot import Snapshot
from services.matching.policies import Policy
from services.matching.ranking import scoring
from services.matching.text import encoder

# Candidates are read in growing portions; each is this many times the last.
GROWTH = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    need: NeedTerms
    line: LineTerms
    features: tuple[int, ...]
    score: int


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
