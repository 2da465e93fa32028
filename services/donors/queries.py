"""Read-only listings; what the public sees, and what those concerned see as well."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, false, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.donors import contract
from services.donors.domain.errors import LineNotFound, OfferNotFound, OrganizationNotFound
from services.donors.domain.offers import OfferState
from services.donors.domain.organizations import OrganizationState
from services.donors.tables import Offer, OfferDivision, OfferLine, Organization, Reservation
from shared.callers import Caller
from shared.paging import decode_cursor
from shared.vocabulary import divisions
from shared.vocabulary.movements import MovementState

# Significant digits of a division code by its level.
_DIGITS = {"nation": 0, "province": 2, "city": 4, "county": 6, "township": 9, "village": 12}


def _may(caller: Caller | None, scope: str) -> bool:
    return caller is not None and scope in caller.scopes


# ------------------------------------------------------------- organizations


@dataclass(frozen=True)
class OrganizationFilter:
    """`external_key` is the caller's own: it finds what the caller entered."""

    state: str | None = None
    kind: str | None = None
    within: str | None = None
    q: str | None = None
    external_key: str | None = None


async def list_organizations(
    session: AsyncSession,
    caller: Caller | None,
    wanted: OrganizationFilter,
    limit: int,
    cursor: str | None,
) -> Sequence[Organization]:
    """Newest first, `limit + 1` rows. The public sees the approved ones only."""
    query = select(Organization).where(_sees_organization(caller))
    if wanted.state is not None:
        query = query.where(Organization.state == wanted.state)
    if wanted.kind is not None:
        query = query.where(Organization.kind == wanted.kind)
    if wanted.within is not None:
        query = query.where(Organization.division_code.between(*_inside(wanted.within)))
    if wanted.q is not None:
        query = query.where(Organization.name.icontains(wanted.q, autoescape=True))
    if wanted.external_key is not None:
        query = query.where(
            Organization.external_key == wanted.external_key,
            Organization.entered_by == (caller.subject if caller else None),
        )
    if cursor is not None:
        query = query.where(Organization.id < decode_cursor(cursor, UUID)[0])
    return (await session.scalars(query.order_by(Organization.id.desc()).limit(limit + 1))).all()


async def get_organization(
    session: AsyncSession, caller: Caller | None, organization_id: UUID
) -> Organization:
    organization = await session.scalar(
        select(Organization).where(Organization.id == organization_id, _sees_organization(caller))
    )
    if organization is None:
        raise OrganizationNotFound
    return organization


def _sees_organization(caller: Caller | None) -> ColumnElement[bool]:
    if _may(caller, "organizations:approve"):
        return true()
    approved = Organization.state == OrganizationState.APPROVED
    if caller is None:
        return approved
    return or_(approved, Organization.entered_by == caller.subject, Organization.id == caller.org)


def organization_read(
    organization: Organization, caller: Caller | None
) -> contract.OrganizationRead:
    read = contract.OrganizationRead.model_validate(organization)
    if caller is not None and caller.subject == organization.entered_by:
        return read
    # The enterer's own key may say anything; it is nobody else's.
    return read.model_copy(update={"external_key": None})


# -------------------------------------------------------------------- offers


@dataclass(frozen=True)
class OfferFilter:
    """serves: whoever lives there is served; serves_within: some of it, or all, is served."""

    state: str | None = None
    serves: str | None = None
    serves_within: str | None = None
    category: str | None = None
    item_class: str | None = None
    kind: str | None = None
    organization_id: UUID | None = None
    q: str | None = None
    external_key: str | None = None


