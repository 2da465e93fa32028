"""Tables of the read models, rounds and allocations."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from services.matching.domain import RoundKind, RoundState, Stage, State
from services.matching.domain.rankings import RankingState
from services.matching.views import Base as Base
from services.matching.views import LineView as LineView
from services.matching.views import LogView as LogView
from services.matching.views import NeedView as NeedView
from shared.events import add_event_tables
from shared.totals import add_totals_table


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


class Round(Base):
    """A round, from its frozen snapshot to what was decided of it.

    frozen_by      the round that froze the data this one is computed on: itself, or another
    start_from     the round whose prices this one starts from; of a placement, those it keeps to
    ranking        the scorecard the fits are of; None = computed before there were any
    decided_*      who approved, discarded or cancelled it, and when
    """

    __tablename__ = "matching_round"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(server_default=RoundKind.ROUND.value)
    division_code: Mapped[str]
    policy: Mapped[str]
    ranking: Mapped[str | None]
    frozen_by: Mapped[UUID] = mapped_column(ForeignKey("matching_round.id"))
    start_from: Mapped[UUID | None] = mapped_column(ForeignKey("matching_round.id"))
    note: Mapped[str | None]
    state: Mapped[str]
    stage: Mapped[str] = mapped_column(server_default=Stage.DONE.value)
    progress_permille: Mapped[int] = mapped_column(SmallInteger)
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    created_by: Mapped[str]
    created_role: Mapped[str]
    created_at: Mapped[datetime]
    needs_seq: Mapped[int]
    donors_seq: Mapped[int]
    taken_at: Mapped[datetime]
    needs: Mapped[int]
    lines: Mapped[int]
    snapshot_sha256: Mapped[str]
    totals: Mapped[dict[str, Any] | None]
    proposals_sha256: Mapped[str | None]
    computed_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    discard_reason: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(_one_of("kind", RoundKind), name="kind_known"),
        CheckConstraint(_one_of("state", RoundState), name="state_known"),
        CheckConstraint(_one_of("stage", Stage), name="stage_known"),
        CheckConstraint("kind <> 'dry_run' OR state <> 'approved'", name="dry_run_not_approved"),
        CheckConstraint("progress_permille BETWEEN 0 AND 1000", name="progress_bounded"),
        CheckConstraint(
            "state NOT IN ('computed', 'approved') OR totals IS NOT NULL", name="computed_whole"
        ),
        CheckConstraint(
            "state NOT IN ('approved', 'discarded', 'cancelled') OR decided_at IS NOT NULL",
            name="decided_when",
        ),
        # Approved twice, the same frozen needs and lines would be promised twice.
        Index(
            "uq_matching_round_approved_snapshot",
            "frozen_by",
            unique=True,
            postgresql_where=sql("state = 'approved'"),
        ),
        Index(None, "division_code", "id"),
        Index("ix_matching_round_computing", "id", postgresql_where=sql("state = 'computing'")),
    )


class RoundSnapshot(Base):
    """What a round was frozen from: compressed JSON, its hash in the round."""

    __tablename__ = "round_snapshot"

    round_id: Mapped[UUID] = mapped_column(ForeignKey("matching_round.id"), primary_key=True)
    packed: Mapped[bytes]


class RoundPart(Base):
    """An item class of a round that is being computed, solved: what is left when it is killed."""

    __tablename__ = "round_part"

    round_id: Mapped[UUID] = mapped_column(ForeignKey("matching_round.id"), primary_key=True)
    item_class: Mapped[str] = mapped_column(primary_key=True)
    packed: Mapped[bytes]
    sha256: Mapped[str]


class RoundPrice(Base):
    """What a unit of a line is worth at the margin after a round, where that is not nothing."""

    __tablename__ = "round_price"

    round_id: Mapped[UUID] = mapped_column(ForeignKey("matching_round.id"), primary_key=True)
    line_id: Mapped[UUID] = mapped_column(primary_key=True)
    price: Mapped[int]


class Facts:
    """What a proposal says and its allocation repeats; never changed."""

    need_id: Mapped[UUID]
    line_id: Mapped[UUID]
    offer_id: Mapped[UUID]
    organization_id: Mapped[UUID]
    organization_name: Mapped[str]
    applicant: Mapped[str]
    need_title: Mapped[str]
    offer_title: Mapped[str]
    item_class: Mapped[str]
    urgency: Mapped[str]
    division_code: Mapped[str]
    quantity: Mapped[int]
    unit: Mapped[str]


FACTS = tuple(Facts.__annotations__)


class Proposal(Facts, Base):
    """What a round proposes; kept for ever, decisions upon it are what rankings learn from.

    score_permille   the fit, by the ranking
    value_permille   what the fit, the need's case and the policy made of it together
    explanation      as `planning.results` shapes it; None = computed before there were any
    """

    __tablename__ = "proposal"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    round_id: Mapped[UUID] = mapped_column(ForeignKey("matching_round.id"))
    policy: Mapped[str]
    ranking: Mapped[str | None]
    score_permille: Mapped[int] = mapped_column(SmallInteger)
    value_permille: Mapped[int] = mapped_column(SmallInteger)
    features: Mapped[list[int]]
    explanation: Mapped[dict[str, Any] | None]

    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity_positive"),
        Index("ix_proposal_pair", "round_id", "need_id", "line_id", unique=True),
        Index(None, "round_id", "id"),
    )


class Outcome(Base):
    """Why a need was not, or not fully, met in a round; `counts` as `planning.results` says."""

    __tablename__ = "outcome"

    round_id: Mapped[UUID] = mapped_column(ForeignKey("matching_round.id"), primary_key=True)
    need_id: Mapped[UUID] = mapped_column(primary_key=True, index=True)
    code: Mapped[str]
    item_class: Mapped[str]
    unit: Mapped[str]
    urgency: Mapped[str]
    division_code: Mapped[str]
    need_title: Mapped[str]
    lacking: Mapped[int]
    given: Mapped[int]
    counts: Mapped[dict[str, Any]]
    best_line_id: Mapped[UUID | None]

    __table_args__ = (
        CheckConstraint("given >= 0 AND given < lacking", name="given_bounded"),
        Index(None, "round_id", "code", "need_id"),
    )


_UNCARRIED = "line_movement IS DISTINCT FROM target OR need_movement IS DISTINCT FROM target"


class Allocation(Facts, Base):
    """An approved proposal and its life; its id is the proposal's.

    target          what both ledgers are to hold
    line_movement   what the offer's ledger is known to hold, None before the first answer
    need_movement   the same of the need's ledger
    *_seen          the feed of that ledger has told of this allocation, so that the read model's
                    quantities count it
    try_at          not carried again before
    side            whose doing its end was: organization, applicant or matching
    """

    __tablename__ = "allocation"

    id: Mapped[UUID] = mapped_column(ForeignKey("proposal.id"), primary_key=True)
    round_id: Mapped[UUID] = mapped_column(ForeignKey("matching_round.id"))
    policy: Mapped[str]
    state: Mapped[str]
    reason_code: Mapped[str | None]
    due_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    target: Mapped[str]
    line_movement: Mapped[str | None]
    need_movement: Mapped[str | None]
    line_seen: Mapped[bool] = mapped_column(default=False)
    need_seen: Mapped[bool] = mapped_column(default=False)
    try_at: Mapped[datetime]
    carry_failures: Mapped[int] = mapped_column(SmallInteger, default=0)
    carry_problem: Mapped[str | None]
    allocated_by: Mapped[list[str]]
    approved_by: Mapped[str | None]
    approval_event_id: Mapped[UUID | None] = mapped_column(unique=True)
    approval_log_index: Mapped[int | None]
    slip_hash: Mapped[bytes | None]
    slip_issued_by: Mapped[list[str]] = mapped_column(default=list)
    slip_attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    confirmed_by: Mapped[str | None]
    confirmed_how: Mapped[str | None]
    side: Mapped[str | None]

    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity_positive"),
        CheckConstraint(_one_of("state", State), name="state_known"),
        # The gate: nothing moves that is not in the log, nothing closes that did not arrive.
        CheckConstraint(
            "state NOT IN ('dispatched', 'delivered', 'confirmed', 'closed')"
            " OR approval_log_index IS NOT NULL",
            name="moved_only_if_logged",
        ),
        CheckConstraint(
            "state NOT IN ('confirmed', 'closed') OR confirmed_by IS NOT NULL",
            name="closed_only_if_confirmed",
        ),
        CheckConstraint("confirmed_by <> approved_by", name="confirmed_by_another"),
        Index("ix_allocation_uncarried", "try_at", "id", postgresql_where=sql(_UNCARRIED)),
        Index("ix_allocation_due", "due_at", postgresql_where=sql("due_at IS NOT NULL")),
        Index("ix_allocation_unseen", "id", postgresql_where=sql("NOT line_seen OR NOT need_seen")),
        Index(None, "applicant", "item_class"),
        Index(None, "need_id"),
        Index(None, "line_id"),
        Index(None, "round_id", "id"),
        Index(None, "organization_id", "id"),
        Index(None, "division_code", "id"),
        Index(None, "state", "id"),
    )


class AllocationReceipt(Base):
    """What proves an allocation's approval, apart from its row: it is long, and written once.

    entry     the approval as it stands in the log, None until it is fetched
    receipt   C2SP tlog-proof of it, None until it is fetched
    """

    __tablename__ = "allocation_receipt"

    allocation_id: Mapped[UUID] = mapped_column(ForeignKey("allocation.id"), primary_key=True)
    event_id: Mapped[UUID] = mapped_column(unique=True)
    entry: Mapped[str | None]
    receipt: Mapped[str | None]

    __table_args__ = (
        CheckConstraint("(entry IS NULL) = (receipt IS NULL)", name="fetched_whole"),
        Index(
            "ix_allocation_receipt_waiting",
            "allocation_id",
            postgresql_where=sql("receipt IS NULL"),
        ),
    )


class Ranking(Base):
    """A version of how lines are ranked for needs, from its training to its retirement.

    card        the scorecard, whole; None while training, and for the program's own cards
    previous    the version in force when it was proposed, which its figures compare it with
    figures     as `learning.Figures`; None while training and for the program's own
    """

    __tablename__ = "ranking"

    name: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    built_in: Mapped[bool] = mapped_column(default=False)
    note: Mapped[str | None]
    seed: Mapped[int] = mapped_column(default=0)
    card: Mapped[dict[str, Any] | None]
    card_sha256: Mapped[str | None]
    previous: Mapped[str | None] = mapped_column(ForeignKey("ranking.name"))
    figures: Mapped[dict[str, Any] | None]
    decisions: Mapped[int] = mapped_column(default=0)
    decisions_sha256: Mapped[str | None]
    progress_permille: Mapped[int] = mapped_column(SmallInteger, default=0)
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    problem: Mapped[str | None]
    proposed_by: Mapped[str]
    proposed_role: Mapped[str]
    proposed_at: Mapped[datetime]
    trained_at: Mapped[datetime | None]
    activated_by: Mapped[str | None]
    activated_at: Mapped[datetime | None]
    activation_reason: Mapped[str | None]
    retired_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(_one_of("state", RankingState), name="state_known"),
        CheckConstraint(
            "built_in OR state IN ('training', 'failed') OR card IS NOT NULL", name="card_there"
        ),
        CheckConstraint("state <> 'active' OR activated_by IS NOT NULL", name="activated_by_whom"),
        # Four eyes, also against a mistake in the code.
        CheckConstraint("activated_by <> proposed_by", name="activated_by_another"),
        CheckConstraint("progress_permille BETWEEN 0 AND 1000", name="progress_bounded"),
        Index("uq_ranking_active", "state", unique=True, postgresql_where=sql("state = 'active'")),
        # One at a time: training takes a core.
        Index(
            "uq_ranking_training", "state", unique=True, postgresql_where=sql("state = 'training'")
        ),
        Index(None, "proposed_at", "name"),
    )


add_event_tables(Base.metadata)
add_totals_table(Base.metadata)
