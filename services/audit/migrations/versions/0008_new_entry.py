"""Entries to be appended are passed as one array of rows.

Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # A type of its own: a column that `entry` gets later must not change what an appender gives.
    op.execute(
        """
        CREATE TYPE new_entry AS (
          index bigint, body bytea, key uuid, producer text, seq bigint, type text, subject text,
          division text, actor text, actor_role text, time timestamptz, mentions uuid[]
        )
        """
    )
