"""What was appended last is put in order in the index of mentions by a clock, not by an appender.

Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    # In kB: an appender does it all the same when the clock stands still. 4,096 is the default,
    # reached every some 20,000 entries, whose appender then waited for a quarter of a second.
    op.execute("ALTER INDEX ix_entry_mentions SET (gin_pending_list_limit = 32768)")
    # Only an index's owner may; the service's role is not.
    op.execute(
        """
        CREATE FUNCTION tidy_mentions() RETURNS bigint LANGUAGE sql SECURITY DEFINER
        SET search_path FROM CURRENT
        AS $$ SELECT gin_clean_pending_list('ix_entry_mentions') $$
        """
    )
