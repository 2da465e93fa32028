"""Two rounds on the same frozen data: totals side by side, and who gets more or less."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Subquery, and_, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.matching import contract, domain
from services.matching.contract.comparison import ComparedRound, ComparisonRead
from services.matching.queries.results import fairness_read
from services.matching.queries.rounds import card_for, round_for
from services.matching.tables import NeedView, Outcome, Proposal, Round
from shared.callers import Caller
from shared.paging import decode_cursor


async def compared(
    session: AsyncSession, caller: Caller, first_id: UUID, second_id: UUID
) -> tuple[Round, Round]:
    """Raise NotComparable unless both were computed on the same frozen data."""
    first = await round_for(session, caller, first_id)
    second = await round_for(session, caller, second_id)
    if first.totals is None or second.totals is None:
        raise domain.NotComparable("Both rounds must be computed.")
    if first.frozen_by != second.frozen_by:
        raise domain.NotComparable("The rounds are not computed on the same frozen data.")
    return first, second


async def comparison(session: AsyncSession, first: Round, second: Round) -> ComparisonRead:
    changes = _changes(first.id, second.id, None)
    more = changes.c.second_quantity - changes.c.first_quantity
    found = await session.execute(
        select(
            func.count().filter(more > 0).label("gains"),
            func.count().filter(more < 0).label("loses"),
            func.count().filter(more == 0).label("same"),
        ).select_from(changes)
    )
    counted = found.one()
    zh, en = sentence(first, second, counted.gains, counted.loses)
    return ComparisonRead(
        first=await _compared_round(session, first),
        second=await _compared_round(session, second),
        gains=counted.gains,
        loses=counted.loses,
        same=counted.same,
        text_zh=zh,
        text_en=en,
    )


async def _compared_round(session: AsyncSession, row: Round) -> ComparedRound:
    totals, card = cast("dict[str, Any]", row.totals), await card_for(session, row)
    return ComparedRound.model_validate(
        {
            **{name: getattr(row, name) for name in ("id", "kind", "state", "policy", "ranking")},
            "totals": contract.RoundTotals.model_validate(totals),
            "fairness": [] if card is None else fairness_read(totals, card),
        }
    )


def sentence(first: Round, second: Round, gains: int, loses: int) -> tuple[str, str]:
    """What changes, in Chinese and English."""
    before, after = (cast("dict[str, Any]", r.totals) for r in (first, second))
    met = after["needs_met"] - before["needs_met"]
    by_zh, by_en = (
        f"由 {first.policy} 改用 {second.policy}",
        f"From {first.policy} to {second.policy}",
    )
    if first.policy == second.policy:
        by_zh, by_en = f"策略同为 {first.policy}", f"Both by {first.policy}"
    helped_zh, helped_en = _helped(met)
    more = "1 need gets more" if gains == 1 else f"{gains:,} needs get more"
    less = "1 gets less" if loses == 1 else f"{loses:,} get less"
    return (
        f"{by_zh}：{gains:,} 项需求所得增加，{loses:,} 项减少，获得帮助的需求{helped_zh}。",
        f"{by_en}: {more}, {less}; {helped_en}.",
    )


def _helped(met: int) -> tuple[str, str]:
    if not met:
        return "一样多", "as many needs are helped"
    zh, en = ("增加", "more") if met > 0 else ("减少", "fewer")
    count = abs(met)
    if count == 1:
        return f"{zh} 1 项", f"1 {en} need is helped"
    return f"{zh} {count:,} 项", f"{count:,} {en} needs are helped"


def _changes(first_id: UUID, second_id: UUID, after: UUID | None) -> Subquery:
    """What each need that gets something gets in either round."""
    first, second = _given(first_id, after), _given(second_id, after)
    need_id = func.coalesce(first.c.need_id, second.c.need_id)
    return (
        select(
            need_id.label("need_id"),
            func.coalesce(first.c.quantity, 0).label("first_quantity"),
            func.coalesce(second.c.quantity, 0).label("second_quantity"),
        )
        .select_from(first.join(second, first.c.need_id == second.c.need_id, full=True))
        .subquery()
    )


def _given(round_id: UUID, after: UUID | None) -> Subquery:
    return (
        select(Proposal.need_id, func.sum(Proposal.quantity).label("quantity"))
        .where(
            Proposal.round_id == round_id,
            literal(True) if after is None else Proposal.need_id > after,
        )
        .group_by(Proposal.need_id)
        .subquery()
    )


@dataclass(frozen=True)
class Pair:
    """Ids of two rounds that were found comparable."""

    first: UUID
    second: UUID


async def compared_needs(
    session: AsyncSession,
    rounds: Pair,
    change: contract.Change | None,
    limit: int,
    cursor: str | None,
) -> Sequence[Any]:
    """In the order of needs, limit + 1 rows of what `ComparedNeed` says."""
    after = None if cursor is None else decode_cursor(cursor, UUID)[0]
    changes = _changes(rounds.first, rounds.second, after)
    why_first, why_second = aliased(Outcome), aliased(Outcome)

    def of(outcome: Any, round_id: UUID) -> ColumnElement[bool]:
        return and_(outcome.round_id == round_id, outcome.need_id == changes.c.need_id)

    query: Select[Any] = (
        select(
            changes,
            NeedView.title.label("need_title"),
            NeedView.item_class,
            NeedView.urgency,
            NeedView.division_code,
            NeedView.unit,
            why_first.code.label("first_code"),
            why_second.code.label("second_code"),
        )
        .join(NeedView, NeedView.need_id == changes.c.need_id)
        .outerjoin(why_first, of(why_first, rounds.first))
        .outerjoin(why_second, of(why_second, rounds.second))
        .where(_changed(changes, change))
        .order_by(changes.c.need_id)
        .limit(limit + 1)
    )
    rows: Sequence[Any] = (await session.execute(query)).all()
    return rows


def _changed(changes: Subquery, change: contract.Change | None) -> ColumnElement[bool]:
    first, second = changes.c.first_quantity, changes.c.second_quantity
    if change == "gains":
        return second > first
    if change == "loses":
        return second < first
    return second != first
