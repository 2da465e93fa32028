"""Bodies and events of the donors service: the only module of it that others import."""

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from shared import totals
from shared.bodies import (
    BaseQuantity,
    Body,
    Code,
    DivisionCode,
    ExternalKey,
    LongText,
    Moment,
    Quantity,
    ReadBody,
    Text,
)
from shared.events.model import Event
from shared.vocabulary.movements import MovementState

OrganizationState = Literal["registered", "approved", "blocked"]
OfferKind = Literal["goods", "money", "service_hours", "training_seats", "jobs", "purchase_orders"]
OfferState = Literal[
    "draft", "submitted", "approved", "open", "exhausted", "expired", "withdrawn", "blocked"
]
BATCH_MAX = 500

# ------------------------------------------------------------- organizations


class OrganizationCreate(Body):
    external_key: ExternalKey | None = None
    name: Text
    kind: Code = Field(description="A code of the organization kinds of the vocabulary.")
    uscc: Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{18}$")] | None = Field(
        None, description="Unified Social Credit Code, GB 32100; its check digit is verified."
    )
    division_code: DivisionCode


class OrganizationBatch(Body):
    organizations: Annotated[list[OrganizationCreate], Field(min_length=1, max_length=BATCH_MAX)]


class OrganizationRead(ReadBody):
    id: UUID
    external_key: str | None
    name: str
    kind: str
    uscc: str | None
    verified: bool = Field(description="Approved on a checked USCC.")
    division_code: str
    state: OrganizationState
    approved_at: Moment | None
    created_at: Moment


class OrganizationApproval(Body):
    organization_id: UUID
    reason: LongText | None = Field(None, description="Required where no checked USCC is held.")


class ApprovalCreate(Body):
    reason: LongText | None = None


class OrganizationApprovalBatch(Body):
    approvals: Annotated[list[OrganizationApproval], Field(min_length=1, max_length=BATCH_MAX)]


# -------------------------------------------------------------------- offers


class Eligibility(Body):
    """Whom the offer is for; an empty list is no restriction."""

    applicant_kinds: list[Literal["household", "village", "institution"]] = Field(
        default_factory=list, max_length=3
    )
    household_classes: list[Literal["general", "subsistence_allowance", "extreme_hardship"]] = (
        Field(default_factory=list, max_length=3)
    )


class OfferLineCreate(Body):
    """What is matched; without a quantity the offer stays a draft (a daily rate is kept)."""

    item_class: Code
    item: Text
    specification: Text | None = None
    quantity: Quantity | None = None
    daily_quantity: Quantity | None = None
    unit: Code
    lot_min: Quantity = Field(1, description="Smallest quantity of one allocation, same unit.")


class OfferCreate(Body):
    """Divisions served are no finer than the township (a need's village is not in its events)."""

    external_key: ExternalKey | None = None
    organization_id: UUID
    kind: OfferKind
    category: Code
    title: Text
    text: LongText | None = None
    served_division_codes: Annotated[list[DivisionCode], Field(min_length=1, max_length=50)]
    eligibility: Eligibility = Eligibility()
    valid_from: Moment
    valid_until: Moment
    # Ten, so that an opening with the longest texts still fits into one event.
    lines: Annotated[list[OfferLineCreate], Field(min_length=1, max_length=10)]
    submit: bool = Field(False, description="Submit at once when nothing is missing.")


class OfferBatch(Body):
    offers: Annotated[list[OfferCreate], Field(min_length=1, max_length=BATCH_MAX)]


class OfferLineEdit(Body):
    """A line of a draft (PATCH with If-Match on the offer); what is left out stays."""

    quantity: Quantity | None = None
    lot_min: Quantity | None = None
    specification: Text | None = None


class CreatedItem(ReadBody):
    """One row of a batch, in the order sent.

    `already_there`: the external key was known and nothing was changed. `refused`: see `code`,
    `loc` (path of the field in the item) and `detail`.
    """

    outcome: Literal["created", "already_there", "refused"]
    id: UUID | None = None
    state: str | None = None
    code: str | None = None
    loc: str | None = None
    detail: str | None = None


class BatchResult(ReadBody):
    results: list[CreatedItem]


class OfferLineRead(ReadBody):
    """Quantities in the base unit; available + reserved + in_transit + delivered + written_off
    is the total."""

    id: UUID
    item_class: str
    item: str
    specification: str | None
    quantity: int | None
    daily_quantity: int | None
    unit: str
    base_unit: str
    lot_min_base: int
    total: int | None
    available: int
    reserved: int
    in_transit: int
    delivered: int
    written_off: int


