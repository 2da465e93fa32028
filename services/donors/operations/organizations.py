"""Registering, approving and blocking organizations."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.donors import contract
from services.donors.domain import errors, people
from services.donors.domain import organizations as rules
from services.donors.domain.offers import MAY_BE_BLOCKED, OfferState
from services.donors.operations import Entered
from services.donors.tables import Offer, Organization
from shared.callers import Caller
from shared.db import lock, uuid7
from shared.errors import ServiceError
from shared.events import Emission, Event, emit_all
from shared.screening import refuse_personal_data

Outcome = Entered[Organization] | ServiceError


async def register(
    session: AsyncSession, caller: Caller, body: contract.OrganizationCreate, moment: datetime
) -> Organization:
    """Register one organization; ExternalKeyTaken when the caller did so before."""
    [outcome] = await register_all(session, caller, [body], moment)
    if isinstance(outcome, ServiceError):
        raise outcome
    if not outcome.new:
        raise errors.ExternalKeyTaken
    return outcome.record


async def register_all(
    session: AsyncSession,
    caller: Caller,
    bodies: Sequence[contract.OrganizationCreate],
    moment: datetime,
) -> list[Outcome]:
    """Register organizations; one outcome each, in the order given."""
    if caller.org is not None:
        raise errors.NotYours
    # Keys and codes are looked up, then written: one at a time, registering is rare.
    await lock(session, "register organizations")
    known = await _known(session, caller.subject, bodies)
    by_key = {o.external_key: o for o in known if o.entered_by == caller.subject}
    by_uscc = {o.uscc: o for o in known}
    outcomes: list[Outcome] = []
    emissions: list[Emission] = []
    for body in bodies:
        if body.external_key is not None and body.external_key in by_key:
            outcomes.append(Entered(by_key[body.external_key], new=False))
            continue
        await asyncio.sleep(0)  # screening takes a while; others get their turn
        try:
            refuse_personal_data({"name": body.name})
            rules.check_organization(body.kind, body.uscc, body.division_code)
            if body.uscc is not None and body.uscc in by_uscc:
                raise errors.UsccTaken
        except ServiceError as refused:
            outcomes.append(refused)
            continue
        organization = Organization(
            id=uuid7(),
            **body.model_dump(),
            verified=False,
            state=rules.OrganizationState.REGISTERED,
            entered_by=caller.subject,
            created_at=moment,
        )
        session.add(organization)
        by_key[organization.external_key], by_uscc[organization.uscc] = organization, organization
        fact = contract.OrganizationRegistered(
            organization_id=organization.id,
            kind=organization.kind,
            name=organization.name,
            uscc=organization.uscc,
        )
        emissions.append(_emission(organization, fact, caller))
        outcomes.append(Entered(organization, new=True))
    await session.flush()
    await emit_all(session, emissions)
    return outcomes


async def _known(
    session: AsyncSession, subject: str, bodies: Sequence[contract.OrganizationCreate]
) -> Sequence[Organization]:
    keys = [body.external_key for body in bodies if body.external_key is not None]
    usccs = [body.uscc for body in bodies if body.uscc is not None]
    mine = (Organization.entered_by == subject) & Organization.external_key.in_(keys)
    return (
        await session.scalars(select(Organization).where(mine | Organization.uscc.in_(usccs)))
    ).all()


async def approve(
    session: AsyncSession,
    caller: Caller,
    organization_id: UUID,
    reason: str | None,
    moment: datetime,
) -> Organization:
    """Approve one organization; see `approve_all`."""
    body = contract.OrganizationApproval(organization_id=organization_id, reason=reason)
    [outcome] = await approve_all(session, caller, [body], moment)
    if isinstance(outcome, ServiceError):
        raise outcome
    return outcome


async def approve_all(
    session: AsyncSession,
    caller: Caller,
    approvals: Sequence[contract.OrganizationApproval],
    moment: datetime,
) -> list[Organization | ServiceError]:
    """Approve organizations; one without a checked USCC needs a reason and stays unverified."""
    ids = {approval.organization_id for approval in approvals}
    found = await _lock(session, ids)
    outcomes: list[Organization | ServiceError] = []
    emissions: list[Emission] = []
    for approval in approvals:
        await asyncio.sleep(0)  # screening takes a while; others get their turn
        organization = found.get(approval.organization_id)
        try:
            refuse_personal_data({"reason": approval.reason})
            if organization is None:
                raise errors.OrganizationNotFound
            people.check_may_approve(
                organization.id, [organization.entered_by], subject=caller.subject, org=caller.org
            )
            state = rules.move_organization(organization.state, rules.OrganizationState.APPROVED)
            verified = rules.verified_by_approval(organization.uscc, approval.reason)
        except ServiceError as refused:
            outcomes.append(refused)
            continue
        organization.state, organization.verified = state, verified
        organization.approved_by, organization.approved_at = caller.subject, moment
        fact = contract.OrganizationApproved(
            organization_id=organization.id, verified=verified, reason=approval.reason
        )
        emissions.append(_emission(organization, fact, caller))
        outcomes.append(organization)
    await emit_all(session, emissions)
    return outcomes


async def _lock(session: AsyncSession, ids: set[UUID]) -> dict[UUID, Organization]:
    wanted = select(Organization).where(Organization.id.in_(ids)).order_by(Organization.id)
    return {o.id: o for o in await session.scalars(wanted.with_for_update())}


async def block(
    session: AsyncSession, caller: Caller, organization_id: UUID, reason: str
) -> Organization:
    """Block an organization, and with it every offer of its that has not ended.

    What is held of these offers already may go on its way.
    """
    refuse_personal_data({"reason": reason})
    organization = (await _lock(session, {organization_id})).get(organization_id)
    if organization is None:
        raise errors.OrganizationNotFound
    organization.state = rules.move_organization(
        organization.state, rules.OrganizationState.BLOCKED
    )
    fact = contract.OrganizationBlocked(organization_id=organization.id, reason=reason)
    emissions = [_emission(organization, fact, caller)]
    offer_ids = (
        await session.scalars(
            select(Offer.id)
            .where(Offer.organization_id == organization_id, Offer.state.in_(MAY_BE_BLOCKED))
            .order_by(Offer.id)
            .with_for_update()
        )
    ).all()
    await session.execute(
        update(Offer)
        .where(Offer.id.in_(offer_ids))
        .values(state=OfferState.BLOCKED, version=Offer.version + 1)
    )
    emissions += [
        Emission(
            contract.OfferBlocked(offer_id=offer_id, reason=reason),
            f"offer/{offer_id}",
            caller.subject,
            caller.role,
            organization.division_code,
        )
        for offer_id in offer_ids
    ]
    await emit_all(session, emissions)
    return organization


def _emission(organization: Organization, fact: Event, caller: Caller) -> Emission:
    return Emission(
        fact,
        f"organization/{organization.id}",
        caller.subject,
        caller.role,
        organization.division_code,
    )
