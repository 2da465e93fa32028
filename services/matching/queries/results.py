"""What rounds found, as it is read: overviews, outcomes, the frozen data."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select, union
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching import contract, domain
from services.matching.domain import RoundState
from services.matching.planning import wording
from services.matching.queries.rounds import card_for
from services.matching.ranking.scorecard import Scorecard
from services.matching.tables import Allocation, NeedView, Outcome, Round, RoundSnapshot
from shared.paging import decode_cursor


async def overview_read(session: AsyncSession, found: Round) -> contract.OverviewRead:
    card = await card_for(session, found)
    if found.totals is None or card is None:
        raise domain.NoOverview(f"The round is {found.state} and has no overview.")
    return contract.OverviewRead.model_validate(wording.overview(found.totals, card))


def fairness_read(totals: dict[str, Any], card: Scorecard) -> list[dict[str, Any]]:
    """Levels of the division tree, with names."""
    levels: list[dict[str, Any]] = wording.overview(totals, card)["fairness"]
    return levels


# ------------------------------------------------------------------ outcomes


async def list_outcomes(
    session: AsyncSession,
    round_id: UUID,
    code: str | None,
    need_id: UUID | None,
    limit: int,
    cursor: str | None,
) -> Sequence[Outcome]:
    """In the order of needs, limit + 1 rows."""
    query = (
        select(Outcome)
        .where(Outcome.round_id == round_id)
        .order_by(Outcome.need_id)
        .limit(limit + 1)
    )
    if code is not None:
        query = query.where(Outcome.code == code)
    if need_id is not None:
        query = query.where(Outcome.need_id == need_id)
    if cursor is not None:
        query = query.where(Outcome.need_id > decode_cursor(cursor, UUID)[0])
    return (await session.scalars(query)).all()


def outcome_read(row: Outcome) -> contract.OutcomeRead:
    stored = {
        name: getattr(row, name)
        for name in contract.OutcomeRead.model_fields
        if name in Outcome.__table__.columns
    }
    said = wording.outcome(row.code, row.counts, row.lacking, row.given, row.unit)
    return contract.OutcomeRead.model_validate(stored | said)


async def need_outcome(session: AsyncSession, need_id: UUID) -> contract.NeedOutcome:
    """Of the last approved round that considered a need that is published, or was until met."""
    need = await session.get(NeedView, need_id)
    if need is None or need.state not in {"published", "closed"}:
        raise domain.NeedNotFound("There is no such published need.")
    found = await session.scalar(last_considered(need_id))
    if found is None:
        raise domain.NotConsidered("No approved round has considered this need yet.")
    row = await session.get(Outcome, (found.id, need_id))
    stands = Allocation.state.in_(domain.AIDING)
    sums = await session.execute(
        select(
            func.coalesce(func.sum(Allocation.quantity).filter(stands), 0),
            func.coalesce(func.sum(Allocation.quantity).filter(~stands), 0),
        ).where(Allocation.round_id == found.id, Allocation.need_id == need_id)
    )
    given, lost = map(int, sums.one())
    outcome = None if row is None else outcome_read(row)
    zh, en = _what_became(given, lost, need.unit, outcome)
    return contract.NeedOutcome.model_validate(
        {
            "need_id": need_id,
            "round_id": found.id,
            "policy": found.policy,
            "ranking": found.ranking,
            "approved_at": found.decided_at,
            "given": given,
            "unit": need.unit,
            "outcome": outcome,
            "text_zh": zh,
            "text_en": en,
        }
    )


def last_considered(need_id: UUID) -> Select[Any]:
    """The approved round last decided of those that gave the need something or said why not."""
    rounds = union(
        select(Outcome.round_id).where(Outcome.need_id == need_id),
        select(Allocation.round_id).where(Allocation.need_id == need_id),
    )
    return (
        select(Round)
        .where(Round.state == RoundState.APPROVED, Round.id.in_(rounds))
        .order_by(Round.decided_at.desc(), Round.id.desc())
        .limit(1)
    )


def _what_became(
    given: int, lost: int, unit: str, outcome: contract.OutcomeRead | None
) -> tuple[str, str]:
    """lost   was given by the round, and declined, expired, cancelled or returned afterwards"""
    all_zh, all_en = wording.quantity(given + lost, unit)
    lost_zh, lost_en = wording.quantity(lost, unit)
    if outcome is not None:
        if not lost:
            return outcome.text_zh, outcome.text_en
        return (
            f"{outcome.text_zh}所得中 {lost_zh}后来没有落实。",
            f"{outcome.text_en} Of what it got, {lost_en} fell through afterwards.",
        )
    if not lost:
        return f"本轮全部满足：{all_zh}。", f"Met in full: {all_en}."
    return (
        f"本轮分给 {all_zh}，其中 {lost_zh}后来没有落实。",
        f"Given {all_en}, of which {lost_en} fell through afterwards.",
    )


# ----------------------------------------------------------------- frozen data


async def packed_of(session: AsyncSession, round_id: UUID) -> bytes:
    """The round's frozen data as stored."""
    return (await session.get_one(RoundSnapshot, round_id)).packed
