"""Snapshots: what a round is computed from, read in one moment."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching import domain
from services.matching.domain import LineTerms, NeedTerms, RoundKind
from services.matching.index import code_range
from services.matching.planning import Snapshot
from services.matching.policies import Policy
from services.matching.queries.rankings import acceptance_facts, active_scorecard
from services.matching.tables import Allocation, LineView, NeedView, Round, RoundPrice
from services.matching.terms import line_terms, need_terms
from shared import db
from shared.events import cursor

# More would take minutes to freeze and to solve, and gigabytes.
NEEDS_MAX = 100_000
ROWS_AT_ONCE = 1_000
APPROVAL_LOCK = "approve rounds"

# What terms are made of, and no more: reading lists that nobody asks for takes half the time.
_NEED = [
    getattr(NeedView, field.name)
    for field in fields(NeedTerms)
    if field.name not in {"remaining", "aided_at"}
] + [NeedView.remaining, NeedView.required]


@dataclass(frozen=True)
class Wanted:
    """What is to be frozen.

    since    of a placement: the round since which needs were published or lines opened
    prices   those the round starts from
    """

    kind: RoundKind
    division_code: str
    policy: Policy
    since: Round | None
    prices: Mapping[str, int]


async def freeze(session: AsyncSession, wanted: Wanted, at: datetime) -> Snapshot:
    """Published needs of the division that lack something, and open lines of their classes."""
    # While these are held no feed is applied: rows and cursors belong to the same moment.
    await db.lock(session, "consumer needs")
    await db.lock(session, "consumer donors")
    # Nor is a round approved: what it promises would be counted of lines and not of needs.
    await db.lock(session, APPROVAL_LOCK)
    needs = await _needs(session, wanted, at)
    item_classes = {need.item_class for need in needs}
    lines = await _lines(session, item_classes, at)
    earlier = [] if wanted.since is None else await _earlier(session, wanted, needs, at)
    return Snapshot(
        taken_at=at,
        division_code=wanted.division_code,
        needs_seq=await cursor(session, "needs"),
        donors_seq=await cursor(session, "donors"),
        policy=wanted.policy,
        needs=tuple(needs),
        lines=tuple(lines),
        set_aside={},
        kind=wanted.kind.value,
        card=await active_scorecard(session),
        acceptance=await acceptance_facts(session, at, item_classes),
        start_prices=dict(wanted.prices),
        earlier=tuple(earlier),
    )


async def prices_of(session: AsyncSession, round_id: UUID) -> dict[str, int]:
    """Line id -> price, of a computed round."""
    rows = await session.execute(
        select(RoundPrice.line_id, RoundPrice.price)
        .where(RoundPrice.round_id == round_id)
        .order_by(RoundPrice.line_id)
    )
    return {str(row.line_id): row.price for row in rows}


async def _needs(session: AsyncSession, wanted: Wanted, at: datetime) -> list[NeedTerms]:
    promised = await _promised(session, Allocation.need_id, Allocation.need_seen)
    query: Select[Any] = select(*_NEED, _aided_at().label("aided_at")).where(
        *_within(wanted.division_code),
        NeedView.state == "published",
        NeedView.remaining > 0,
        NeedView.expires_at > at,
    )
    if wanted.since is not None:
        opened = _open_lines(at).where(LineView.opened_seq > wanted.since.donors_seq)
        query = query.where(
            or_(
                NeedView.published_seq > wanted.since.needs_seq,
                NeedView.item_class.in_(opened.with_only_columns(LineView.item_class)),
            )
        )
    found: list[NeedTerms] = []
    read = 0
    async for rows in portions(session, query.order_by(NeedView.need_id).limit(NEEDS_MAX + 1)):
        read += len(rows)
        lacking = ((row, row.remaining - promised.get(row.need_id, 0)) for row in rows)
        found += [need_terms(row, lacks, row.aided_at) for row, lacks in lacking if lacks > 0]
    if read > NEEDS_MAX:
        raise domain.RoundTooLarge(NEEDS_MAX)
    return found


async def portions(session: AsyncSession, query: Select[Any]) -> AsyncIterator[Sequence[Any]]:
    """The rows, so many at a time that nobody else in this process waits long."""
    result = await session.stream(query)
    async for rows in result.partitions(ROWS_AT_ONCE):
        yield rows


async def _earlier(
    session: AsyncSession, wanted: Wanted, considered: Sequence[NeedTerms], at: datetime
) -> list[NeedTerms]:
    """What was asked for in the classes considered, in the policy's days before; the newest when
    they are too many."""
    query = (
        select(*_NEED)
        .where(
            *_within(wanted.division_code),
            NeedView.item_class.in_({need.item_class for need in considered}),
            NeedView.published_at > at - timedelta(days=wanted.policy.forecast_days),
            NeedView.published_at <= at,
        )
        .order_by(NeedView.published_at.desc(), NeedView.need_id)
        .limit(NEEDS_MAX)
    )
    placed = {need.need_id for need in considered}
    found: list[NeedTerms] = []
    async for rows in portions(session, query):
        found += [need_terms(row, row.required) for row in rows if row.need_id not in placed]
    return sorted(found, key=lambda need: need.need_id.bytes)


def _within(division_code: str) -> list[ColumnElement[bool]]:
    low, high = code_range(division_code)
    return [
        NeedView.division_code >= f"{low:012}",
        # The root's range ends at 10^12, which has no twelve-digit form.
        NeedView.division_code < f"{high:012}" if high < 10**12 else literal(True),
    ]


def _aided_at() -> Any:
    """When the need's applicant was last given an aid of its class for another need."""
    return (
        select(func.max(Allocation.created_at))
        .where(
            Allocation.applicant == NeedView.applicant,
            Allocation.item_class == NeedView.item_class,
            Allocation.need_id != NeedView.need_id,
            Allocation.state.in_(domain.AIDING),
        )
        .scalar_subquery()
    )


def _open_lines(at: datetime) -> Select[Any]:
    return select(LineView.__table__).where(
        LineView.state == "open",
        LineView.available > 0,
        LineView.valid_from <= at,
        LineView.valid_until > at,
    )


async def _lines(session: AsyncSession, item_classes: set[str], at: datetime) -> list[LineTerms]:
    promised = await _promised(session, Allocation.line_id, Allocation.line_seen)
    query = _open_lines(at).where(LineView.item_class.in_(item_classes)).order_by(LineView.line_id)
    found: list[LineTerms] = []
    async for rows in portions(session, query):
        left = ((row, row.available - promised.get(row.line_id, 0)) for row in rows)
        found += [line_terms(row, available) for row, available in left if available > 0]
    return found


async def _promised(session: AsyncSession, side: Any, seen: Any) -> dict[UUID, int]:
    """What live allocations hold of each need or line that its feed has not told of yet."""
    rows = await session.execute(
        select(side, func.sum(Allocation.quantity))
        .where(~seen, Allocation.state.in_(domain.AIDING))
        .group_by(side)
    )
    return {key: int(total) for key, total in rows}
