"""Bodies and events of the matching service: the only module of it that others import."""

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from shared.bodies import Body, Code, DivisionCode, LongText, Moment, ReadBody
from shared.events.model import Event

Urgency = Literal["life_threatening", "urgent", "normal"]
RoundState = Literal["computing", "computed", "approved", "discarded"]
AllocationState = Literal[
    "proposed",
    "reserved",
    "accepted",
    "approved",
    "dispatched",
    "delivered",
    "confirmed",
    "closed",
    "declined",
    "expired",
    "cancelled",
    "returned",
]
AllocationAction = Literal[
    "accept", "decline", "approve", "dispatch", "deliver", "confirm", "cancel", "return"
]
Side = Literal["organization", "applicant", "matching"]
Method = Literal["slip_code", "before_officer"]
BATCH_MAX = 500
PolicyName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
SlipCode = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9A-HJKMNP-TV-Z]{4}-?[0-9A-HJKMNP-TV-Z]{4}$"),
    Field(description="As printed on the slip: eight characters without I, L, O and U."),
]

# ------------------------------------------------------------------- scores


class ReasonRead(ReadBody):
    """How one feature counted. Values in thousandths; points = weight x value."""

    feature: str
    value_permille: int
    weight: int
    points: int
    text_zh: str
    text_en: str


class ScoredOffer(ReadBody):
    """An offer line that may serve the need, best first."""

    line_id: UUID
    offer_id: UUID
    organization_id: UUID
    organization_name: str
    organization_verified: bool
    title: str
    item_class: str
    item: str
    specification: str | None
    served_division_code: str = Field(description="The served division the need lies in.")
    available: int
    quantity: int = Field(description="What of the need this line could cover now.")
    unit: str
    score_permille: int
    policy: str
    reasons: list[ReasonRead]


class ScoredNeed(ReadBody):
    """A need that a line of the offer may serve, best first."""

    line_id: UUID
    need_id: UUID
    title: str
    item_class: str
    item: str
    specification: str | None
    urgency: Urgency
    division_code: str
    remaining: int
    quantity: int
    unit: str
    score_permille: int
    policy: str
    reasons: list[ReasonRead]


class ScoredOffers(ReadBody):
    data: list[ScoredOffer]


class ScoredNeeds(ReadBody):
    data: list[ScoredNeed]


# ------------------------------------------------------------------- rounds


class RoundCreate(Body):
    """Match the published needs of a division with the open offers that serve it."""

    division_code: DivisionCode
    policy: PolicyName
    note: LongText | None = None


class RoundDiscard(Body):
    reason: LongText


class SnapshotRead(ReadBody):
    """What the round was computed from, frozen: the same snapshot gives the same proposals."""

    needs_seq: int
    donors_seq: int
    taken_at: Moment
    needs: int
    lines: int
    sha256: str


class TierTotals(ReadBody):
    """Of one urgency, over the needs considered; quantities only count needs, never mix units."""

    urgency: Urgency
    needs: int
    fully_met: int
    partly_met: int
    unmet: int


class SetAside(ReadBody):
    code: str
    needs: int


class RoundTotals(ReadBody):
    proposals: int
    needs_met: int
    lines_used: int
    tiers: list[TierTotals]
    objective: int = Field(description="Sum of score x share of the need met, in millionths.")
    objective_without_lots: int = Field(description="The exact optimum if lots could be split.")
    lot_repairs: int
    candidates_cut: int = Field(description="Needs that had more candidates than the policy reads.")
    set_aside: list[SetAside]


class RoundRead(ReadBody):
    id: UUID
    division_code: str
    policy: str
    note: str | None
    state: RoundState
    progress_permille: int
    created_by: str
    created_at: Moment
    computed_at: Moment | None
    decided_by: str | None
    decided_at: Moment | None
    discard_reason: str | None
    snapshot: SnapshotRead
    totals: RoundTotals | None


class ProposalRead(ReadBody):
    id: UUID
    need_id: UUID
    line_id: UUID
    offer_id: UUID
    organization_id: UUID
    organization_name: str
    need_title: str
    offer_title: str
    item_class: str
    urgency: Urgency
    division_code: str
    quantity: int
    unit: str
    score_permille: int
    reasons: list[ReasonRead]


# -------------------------------------------------------------- allocations


class AllocationRead(ReadBody):
    """The public view: nothing of it is personal."""

    id: UUID
    round_id: UUID
    need_id: UUID
    line_id: UUID
    offer_id: UUID
    organization_id: UUID
    organization_name: str
    need_title: str
    offer_title: str
    item_class: str
    urgency: Urgency
    division_code: str
    quantity: int
    unit: str
    policy: str
    state: AllocationState
    reason_code: str | None
    due_at: Moment | None = Field(description="When the current state runs out, if it does.")
    line_movement: str | None = Field(description="What the offer's ledger is known to hold.")
    need_movement: str | None = Field(description="What the need's ledger is known to hold.")
    approval_log_index: int | None
    approval_receipt: str | None = Field(description="Address of the approval's log entry.")
    created_at: Moment
    changed_at: Moment


