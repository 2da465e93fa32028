"""Moving what allocations hold of offer lines."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.donors import contract
from services.donors.domain import errors, ledger
from services.donors.domain.ledger import Held, Stock
from services.donors.domain.offers import OfferState
from services.donors.tables import Offer, OfferLine, Reservation
from shared.callers import Caller
from shared.errors import ServiceError
from shared.events import Emission, Event, emit_all
from shared.vocabulary import divisions
from shared.vocabulary.movements import MovementState

Key = tuple[UUID, UUID]


@dataclass(frozen=True)
class Moved:
    """A reservation as it stands after its movement, with what the line had left then."""

    reservation: Reservation
    line_available: int


async def move(
    session: AsyncSession, caller: Caller, item: contract.ReservationItem, moment: datetime
) -> Moved:
    """Move one reservation; see `move_all`."""
    [outcome] = await move_all(session, caller, [item], moment)
    if isinstance(outcome, ServiceError):
        raise outcome
    return outcome


async def move_all(
    session: AsyncSession,
    caller: Caller,
    items: Sequence[contract.ReservationItem],
    moment: datetime,
) -> list[Moved | ServiceError]:
    """Move reservations in the order given; one outcome each, one refused leaves the others be.

    What was refused as below the smallest lot is tried once more at the end: the others may have
    left just that.
    """
    books = await _books(session, items)
    outcomes = [books.move(item, caller, moment) for item in items]
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, errors.BelowSmallestLot):
            outcomes[number] = books.move(items[number], caller, moment)
    books.note_stock(caller)
    await session.flush()
    await emit_all(session, books.emissions)
    return outcomes


async def _books(session: AsyncSession, items: Iterable[contract.ReservationItem]) -> "_Books":
    keys = {(item.line_id, item.allocation_id) for item in items}
    line_ids = {line_id for line_id, _ in keys}
    touched = select(OfferLine.offer_id).where(OfferLine.id.in_(line_ids))
    # The offer's lock is that of its lines: it stands for all of them, taken in one order.
    offers = await session.scalars(
        select(Offer)
        .where(Offer.id.in_(touched))
        .order_by(Offer.id)
        .with_for_update()
        .options(selectinload(Offer.lines), selectinload(Offer.organization))
    )
    lines = {line.id: (offer, line) for offer in offers for line in offer.lines}
    held = await session.scalars(
        select(Reservation).where(tuple_(Reservation.line_id, Reservation.allocation_id).in_(keys))
    )
    return _Books(session, lines, {(r.line_id, r.allocation_id): r for r in held})


class _Books:
    """The locked lines of a batch, what is held of them, and the events of moving it."""

    def __init__(
        self,
        session: AsyncSession,
        lines: dict[UUID, tuple[Offer, OfferLine]],
        held: dict[Key, Reservation],
    ) -> None:
        self._session, self._lines, self._held = session, lines, held
        self.emissions: list[Emission] = []

    def move(
        self, item: contract.ReservationItem, caller: Caller, moment: datetime
    ) -> Moved | ServiceError:
        if item.line_id not in self._lines:
            return errors.LineNotFound()
        offer, line = self._lines[item.line_id]
        key = (item.line_id, item.allocation_id)
        known = self._held.get(key)
        stock = Stock(offer.state, offer.valid_until, line.available, line.lot_min_base)
        held = None if known is None else Held(known.quantity, MovementState(known.state))
        try:
            change = ledger.move_reservation(stock, held, item.quantity, item.state, moment)
        except ServiceError as refused:
            return refused
        if known is not None and known.state == item.state:
            return Moved(known, line.available)
        before = None if held is None else held.state
        for column, delta in change._asdict().items():
            setattr(line, column, getattr(line, column) + delta)
        if known is None:
            known = Reservation(**_facts(item), moved_at=moment)
            self._session.add(known)
            self._held[key] = known
        else:
            known.state, known.moved_at = item.state, moment
        fact = contract.ReservationMoved(
            offer_id=offer.id,
            **_facts(item) | {"division_code": known.division_code},
            line_available=line.available,
            state_before=before,
            item_class=line.item_class,
            unit=line.base_unit,
        )
        self._emit(offer, fact, caller)
        return Moved(known, line.available)

    def note_stock(self, caller: Caller) -> None:
        """Exhaust the offers that have nothing left, open again those that have."""
        for offer in {offer.id: offer for offer, _ in self._lines.values()}.values():
            state = ledger.state_by_stock(offer.state, (line.available for line in offer.lines))
            if state == offer.state:
                continue
            offer.state = state
            offer.version += 1
            if state is OfferState.EXHAUSTED:
                self._emit(offer, contract.OfferExhausted(offer_id=offer.id), caller)
            else:
                self._emit(offer, contract.OfferReplenished(offer_id=offer.id), caller)

    def _emit(self, offer: Offer, fact: Event, caller: Caller) -> None:
        self.emissions.append(
            Emission(
                fact,
                f"offer/{offer.id}",
                caller.subject,
                caller.role,
                offer.organization.division_code,
            )
        )


def _facts(item: contract.ReservationItem) -> dict[str, Any]:
    code = item.division_code
    return item.model_dump() | {"division_code": code and divisions.cut_to(code, "county")}
