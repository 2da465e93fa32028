"""What the service tells in its feed."""

from typing import ClassVar
from uuid import UUID

from pydantic import Field

from services.matching.contract.terms import Method, RoundKind, Side
from shared import totals
from shared.bodies import Moment
from shared.events.model import Event


class RoundStarted(Event):
    """A snapshot was frozen, or another round's taken; the computation may be repeated from it."""

    type: ClassVar[str] = "matching.round_started"
    round_id: UUID
    kind: RoundKind = "round"
    policy: str
    ranking: str | None = None
    frozen_by: UUID | None = None
    start_from: UUID | None = None
    needs_seq: int
    donors_seq: int
    needs: int
    lines: int
    snapshot_sha256: str


class RoundComputed(Event):
    """proposals_sha256   over what was decided, see `planning.results.Plan.sha256`
    objective          welfare, in millionths
    """

    type: ClassVar[str] = "matching.round_computed"
    round_id: UUID
    kind: RoundKind = "round"
    policy: str
    ranking: str | None = None
    snapshot_sha256: str
    proposals_sha256: str
    proposals: int
    needs_met: int
    objective: int


class RoundApproved(Event):
    type: ClassVar[str] = "matching.round_approved"
    round_id: UUID
    kind: RoundKind = "round"
    policy: str
    proposals: int


class RoundDiscarded(Event):
    type: ClassVar[str] = "matching.round_discarded"
    round_id: UUID
    kind: RoundKind = "round"
    policy: str


class RoundCancelled(Event):
    """Its computation was stopped before it came to an end."""

    type: ClassVar[str] = "matching.round_cancelled"
    round_id: UUID
    kind: RoundKind = "round"
    policy: str


class AllocationEvent(Event):
    """What every event of an allocation says; the division is the envelope's.

    state_before  None when it has just begun, in events of the first form, and where none moves it
    """

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
    state_before: str | None = None


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


class TotalsTold(totals.TotalsTold):
    type: ClassVar[str] = "matching.totals_told"
