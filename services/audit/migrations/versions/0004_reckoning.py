"""What is reckoned from the log: sums of movements, and totals told.

Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

WHAT = ("division_code", "item_class", "unit", "state")


def upgrade() -> None:
    op.create_table(
        "ledger_sum",
        sa.Column("producer", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text(collation="C"), nullable=False) for name in WHAT),
        sa.Column("quantity", sa.Numeric(), nullable=False),
        sa.Column("allocations", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("producer", *WHAT, name=op.f("pk_ledger_sum")),
    )
    op.create_table(
        "side",
        sa.Column("allocation_id", sa.Uuid(), nullable=False),
        sa.Column("needs_state", sa.Text(), nullable=True),
        sa.Column("needs_quantity", sa.BigInteger(), nullable=True),
        sa.Column("donors_state", sa.Text(), nullable=True),
        sa.Column("donors_quantity", sa.BigInteger(), nullable=True),
        sa.Column("matching_state", sa.Text(), nullable=True),
        sa.Column("matching_quantity", sa.BigInteger(), nullable=True),
        sa.Column("differs_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("alarmed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("allocation_id", name=op.f("pk_side")),
    )
    op.create_index(
        "ix_side_differs_since",
        "side",
        ["differs_since"],
        postgresql_where=sa.text("differs_since IS NOT NULL AND NOT alarmed"),
    )
    op.create_table(
        "telling",
        sa.Column("producer", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("as_of_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("parts", sa.BigInteger(), nullable=False),
        sa.Column("parts_told", sa.BigInteger(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("compared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("differences", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("producer", "day", "as_of_seq", name=op.f("pk_telling")),
    )
    op.create_index("ix_telling_day", "telling", ["day", "producer", "as_of_seq"])
    op.create_table(
        "told_total",
        sa.Column("producer", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("as_of_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("book", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text(collation="C"), nullable=False) for name in WHAT),
        *(
            sa.Column(name, kind, server_default=sa.text("0"), nullable=False)
            for name, kind in (
                ("told_quantity", sa.Numeric()),
                ("told_allocations", sa.BigInteger()),
                ("logged_quantity", sa.Numeric()),
                ("logged_allocations", sa.BigInteger()),
            )
        ),
        sa.PrimaryKeyConstraint(
            "producer", "day", "as_of_seq", "book", *WHAT, name=op.f("pk_told_total")
        ),
    )
    op.create_index("ix_told_total_day_what", "told_total", ["day", *WHAT, "producer", "book"])
    op.create_table(
        "totals_overdue",
        sa.Column("producer", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("producer", "day", name=op.f("pk_totals_overdue")),
    )
