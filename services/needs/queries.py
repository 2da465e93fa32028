"""Read-only listings; each is one statement, whatever the filter."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    all_,
    and_,
    cast,
    exists,
    func,
    literal,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.needs import contract, tables
from services.needs.domain.errors import NeedNotFound
from services.needs.domain.notice import says_what
from services.needs.domain.quantities import Holding, met
from services.needs.domain.states import PUBLIC
from services.needs.domain.verification import ROLE_OF
from services.needs.operations.rows import check_may_see, sees_division
from services.needs.searching import query as search_query
from shared.callers import Caller
from shared.vocabulary import divisions
from shared.vocabulary.codes import ApplicantKind, Level, NeedState

Need, Applicant = tables.Need, tables.Applicant

_READ = (
    *(
        getattr(Need, name)
        for name in (
            "id division_code category item_class title text item specification quantity unit"
            " base_quantity base_unit reserved in_transit delivered headcount urgency needed_by"
            " state publish_first review_due_at notice_ends_at published_at expires_at policy"
        ).split()
    ),
    Applicant.kind.label("applicant_kind"),
    Applicant.shown_name,
)
_DETAIL = (
    *_READ,
    Need.external_key,
    Need.applicant_id,
    Need.cause,
    Need.next_level,
    Need.entered_by,
    Need.created_at,
    Need.version,
)
_FROM = Need.applicant_id == Applicant.id


# ------------------------------------------------------------------- for all


async def list_published(
    session: AsyncSession,
    *,
    division: str | None,
    category: str | None,
    item_class: str | None,
    urgency: str | None,
    how_far_met: str | None,
    q: str | None,
    after: tuple[datetime, UUID] | None,
    rows_max: int,
) -> Sequence[Row[Any]]:
    """Needs open to be met, newest first; those met fully are closed, and listed when asked for."""
    state = NeedState.CLOSED if how_far_met == "fully" else NeedState.PUBLISHED
    # The state is a literal, so that the partial indexes of the listing serve.
    conditions: list[ColumnElement[bool]] = [
        Need.state == literal(state.value, literal_execute=True)
    ]
    if division is not None:
        conditions.append(_within(division))
    if category is not None:
        conditions.append(Need.category == category)
    if item_class is not None:
        conditions.append(Need.item_class == item_class)
    if urgency is not None:
        conditions.append(Need.urgency == urgency)
    if how_far_met == "unmet":
        conditions.append(Need.delivered == 0)
    elif how_far_met == "partly":
        conditions.append(Need.delivered > 0)
    if q is not None:
        terms = search_query(q)
        if terms is None:
            return []
        conditions.append(Need.search.op("@@")(cast(terms, TSQUERY)))
    if after is not None:
        conditions.append(tuple_(Need.published_at, Need.id) < after)
    statement = (
        select(*_READ)
        .join(Applicant, _FROM)
        .where(*conditions)
        .order_by(Need.published_at.desc(), Need.id.desc())
        .limit(rows_max)
    )
    return (await session.execute(statement)).all()


def _within(division: str) -> ColumnElement[bool]:
    """One stored column for each level, so that a listing is one index condition."""
    level = divisions.level(division)
    if level == "nation":
        return literal(True)
    if level == "village":
        return and_(Need.township == division[:9], Need.division_code == division)
    column = {
        "province": (Need.province, 2),
        "city": (Need.city, 4),
        "county": (Need.county, 6),
        "township": (Need.township, 9),
    }[level]
    return column[0] == division[: column[1]]


async def read_public(session: AsyncSession, need_id: UUID) -> contract.NeedRead:
    statement = select(*_READ).join(Applicant, _FROM).where(Need.id == need_id)
    row = (await session.execute(statement)).one_or_none()
    if row is None or row.state not in PUBLIC:
        raise NeedNotFound
    return render(row)


async def list_notices(
    session: AsyncSession,
    *,
    division: str | None,
    after: tuple[datetime, UUID] | None,
    rows_max: int,
) -> Sequence[Row[Any]]:
    """The public notice board, what ends first on top."""
    conditions: list[ColumnElement[bool]] = [
        Need.state == literal(NeedState.NOTICED.value, literal_execute=True)
    ]
    if division is not None:
        conditions.append(_within(division))
    if after is not None:
        conditions.append(tuple_(Need.notice_ends_at, Need.id) > after)
    statement = (
        select(*_READ)
        .join(Applicant, _FROM)
        .where(*conditions)
        .order_by(Need.notice_ends_at, Need.id)
        .limit(rows_max)
    )
    return (await session.execute(statement)).all()


# -------------------------------------------------------------- for officers


async def read_detail(session: AsyncSession, caller: Caller, need_id: UUID) -> contract.NeedDetail:
    """A need in any state, for those whose division covers it."""
    statement = select(*_DETAIL).join(Applicant, _FROM).where(Need.id == need_id)
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NeedNotFound
    check_may_see(caller, row.division_code, row.entered_by)
    return render_detail(row)


async def list_work(
    session: AsyncSession,
    caller: Caller,
    *,
    level: Level | None,
    state: NeedState | None,
    mine: bool,
    after: UUID | None,
    rows_max: int,
) -> Sequence[Row[Any]]:
    """Needs of the caller's division, oldest first; who only enters sees what they entered.

    mine  only those that await this officer: at the level of a role held, not entered, edited,
          decided or recused from by the caller, whose applicant the caller did not register
    """
    if caller.division is None:
        return []
    conditions = [_between(caller.division)]
    if not sees_division(caller):
        conditions.append(Need.entered_by == caller.subject)
    if level is not None:
        conditions.append(Need.next_level == level.value)
    if state is not None:
        conditions.append(Need.state == state.value)
    if mine:
        conditions.append(_awaits(caller))
    if after is not None:
        conditions.append(Need.id > after)
    statement = (
        select(*_DETAIL).join(Applicant, _FROM).where(*conditions).order_by(Need.id).limit(rows_max)
    )
    return (await session.execute(statement)).all()


def _between(division: str) -> ColumnElement[bool]:
    prefix = division[: _SIGNIFICANT[divisions.level(division)]]
    return Need.division_code.between(prefix.ljust(12, "0"), prefix.ljust(12, "9"))


_SIGNIFICANT = {"nation": 0, "province": 2, "city": 4, "county": 6, "township": 9, "village": 12}


def _awaits(caller: Caller) -> ColumnElement[bool]:
    held = [level.value for level, role in ROLE_OF.items() if role in caller.roles]
    decided = exists().where(
        tables.Verification.need_id == Need.id, tables.Verification.officer == caller.subject
    )
    # A relation is to the applicant, at whichever of the applicant's needs it was declared.
    declared_at = aliased(Need)
    related_to = (
        select(declared_at.applicant_id)
        .join(tables.Recusal, tables.Recusal.need_id == declared_at.id)
        .where(tables.Recusal.officer == caller.subject)
    )
    judged = exists().where(
        tables.Objection.need_id == Need.id, tables.Objection.decided_by == caller.subject
    )
    return and_(
        Need.next_level.in_(held),
        Need.entered_by != caller.subject,
        Applicant.entered_by != caller.subject,
        literal(caller.subject) != all_(Need.edited_by),
        ~decided,
        ~judged,
        Need.applicant_id.not_in(related_to),
    )


async def list_objections(
    session: AsyncSession,
    caller: Caller,
    *,
    state: str,
    after: UUID | None,
    rows_max: int,
) -> Sequence[Any]:
    """Objections to needs of the caller's division, oldest first."""
    if caller.division is None:
        return []
    objection = tables.Objection
    conditions = [
        _between(caller.division),
        objection.state == literal(state, literal_execute=True),
    ]
    if after is not None:
        conditions.append(objection.id > after)
    statement = (
        select(
            objection.id,
            objection.need_id,
            objection.state,
            objection.received_at,
            objection.decided_at,
            objection.reason,
            Need.division_code,
        )
        .join(Need, Need.id == objection.need_id)
        .where(*conditions)
        .order_by(objection.id)
        .limit(rows_max)
    )
    return (await session.execute(statement)).all()


