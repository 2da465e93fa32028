"""The trail is asked by subject, and for the indexes of a range of time.

Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index(
        "ix_entry_subject_index",
        "entry",
        ["subject", "index"],
        postgresql_ops={"subject": "text_pattern_ops"},
    )
    op.create_index("ix_entry_time_index", "entry", ["time", "index"])
    op.drop_index("ix_entry_time", "entry")
