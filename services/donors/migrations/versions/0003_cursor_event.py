"""Which event a cursor stands at, so that a feed set back to a backup is noticed.

Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("feed_cursor", sa.Column("event_id", sa.Uuid(), nullable=True))
    op.add_column("feed_cursor", sa.Column("event_seq", sa.BigInteger(), nullable=True))