async def list_commitments(
    session: AsyncSession, need_id: UUID, *, after: UUID | None, rows_max: int
) -> list[contract.CommitmentRead]:
    """What each allocation holds of one need, in the order of the allocations' ids."""
    commitment = tables.Commitment
    conditions: list[ColumnElement[bool]] = [Need.id == need_id]
    joined = commitment.need_id == Need.id
    if after is not None:
        joined = and_(joined, commitment.allocation_id > after)
    remaining = (
        func.coalesce(Need.base_quantity, 0) - Need.reserved - Need.in_transit - Need.delivered
    )
    statement = (
        select(
            Need.id.label("need_id"),
            commitment.allocation_id,
            commitment.quantity,
            commitment.state,
            remaining.label("need_remaining"),
        )
        .outerjoin(commitment, joined)
        .where(*conditions)
        .order_by(commitment.allocation_id)
        .limit(rows_max)
    )
    rows = (await session.execute(statement)).all()
    if not rows:
        raise NeedNotFound
    return [
        contract.CommitmentRead.model_validate(row) for row in rows if row.allocation_id is not None
    ]


async def list_activations(
    session: AsyncSession, *, division: str | None, after: UUID | None, rows_max: int
) -> Sequence[tables.PolicyActivation]:
    """All activations ever, newest first; with a division, those that reach it from above."""
    activation = tables.PolicyActivation
    conditions: list[ColumnElement[bool]] = []
    if division is not None:
        reaching = (division, *divisions.ancestors(division))
        conditions.append(activation.division_code.in_(reaching))
    if after is not None:
        conditions.append(activation.id < after)
    statement = select(activation).where(*conditions).order_by(activation.id.desc()).limit(rows_max)
    return (await session.scalars(statement)).all()


