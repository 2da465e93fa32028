"""The best offers for a need, the best needs for an offer: from memory, as a round would value
them."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching import contract, domain
from services.matching.appraisal import Judge, Pairs, appraise, lexical_of
from services.matching.contract import matches as bodies
from services.matching.domain import may_serve
from services.matching.index import Asks, Offered, Wanted, id_words
from services.matching.index.facts import Rows
from services.matching.planning.candidates import TERMS
from services.matching.policies import policies
from services.matching.ranking import scorecard
from services.matching.retrieval import LineDoc, NeedDoc, Retrieval
from services.matching.tables import LineView, NeedView
from services.matching.text import encoder
from shared.paging import decode_cursor, encode_cursor
from shared.vocabulary import divisions

# Of the needs in all an offer serves, so many are scored for each of its lines.
NEEDS_COMPARED_MAX = 200


@dataclass(frozen=True, slots=True)
class Match:
    """A need and a line that may serve it, with what they are worth together."""

    need: NeedDoc
    line: LineDoc
    value: int
    fit: int
    features: tuple[int, ...]
    given: tuple[int, ...]
    points: tuple[int, ...]
    served: int

    @property
    def place(self) -> tuple[int, bytes, bytes]:
        """Best first; no two are alike, so pages neither repeat nor leave out."""
        return -self.value, self.need.id.bytes, self.line.id.bytes


@dataclass(frozen=True, slots=True)
class Matches:
    """found in order; compared, cut: as the contract says."""

    found: list[Match]
    compared: int
    cut: bool


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What a reader narrows the needs for an offer to."""

    category: str | None = None
    item_class: str | None = None
    urgency: str | None = None
    division_code: str | None = None
    quantity_min: int = 1


async def offers_for_need(
    session: AsyncSession,
    retrieval: Retrieval,
    need_id: UUID,
    judge: Judge,
    quantity_min: int,
) -> Matches:
    """The lines a round would compare with a published need, by what they are worth to it."""
    need = retrieval.needs.docs.get(need_id)
    if need is None:
        state = await session.scalar(select(NeedView.state).where(NeedView.need_id == need_id))
        if state != "published":
            raise domain.NeedNotFound("There is no such published need.")
    if need is None or need.expires_at <= judge.at:
        return Matches([], 0, False)
    return await asyncio.to_thread(lines_for, retrieval, need, judge, quantity_min)


def lines_for(retrieval: Retrieval, need: NeedDoc, judge: Judge, quantity_min: int) -> Matches:
    shelf, terms = retrieval.lines, need.terms
    asks = Asks(
        [terms.unit],
        np.array([terms.remaining], dtype=np.int64),
        [terms.applicant_kind],
        [terms.household_class],
        judge.at,
        quantity_min,
    )
    with shelf.index.gate.reading():
        found = shelf.index.candidates_now(
            [terms.item_class],
            [terms.division_code],
            encoder.encode([need.text]),
            judge.policy.candidates_per_need_max,
            asks,
            id_words([need.id]),
        )
        near = _near(shelf.index.rows, found.rows[0], found.similarities[0])
    # A document may be newer than the arrays by a moment: what it says decides.
    lines = {
        key: (doc, similarity)
        for key, similarity in near
        if (doc := shelf.docs.get(key)) and may_serve(doc.terms, terms, judge.at)
    }
    with shelf.words.gate.reading():
        serials = {key: s for key in lines if (s := shelf.words.serial_of.get(key)) is not None}
        lexical = lexical_of(shelf.words, [need.text], _column(serials.values()))
    pairs = [(need, *lines[key]) for key in serials]
    return Matches(_ranked(pairs, lexical, judge), len(pairs), bool(found.cut[0]))


async def needs_for_offer(
    session: AsyncSession,
    retrieval: Retrieval,
    offer_id: UUID,
    judge: Judge,
    narrowed: Narrowed,
) -> Matches:
    """Published needs that open lines of an offer may serve, by what they are worth together."""
    lines = [
        doc
        for key in sorted(retrieval.lines_of_offer.get(offer_id, ()))
        if (doc := retrieval.lines.docs.get(key)) is not None
    ]
    if not lines:
        known = select(LineView.line_id).where(LineView.offer_id == offer_id).limit(1)
        if await session.scalar(known) is None:
            raise domain.OfferNotFound("There is no such open offer.")
        return Matches([], 0, False)

    def all_lines() -> Matches:
        parts = [needs_for(retrieval, line, judge, narrowed) for line in lines]
        return Matches(
            sorted((m for part in parts for m in part.found), key=lambda m: m.place),
            sum(part.compared for part in parts),
            any(part.cut for part in parts),
        )

    return await asyncio.to_thread(all_lines)


