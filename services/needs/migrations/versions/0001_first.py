"""Tables of the needs service.

Revises: nothing
"""

# ruff: noqa: E501 - the texts of constraints, as the tables have them

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "applicant",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("external_key", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("division_code", sa.Text(), nullable=False),
        sa.Column("shown_name", sa.Text(), nullable=False),
        sa.Column(
            "household", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("household_class", sa.Text(), nullable=True),
        sa.Column("deprivation_score_permille", sa.SmallInteger(), nullable=True),
        sa.Column("deprivation_index", sa.Text(), nullable=True),
        sa.Column("id_number_index", sa.LargeBinary(), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("entered_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(kind = 'household') = (household IS NOT NULL)",
            name=op.f("ck_applicant_household_stated"),
        ),
        sa.CheckConstraint(
            "division_code ~ '^[0-9]{12}$'", name=op.f("ck_applicant_division_code")
        ),
        sa.CheckConstraint(
            "household_class IN ('general', 'subsistence_allowance', 'extreme_hardship')",
            name=op.f("ck_applicant_household_class"),
        ),
        sa.CheckConstraint(
            "kind IN ('household', 'village', 'institution')", name=op.f("ck_applicant_kind")
        ),
        sa.CheckConstraint(
            "deprivation_score_permille BETWEEN 0 AND 1000", name=op.f("ck_applicant_score")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_applicant")),
        sa.UniqueConstraint("entered_by", "external_key", name="applicant_key_once"),
        sa.UniqueConstraint("id_number_index", name="applicant_person_once"),
    )
    op.create_index(
        "ix_applicant_division_code", "applicant", ["division_code", "id"], unique=False
    )
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
        "policy_activation",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("division_code", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("activated_by", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "division_code ~ '^[0-9]{12}$'", name=op.f("ck_policy_activation_division_code")
        ),
        sa.CheckConstraint(
            "valid_until > valid_from", name=op.f("ck_policy_activation_valid_some_time")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_activation")),
    )
    op.create_table(
        "need",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("external_key", sa.Text(), nullable=True),
        sa.Column("applicant_id", sa.UUID(), nullable=False),
        sa.Column("division_code", sa.Text(), nullable=False),
        sa.Column(
            "province",
            sa.Text(),
            sa.Computed("left(division_code, 2)", persisted=True),
            nullable=False,
        ),
        sa.Column(
            "city", sa.Text(), sa.Computed("left(division_code, 4)", persisted=True), nullable=False
        ),
        sa.Column(
            "county",
            sa.Text(),
            sa.Computed("left(division_code, 6)", persisted=True),
            nullable=False,
        ),
        sa.Column(
            "township",
            sa.Text(),
            sa.Computed("left(division_code, 9)", persisted=True),
            nullable=False,
        ),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("item_class", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("specification", sa.Text(), nullable=True),
        sa.Column("quantity", sa.BigInteger(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("base_quantity", sa.BigInteger(), nullable=True),
        sa.Column("base_unit", sa.Text(), nullable=True),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("in_transit", sa.BigInteger(), nullable=False),
        sa.Column("delivered", sa.BigInteger(), nullable=False),
        sa.Column("headcount", sa.Integer(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("urgency", sa.Text(), nullable=False),
        sa.Column("needed_by", sa.Date(), nullable=True),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("next_level", sa.Text(), nullable=True),
        sa.Column("submission", sa.SmallInteger(), nullable=False),
        sa.Column("publish_first", sa.Boolean(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=True),
        sa.Column("notice_ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("review_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("entered_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("search", postgresql.TSVECTOR(), nullable=False),
        sa.CheckConstraint("division_code ~ '^[0-9]{12}$'", name=op.f("ck_need_division_code")),
        sa.CheckConstraint(
            "next_level IN ('village', 'township', 'county', 'city')",
            name=op.f("ck_need_next_level"),
        ),
        sa.CheckConstraint(
            "quantity IS NOT NULL OR state IN ('draft', 'withdrawn')",
            name=op.f("ck_need_only_drafts_lack"),
        ),
        sa.CheckConstraint(
            "state <> 'noticed' OR notice_ends_at IS NOT NULL", name=op.f("ck_need_notice_dated")
        ),
        sa.CheckConstraint(
            "state IN ('draft', 'submitted', 'village_verified', 'township_verified', 'county_verified', 'city_verified', 'noticed', 'published', 'closed', 'returned', 'rejected', 'withdrawn', 'suspended', 'expired')",
            name=op.f("ck_need_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('published', 'closed', 'expired') OR (published_at IS NOT NULL AND expires_at IS NOT NULL)",
            name=op.f("ck_need_published_dated"),
        ),
        sa.CheckConstraint(
            "urgency IN ('life_threatening', 'urgent', 'normal')", name=op.f("ck_need_urgency")
        ),
        sa.CheckConstraint(
            "(quantity IS NULL) = (base_quantity IS NULL) AND (quantity IS NULL) = (base_unit IS NULL)",
            name=op.f("ck_need_base_quantity_stated"),
        ),
        sa.CheckConstraint("headcount > 0", name=op.f("ck_need_headcount_positive")),
        sa.CheckConstraint(
            "quantity > 0 AND base_quantity > 0", name=op.f("ck_need_quantity_positive")
        ),
        sa.CheckConstraint(
            "reserved + in_transit + delivered <= coalesce(base_quantity, 0)",
            name=op.f("ck_need_held_within_required"),
        ),
        sa.CheckConstraint(
            "reserved >= 0 AND in_transit >= 0 AND delivered >= 0",
            name=op.f("ck_need_held_not_negative"),
        ),
        sa.CheckConstraint("version > 0", name=op.f("ck_need_version_positive")),
        sa.ForeignKeyConstraint(
            ["applicant_id"], ["applicant.id"], name=op.f("fk_need_applicant_id_applicant")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_need")),
        sa.UniqueConstraint("entered_by", "external_key", name="need_key_once"),
    )
    op.create_index("ix_need_applicant_id", "need", ["applicant_id"], unique=False)
    op.create_index(
        "ix_need_awaits",
        "need",
        ["next_level", "division_code", "id"],
        unique=False,
        postgresql_where=sa.text("next_level IS NOT NULL"),
    )
    op.create_index("ix_need_division", "need", ["division_code", "id"], unique=False)
    op.create_index(
        "ix_need_expiry",
        "need",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_list_all",
        "need",
        [sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_list_category",
        "need",
        ["category", sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_list_city",
        "need",
        ["city", sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_list_city_category",
        "need",
        ["city", "category", sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_list_closed",
        "need",
        [sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'closed'"),
    )
    op.create_index(
        "ix_need_list_county",
        "need",
        ["county", sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_list_county_category",
        "need",
        [
            "county",
            "category",
            sa.literal_column("published_at DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_list_item_class",
        "need",
        ["item_class", sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_list_province",
        "need",
        ["province", sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_list_province_category",
        "need",
        [
            "province",
            "category",
            sa.literal_column("published_at DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_list_township",
        "need",
        ["township", sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_list_township_category",
        "need",
        [
            "township",
            "category",
            sa.literal_column("published_at DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_list_urgency",
        "need",
        ["urgency", sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "ix_need_notice",
        "need",
        ["notice_ends_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'noticed'"),
    )
    op.create_index(
        "ix_need_review",
        "need",
        ["review_due_at"],
        unique=False,
        postgresql_where=sa.text(
            "state = 'published' AND publish_first AND next_level IS NOT NULL"
        ),
    )
    op.create_index(
        "ix_need_search",
        "need",
        ["search"],
        unique=False,
        postgresql_using="gin",
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_table(
        "personal_data",
        sa.Column("applicant_id", sa.UUID(), nullable=False),
        sa.Column("fields", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("octet_length(sealed) > 28", name=op.f("ck_personal_data_sealed_whole")),
        sa.ForeignKeyConstraint(
            ["applicant_id"], ["applicant.id"], name=op.f("fk_personal_data_applicant_id_applicant")
        ),
        sa.PrimaryKeyConstraint("applicant_id", name=op.f("pk_personal_data")),
    )
    op.create_table(
        "commitment",
        sa.Column("need_id", sa.UUID(), nullable=False),
        sa.Column("allocation_id", sa.UUID(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('reserved', 'dispatched', 'delivered', 'returned', 'released', 'written_off')",
            name=op.f("ck_commitment_state"),
        ),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_commitment_quantity_positive")),
        sa.ForeignKeyConstraint(["need_id"], ["need.id"], name=op.f("fk_commitment_need_id_need")),
        sa.PrimaryKeyConstraint("need_id", "allocation_id", name=op.f("pk_commitment")),
    )
    op.create_table(
        "objection",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("need_id", sa.UUID(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("received_from", sa.Text(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'open') = (decided_at IS NULL) AND (state = 'open') = (decided_by IS NULL) AND (state = 'open') = (decision_reason IS NULL)",
            name=op.f("ck_objection_decision_whole"),
        ),
        sa.CheckConstraint(
            "state IN ('open', 'upheld', 'dismissed')", name=op.f("ck_objection_state")
        ),
        sa.ForeignKeyConstraint(["need_id"], ["need.id"], name=op.f("fk_objection_need_id_need")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_objection")),
    )
    op.create_index("ix_objection_need_id", "objection", ["need_id"], unique=False)
    op.create_index(
        "ix_objection_open",
        "objection",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "recusal",
        sa.Column("need_id", sa.UUID(), nullable=False),
        sa.Column("officer", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["need_id"], ["need.id"], name=op.f("fk_recusal_need_id_need")),
        sa.PrimaryKeyConstraint("need_id", "officer", name=op.f("pk_recusal")),
    )
    op.create_table(
        "verification",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("need_id", sa.UUID(), nullable=False),
        sa.Column("submission", sa.SmallInteger(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("officer", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "level IN ('village', 'township', 'county', 'city')", name=op.f("ck_verification_level")
        ),
        sa.CheckConstraint(
            "outcome = 'passed' OR reason IS NOT NULL", name=op.f("ck_verification_reason_given")
        ),
        sa.CheckConstraint(
            "outcome IN ('passed', 'returned', 'rejected')", name=op.f("ck_verification_outcome")
        ),
        sa.ForeignKeyConstraint(
            ["need_id"], ["need.id"], name=op.f("fk_verification_need_id_need")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verification")),
        sa.UniqueConstraint("need_id", "officer", name="verification_officer_once"),
        sa.UniqueConstraint("need_id", "submission", "level", name="verification_level_once"),
    )
    # The sequencer adds to this one row.
    op.execute("INSERT INTO feed_head DEFAULT VALUES")
