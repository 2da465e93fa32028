"""Loading offers to change them, under the one order of locks."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.donors.domain.errors import OfferNotFound
from services.donors.tables import Offer


async def lock_offers(session: AsyncSession, offer_ids: Iterable[UUID]) -> dict[UUID, Offer]:
    """The offers with organization, lines and divisions; those that do not exist are left out.

    Their organizations need no lock: blocking one locks every offer of it that has not ended, so
    it comes wholly before or wholly after what is done with the offers here.
    """
    offers = await session.scalars(
        select(Offer)
        .where(Offer.id.in_(set(offer_ids)))
        .order_by(Offer.id)
        .with_for_update()
        .options(
            selectinload(Offer.organization),
            selectinload(Offer.lines),
            selectinload(Offer.served),
        )
    )
    return {offer.id: offer for offer in offers}


async def lock_offer(session: AsyncSession, offer_id: UUID) -> Offer:
    """One offer, as `lock_offers`; OfferNotFound."""
    offer = (await lock_offers(session, [offer_id])).get(offer_id)
    if offer is None:
        raise OfferNotFound
    return offer
