"""Tables of the log; those in INSERT_ONLY are so by triggers and grants.

entry        one row an entry; `leaf` is generated, so that a changed body changes its tile
node         roots of full tiles (levels 8, 16, 24): 0.7 bytes an entry
head         the one row that is updated: size and frontier, compared and swapped by appenders
checkpoint   every signed checkpoint
cosignature  what witnesses signed of them; `at` is the time the witness says
quorum       the checkpoints with enough of them under a policy (SHA-256 of its text); `at` is the
             earliest time by which enough had signed
witnessing   one row: which process asks the witnesses, until when, and the alarm that is on
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.audit.domain import BODY_BYTES_MAX
from shared.db import make_base
from shared.events import add_event_tables

Base = make_base()
metadata: MetaData = Base.metadata
add_event_tables(metadata)

entry = Table(
    "entry",
    metadata,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column(
        "leaf",
        LargeBinary,
        Computed(r"sha256('\x00'::bytea || body)", persisted=True),
        nullable=False,
    ),
    Column("key", Uuid, nullable=False, unique=True),
    Column("producer", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    # Compared as ranges of digits, so never by a language's order.
    Column("division", Text(collation="C"), nullable=True),
    Column("actor", Text, nullable=False),
    Column("actor_role", Text, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("mentions", ARRAY(Uuid), nullable=False),
    CheckConstraint("index >= 0", name="index_not_negative"),
    CheckConstraint(f"octet_length(body) <= {BODY_BYTES_MAX}", name="body_fits_a_bundle"),
    Index("uq_entry_producer_seq", "producer", "seq", unique=True),
    Index("ix_entry_actor_index", "actor", "index"),
    Index("ix_entry_type_index", "type", "index"),
    Index("ix_entry_division_index", "division", "index"),
    Index("ix_entry_time_index", "time", "index"),
    # Compared byte by byte: only asked for equality.
    Index(
        "ix_entry_subject_index",
        "subject",
        "index",
        postgresql_ops={"subject": "text_pattern_ops"},
    ),
    Index("ix_entry_mentions", "mentions", postgresql_using="gin"),
)

node = Table(
    "node",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("level IN (8, 16, 24)", name="level_stored"),
    CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
)

head = Table(
    "head",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=text("true")),
    Column("size", BigInteger, nullable=False, server_default=text("0")),
    Column("frontier", LargeBinary, nullable=False, server_default=text("''::bytea")),
    CheckConstraint("one", name="one_row"),
    CheckConstraint("size >= 0", name="size_not_negative"),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    CheckConstraint("octet_length(root) = 32", name="root_is_sha256"),
)

cosignature = Table(
    "cosignature",
    metadata,
    Column("name", Text, primary_key=True),
    Column("key_id", LargeBinary, primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False, index=True),
    Column("line", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
)

quorum = Table(
    "quorum",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("policy", LargeBinary, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    CheckConstraint("octet_length(policy) = 32", name="policy_is_sha256"),
    Index("ix_quorum_policy_size", "policy", "size"),
)

witnessing = Table(
    "witnessing",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=text("true")),
    Column("holder", Uuid, nullable=True),
    Column("until", DateTime(timezone=True), nullable=True),
    Column("missing_since", DateTime(timezone=True), nullable=True),
    CheckConstraint("one", name="one_row"),
)

INSERT_ONLY = ("entry", "node", "checkpoint", "cosignature", "quorum")
