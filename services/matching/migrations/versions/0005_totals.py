"""Which totals have been told.

Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "totals_told",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("as_of_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("parts", sa.BigInteger(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("day", "as_of_seq", name=op.f("pk_totals_told")),
    )
    op.create_index(
        "uq_totals_told_day_end",
        "totals_told",
        ["day"],
        unique=True,
        postgresql_where=sa.text("occasion = 'day_end'"),
    )
