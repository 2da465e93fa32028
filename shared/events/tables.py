"""Tables of the event feed, the same in every service.

`outbox` takes what transactions record, in any order; the sequencer moves committed rows to
`event` with a contiguous `seq`, and only those are readable. Numbers given by a database sequence
alone appear out of order when transactions overlap, and a reader polling `> last` loses events.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

# Well under the 65,535 bytes of a log entry (C2SP tlog-tiles), with room for the envelope.
DATA_BYTES_MAX = 32_768


def add_event_tables(metadata: MetaData) -> None:
    """Add outbox, event, feed_head, feed_cursor and idempotency to a service's metadata."""
    Table(
        "outbox",
        metadata,
        Column("position", BigInteger, Identity(always=True), primary_key=True),
        *_event_columns(),
        CheckConstraint(f"octet_length(data::text) <= {DATA_BYTES_MAX}", name="data_bounded"),
    )
    Table(
        "event",
        metadata,
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        *_event_columns(),
    )
    Table(
        "feed_head",
        metadata,
        Column("one", Boolean, primary_key=True, server_default=text("true")),
        Column("seq", BigInteger, nullable=False, server_default=text("0")),
        CheckConstraint("one", name="one_row"),
    )
    Table(
        "feed_cursor",
        metadata,
        Column("source", Text, primary_key=True),
        Column("seq", BigInteger, nullable=False),
        # The event applied last, and the number it was kept with: it counts while that is `seq`,
        # which a replica that knows no ids moves alone.
        Column("event_id", Uuid, nullable=True),
        Column("event_seq", BigInteger, nullable=True),
        CheckConstraint("seq >= 0", name="seq_not_negative"),
    )
    Table(
        "idempotency",
        metadata,
        Column("client", Text, primary_key=True),
        Column("route", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("body_hash", LargeBinary, nullable=False),
        Column("status", SmallInteger, nullable=False),
        Column("answer", LargeBinary, nullable=False),
        Column("at", DateTime(timezone=True), nullable=False, index=True),
    )


def _event_columns() -> list[Column[object]]:
    return [
        Column("id", Uuid, nullable=False, unique=True),
        Column("type", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("time", DateTime(timezone=True), nullable=False),
        Column("actor", Text, nullable=False),
        Column("actorrole", Text, nullable=False),
        Column("division", Text, nullable=True),
        Column("traceparent", Text, nullable=True),
        Column("data", JSONB, nullable=False),
    ]
