"""The read models, and the base of all tables of matching; read them from `tables`."""

from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, MetaData, SmallInteger, Text
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.db import COLUMN_TYPES, NAMING_CONVENTION


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar = {
        **COLUMN_TYPES,
        str: Text(),
        int: BigInteger(),
        bytes: LargeBinary(),
        list[str]: ARRAY(Text),
        list[int]: ARRAY(SmallInteger),
        dict[str, Any]: JSONB(),
    }


class NeedView(Base):
    """A need that was published, as its feed tells of it.

    changed_seq     number of the feed's event that changed the row last; the index reads by it
    published_seq   number of the event that published it last
    """

    __tablename__ = "need_view"

    need_id: Mapped[UUID] = mapped_column(primary_key=True)
    applicant: Mapped[str]
    applicant_kind: Mapped[str]
    household_class: Mapped[str | None]
    poverty_permille: Mapped[int | None]
    category: Mapped[str]
    item_class: Mapped[str]
    title: Mapped[str]
    item: Mapped[str]
    specification: Mapped[str | None]
    unit: Mapped[str]
    required: Mapped[int]
    remaining: Mapped[int]
    urgency: Mapped[str]
    needed_by: Mapped[date | None]
    division_code: Mapped[str]
    published_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    entered_by: Mapped[str]
    verified_by: Mapped[list[str]]
    recused: Mapped[list[str]]
    state: Mapped[str]
    changed_seq: Mapped[int]
    published_seq: Mapped[int] = mapped_column(server_default="0")

    __table_args__ = (
        CheckConstraint(
            "state IN ('published', 'suspended', 'withdrawn', 'expired', 'closed', 'returned',"
            " 'rejected')",
            name="state_known",
        ),
        CheckConstraint("remaining >= 0 AND remaining <= required", name="remaining_bounded"),
        Index(
            "ix_need_view_matchable",
            "division_code",
            postgresql_where=sql("state = 'published' AND remaining > 0"),
        ),
        Index(None, "changed_seq"),
    )


class LineView(Base):
    """A line of an offer that was opened, as its feed tells of it.

    opened_seq   number of the event that opened it last
    """

    __tablename__ = "line_view"

    line_id: Mapped[UUID] = mapped_column(primary_key=True)
    offer_id: Mapped[UUID] = mapped_column(index=True)
    organization_id: Mapped[UUID]
    organization_name: Mapped[str]
    organization_verified: Mapped[bool]
    kind: Mapped[str]
    category: Mapped[str]
    title: Mapped[str]
    item_class: Mapped[str]
    item: Mapped[str]
    specification: Mapped[str | None]
    unit: Mapped[str]
    total: Mapped[int]
    available: Mapped[int]
    lot_min: Mapped[int]
    served_division_codes: Mapped[list[str]]
    applicant_kinds: Mapped[list[str]]
    household_classes: Mapped[list[str]]
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime]
    state: Mapped[str]
    changed_seq: Mapped[int]
    opened_seq: Mapped[int] = mapped_column(server_default="0")

    __table_args__ = (
        CheckConstraint("state IN ('open', 'expired', 'withdrawn', 'blocked')", name="state_known"),
        CheckConstraint("available >= 0 AND available <= total", name="available_bounded"),
        Index(None, "changed_seq"),
    )


class LogView(Base):
    """One row: what the log says of itself. `quorum_missing_since` is None while all is well."""

    __tablename__ = "log_view"

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=sql("true"))
    quorum_missing_since: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("one", name="one_row"),)
