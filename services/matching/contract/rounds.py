"""Rounds and their proposals."""

from uuid import UUID

from pydantic import Field

from services.matching.contract.matches import ReasonRead
from services.matching.contract.terms import PolicyName, RoundState, Urgency
from shared.bodies import Body, DivisionCode, LongText, Moment, ReadBody


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
