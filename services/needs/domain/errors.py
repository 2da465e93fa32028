"""What can be refused, and the stable code of each refusal."""

from shared.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Place,
    Unavailable,
)
from shared.vocabulary.codes import Level, NeedState

# ------------------------------------------------------------------ not there


class NeedNotFound(NotFound):
    code = "need_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such need, or it is not public.")


class ApplicantNotFound(NotFound):
    code = "applicant_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such applicant.")


class ObjectionNotFound(NotFound):
    code = "objection_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such objection.")


class CodeListNotFound(NotFound):
    code = "code_list_not_found"

    def __init__(self) -> None:
        super().__init__("There is no code list of that name.")


class PersonalDataErased(NotFound):
    code = "personal_data_erased"

    def __init__(self) -> None:
        super().__init__("The applicant's personal data was erased, or none was ever given.")


class PersonalKeyMissing(Unavailable):
    """Not erased by us, and yet no key: the state directory is not the one that belongs here."""

    code = "personal_key_missing"

    def __init__(self) -> None:
        super().__init__("The key of this personal data is not in the key store.")


# ---------------------------------------------------------------- not allowed


class OutsideDivision(Forbidden):
    code = "outside_division"

    def __init__(self) -> None:
        super().__init__("Your division does not cover it.")


class EnteredByAnother(Forbidden):
    code = "entered_by_another"

    def __init__(self) -> None:
        super().__init__("Who only enters sees what they entered.")


class NotYourLevel(Forbidden):
    code = "not_your_level"

    def __init__(self, level: Level) -> None:
        super().__init__(f"This is decided by the {level} level.")


class EnteredByYou(Forbidden):
    code = "entered_by_you"

    def __init__(self) -> None:
        super().__init__("Nobody decides what they have entered or edited.")


class RecusalDeclared(Forbidden):
    code = "recusal_declared"

    def __init__(self) -> None:
        super().__init__("You have declared a relation to the applicant.")


class PartOfChain(Forbidden):
    code = "part_of_chain"

    def __init__(self) -> None:
        super().__init__("An objection is decided by someone who had no part in the need.")


class ErasedBySupervisor(Forbidden):
    code = "erased_by_supervisor"

    def __init__(self) -> None:
        super().__init__("Personal data is erased by a supervisor.")


class DisclosedToSupervisor(Forbidden):
    code = "disclosed_to_supervisor"

    def __init__(self) -> None:
        super().__init__("What opens the digests in events is shown to a supervisor.")


class DecidedByYou(Conflict):
    code = "decided_by_you"

    def __init__(self) -> None:
        super().__init__("You have decided this need before.")


# --------------------------------------------------------------- not this way


class StateForbids(Conflict):
    code = "state_forbids"

    def __init__(self, before: NeedState, after: NeedState) -> None:
        super().__init__(f"A need that is {before} cannot become {after}.")


class NothingToDecide(Conflict):
    code = "nothing_to_decide"

    def __init__(self, state: NeedState) -> None:
        super().__init__(f"The need is {state}: no level has to decide it now.")


class NotEditable(Conflict):
    code = "not_editable"

    def __init__(self, state: NeedState) -> None:
        super().__init__(f"Only a draft or returned need is edited; this one is {state}.")


class NotRenewable(Conflict):
    code = "not_renewable"

    def __init__(self, state: NeedState) -> None:
        super().__init__(f"Only a published need is renewed; this one is {state}.")


class NeedIncomplete(Conflict):
    code = "need_incomplete"

    def __init__(self) -> None:
        super().__init__("The need states no quantity; state one, then submit it.")


class NotOpenToObjection(Conflict):
    code = "not_open_to_objection"

    def __init__(self, state: NeedState) -> None:
        super().__init__(f"Objections are heard during the public notice; the need is {state}.")


class TooManyObjections(Conflict):
    code = "too_many_objections"

    def __init__(self) -> None:
        super().__init__("Enough objections to this need are open; they are decided first.")


class ObjectionClosed(Conflict):
    code = "objection_closed"

    def __init__(self) -> None:
        super().__init__("The objection has been decided.")


class ApplicantExists(Conflict):
    code = "applicant_exists"

    def __init__(self) -> None:
        super().__init__("This person is registered in this programme year.")


class NeedNotOpen(Conflict):
    code = "need_not_open"

    def __init__(self, state: NeedState) -> None:
        super().__init__(f"Only a published need can be reserved for; this one is {state}.")


class NeedExceeded(Conflict):
    code = "need_exceeded"

    def __init__(self) -> None:
        super().__init__("More than the need still lacks.")


class QuantityHeld(Conflict):
    code = "quantity_held"

    def __init__(self) -> None:
        super().__init__("Allocations hold more of the need than the new quantity.")


class CommitmentDiffers(Conflict):
    code = "commitment_differs"

    def __init__(self) -> None:
        super().__init__("The allocation holds another quantity of this need.")


class CommitmentMoveForbidden(Conflict):
    code = "movement_forbidden"


# ------------------------------------------------------------------ not valid


class FieldInvalid(Invalid):
    """One field is not acceptable; the value is not repeated."""

    code = "invalid_content"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail, [Place(loc=field.split("."), msg=detail, type=self.code)])
        self.field = field


class UnknownCode(FieldInvalid):
    code = "unknown_code"

    def __init__(self, field: str) -> None:
        super().__init__(field, f"{field} is not a code of the published list.")


class UnitNotAllowed(FieldInvalid):
    code = "unit_not_allowed"

    def __init__(self, units: tuple[str, ...]) -> None:
        super().__init__("unit", f"This item class is counted in: {', '.join(units)}.")


class ClassOfOtherCategory(FieldInvalid):
    code = "class_of_other_category"

    def __init__(self, category: str) -> None:
        super().__init__("item_class", f"The item class belongs to the category {category}.")


class ApplicantIncomplete(FieldInvalid):
    code = "applicant_incomplete"


class IdNumberInvalid(FieldInvalid):
    code = "id_number_invalid"

    def __init__(self) -> None:
        super().__init__(
            "personal.id_number", "Not an ID number of 18 characters with its check digit."
        )


class ReasonRequired(FieldInvalid):
    code = "reason_required"

    def __init__(self) -> None:
        super().__init__("reason", "Returning or rejecting a need takes a reason.")
