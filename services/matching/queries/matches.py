"""The best offers for a need, the best needs for an offer."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching import contract, domain
from services.matching.domain import may_serve
from services.matching.index import Hit, ancestors_of
from services.matching.planning import GROWTH, Candidate, nearest_served, score_pairs
from services.matching.policies import Policy, policies
from services.matching.ranking import scoring
from services.matching.retrieval import Retrieval
from services.matching.tables import LineView, NeedView
from services.matching.terms import line_terms, need_terms


async def offers_for_need(
    session: AsyncSession,
    retrieval: Retrieval,
    need_id: UUID,
    policy_name: str,
    limit: int,
    at: datetime,
) -> contract.ScoredOffers:
    """The best lines for a published need: the candidates a round would compare, by score."""
    policy = _policy(policy_name)
    view = await session.get(NeedView, need_id)
    if view is None or view.state != "published":
        raise domain.NeedNotFound("There is no such published need.")
    if view.remaining == 0:
        return contract.ScoredOffers(data=[])
    need = need_terms(view, view.remaining)
    rows: dict[UUID, LineView] = {}

    async def eligible(hits: Sequence[Hit]) -> list[Candidate]:
        new = [hit.id for hit in hits if hit.id not in rows]
        found = await session.scalars(select(LineView).where(LineView.line_id.in_(new)))
        rows.update({row.line_id: row for row in found})
        pairs = [
            (line_terms(row, row.available), hit.similarity)
            for hit in hits
            if (row := rows.get(hit.id)) and row.state == "open" and row.available > 0
        ]
        fitting = [(line, s) for line, s in pairs if may_serve(line, need, at)]
        return score_pairs(need, fitting[: policy.candidates_per_need_max], policy, at)

    candidates = await _grow(
        lambda k: retrieval.offers_for(session, view, k), eligible, policy.candidates_per_need_max
    )
    ancestors = set(ancestors_of(need.division_code))
    return contract.ScoredOffers(
        data=[
            contract.ScoredOffer(
                line_id=c.line.line_id,
                offer_id=c.line.offer_id,
                organization_id=c.line.organization_id,
                organization_name=rows[c.line.line_id].organization_name,
                organization_verified=c.line.organization_verified,
                title=c.line.title,
                item_class=c.line.item_class,
                item=c.line.item,
                specification=c.line.specification,
                served_division_code=nearest_served(c.line, ancestors),
                available=c.line.available,
                quantity=min(need.remaining, c.line.available),
                unit=c.line.unit,
                score_permille=c.score,
                policy=policy.name,
                reasons=reasons_read(c.features, policy),
            )
            for c in candidates[:limit]
        ]
    )


async def needs_for_offer(
    session: AsyncSession,
    retrieval: Retrieval,
    offer_id: UUID,
    policy_name: str,
    limit: int,
    at: datetime,
) -> contract.ScoredNeeds:
    """The best published needs for each open line of an offer, by score."""
    policy = _policy(policy_name)
    views = (
        await session.scalars(
            select(LineView).where(LineView.offer_id == offer_id).order_by(LineView.line_id)
        )
    ).all()
    if not views:
        raise domain.OfferNotFound("There is no such open offer.")
    rows: dict[UUID, NeedView] = {}
    found: list[Candidate] = []
    for view in views:
        if view.state != "open" or view.available == 0:
            continue
        line = line_terms(view, view.available)

        async def eligible(hits: Sequence[Hit], line: domain.LineTerms = line) -> list[Candidate]:
            new = [hit.id for hit in hits if hit.id not in rows]
            more = await session.scalars(select(NeedView).where(NeedView.need_id.in_(new)))
            rows.update({row.need_id: row for row in more})
            scored: list[Candidate] = []
            for hit in hits:
                row = rows.get(hit.id)
                if row is None or row.state != "published" or row.remaining == 0:
                    continue
                need = need_terms(row, row.remaining)
                if row.expires_at > at and may_serve(line, need, at):
                    scored.extend(score_pairs(need, [(line, hit.similarity)], policy, at))
            return scored[: policy.candidates_per_need_max]

        async def search(k: int, view: LineView = view) -> list[Hit]:
            return await retrieval.needs_for(session, view, k)

        found.extend(await _grow(search, eligible, policy.candidates_per_need_max))
    found.sort(key=_best_first)
    return contract.ScoredNeeds(
        data=[
            contract.ScoredNeed(
                line_id=c.line.line_id,
                need_id=c.need.need_id,
                title=c.need.title,
                item_class=c.need.item_class,
                item=c.need.item,
                specification=c.need.specification,
                urgency=c.need.urgency,
                division_code=c.need.division_code,
                remaining=c.need.remaining,
                quantity=min(c.need.remaining, c.line.available),
                unit=c.need.unit,
                score_permille=c.score,
                policy=policy.name,
                reasons=reasons_read(c.features, policy),
            )
            for c in found[:limit]
        ]
    )


async def _grow(
    search: Callable[[int], Awaitable[list[Hit]]],
    eligible: Callable[[Sequence[Hit]], Awaitable[list[Candidate]]],
    wanted: int,
) -> list[Candidate]:
    """Read hits in growing portions until enough are eligible, or there are no more."""
    portion = wanted + 1
    while True:
        hits = await search(portion)
        candidates = await eligible(hits)
        if len(candidates) >= wanted or len(hits) < portion:
            return sorted(candidates, key=_best_first)
        portion *= GROWTH


def _best_first(candidate: Candidate) -> tuple[int, bytes, bytes]:
    return -candidate.score, candidate.need.need_id.bytes, candidate.line.line_id.bytes


def _policy(name: str) -> Policy:
    policy = policies().get(name)
    if policy is None:
        raise domain.PolicyNotFound("There is no matching policy of this name.")
    return policy


def reasons_read(features: Sequence[int], policy: Policy) -> list[contract.ReasonRead]:
    return [
        contract.ReasonRead.model_validate(reason)
        for reason in scoring.reasons(tuple(features), policy.weights.model_dump())
    ]
