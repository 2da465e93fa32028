"""Allocations, slips and what is done to them."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from services.matching.contract.terms import (
    BATCH_MAX,
    AllocationAction,
    AllocationState,
    SlipCode,
    Urgency,
)
from shared.bodies import Body, Code, Moment, ReadBody


class ApprovalProof(ReadBody):
    """That an approval stands in the log; checked offline, with the log's key alone."""

    entry: str = Field(description="The entry; its leaf hash is SHA-256(0x00, entry in UTF-8).")
    receipt: str = Field(description="C2SP tlog-proof of it, under a checkpoint with a quorum.")


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
    approval_receipt: str | None = Field(description="Address of the approval's newest receipt.")
    approval_proof: ApprovalProof | None = Field(
        description="From the first checkpoint with a quorum that covers the approval; None before."
    )
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