class OfferRead(ReadBody):
    id: UUID
    external_key: str | None
    organization_id: UUID
    organization_name: str
    organization_verified: bool
    kind: OfferKind
    category: str
    title: str
    text: str | None
    served_division_codes: list[str]
    eligibility: Eligibility
    valid_from: Moment
    valid_until: Moment
    state: OfferState
    lines: list[OfferLineRead]
    created_at: Moment
    version: int


class OfferApproval(Body):
    offer_id: UUID
    reason: LongText | None = None


class OfferApprovalBatch(Body):
    approvals: Annotated[list[OfferApproval], Field(min_length=1, max_length=BATCH_MAX)]


class ApprovedItem(ReadBody):
    id: UUID
    outcome: Literal["approved", "refused"]
    state: str | None = None
    code: str | None = None
    detail: str | None = None


class ApprovalBatchResult(ReadBody):
    results: list[ApprovedItem]


class Reason(Body):
    reason: LongText


# -------------------------------------------------------------- reservations


class ReservationPut(Body):
    """What one allocation holds of the line, in base units, and how far it has moved."""

    quantity: BaseQuantity
    state: MovementState
    division_code: DivisionCode | None = Field(
        None,
        description="Where it goes: kept from the first PUT, cut to the county, for daily totals.",
    )


class ReservationItem(ReservationPut):
    line_id: UUID
    allocation_id: UUID


class ReservationBatch(Body):
    reservations: Annotated[list[ReservationItem], Field(min_length=1, max_length=BATCH_MAX)]


class ReservationRead(ReadBody):
    line_id: UUID
    allocation_id: UUID
    quantity: int
    state: MovementState
    line_available: int


class MovedItem(ReadBody):
    """`applied` also when the same PUT was applied before; otherwise `code` says why not."""

    allocation_id: UUID
    outcome: Literal["applied", "refused"]
    code: str | None = None
    detail: str | None = None


class MovedBatchResult(ReadBody):
    results: list[MovedItem]


# -------------------------------------------------------------------- events


class OrganizationRegistered(Event):
    type: ClassVar[str] = "donors.organization_registered"
    organization_id: UUID
    kind: str
    name: str
    uscc: str | None


class OrganizationApproved(Event):
    type: ClassVar[str] = "donors.organization_approved"
    organization_id: UUID
    verified: bool
    reason: str | None


class OrganizationBlocked(Event):
    type: ClassVar[str] = "donors.organization_blocked"
    organization_id: UUID
    reason: str


class OfferDrafted(Event):
    type: ClassVar[str] = "donors.offer_drafted"
    offer_id: UUID
    organization_id: UUID
    kind: OfferKind
    category: str


class OfferSubmitted(Event):
    type: ClassVar[str] = "donors.offer_submitted"
    offer_id: UUID
    organization_id: UUID


class OfferApproved(Event):
    type: ClassVar[str] = "donors.offer_approved"
    offer_id: UUID
    organization_id: UUID
    reason: str | None


class OfferLineOpened(Body):
    line_id: UUID
    item_class: str
    item: str
    specification: str | None
    base_unit: str
    total: int
    available: int
    lot_min_base: int


class OfferOpened(Event):
    """The offer's lines may be reserved from now on."""

    type: ClassVar[str] = "donors.offer_opened"
    offer_id: UUID
    organization_id: UUID
    organization_name: str
    organization_verified: bool
    kind: OfferKind
    category: str
    title: str
    served_division_codes: list[str]
    applicant_kinds: list[str]
    household_classes: list[str]
    valid_from: Moment
    valid_until: Moment
    lines: list[OfferLineOpened]


class OfferExhausted(Event):
    type: ClassVar[str] = "donors.offer_exhausted"
    offer_id: UUID


class OfferReplenished(Event):
    """A release or a return made an exhausted offer open again."""

    type: ClassVar[str] = "donors.offer_replenished"
    offer_id: UUID


class OfferExpired(Event):
    type: ClassVar[str] = "donors.offer_expired"
    offer_id: UUID


class OfferWithdrawn(Event):
    type: ClassVar[str] = "donors.offer_withdrawn"
    offer_id: UUID


class OfferBlocked(Event):
    type: ClassVar[str] = "donors.offer_blocked"
    offer_id: UUID
    reason: str


class ReservationMoved(Event):
    """`item_class` is None in events of the first form, which did not say what totals need.

    division_code  county it goes to; None when whoever reserved did not say
    """

    type: ClassVar[str] = "donors.reservation_moved"
    line_id: UUID
    offer_id: UUID
    allocation_id: UUID
    quantity: int
    state: MovementState
    line_available: int
    state_before: MovementState | None = None
    division_code: str | None = None
    item_class: str | None = None
    unit: str | None = None


class TotalsTold(totals.TotalsTold):
    type: ClassVar[str] = "donors.totals_told"
