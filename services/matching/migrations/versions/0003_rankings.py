"""Rankings as versions, the program's own first in force; whose doing an allocation's end was.

Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("allocation", sa.Column("side", sa.Text(), nullable=True))
    op.create_table(
        "ranking",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("built_in", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("card", postgresql.JSONB(), nullable=True),
        sa.Column("card_sha256", sa.Text(), nullable=True),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.Column("figures", postgresql.JSONB(), nullable=True),
        sa.Column("decisions", sa.BigInteger(), nullable=False),
        sa.Column("decisions_sha256", sa.Text(), nullable=True),
        sa.Column("progress_permille", sa.SmallInteger(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("proposed_role", sa.Text(), nullable=False),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trained_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("activated_by", sa.Text(), nullable=True),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("activation_reason", sa.Text(), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('training', 'failed', 'proposed', 'active', 'retired')",
            name=op.f("ck_ranking_state_known"),
        ),
        sa.CheckConstraint(
            "built_in OR state IN ('training', 'failed') OR card IS NOT NULL",
            name=op.f("ck_ranking_card_there"),
        ),
        sa.CheckConstraint(
            "state <> 'active' OR activated_by IS NOT NULL",
            name=op.f("ck_ranking_activated_by_whom"),
        ),
        sa.CheckConstraint(
            "activated_by <> proposed_by", name=op.f("ck_ranking_activated_by_another")
        ),
        sa.CheckConstraint(
            "progress_permille BETWEEN 0 AND 1000", name=op.f("ck_ranking_progress_bounded")
        ),
        sa.ForeignKeyConstraint(
            ["previous"], ["ranking.name"], name=op.f("fk_ranking_previous_ranking")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_ranking")),
    )
    for state in ("active", "training"):
        op.create_index(
            f"uq_ranking_{state}",
            "ranking",
            ["state"],
            unique=True,
            postgresql_where=sa.text(f"state = '{state}'"),
        )
    op.create_index(op.f("ix_ranking_proposed_at_name"), "ranking", ["proposed_at", "name"])
    # The moment of the first version, not of the migration: every database says the same.
    op.execute(
        "INSERT INTO ranking (name, state, built_in, seed, decisions, progress_permille, attempts,"
        " proposed_by, proposed_role, proposed_at, trained_at, activated_by, activated_at)"
        " VALUES ('reasoned-1', 'active', true, 0, 0, 1000, 0, 'program', 'service',"
        " '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', 'installation', '2026-01-01T00:00:00Z')"
    )
