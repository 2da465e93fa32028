"""Tables of the log; those in INSERT_ONLY are so by triggers and grants.

entry        one row an entry; `leaf` is generated, so that a changed body changes its tile
node         roots of full tiles (levels 8, 16, 24): 0.7 bytes an entry
head         the one row that is updated: size and frontier, compared and swapped by appenders
checkpoint   every signed checkpoint
cosignature  what witnesses signed of them; `at` is the time the witness says
quorum       the checkpoints with enough of them under a policy (`Policy.identity`); `at` is the
             earliest time by which enough had signed
heartbeat    when each producer's feed answered last; `silent_since` while its silence is an alarm
witnessing   one row: which process asks the witnesses, until when, and the alarm that is on

What is reckoned from the log (services/audit/reckoning), and can be again:

ledger_sum      what each producer's movements add up to; division "" when not known
side            what needs, donors and matching say of each allocation
telling         which totals were told, and how many rows differed
told_total      each row told, beside what the log adds up to
totals_overdue  the days for whose totals an alarm was raised
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
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
    Index(
        "ix_entry_mentions",
        "mentions",
        postgresql_using="gin",
        postgresql_with={"gin_pending_list_limit": 32768},
    ),
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

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("producer", Text, primary_key=True),
    Column("heard_at", DateTime(timezone=True), nullable=False),
    Column("silent_since", DateTime(timezone=True), nullable=True),
)

_WHAT = ("division_code", "item_class", "unit", "state")

ledger_sum = Table(
    "ledger_sum",
    metadata,
    Column("producer", Text, primary_key=True),
    *(Column(name, Text(collation="C"), primary_key=True) for name in _WHAT),
    Column("quantity", Numeric, nullable=False),
    Column("allocations", BigInteger, nullable=False),
)

side = Table(
    "side",
    metadata,
    Column("allocation_id", Uuid, primary_key=True),
    Column("needs_state", Text),
    Column("needs_quantity", BigInteger),
    Column("donors_state", Text),
    Column("donors_quantity", BigInteger),
    Column("matching_state", Text),
    Column("matching_quantity", BigInteger),
    Column("differs_since", DateTime(timezone=True)),
    Column("alarmed", Boolean, nullable=False, server_default=text("false")),
    Index(
        "ix_side_differs_since",
        "differs_since",
        postgresql_where=text("differs_since IS NOT NULL AND NOT alarmed"),
    ),
)

telling = Table(
    "telling",
    metadata,
    Column("producer", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("as_of_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("occasion", Text, nullable=False),
    Column("parts", BigInteger, nullable=False),
    Column("parts_told", BigInteger, nullable=False),
    Column("told_at", DateTime(timezone=True), nullable=False),
    Column("compared_at", DateTime(timezone=True)),
    Column("differences", BigInteger),
    Index("ix_telling_day", "day", "producer", "as_of_seq"),
)

told_total = Table(
    "told_total",
    metadata,
    Column("producer", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("as_of_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("book", Text, primary_key=True),
    *(Column(name, Text(collation="C"), primary_key=True) for name in _WHAT),
    *(
        Column(name, kind, nullable=False, server_default=text("0"))
        for name, kind in (
            ("told_quantity", Numeric),
            ("told_allocations", BigInteger),
            ("logged_quantity", Numeric),
            ("logged_allocations", BigInteger),
        )
    ),
    Index("ix_told_total_day_what", "day", *_WHAT, "producer", "book"),
)

totals_overdue = Table(
    "totals_overdue",
    metadata,
    Column("producer", Text, primary_key=True),
    Column("day", Date, primary_key=True),
)

INSERT_ONLY = ("entry", "node", "checkpoint", "cosignature", "quorum")
