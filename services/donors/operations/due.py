"""What falls due: opening and expiry of offers, as ordinary operations of the clock."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.donors import contract
from services.donors.domain import offers as rules
from services.donors.domain.offers import MAY_EXPIRE, OfferState
from services.donors.domain.organizations import OrganizationState
from services.donors.operations.locking import lock_offers
from services.donors.operations.offers import open_if_due
from services.donors.tables import Offer, Organization
from shared.events import Emission, Event, emit_all

DUE_MAX = 200
ACTOR, ROLE = "clock:donors", "service"


async def open_due(session: AsyncSession, moment: datetime) -> int:
    """Open approved offers whose validity has begun and whose organization is approved."""
    ids = await session.scalars(
        select(Offer.id)
        .join(Organization)
        .where(
            Offer.state == OfferState.APPROVED,
            Offer.valid_from <= moment,
            Offer.valid_until > moment,
            Organization.state == OrganizationState.APPROVED,
        )
        .limit(DUE_MAX)
    )
    offers = (await lock_offers(session, ids.all())).values()
    return await _emit(
        session,
        [(offer, fact) for offer in offers if (fact := open_if_due(offer, moment)) is not None],
    )


async def expire_due(session: AsyncSession, moment: datetime) -> int:
    """Expire offers whose validity is over; what is held of them may go on its way."""
    ids = await session.scalars(
        select(Offer.id)
        .where(Offer.state.in_(MAY_EXPIRE), Offer.valid_until <= moment)
        .limit(DUE_MAX)
    )
    facts: list[tuple[Offer, Event]] = []
    for offer in (await lock_offers(session, ids.all())).values():
        if OfferState(offer.state) in MAY_EXPIRE and rules.is_over(offer.valid_until, moment):
            offer.state = rules.move_offer(offer.state, OfferState.EXPIRED)
            offer.version += 1
            facts.append((offer, contract.OfferExpired(offer_id=offer.id)))
    return await _emit(session, facts)


async def _emit(session: AsyncSession, facts: Sequence[tuple[Offer, Event]]) -> int:
    await emit_all(
        session,
        [
            Emission(fact, f"offer/{offer.id}", ACTOR, ROLE, offer.organization.division_code)
            for offer, fact in facts
        ],
    )
    return len(facts)
