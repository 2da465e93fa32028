"""One row a log; triggers refuse whatever would take a row back (migration 0001).

at   the latest cosignature's time, in seconds since 1970 as tlog-cosignature writes it
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, LargeBinary, MetaData, Table, Text

from shared.db import make_base

Base = make_base()
metadata: MetaData = Base.metadata

cosigned = Table(
    "cosigned",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    CheckConstraint("size >= 0", name="size_not_negative"),
    CheckConstraint("octet_length(root) = 32", name="root_is_sha256"),
    CheckConstraint("at >= 0", name="at_not_negative"),
)
