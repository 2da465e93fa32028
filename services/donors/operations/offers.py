"""Entering, submitting, editing, approving, opening and ending offers."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.donors import contract
from services.donors.domain import errors, people
from services.donors.domain import offers as rules
from services.donors.domain.offers import LineTerms, OfferState
from services.donors.domain.organizations import OrganizationState
from services.donors.operations import Entered
from services.donors.operations.locking import lock_offer, lock_offers
from services.donors.tables import Offer, OfferDivision, OfferLine, Organization
from shared.callers import Caller
from shared.db import lock, uuid7
from shared.errors import PreconditionFailed, ServiceError
from shared.events import Emission, Event, emit_all
from shared.screening import refuse_personal_data

Outcome = Entered[Offer] | ServiceError


async def enter(
    session: AsyncSession, caller: Caller, body: contract.OfferCreate, moment: datetime
) -> Offer:
    """Enter one offer; asked to submit it, refuse it whole when it cannot be submitted."""
    [outcome] = await enter_all(session, caller, [body], moment)
    if isinstance(outcome, ServiceError):
        raise outcome
    if not outcome.new:
        raise errors.ExternalKeyTaken
    if outcome.remark is not None:
        raise outcome.remark
    return outcome.record


async def enter_all(
    session: AsyncSession, caller: Caller, bodies: Sequence[contract.OfferCreate], moment: datetime
) -> list[Outcome]:
    """Enter offers; one outcome each, in the order given.

    One that is to be submitted and cannot be stays a draft, and its remark says why.
    """
    await lock(session, f"enter offers {caller.subject}")
    by_key = await _by_key(session, caller.subject, bodies)
    organizations = await _organizations(session, {body.organization_id for body in bodies})
    outcomes: list[Outcome] = []
    emissions: list[Emission] = []
    for body in bodies:
        if body.external_key is not None and body.external_key in by_key:
            outcomes.append(Entered(by_key[body.external_key], new=False))
            continue
        await asyncio.sleep(0)  # screening takes a while; others get their turn
        try:
            refuse_personal_data(_texts(body))
            organization = organizations.get(body.organization_id)
            if organization is None:
                raise errors.OrganizationNotFound
            _check_organization(organization, caller)
            offer = _offer(body, organization, caller, moment)
        except ServiceError as refused:
            outcomes.append(refused)
            continue
        session.add(offer)
        by_key[offer.external_key] = offer
        emissions.append(_emission(offer, _drafted(offer), caller))
        remark: ServiceError | None = None
        if body.submit:
            try:
                emissions.append(_submit(offer, caller, moment))
            except ServiceError as not_yet:
                remark = not_yet
        outcomes.append(Entered(offer, new=True, remark=remark))
    await session.flush()
    await emit_all(session, emissions)
    return outcomes


def _texts(body: contract.OfferCreate) -> dict[str, str | None]:
    texts = {"title": body.title, "text": body.text}
    for number, line in enumerate(body.lines):
        texts[f"lines.{number}.item"] = line.item
        texts[f"lines.{number}.specification"] = line.specification
    return texts


async def _by_key(
    session: AsyncSession, subject: str, bodies: Sequence[contract.OfferCreate]
) -> dict[str | None, Offer]:
    keys = [body.external_key for body in bodies if body.external_key is not None]
    mine = select(Offer).where(Offer.entered_by == subject, Offer.external_key.in_(keys))
    return {offer.external_key: offer for offer in await session.scalars(mine)}


async def _organizations(session: AsyncSession, ids: set[UUID]) -> dict[UUID, Organization]:
    wanted = select(Organization).where(Organization.id.in_(ids)).order_by(Organization.id)
    return {o.id: o for o in await session.scalars(wanted.with_for_update(read=True))}


def _check_organization(organization: Organization, caller: Caller) -> None:
    people.check_may_act_for(organization.id, None, subject=caller.subject, org=caller.org)
    if organization.state == OrganizationState.BLOCKED:
        raise errors.OrganizationIsBlocked


def _offer(
    body: contract.OfferCreate, organization: Organization, caller: Caller, moment: datetime
) -> Offer:
    rules.check_offer(body.category, body.served_division_codes, body.valid_from, body.valid_until)
    offer = Offer(
        id=uuid7(),
        **body.model_dump(
            exclude={"served_division_codes", "eligibility", "lines", "submit", "organization_id"}
        ),
        organization=organization,
        organization_id=organization.id,
        applicant_kinds=list(dict.fromkeys(body.eligibility.applicant_kinds)),
        household_classes=list(dict.fromkeys(body.eligibility.household_classes)),
        state=OfferState.DRAFT,
        entered_by=caller.subject,
        created_at=moment,
        version=1,
    )
    offer.served = [OfferDivision(division_code=c) for c in sorted(set(body.served_division_codes))]
    offer.lines = [_line(body.category, number, line) for number, line in enumerate(body.lines)]
    return offer


def _line(category: str, position: int, body: contract.OfferLineCreate) -> OfferLine:
    terms = LineTerms(body.item_class, body.unit, body.quantity, body.lot_min)
    amounts = rules.measure(category, terms, "lines", position)
    return OfferLine(
        id=uuid7(),
        position=position,
        **body.model_dump(),
        base_unit=amounts.base_unit,
        lot_min_base=amounts.lot_min,
        total=amounts.total,
        available=amounts.total or 0,
        reserved=0,
        in_transit=0,
        delivered=0,
        written_off=0,
    )


def _drafted(offer: Offer) -> Event:
    return contract.OfferDrafted(
        offer_id=offer.id,
        organization_id=offer.organization_id,
        kind=offer.kind,
        category=offer.category,
    )


def _submit(offer: Offer, caller: Caller, moment: datetime) -> Emission:
    state = rules.move_offer(offer.state, OfferState.SUBMITTED)
    rules.check_complete([line.total for line in offer.lines])
    if rules.is_over(offer.valid_until, moment):
        raise errors.ValidityOver
    if offer.organization.state == OrganizationState.BLOCKED:
        raise errors.OrganizationIsBlocked
    offer.state, offer.submitted_by = state, caller.subject
    fact = contract.OfferSubmitted(offer_id=offer.id, organization_id=offer.organization_id)
    return _emission(offer, fact, caller)


async def edit_line(
    session: AsyncSession,
    caller: Caller,
    offer_id: UUID,
    line_id: UUID,
    edit: contract.OfferLineEdit,
    versions: frozenset[int] | None,
) -> Offer:
    """Change a line of a draft.

    versions  of the offer that the caller has seen; None for whichever
    """
    refuse_personal_data({"specification": edit.specification})
    offer = await lock_offer(session, offer_id)
    _check_hand(offer, caller)
    if versions is not None and offer.version not in versions:
        raise PreconditionFailed("The offer has changed; read it again.")
    if offer.state != OfferState.DRAFT:
        raise errors.OfferNotADraft(offer.state)
    line = next((line for line in offer.lines if line.id == line_id), None)
    if line is None:
        raise errors.LineNotFound
    for name, value in edit.model_dump(exclude_none=True).items():
        setattr(line, name, value)
    terms = LineTerms(line.item_class, line.unit, line.quantity, line.lot_min)
    amounts = rules.measure(offer.category, terms)
    line.lot_min_base, line.total, line.available = (
        amounts.lot_min,
        amounts.total,
        amounts.total or 0,
    )
    offer.version += 1
    return offer


def _check_hand(offer: Offer, caller: Caller) -> None:
    people.check_may_act_for(
        offer.organization_id, offer.entered_by, subject=caller.subject, org=caller.org
    )


async def submit(session: AsyncSession, caller: Caller, offer_id: UUID, moment: datetime) -> Offer:
    """Submit a draft for approval."""
    offer = await lock_offer(session, offer_id)
    _check_hand(offer, caller)
    emission = _submit(offer, caller, moment)
    offer.version += 1
    await emit_all(session, [emission])
    return offer


async def approve(
    session: AsyncSession, caller: Caller, offer_id: UUID, reason: str | None, moment: datetime
) -> Offer:
    """Approve one offer; see `approve_all`."""
    body = contract.OfferApproval(offer_id=offer_id, reason=reason)
    [outcome] = await approve_all(session, caller, [body], moment)
    if isinstance(outcome, ServiceError):
        raise outcome
    return outcome


async def approve_all(
    session: AsyncSession,
    caller: Caller,
    approvals: Sequence[contract.OfferApproval],
    moment: datetime,
) -> list[Offer | ServiceError]:
    """Approve offers; one whose validity has begun opens at once, if its organization may."""
    offers = await lock_offers(session, [approval.offer_id for approval in approvals])
    outcomes: list[Offer | ServiceError] = []
    emissions: list[Emission] = []
    for approval in approvals:
        await asyncio.sleep(0)  # screening takes a while; others get their turn
        offer = offers.get(approval.offer_id)
        try:
            refuse_personal_data({"reason": approval.reason})
            if offer is None:
                raise errors.OfferNotFound
            _check_approval(offer, caller, moment)
            state = rules.move_offer(offer.state, OfferState.APPROVED)
        except ServiceError as refused:
            outcomes.append(refused)
            continue
        offer.state, offer.approved_by = state, caller.subject
        offer.version += 1
        fact = contract.OfferApproved(
            offer_id=offer.id, organization_id=offer.organization_id, reason=approval.reason
        )
        emissions.append(_emission(offer, fact, caller))
        if (opened := open_if_due(offer, moment)) is not None:
            emissions.append(_emission(offer, opened, caller))
        outcomes.append(offer)
    await emit_all(session, emissions)
    return outcomes


def _check_approval(offer: Offer, caller: Caller, moment: datetime) -> None:
    people.check_may_approve(
        offer.organization_id,
        [offer.entered_by, offer.submitted_by],
        subject=caller.subject,
        org=caller.org,
    )
    if not all(caller.covers(served.division_code) for served in offer.served):
        raise errors.OutsideDivision
    if offer.organization.state == OrganizationState.BLOCKED:
        raise errors.OrganizationIsBlocked
    if rules.is_over(offer.valid_until, moment):
        raise errors.ValidityOver


def open_if_due(offer: Offer, moment: datetime) -> contract.OfferOpened | None:
    """Open the offer when everything it waited for has come; the caller holds its lock."""
    if not rules.may_open(
        offer.state, offer.organization.state, offer.valid_from, offer.valid_until, moment
    ):
        return None
    offer.state, offer.opened_at = rules.move_offer(offer.state, OfferState.OPEN), moment
    offer.version += 1
    return contract.OfferOpened(
        offer_id=offer.id,
        organization_id=offer.organization_id,
        organization_name=offer.organization.name,
        organization_verified=offer.organization.verified,
        kind=offer.kind,
        category=offer.category,
        title=offer.title,
        served_division_codes=[served.division_code for served in offer.served],
        applicant_kinds=offer.applicant_kinds,
        household_classes=offer.household_classes,
        valid_from=offer.valid_from,
        valid_until=offer.valid_until,
        lines=[
            contract.OfferLineOpened(
                line_id=line.id,
                item_class=line.item_class,
                item=line.item,
                specification=line.specification,
                base_unit=line.base_unit,
                total=line.total or 0,
                available=line.available,
                lot_min_base=line.lot_min_base,
            )
            for line in offer.lines
        ],
    )


async def withdraw(session: AsyncSession, caller: Caller, offer_id: UUID) -> Offer:
    """Take an offer back; what is held of it already may go on its way."""
    offer = await lock_offer(session, offer_id)
    _check_hand(offer, caller)
    fact = contract.OfferWithdrawn(offer_id=offer.id)
    return await _end(session, caller, offer, OfferState.WITHDRAWN, fact)


async def block(session: AsyncSession, caller: Caller, offer_id: UUID, reason: str) -> Offer:
    """Stop an offer for a reason; what is held of it already may go on its way."""
    refuse_personal_data({"reason": reason})
    offer = await lock_offer(session, offer_id)
    if not any(caller.covers(served.division_code) for served in offer.served):
        raise errors.OutsideDivision
    fact = contract.OfferBlocked(offer_id=offer.id, reason=reason)
    return await _end(session, caller, offer, OfferState.BLOCKED, fact)


async def _end(
    session: AsyncSession, caller: Caller, offer: Offer, state: OfferState, fact: Event
) -> Offer:
    offer.state = rules.move_offer(offer.state, state)
    offer.version += 1
    await emit_all(session, [_emission(offer, fact, caller)])
    return offer


def _emission(offer: Offer, fact: Event, caller: Caller) -> Emission:
    return Emission(
        fact,
        f"offer/{offer.id}",
        caller.subject,
        caller.role,
        offer.organization.division_code,
    )