class Declination(Body):
    reason_code: Code


class Cancellation(Body):
    reason_code: Code


class Return(Body):
    reason_code: Code


class Confirmation(Body):
    """With the slip's code, or empty when confirmed before the officer who calls."""

    code: SlipCode | None = None


class AllocationItem(Body):
    allocation_id: UUID
    reason_code: Code | None = Field(None, description="For decline, cancel and return.")
    code: SlipCode | None = Field(None, description="For confirm: as printed on the slip.")


class AllocationBatch(Body):
    action: AllocationAction
    items: Annotated[list[AllocationItem], Field(min_length=1, max_length=BATCH_MAX)]


class ActedItem(ReadBody):
    """`already_done`: the allocation was in the state asked for, nothing was changed."""

    allocation_id: UUID
    outcome: Literal["done", "already_done", "refused"]
    state: AllocationState | None = None
    code: str | None = None
    detail: str | None = None


class AllocationBatchResult(ReadBody):
    results: list[ActedItem]


class SlipBatch(Body):
    allocation_ids: Annotated[list[UUID], Field(min_length=1, max_length=BATCH_MAX)]


class SlipRead(ReadBody):
    """Shown once, to be printed: only a keyed hash of it is kept."""

    allocation_id: UUID
    code: str


class IssuedSlip(ReadBody):
    allocation_id: UUID
    outcome: Literal["issued", "refused"]
    slip: str | None = None
    code: str | None = None
    detail: str | None = None


class SlipBatchResult(ReadBody):
    results: list[IssuedSlip]


# ------------------------------------------------------------------- events


class RoundStarted(Event):
    """A snapshot was frozen; the computation may be repeated from it."""

    type: ClassVar[str] = "matching.round_started"
    round_id: UUID
    policy: str
    needs_seq: int
    donors_seq: int
    needs: int
    lines: int
    snapshot_sha256: str


class RoundComputed(Event):
    type: ClassVar[str] = "matching.round_computed"
    round_id: UUID
    policy: str
    snapshot_sha256: str
    proposals_sha256: str
    proposals: int
    needs_met: int
    objective: int


class RoundApproved(Event):
    type: ClassVar[str] = "matching.round_approved"
    round_id: UUID
    policy: str
    proposals: int


class RoundDiscarded(Event):
    type: ClassVar[str] = "matching.round_discarded"
    round_id: UUID
    policy: str


class AllocationEvent(Event):
    """What every event of an allocation says; the division is the envelope's."""

    allocation_id: UUID
    round_id: UUID
    need_id: UUID
    line_id: UUID
    offer_id: UUID
    organization_id: UUID
    applicant: str = Field(description="Pseudonym for the programme year.")
    item_class: str
    quantity: int
    unit: str
    policy: str


class AllocationProposed(AllocationEvent):
    type: ClassVar[str] = "matching.allocation_proposed"


class AllocationReserved(AllocationEvent):
    type: ClassVar[str] = "matching.allocation_reserved"
    due_at: Moment


class AllocationAccepted(AllocationEvent):
    type: ClassVar[str] = "matching.allocation_accepted"


class AllocationDeclined(AllocationEvent):
    type: ClassVar[str] = "matching.allocation_declined"
    side: Side
    reason_code: str


class AllocationApproved(AllocationEvent):
    """Nothing is dispatched before this event stands in the log."""

    type: ClassVar[str] = "matching.allocation_approved"


class AllocationDispatched(AllocationEvent):
    type: ClassVar[str] = "matching.allocation_dispatched"
    approval_log_index: int


class AllocationDelivered(AllocationEvent):
    type: ClassVar[str] = "matching.allocation_delivered"


class SlipIssued(AllocationEvent):
    type: ClassVar[str] = "matching.slip_issued"


class AllocationConfirmed(AllocationEvent):
    type: ClassVar[str] = "matching.allocation_confirmed"
    method: Method


class AllocationClosed(AllocationEvent):
    type: ClassVar[str] = "matching.allocation_closed"


class AllocationCancelled(AllocationEvent):
    type: ClassVar[str] = "matching.allocation_cancelled"
    side: Side
    reason_code: str


class AllocationExpired(AllocationEvent):
    type: ClassVar[str] = "matching.allocation_expired"


class AllocationReturned(AllocationEvent):
    type: ClassVar[str] = "matching.allocation_returned"
    reason_code: str
