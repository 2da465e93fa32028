"""Read-only: matches of one need or offer, rounds with their proposals, allocations."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching import contract, domain, scoring
from services.matching.domain import may_serve
from services.matching.index import Hit, ancestors_of, code_range
from services.matching.planning import GROWTH, Candidate, nearest_served, score_pairs
from services.matching.policies import Policy, policies
from services.matching.retrieval import Retrieval
from services.matching.tables import Allocation, LineView, NeedView, Proposal, Round
from services.matching.terms import line_terms, need_terms
from shared.paging import decode_cursor

# ------------------------------------------------------------------ matches


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
                reasons=_reasons(c.features, policy),
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
                reasons=_reasons(c.features, policy),
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


def _reasons(features: Sequence[int], policy: Policy) -> list[contract.ReasonRead]:
    return [
        contract.ReasonRead.model_validate(reason)
        for reason in scoring.reasons(tuple(features), policy.weights.model_dump())
    ]


# ------------------------------------------------------------------- rounds


async def list_rounds(
    session: AsyncSession, state: str | None, limit: int, cursor: str | None
) -> Sequence[Round]:
    """Newest first, limit + 1 rows."""
    query = select(Round).order_by(Round.id.desc()).limit(limit + 1)
    if state is not None:
        query = query.where(Round.state == state)
    if cursor is not None:
        query = query.where(Round.id < decode_cursor(cursor, UUID)[0])
    return (await session.scalars(query)).all()


async def round_of(session: AsyncSession, round_id: UUID) -> Round:
    found = await session.get(Round, round_id)
    if found is None:
        raise domain.RoundNotFound("There is no such round.")
    return found


def round_read(row: Round) -> contract.RoundRead:
    snapshot = contract.SnapshotRead(
        needs_seq=row.needs_seq,
        donors_seq=row.donors_seq,
        taken_at=row.taken_at,
        needs=row.needs,
        lines=row.lines,
        sha256=row.snapshot_sha256,
    )
    fields = {
        name: getattr(row, name)
        for name in contract.RoundRead.model_fields
        if name not in {"snapshot", "totals"}
    }
    totals = None if row.totals is None else contract.RoundTotals.model_validate(row.totals)
    return contract.RoundRead(**fields, snapshot=snapshot, totals=totals)


async def list_proposals(
    session: AsyncSession, round_id: UUID, need_id: UUID | None, limit: int, cursor: str | None
) -> tuple[Round, Sequence[Proposal]]:
    """In the order of needs, limit + 1 rows."""
    found = await round_of(session, round_id)
    query = (
        select(Proposal).where(Proposal.round_id == round_id).order_by(Proposal.id).limit(limit + 1)
    )
    if need_id is not None:
        query = query.where(Proposal.need_id == need_id)
    if cursor is not None:
        query = query.where(Proposal.id > decode_cursor(cursor, UUID)[0])
    return found, (await session.scalars(query)).all()


def proposal_read(row: Proposal, policy: Policy) -> contract.ProposalRead:
    fields = {
        name: getattr(row, name) for name in contract.ProposalRead.model_fields if name != "reasons"
    }
    return contract.ProposalRead(**fields, reasons=_reasons(row.features, policy))


# -------------------------------------------------------------- allocations


@dataclass(frozen=True)
class AllocationFilter:
    """None is no restriction; within is a division and all it covers."""

    state: str | None = None
    round_id: UUID | None = None
    organization_id: UUID | None = None
    need_id: UUID | None = None
    line_id: UUID | None = None
    within: str | None = None
    logged: bool | None = None


async def list_allocations(
    session: AsyncSession, wanted: AllocationFilter, limit: int, cursor: str | None
) -> Sequence[Allocation]:
    """Oldest first, limit + 1 rows."""
    query: Select[Any] = select(Allocation).order_by(Allocation.id).limit(limit + 1)
    for name in ("state", "round_id", "organization_id", "need_id", "line_id"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(getattr(Allocation, name) == value)
    if wanted.within is not None:
        low, high = code_range(wanted.within)
        query = query.where(Allocation.division_code >= f"{low:012}")
        if high < 10**12:  # the root's range ends where no twelve-digit code is
            query = query.where(Allocation.division_code < f"{high:012}")
    if wanted.logged is not None:
        query = query.where(Allocation.approval_log_index.is_not(None) == wanted.logged)
    if cursor is not None:
        query = query.where(Allocation.id > decode_cursor(cursor, UUID)[0])
    return (await session.scalars(query)).all()


async def allocation_of(session: AsyncSession, allocation_id: UUID) -> Allocation:
    found = await session.get(Allocation, allocation_id)
    if found is None:
        raise domain.AllocationNotFound("There is no such allocation.")
    return found


def allocation_read(row: Allocation, log_url: str) -> contract.AllocationRead:
    receipt = None
    if row.approval_log_index is not None:
        receipt = f"{log_url}/v1/receipts/{row.approval_event_id}"
    fields = {
        name: getattr(row, name)
        for name in contract.AllocationRead.model_fields
        if name != "approval_receipt"
    }
    return contract.AllocationRead(**fields, approval_receipt=receipt)
