"""Rankings, the one in force, and what was decided so far."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching.contract import rankings as contract
from services.matching.domain import State
from services.matching.domain.rankings import RankingNotFound, RankingState
from services.matching.ranking.features import FEATURES
from services.matching.ranking.memory import (
    PRECEDENTS_MAX,
    PRECEDENTS_PER_CLASS_MAX,
    AcceptanceFacts,
    OrganizationCount,
    Precedent,
)
from services.matching.ranking.scorecard import Scorecard, built_in
from services.matching.tables import Allocation, LineView, NeedView, Ranking
from shared.paging import decode_cursor

# Taken by the organization and not given up since.
ACCEPTED = (
    State.ACCEPTED,
    State.APPROVED,
    State.DISPATCHED,
    State.DELIVERED,
    State.CONFIRMED,
    State.CLOSED,
)
# Precedents are looked for among the newest allocations only, so that the time does not grow.
RECENT_MAX = 50_000


async def list_rankings(
    session: AsyncSession, state: str | None, limit: int, cursor: str | None
) -> Sequence[Ranking]:
    """Newest first, limit + 1 rows."""
    key = tuple_(Ranking.proposed_at, Ranking.name)
    query = (
        select(Ranking).order_by(Ranking.proposed_at.desc(), Ranking.name.desc()).limit(limit + 1)
    )
    if state is not None:
        query = query.where(Ranking.state == state)
    if cursor is not None:
        query = query.where(key < tuple_(*decode_cursor(cursor, datetime, str)))
    return (await session.scalars(query)).all()


async def ranking_of(session: AsyncSession, name: str) -> Ranking:
    found = await session.get(Ranking, name)
    if found is None:
        raise RankingNotFound("There is no ranking of this name.")
    return found


def ranking_read(row: Ranking) -> contract.RankingRead:
    return contract.RankingRead.model_validate(row)


def ranking_detail(row: Ranking) -> contract.RankingDetail:
    card = card_of(row)
    plain = ranking_read(row).model_dump()
    if card is None:
        return contract.RankingDetail(**plain, encoder_version=None, chance=[], curves=[])
    documented = {feature.code: feature for feature in FEATURES}
    curves = []
    for curve in card.curves:
        described = asdict(documented[curve.feature])
        named = {name: described[name] for name in ("name_zh", "name_en", "doc_zh", "doc_en")}
        curves.append(contract.CurveRead(**curve.model_dump(), **named))
    return contract.RankingDetail(
        **plain,
        encoder_version=card.made_of.encoder_version,
        chance=card.chance,
        curves=curves,
    )


def card_of(row: Ranking) -> Scorecard | None:
    """None while there is none yet."""
    if row.built_in:
        return built_in()[row.name]
    return None if row.card is None else Scorecard.model_validate(row.card)


async def active_scorecard(session: AsyncSession) -> Scorecard:
    """The card in force; there is exactly one from the installation on."""
    row = await session.scalar(select(Ranking).where(Ranking.state == RankingState.ACTIVE))
    card = None if row is None else card_of(row)
    if card is None:
        raise RuntimeError("no ranking is in force")
    return card


# --------------------------------------------------------- what was decided


async def acceptance_facts(
    session: AsyncSession, at: datetime, item_classes: Collection[str] | None = None
) -> AcceptanceFacts:
    """What organizations accepted and declined before `at`, and the newest accepted pairs; of the
    item classes given, or of all."""
    return AcceptanceFacts(
        await _counts(session, at, item_classes), await _precedents(session, at, item_classes)
    )


async def _counts(
    session: AsyncSession, at: datetime, item_classes: Collection[str] | None
) -> tuple[OrganizationCount, ...]:
    accepted = Allocation.state.in_(ACCEPTED)
    # Of rows from before the side was kept, nobody knows who declined.
    declined = (Allocation.state == State.DECLINED) & (Allocation.side == "organization")
    query = (
        select(
            Allocation.organization_id,
            Allocation.item_class,
            func.count().filter(accepted),
            func.count().filter(declined),
        )
        .where(or_(accepted, declined), Allocation.changed_at <= at)
        .group_by(Allocation.organization_id, Allocation.item_class)
        .order_by(Allocation.organization_id, Allocation.item_class)
    )
    if item_classes is not None:
        query = query.where(Allocation.item_class.in_(item_classes))
    return tuple(OrganizationCount(*row) for row in (await session.execute(query)).all())


async def _precedents(
    session: AsyncSession, at: datetime, item_classes: Collection[str] | None
) -> tuple[Precedent, ...]:
    recent = (
        select(
            Allocation.id,
            Allocation.item_class,
            Allocation.need_id,
            Allocation.line_id,
            Allocation.organization_id,
        )
        .where(Allocation.state.in_(ACCEPTED), Allocation.changed_at <= at)
        .order_by(Allocation.id.desc())
        .limit(RECENT_MAX)
    )
    if item_classes is not None:
        recent = recent.where(Allocation.item_class.in_(item_classes))
    newest = recent.subquery()
    place = (
        func.row_number()
        .over(partition_by=newest.c.item_class, order_by=newest.c.id.desc())
        .label("place")
    )
    numbered = select(newest, place).subquery()
    query: Any = (
        select(
            numbered.c.item_class,
            numbered.c.need_id,
            _text(NeedView),
            numbered.c.line_id,
            _text(LineView),
            numbered.c.organization_id,
        )
        .join(NeedView, NeedView.need_id == numbered.c.need_id)
        .join(LineView, LineView.line_id == numbered.c.line_id)
        .where(numbered.c.place <= PRECEDENTS_PER_CLASS_MAX)
        .order_by(numbered.c.id.desc())
        .limit(PRECEDENTS_MAX)
    )
    rows = (await session.execute(query)).all()
    return tuple(sorted((Precedent(*row) for row in rows), key=_in_order))


def _text(view: type[NeedView] | type[LineView]) -> Any:
    return func.concat(view.title, " ", view.item, " ", func.coalesce(view.specification, ""))


def _in_order(one: Precedent) -> tuple[str, UUID, UUID]:
    return one.item_class, one.need_id, one.line_id
