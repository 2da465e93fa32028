"""How reservations move the ledger of an offer line."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from services.donors.domain.errors import (
    BelowSmallestLot,
    NotEnoughAvailable,
    OfferNotOpen,
    QuantityDiffers,
    ReservationMoveRefused,
)
from services.donors.domain.offers import OfferState, is_over
from shared.vocabulary.movements import Effects, MovementRefused, MovementState, effects


@dataclass(frozen=True)
class Stock:
    """What a reservation is decided on: the offer's terms and what its line has left now."""

    offer_state: str
    valid_until: datetime
    available: int
    lot_min: int


@dataclass(frozen=True)
class Held:
    """What an allocation holds already."""

    quantity: int
    state: MovementState


def move_reservation(
    stock: Stock, held: Held | None, quantity: int, target: MovementState, now: datetime
) -> Effects:
    """What the movement adds to each column of the line; nothing when it was made before.

    A new reservation needs an open offer and at least the smallest lot, unless it takes all that
    is left: a remainder below the lot must not be stranded. (Whether it meets its need in full is
    not known here and excuses nothing.) What is held already may always go on its way, whatever
    has become of the offer.

    Raises QuantityDiffers, ReservationMoveRefused, and for a new reservation OfferNotOpen,
    NotEnoughAvailable, BelowSmallestLot.
    """
    if held is not None and held.quantity != quantity:
        raise QuantityDiffers
    try:
        change = effects(held.state if held else None, target, quantity)
    except MovementRefused as refused:
        raise ReservationMoveRefused(str(refused)) from refused
    if held is None and target is MovementState.RESERVED:
        open_now = stock.offer_state in {OfferState.OPEN, OfferState.EXHAUSTED}
        if not open_now or is_over(stock.valid_until, now):
            raise OfferNotOpen(stock.offer_state)
        if quantity > stock.available:
            raise NotEnoughAvailable
        if quantity < stock.lot_min and quantity != stock.available:
            raise BelowSmallestLot(stock.lot_min)
    return change


def state_by_stock(state: str, available: Iterable[int]) -> OfferState:
    """An open offer whose lines are all used up is exhausted; with something back it is open."""
    if state not in {OfferState.OPEN, OfferState.EXHAUSTED}:
        return OfferState(state)
    return OfferState.OPEN if any(available) else OfferState.EXHAUSTED
