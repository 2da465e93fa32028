"""Read models, rounds, allocations, and the feed.

Revises: nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "event",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actorrole", sa.Text(), nullable=False),
        sa.Column("division", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event")),
        sa.UniqueConstraint("id", name=op.f("uq_event_id")),
    )
    op.create_table(
        "feed_cursor",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("seq >= 0", name=op.f("ck_feed_cursor_seq_not_negative")),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_feed_cursor")),
    )
    op.create_table(
        "feed_head",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("one", name=op.f("ck_feed_head_one_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_feed_head")),
    )
    op.create_table(
        "idempotency",
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("client", "route", "key", name=op.f("pk_idempotency")),
    )
    op.create_index(op.f("ix_idempotency_at"), "idempotency", ["at"], unique=False)
    op.create_table(
        "line_view",
        sa.Column("line_id", sa.UUID(), nullable=False),
        sa.Column("offer_id", sa.UUID(), nullable=False),
        sa.Column("organization_id", sa.UUID(), nullable=False),
        sa.Column("organization_name", sa.Text(), nullable=False),
        sa.Column("organization_verified", sa.Boolean(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("item_class", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("specification", sa.Text(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("available", sa.BigInteger(), nullable=False),
        sa.Column("lot_min", sa.BigInteger(), nullable=False),
        sa.Column("served_division_codes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("applicant_kinds", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("household_classes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_seq", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'expired', 'withdrawn', 'blocked')",
            name=op.f("ck_line_view_state_known"),
        ),
        sa.CheckConstraint(
            "available >= 0 AND available <= total",
            name=op.f("ck_line_view_available_bounded"),
        ),
        sa.PrimaryKeyConstraint("line_id", name=op.f("pk_line_view")),
    )
    op.create_index(op.f("ix_line_view_changed_seq"), "line_view", ["changed_seq"], unique=False)
    op.create_index(op.f("ix_line_view_offer_id"), "line_view", ["offer_id"], unique=False)
    op.create_table(
        "matching_round",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("division_code", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("progress_permille", sa.SmallInteger(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("needs_seq", sa.BigInteger(), nullable=False),
        sa.Column("donors_seq", sa.BigInteger(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("needs", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("snapshot_sha256", sa.Text(), nullable=False),
        sa.Column("totals", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("proposals_sha256", sa.Text(), nullable=True),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("discard_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('computing', 'computed', 'approved', 'discarded')",
            name=op.f("ck_matching_round_state_known"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('approved', 'discarded') OR decided_at IS NOT NULL",
            name=op.f("ck_matching_round_decided_when"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('computed', 'approved') OR totals IS NOT NULL",
            name=op.f("ck_matching_round_computed_whole"),
        ),
        sa.CheckConstraint(
            "progress_permille BETWEEN 0 AND 1000",
            name=op.f("ck_matching_round_progress_bounded"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_matching_round")),
    )
    op.create_index(
        "ix_matching_round_computing",
        "matching_round",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'computing'"),
    )
    op.create_table(
        "need_view",
        sa.Column("need_id", sa.UUID(), nullable=False),
        sa.Column("applicant", sa.Text(), nullable=False),
        sa.Column("applicant_kind", sa.Text(), nullable=False),
        sa.Column("household_class", sa.Text(), nullable=True),
        sa.Column("poverty_permille", sa.BigInteger(), nullable=True),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("item_class", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("specification", sa.Text(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("required", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.Column("urgency", sa.Text(), nullable=False),
        sa.Column("needed_by", sa.Date(), nullable=True),
        sa.Column("division_code", sa.Text(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entered_by", sa.Text(), nullable=False),
        sa.Column("verified_by", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("recused", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_seq", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('published', 'suspended', 'withdrawn', 'expired', 'closed')",
            name=op.f("ck_need_view_state_known"),
        ),
        sa.CheckConstraint(
            "remaining >= 0 AND remaining <= required",
            name=op.f("ck_need_view_remaining_bounded"),
        ),
        sa.PrimaryKeyConstraint("need_id", name=op.f("pk_need_view")),
    )
    op.create_index(op.f("ix_need_view_changed_seq"), "need_view", ["changed_seq"], unique=False)
    op.create_index(
        "ix_need_view_matchable",
        "need_view",
        ["division_code"],
        unique=False,
        postgresql_where=sa.text("state = 'published' AND remaining > 0"),
    )
    op.create_table(
        "outbox",
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actorrole", sa.Text(), nullable=False),
        sa.Column("division", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint(
            "octet_length(data::text) <= 32768",
            name=op.f("ck_outbox_data_bounded"),
        ),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_outbox")),
        sa.UniqueConstraint("id", name=op.f("uq_outbox_id")),
    )
    op.create_table(
        "proposal",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("round_id", sa.UUID(), nullable=False),
        sa.Column("score_permille", sa.SmallInteger(), nullable=False),
        sa.Column("features", postgresql.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("need_id", sa.UUID(), nullable=False),
        sa.Column("line_id", sa.UUID(), nullable=False),
        sa.Column("offer_id", sa.UUID(), nullable=False),
        sa.Column("organization_id", sa.UUID(), nullable=False),
        sa.Column("organization_name", sa.Text(), nullable=False),
        sa.Column("applicant", sa.Text(), nullable=False),
        sa.Column("need_title", sa.Text(), nullable=False),
        sa.Column("offer_title", sa.Text(), nullable=False),
        sa.Column("item_class", sa.Text(), nullable=False),
        sa.Column("urgency", sa.Text(), nullable=False),
        sa.Column("division_code", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_proposal_quantity_positive")),
        sa.ForeignKeyConstraint(
            ["round_id"],
            ["matching_round.id"],
            name=op.f("fk_proposal_round_id_matching_round"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposal")),
    )
    op.create_index("ix_proposal_pair", "proposal", ["round_id", "need_id", "line_id"], unique=True)
    op.create_index(op.f("ix_proposal_round_id_id"), "proposal", ["round_id", "id"], unique=False)
    op.create_table(
        "round_snapshot",
        sa.Column("round_id", sa.UUID(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["round_id"],
            ["matching_round.id"],
            name=op.f("fk_round_snapshot_round_id_matching_round"),
        ),
        sa.PrimaryKeyConstraint("round_id", name=op.f("pk_round_snapshot")),
    )
    op.create_table(
        "allocation",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("round_id", sa.UUID(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("line_movement", sa.Text(), nullable=True),
        sa.Column("need_movement", sa.Text(), nullable=True),
        sa.Column("line_seen", sa.Boolean(), nullable=False),
        sa.Column("need_seen", sa.Boolean(), nullable=False),
        sa.Column("try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("carry_failures", sa.SmallInteger(), nullable=False),
        sa.Column("carry_problem", sa.Text(), nullable=True),
        sa.Column("allocated_by", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("approval_event_id", sa.UUID(), nullable=True),
        sa.Column("approval_log_index", sa.BigInteger(), nullable=True),
        sa.Column("slip_hash", sa.LargeBinary(), nullable=True),
        sa.Column("slip_issued_by", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("slip_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("confirmed_by", sa.Text(), nullable=True),
        sa.Column("confirmed_how", sa.Text(), nullable=True),
        sa.Column("need_id", sa.UUID(), nullable=False),
        sa.Column("line_id", sa.UUID(), nullable=False),
        sa.Column("offer_id", sa.UUID(), nullable=False),
        sa.Column("organization_id", sa.UUID(), nullable=False),
        sa.Column("organization_name", sa.Text(), nullable=False),
        sa.Column("applicant", sa.Text(), nullable=False),
        sa.Column("need_title", sa.Text(), nullable=False),
        sa.Column("offer_title", sa.Text(), nullable=False),
        sa.Column("item_class", sa.Text(), nullable=False),
        sa.Column("urgency", sa.Text(), nullable=False),
        sa.Column("division_code", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('proposed', 'reserved', 'accepted', 'approved', 'dispatched', 'delivered',"
            " 'confirmed', 'closed', 'declined', 'expired', 'cancelled', 'returned')",
            name=op.f("ck_allocation_state_known"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('confirmed', 'closed') OR confirmed_by IS NOT NULL",
            name=op.f("ck_allocation_closed_only_if_confirmed"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('dispatched', 'delivered', 'confirmed', 'closed')"
            " OR approval_log_index IS NOT NULL",
            name=op.f("ck_allocation_moved_only_if_logged"),
        ),
        sa.CheckConstraint(
            "confirmed_by <> approved_by",
            name=op.f("ck_allocation_confirmed_by_another"),
        ),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_allocation_quantity_positive")),
        sa.ForeignKeyConstraint(["id"], ["proposal.id"], name=op.f("fk_allocation_id_proposal")),
        sa.ForeignKeyConstraint(
            ["round_id"],
            ["matching_round.id"],
            name=op.f("fk_allocation_round_id_matching_round"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allocation")),
        sa.UniqueConstraint("approval_event_id", name=op.f("uq_allocation_approval_event_id")),
    )
    op.create_index(
        op.f("ix_allocation_applicant_item_class"),
        "allocation",
        ["applicant", "item_class"],
        unique=False,
    )
    op.create_index(
        op.f("ix_allocation_division_code_id"),
        "allocation",
        ["division_code", "id"],
        unique=False,
    )
    op.create_index(
        "ix_allocation_due",
        "allocation",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_allocation_line_id"), "allocation", ["line_id"], unique=False)
    op.create_index(op.f("ix_allocation_need_id"), "allocation", ["need_id"], unique=False)
    op.create_index(
        op.f("ix_allocation_organization_id_id"),
        "allocation",
        ["organization_id", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_allocation_round_id_id"),
        "allocation",
        ["round_id", "id"],
        unique=False,
    )
    op.create_index(op.f("ix_allocation_state_id"), "allocation", ["state", "id"], unique=False)
    op.create_index(
        "ix_allocation_uncarried",
        "allocation",
        ["try_at", "id"],
        unique=False,
        postgresql_where=sa.text(
            "line_movement IS DISTINCT FROM target OR need_movement IS DISTINCT FROM target",
        ),
    )
    op.create_index(
        "ix_allocation_unseen",
        "allocation",
        ["id"],
        unique=False,
        postgresql_where=sa.text("NOT line_seen OR NOT need_seen"),
    )
    op.execute("INSERT INTO feed_head DEFAULT VALUES")
