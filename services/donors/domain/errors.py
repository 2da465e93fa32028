"""What may be refused; each `code` is stable."""

from shared.errors import Conflict, Forbidden, Invalid, NotFound, Place


class OrganizationNotFound(NotFound):
    code = "organization_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such organization.")


class OfferNotFound(NotFound):
    code = "offer_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such offer.")


class LineNotFound(NotFound):
    code = "offer_line_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such offer line.")


class OrganizationMoveRefused(Conflict):
    code = "organization_move_refused"

    def __init__(self, state: str, target: str) -> None:
        super().__init__(f"The organization is {state}; it cannot become {target}.")


class OfferMoveRefused(Conflict):
    code = "offer_move_refused"

    def __init__(self, state: str, target: str) -> None:
        super().__init__(f"The offer is {state}; it cannot become {target}.")


class OfferNotADraft(Conflict):
    code = "offer_not_a_draft"

    def __init__(self, state: str) -> None:
        super().__init__(f"The offer is {state}; only a draft may be edited.")


class ExternalKeyTaken(Conflict):
    code = "external_key_taken"

    def __init__(self) -> None:
        super().__init__("You have entered a record with this external_key before.")


class UsccTaken(Conflict):
    code = "uscc_taken"

    def __init__(self) -> None:
        super().__init__("An organization with this Unified Social Credit Code is registered.")


class OrganizationIsBlocked(Conflict):
    code = "organization_blocked"

    def __init__(self) -> None:
        super().__init__("The organization is blocked.")


class ValidityOver(Conflict):
    code = "validity_over"

    def __init__(self) -> None:
        super().__init__("The offer's valid_until has passed.")


class EnteredByApprover(Forbidden):
    code = "entered_by_approver"

    def __init__(self) -> None:
        super().__init__(
            "Who entered or submitted a record, or belongs to it, does not approve it."
        )


class OutsideDivision(Forbidden):
    code = "outside_division"

    def __init__(self) -> None:
        super().__init__("Your division does not cover what the offer serves.")


class NotYours(Forbidden):
    code = "not_yours"

    def __init__(self) -> None:
        super().__init__("You may act for your own organization, or on what you entered, only.")


class Unfit(Invalid):
    """A field does not fit the vocabulary or another field; `loc` is its path in the item."""

    code = "unfit"

    def __init__(self, detail: str, *loc: str | int) -> None:
        self.loc = loc
        super().__init__(detail, [Place(loc=list(loc), msg=detail, type=self.code)])


class InvalidUscc(Unfit):
    code = "invalid_uscc"


class UnknownCode(Unfit):
    code = "unknown_code"


class UnknownDivision(Unfit):
    code = "unknown_division"


class DivisionTooFine(Unfit):
    code = "division_too_fine"


class UnitNotAllowed(Unfit):
    code = "unit_not_allowed"


class ValidityEmpty(Unfit):
    code = "validity_empty"


class LotAboveQuantity(Unfit):
    code = "lot_above_quantity"


class QuantityTooLarge(Unfit):
    code = "quantity_too_large"


class QuantityMissing(Unfit):
    """A draft is kept without its quantity; it cannot be submitted."""

    code = "quantity_missing"


class ReasonMissing(Invalid):
    code = "reason_missing"

    def __init__(self) -> None:
        super().__init__("An organization without a checked USCC is approved with a reason only.")


class OfferNotOpen(Conflict):
    code = "offer_not_open"

    def __init__(self, state: str) -> None:
        super().__init__(f"The offer is {state} or outside its validity: nothing new is reserved.")


class NotEnoughAvailable(Conflict):
    code = "not_enough_available"

    def __init__(self) -> None:
        super().__init__("Less than that is available.")


class BelowSmallestLot(Conflict):
    code = "below_smallest_lot"

    def __init__(self, lot_min: int) -> None:
        super().__init__(f"The smallest lot is {lot_min}, unless all that is left is taken.")


class QuantityDiffers(Conflict):
    code = "reservation_quantity_differs"

    def __init__(self) -> None:
        super().__init__("The reservation was made with another quantity, which cannot change.")


class ReservationMoveRefused(Conflict):
    code = "movement_refused"