async def list_offers(
    session: AsyncSession,
    caller: Caller | None,
    wanted: OfferFilter,
    limit: int,
    cursor: str | None,
) -> Sequence[Offer]:
    """Newest first, `limit + 1` rows. The public sees what has been open once."""
    query = _offers().where(_sees_offer(caller))
    for column, value in (
        (Offer.state, wanted.state),
        (Offer.category, wanted.category),
        (Offer.kind, wanted.kind),
        (Offer.organization_id, wanted.organization_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.item_class is not None:
        query = query.where(_has_line(OfferLine.item_class == wanted.item_class))
    if wanted.serves is not None:
        around = [wanted.serves, *divisions.ancestors(wanted.serves)]
        query = query.where(_has_division(OfferDivision.division_code.in_(around)))
    if wanted.serves_within is not None:
        inside = OfferDivision.division_code.between(*_inside(wanted.serves_within))
        query = query.where(_has_division(inside))
    if wanted.q is not None:
        query = query.where(_mentions(wanted.q))
    if wanted.external_key is not None:
        query = query.where(
            Offer.external_key == wanted.external_key,
            Offer.entered_by == (caller.subject if caller else None),
        )
    if cursor is not None:
        query = query.where(Offer.id < decode_cursor(cursor, UUID)[0])
    return (await session.scalars(query.order_by(Offer.id.desc()).limit(limit + 1))).all()


def _offers() -> Select[Offer]:
    return select(Offer).options(
        selectinload(Offer.organization), selectinload(Offer.lines), selectinload(Offer.served)
    )


def _sees_offer(caller: Caller | None) -> ColumnElement[bool]:
    if _may(caller, "offers:approve"):
        return true()
    opened = Offer.opened_at.is_not(None)
    if caller is None:
        return opened
    own = false() if caller.org is None else Offer.organization_id == caller.org
    return or_(opened, Offer.entered_by == caller.subject, own)


def _has_line(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(OfferLine.offer_id == Offer.id, condition)


def _has_division(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(OfferDivision.offer_id == Offer.id, condition)


def _mentions(q: str) -> ColumnElement[bool]:
    return or_(
        Offer.title.icontains(q, autoescape=True),
        Offer.text.icontains(q, autoescape=True),
        _has_line(OfferLine.item.icontains(q, autoescape=True)),
    )


def _inside(division_code: str) -> tuple[str, str]:
    """First and last code of what the division covers."""
    digits = _DIGITS[divisions.level(division_code)]
    return division_code, division_code[:digits].ljust(12, "9")


async def get_offer(session: AsyncSession, caller: Caller | None, offer_id: UUID) -> Offer:
    offer = await session.scalar(_offers().where(Offer.id == offer_id, _sees_offer(caller)))
    if offer is None:
        raise OfferNotFound
    return offer


def offer_read(offer: Offer, caller: Caller | None) -> contract.OfferRead:
    own = caller is not None and caller.subject == offer.entered_by
    return contract.OfferRead(
        id=offer.id,
        # The enterer's own key may say anything; it is nobody else's.
        external_key=offer.external_key if own else None,
        organization_id=offer.organization_id,
        organization_name=offer.organization.name,
        organization_verified=offer.organization.verified,
        kind=offer.kind,
        category=offer.category,
        title=offer.title,
        text=offer.text,
        served_division_codes=[served.division_code for served in offer.served],
        eligibility=contract.Eligibility(
            applicant_kinds=offer.applicant_kinds, household_classes=offer.household_classes
        ),
        valid_from=offer.valid_from,
        valid_until=offer.valid_until,
        state=OfferState(offer.state).value,
        lines=[contract.OfferLineRead.model_validate(line) for line in offer.lines],
        created_at=offer.created_at,
        version=offer.version,
    )


# -------------------------------------------------------------- reservations


async def list_reservations(
    session: AsyncSession, line_id: UUID, limit: int, cursor: str | None
) -> tuple[OfferLine, Sequence[Reservation]]:
    """What each allocation holds or held of the line, `limit + 1` rows."""
    line = await session.get(OfferLine, line_id)
    if line is None:
        raise LineNotFound
    query = select(Reservation).where(Reservation.line_id == line_id)
    if cursor is not None:
        query = query.where(Reservation.allocation_id > decode_cursor(cursor, UUID)[0])
    rows = await session.scalars(query.order_by(Reservation.allocation_id).limit(limit + 1))
    return line, rows.all()


def reservation_read(reservation: Reservation, line_available: int) -> contract.ReservationRead:
    return contract.ReservationRead(
        line_id=reservation.line_id,
        allocation_id=reservation.allocation_id,
        quantity=reservation.quantity,
        state=MovementState(reservation.state),
        line_available=line_available,
    )
