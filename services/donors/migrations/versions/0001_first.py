"""Organizations, offers, the ledger of their lines, and the feed.

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
        "organization",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("external_key", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("uscc", sa.Text(), nullable=True),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("division_code", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("entered_by", sa.Text(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('registered', 'approved', 'blocked')",
            name=op.f("ck_organization_state_known"),
        ),
        sa.CheckConstraint(
            "NOT verified OR uscc IS NOT NULL", name=op.f("ck_organization_verified_on_uscc")
        ),
        sa.CheckConstraint(
            "approved_by <> entered_by", name=op.f("ck_organization_approved_by_another")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organization")),
        sa.UniqueConstraint(
            "entered_by", "external_key", name=op.f("uq_organization_entered_by_external_key")
        ),
        sa.UniqueConstraint("uscc", name=op.f("uq_organization_uscc")),
    )
    op.create_index(op.f("ix_organization_state_id"), "organization", ["state", "id"], unique=False)
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
            "octet_length(data::text) <= 32768", name=op.f("ck_outbox_data_bounded")
        ),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_outbox")),
        sa.UniqueConstraint("id", name=op.f("uq_outbox_id")),
    )
    op.create_table(
        "offer",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("external_key", sa.Text(), nullable=True),
        sa.Column("organization_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("applicant_kinds", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("household_classes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("entered_by", sa.Text(), nullable=False),
        sa.Column("submitted_by", sa.Text(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state IN ('draft', 'submitted', 'approved', 'open', 'exhausted', 'expired',"
            " 'withdrawn', 'blocked')",
            name=op.f("ck_offer_state_known"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('open', 'exhausted') OR opened_at IS NOT NULL",
            name=op.f("ck_offer_opened_at_known"),
        ),
        sa.CheckConstraint(
            "approved_by <> entered_by AND approved_by <> submitted_by",
            name=op.f("ck_offer_approved_by_another"),
        ),
        sa.CheckConstraint("valid_until > valid_from", name=op.f("ck_offer_validity_not_empty")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name=op.f("fk_offer_organization_id_organization"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_offer")),
        sa.UniqueConstraint(
            "entered_by", "external_key", name=op.f("uq_offer_entered_by_external_key")
        ),
    )
    op.create_index(
        op.f("ix_offer_category_state_id"), "offer", ["category", "state", "id"], unique=False
    )
    op.create_index(
        "ix_offer_expires",
        "offer",
        ["valid_until"],
        unique=False,
        postgresql_where=sa.text("state IN ('submitted', 'approved', 'open', 'exhausted')"),
    )
    op.create_index(
        "ix_offer_opens",
        "offer",
        ["valid_from"],
        unique=False,
        postgresql_where=sa.text("state = 'approved'"),
    )
    op.create_index(op.f("ix_offer_organization_id"), "offer", ["organization_id"], unique=False)
    op.create_index(op.f("ix_offer_state_id"), "offer", ["state", "id"], unique=False)
    op.create_table(
        "offer_division",
        sa.Column("offer_id", sa.UUID(), nullable=False),
        sa.Column("division_code", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["offer_id"], ["offer.id"], name=op.f("fk_offer_division_offer_id_offer")
        ),
        sa.PrimaryKeyConstraint("offer_id", "division_code", name=op.f("pk_offer_division")),
    )
    op.create_index(
        op.f("ix_offer_division_division_code_offer_id"),
        "offer_division",
        ["division_code", "offer_id"],
        unique=False,
    )
    op.create_table(
        "offer_line",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("offer_id", sa.UUID(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("item_class", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("specification", sa.Text(), nullable=True),
        sa.Column("quantity", sa.BigInteger(), nullable=True),
        sa.Column("daily_quantity", sa.BigInteger(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("lot_min", sa.BigInteger(), nullable=False),
        sa.Column("base_unit", sa.Text(), nullable=False),
        sa.Column("lot_min_base", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("available", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("in_transit", sa.BigInteger(), nullable=False),
        sa.Column("delivered", sa.BigInteger(), nullable=False),
        sa.Column("written_off", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "available + reserved + in_transit + delivered + written_off = coalesce(total, 0)",
            name=op.f("ck_offer_line_sum_is_total"),
        ),
        sa.CheckConstraint("available >= 0", name=op.f("ck_offer_line_available_not_negative")),
        sa.CheckConstraint("delivered >= 0", name=op.f("ck_offer_line_delivered_not_negative")),
        sa.CheckConstraint("in_transit >= 0", name=op.f("ck_offer_line_in_transit_not_negative")),
        sa.CheckConstraint("lot_min_base > 0", name=op.f("ck_offer_line_lot_min_positive")),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_offer_line_reserved_not_negative")),
        sa.CheckConstraint("total > 0", name=op.f("ck_offer_line_total_positive")),
        sa.CheckConstraint("written_off >= 0", name=op.f("ck_offer_line_written_off_not_negative")),
        sa.ForeignKeyConstraint(
            ["offer_id"], ["offer.id"], name=op.f("fk_offer_line_offer_id_offer")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_offer_line")),
    )
    op.create_index(op.f("ix_offer_line_item_class"), "offer_line", ["item_class"], unique=False)
    op.create_index(op.f("ix_offer_line_offer_id"), "offer_line", ["offer_id"], unique=False)
    op.create_table(
        "reservation",
        sa.Column("line_id", sa.UUID(), nullable=False),
        sa.Column("allocation_id", sa.UUID(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('reserved', 'dispatched', 'delivered', 'returned', 'released',"
            " 'written_off')",
            name=op.f("ck_reservation_state_known"),
        ),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_reservation_quantity_positive")),
        sa.ForeignKeyConstraint(
            ["line_id"], ["offer_line.id"], name=op.f("fk_reservation_line_id_offer_line")
        ),
        sa.PrimaryKeyConstraint("line_id", "allocation_id", name=op.f("pk_reservation")),
    )
    op.execute("INSERT INTO feed_head DEFAULT VALUES")
