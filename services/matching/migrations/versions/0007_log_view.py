"""Whether the log says that too few witnesses cosign it.

Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "log_view",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("quorum_missing_since", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("one", name=op.f("ck_log_view_one_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_log_view")),
    )
    op.execute("INSERT INTO log_view DEFAULT VALUES")
