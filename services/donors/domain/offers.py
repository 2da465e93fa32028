"""States and rules of offers and their lines."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.donors.domain.errors import (
    DivisionTooFine,
    LotAboveQuantity,
    OfferMoveRefused,
    QuantityMissing,
    QuantityTooLarge,
    UnitNotAllowed,
    UnknownCode,
    UnknownDivision,
    ValidityEmpty,
)
from services.donors.domain.organizations import OrganizationState
from shared.vocabulary import divisions, item_classes, units
from shared.vocabulary.codes import Category
from shared.vocabulary.errors import VocabularyError

# Repeats the bound of shared.bodies.BaseQuantity: sums of a ledger stay far inside a bigint.
TOTAL_MAX = 10**15


class OfferState(StrEnum):
    DRAFT = "draft"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    OPEN = "open"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    BLOCKED = "blocked"


_ENDED_EARLY = {OfferState.WITHDRAWN, OfferState.BLOCKED}
_OFFER_MAY_BECOME = {
    OfferState.DRAFT: {OfferState.SUBMITTED, *_ENDED_EARLY},
    OfferState.SUBMITTED: {OfferState.APPROVED, OfferState.EXPIRED, *_ENDED_EARLY},
    OfferState.APPROVED: {OfferState.OPEN, OfferState.EXPIRED, *_ENDED_EARLY},
    OfferState.OPEN: {OfferState.EXHAUSTED, OfferState.EXPIRED, *_ENDED_EARLY},
    OfferState.EXHAUSTED: {OfferState.OPEN, OfferState.EXPIRED, *_ENDED_EARLY},
    OfferState.EXPIRED: set[OfferState](),
    OfferState.WITHDRAWN: set[OfferState](),
    OfferState.BLOCKED: set[OfferState](),
}
MAY_EXPIRE = tuple(s for s, after in _OFFER_MAY_BECOME.items() if OfferState.EXPIRED in after)
MAY_BE_BLOCKED = tuple(s for s, after in _OFFER_MAY_BECOME.items() if OfferState.BLOCKED in after)


def move_offer(state: str, target: OfferState) -> OfferState:
    if target not in _OFFER_MAY_BECOME[OfferState(state)]:
        raise OfferMoveRefused(state, target)
    return target


@dataclass(frozen=True)
class LineTerms:
    """What was entered of a line; quantities in `unit`."""

    item_class: str
    unit: str
    quantity_entered: int | None
    lot_min_entered: int


@dataclass(frozen=True)
class LineAmounts:
    """A line's amounts in the base unit; no total while the quantity is not known."""

    base_unit: str
    total: int | None
    lot_min: int


def check_offer(
    category: str,
    served_division_codes: Iterable[str],
    valid_from: datetime,
    valid_until: datetime,
) -> None:
    """Raises Unfit where a field says something that cannot be."""
    if category not in set(Category):
        raise UnknownCode("There is no such category.", "category")
    for number, code in enumerate(served_division_codes):
        if not divisions.known(code):
            raise UnknownDivision("There is no such division.", "served_division_codes", number)
        if divisions.cut_to_township(code) != code:
            # A need's village is in none of its events, so nobody could match by it.
            raise DivisionTooFine(
                "Serve the township; a village is too fine.", "served_division_codes", number
            )
    if valid_until <= valid_from:
        raise ValidityEmpty("valid_until must come after valid_from.", "valid_until")


def measure(category: str, terms: LineTerms, *loc: str | int) -> LineAmounts:
    """The line's amounts in the base unit of its item class; Unfit with `loc` in front."""
    try:
        item_class = item_classes.get(terms.item_class)
    except VocabularyError as error:
        raise UnknownCode(str(error), *loc, "item_class") from error
    if item_class.category != category:
        raise UnknownCode("The item class belongs to another category.", *loc, "item_class")
    try:
        lot_min, base_unit = units.to_base(terms.item_class, terms.lot_min_entered, terms.unit)
        total = None
        if terms.quantity_entered is not None:
            total, _ = units.to_base(terms.item_class, terms.quantity_entered, terms.unit)
    except VocabularyError as error:
        raise UnitNotAllowed(str(error), *loc, "unit") from error
    if total is not None and total > TOTAL_MAX:
        raise QuantityTooLarge(f"More than {TOTAL_MAX} {base_unit}.", *loc, "quantity")
    if lot_min > (TOTAL_MAX if total is None else total):
        raise LotAboveQuantity("The smallest lot is above the quantity.", *loc, "lot_min")
    return LineAmounts(base_unit, total, lot_min)


def check_complete(totals: Sequence[int | None]) -> None:
    """Raises QuantityMissing for the first line that does not say how much there is."""
    for number, total in enumerate(totals):
        if total is None:
            raise QuantityMissing(
                "Say how much there is; a daily rate is not a quantity.",
                "lines",
                number,
                "quantity",
            )


def is_over(valid_until: datetime, now: datetime) -> bool:
    return now >= valid_until


def may_open(
    state: str,
    organization_state: str,
    valid_from: datetime,
    valid_until: datetime,
    now: datetime,
) -> bool:
    """Approved, by an approved organization, and inside its validity."""
    return (
        state == OfferState.APPROVED
        and organization_state == OrganizationState.APPROVED
        and valid_from <= now < valid_until
    )