# ----------------------------------------------------------------- rendering


def render(row: Any) -> contract.NeedRead:
    return contract.NeedRead(**_public(row))


def render_detail(row: Any) -> contract.NeedDetail:
    return contract.NeedDetail(
        **_public(row),
        external_key=row.external_key,
        applicant_id=row.applicant_id,
        applicant_name=row.shown_name,
        cause=row.cause,
        next_level=row.next_level,
        entered_by=row.entered_by,
        created_at=row.created_at,
        version=row.version,
    )


def render_notice(row: Any) -> contract.NoticeRead:
    name_zh, name_en = divisions.names(row.division_code)
    said = says_what(row.applicant_kind, row.category)
    return contract.NoticeRead(
        id=row.id,
        division_code=row.division_code,
        division_name_zh=name_zh,
        division_name_en=name_en,
        applicant=row.shown_name,
        category=row.category if said else None,
        item_class=row.item_class if said else None,
        title=row.title if said else None,
        item=row.item if said else None,
        quantity=row.quantity,
        unit=row.unit,
        urgency=row.urgency,
        notice_ends_at=row.notice_ends_at,
        policy=row.policy,
    )


def _public(row: Any) -> dict[str, Any]:
    facts = {name: getattr(row, name) for name in _COPIED}
    name_zh, name_en = divisions.names(row.division_code)
    holding = Holding(row.base_quantity or 0, row.reserved, row.in_transit, row.delivered)
    # Whose home it is stays unsaid: a household is not named here, not even masked.
    household = row.applicant_kind == ApplicantKind.HOUSEHOLD
    return facts | {
        "division_name_zh": name_zh,
        "division_name_en": name_en,
        "institution_name": None if household else row.shown_name,
        "met": met(holding),
    }


_COPIED = tuple(
    name
    for name in contract.NeedRead.model_fields
    if name not in {"division_name_zh", "division_name_en", "institution_name", "met"}
)
