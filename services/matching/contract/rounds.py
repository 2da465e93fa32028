"""Rounds and their proposals."""

from uuid import UUID

from pydantic import Field

from services.matching.contract.plans import ExplanationRead
from services.matching.contract.terms import PolicyName, RoundKind, RoundState, Stage, Urgency
from shared.bodies import Body, DivisionCode, LongText, Moment, ReadBody


class RoundCreate(Body):
    """Match the published needs of a division with the open offers that serve it."""

    division_code: DivisionCode
    policy: PolicyName
    note: LongText | None = None
    kind: RoundKind = Field(
        default="round",
        description="round; dry_run = to be looked at, never approved; placement = what came since"
        " a round, at the prices it left.",
    )
    snapshot_of: UUID | None = Field(
        default=None,
        description="Compute on the data which this round froze, for instance by another policy.",
    )
    start_from: UUID | None = Field(
        default=None,
        description="Begin with the prices of this computed round. A placement keeps to them; of"
        " those it takes the division's last round when none is named.",
    )


class RoundDiscard(Body):
    reason: LongText


class RoundCancellation(Body):
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
    rate_permille: int | None = Field(
        default=None, description="Mean share of a need that is met; None in early rounds."
    )


class SetAside(ReadBody):
    code: str
    needs: int


class RoundTotals(ReadBody):
    proposals: int
    needs_met: int
    lines_used: int
    tiers: list[TierTotals]
    welfare: int | None = Field(
        default=None, description="Sum of value x share of the need met, in millionths."
    )
    gap_ppm: int | None = Field(
        default=None,
        description="Certified: welfare is below the optimum by no more than this. None for"
        " placements, which are no optimum.",
    )
    price_of_fairness_ppm: int | None = Field(
        default=None, description="Welfare given up for fairness, of the welfare without it."
    )
    kept_back: int = Field(
        default=0, description="Placements: needs that got less for the sake of needs to come."
    )
    candidates_cut: int = Field(description="Needs that had more candidates than the policy reads.")
    set_aside: list[SetAside]


class Progress(ReadBody):
    """What the computation is doing, and how far it is."""

    stage: Stage
    permille: int
    text_zh: str
    text_en: str


class RoundRead(ReadBody):
    id: UUID
    kind: RoundKind
    division_code: str
    policy: str
    ranking: str | None = Field(description="The scorecard the fits are of.")
    frozen_by: UUID = Field(description="The round that froze the data: this one, or another.")
    start_from: UUID | None = Field(description="The round whose prices this one begins with.")
    note: str | None
    state: RoundState
    progress_permille: int
    progress: Progress
    created_by: str
    created_at: Moment
    proposals_sha256: str | None = Field(
        description="Over what was decided; who computes the frozen data again finds the same."
    )
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
    policy: str
    ranking: str | None
    score_permille: int = Field(description="The fit, by the ranking.")
    value_permille: int = Field(description="The fit with the need's case, by the policy.")
    explanation: ExplanationRead | None = Field(
        description="None for rounds from before there were explanations."
    )