def needs_for(retrieval: Retrieval, line: LineDoc, judge: Judge, narrowed: Narrowed) -> Matches:
    shelf, terms = retrieval.needs, line.terms
    if narrowed.item_class not in (None, terms.item_class):
        return Matches([], 0, False)
    offered = Offered(
        terms.unit, terms.lot, terms.applicant_kinds, terms.household_classes, judge.at
    )
    with shelf.index.gate.reading():
        found = shelf.index.candidates_now(
            terms.item_class,
            _within(terms.served_division_codes, narrowed.division_code),
            encoder.encode([line.text])[0],
            NEEDS_COMPARED_MAX,
            offered,
            Wanted(narrowed.urgency, narrowed.quantity_min),
            id_words([line.id]),
        )
        near = _near(shelf.index.rows, found.rows[0], found.similarities[0])
    needs = [
        (doc, line, similarity)
        for key, similarity in near
        if (doc := shelf.docs.get(key))
        and doc.expires_at > judge.at
        and may_serve(terms, doc.terms, judge.at)
        and narrowed.category in (None, doc.category)
    ]
    words = retrieval.lines.words
    with words.gate.reading():
        serial = words.serial_of.get(line.id)
        if serial is None:  # taken out a moment ago
            return Matches([], 0, False)
        texts = [need.text for need, _, _ in needs]
        lexical = lexical_of(words, texts, np.full(len(texts), serial)) if texts else _column(())
    return Matches(_ranked(needs, lexical, judge), len(needs), bool(found.cut[0]))


def _ranked(
    pairs: Sequence[tuple[NeedDoc, LineDoc, float]], lexical: NDArray[np.int64], judge: Judge
) -> list[Match]:
    if not pairs:
        return []
    needs = list(dict.fromkeys(need for need, _, _ in pairs))
    lines = list(dict.fromkeys(line for _, line, _ in pairs))
    appraised = appraise(
        Pairs(
            [need.terms for need in needs],
            [line.terms for line in lines],
            np.array([similarity for _, _, similarity in pairs], dtype=np.float32),
            lexical,
        ),
        judge,
    )
    columns = zip(
        pairs,
        appraised.value.tolist(),
        appraised.fit.tolist(),
        appraised.values.tolist(),
        appraised.given.tolist(),
        appraised.points.tolist(),
        appraised.served.tolist(),
        strict=True,
    )
    return sorted(
        (
            Match(need, line, value, fit, tuple(features), tuple(given), tuple(points), served)
            for (need, line, _), value, fit, features, given, points, served in columns
        ),
        key=lambda match: match.place,
    )


def _near(
    rows: Rows, found: NDArray[np.int64], similarities: NDArray[np.float32]
) -> list[tuple[UUID, float]]:
    pairs = zip(found.tolist(), similarities.tolist(), strict=True)
    return [(rows.id_of(row), similarity) for row, similarity in pairs if row >= 0]


def _column(values: Iterable[int]) -> NDArray[np.int64]:
    return np.array(list(values), dtype=np.int64)


def _within(codes: Sequence[str], division_code: str | None) -> Sequence[str]:
    """What of the divisions lies in this one."""
    if division_code is None:
        return codes
    if any(divisions.covers(code, division_code) for code in codes):
        return [division_code]
    return [code for code in codes if divisions.covers(division_code, code)]


async def judge_of(
    session: AsyncSession, retrieval: Retrieval, policy_name: str, at: datetime
) -> Judge:
    """What to judge by now; after reading what is new."""
    await retrieval.refresh(session)
    policy = policies().get(policy_name)
    if policy is None:
        raise domain.PolicyNotFound("There is no matching policy of this name.")
    return Judge(policy, retrieval.card, retrieval.facts, at)


# -------------------------------------------------------------------- pages


def after(matches: Matches, cursor: str | None, limit: int) -> list[Match]:
    """Those behind the cursor, limit + 1."""
    found = matches.found
    if cursor is not None:
        value, need_id, line_id = decode_cursor(cursor, int, UUID, UUID)
        place = (-value, need_id.bytes, line_id.bytes)
        found = [match for match in found if match.place > place]
    return found[: limit + 1]


def cursor_of(match: Match) -> str:
    return encode_cursor(match.value, match.need.id, match.line.id)


def offer_read(match: Match, judge: Judge) -> contract.ScoredOffer:
    line = match.line.terms
    return contract.ScoredOffer(
        line_id=line.line_id,
        offer_id=line.offer_id,
        organization_id=line.organization_id,
        organization_name=match.line.organization_name,
        organization_verified=line.organization_verified,
        title=line.title,
        category=match.line.category,
        item_class=line.item_class,
        item=line.item,
        specification=line.specification,
        served_division_code=f"{match.served:012}",
        available=line.available,
        quantity=min(match.need.terms.remaining, line.available),
        unit=line.unit,
        **_scored(match, judge),
    )


def need_read(match: Match, judge: Judge) -> contract.ScoredNeed:
    need = match.need.terms
    return contract.ScoredNeed(
        line_id=match.line.id,
        need_id=need.need_id,
        title=need.title,
        category=match.need.category,
        item_class=need.item_class,
        item=need.item,
        specification=need.specification,
        urgency=need.urgency,
        division_code=need.division_code,
        remaining=need.remaining,
        quantity=min(need.remaining, match.line.terms.available),
        unit=need.unit,
        **_scored(match, judge),
    )


def _scored(match: Match, judge: Judge) -> dict[str, Any]:
    reasons = scorecard.reasons(judge.card, np.array(match.features, dtype=np.int64))
    return {
        "score_permille": match.value,
        "fit_permille": match.fit,
        "policy": judge.policy.name,
        "ranking": judge.card.name,
        "reasons": [bodies.MatchReason.model_validate(reason) for reason in reasons],
        "terms": [
            bodies.MatchTerm(term=term, value_permille=given, points=points)
            for term, given, points in zip(TERMS, match.given, match.points, strict=True)
        ],
    }
