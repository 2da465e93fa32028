"""What proves the approval of an allocation; fetched for those logged before as well.

Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "allocation_receipt",
        sa.Column("allocation_id", sa.UUID(), nullable=False),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=True),
        sa.Column("receipt", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(entry IS NULL) = (receipt IS NULL)",
            name=op.f("ck_allocation_receipt_fetched_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["allocation_id"],
            ["allocation.id"],
            name=op.f("fk_allocation_receipt_allocation_id_allocation"),
        ),
        sa.PrimaryKeyConstraint("allocation_id", name=op.f("pk_allocation_receipt")),
        sa.UniqueConstraint("event_id", name=op.f("uq_allocation_receipt_event_id")),
    )
    op.create_index(
        "ix_allocation_receipt_waiting",
        "allocation_receipt",
        ["allocation_id"],
        postgresql_where=sa.text("receipt IS NULL"),
    )
    op.execute(
        "INSERT INTO allocation_receipt (allocation_id, event_id)"
        " SELECT id, approval_event_id FROM allocation"
        " WHERE approval_log_index IS NOT NULL AND approval_event_id IS NOT NULL"
    )
