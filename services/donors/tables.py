"""Tables of organizations, offers and the ledger of their lines."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from services.donors.domain.offers import MAY_EXPIRE, OfferState
from services.donors.domain.organizations import OrganizationState
from shared.db import COLUMN_TYPES, NAMING_CONVENTION
from shared.events import add_event_tables
from shared.totals import add_totals_table
from shared.vocabulary.movements import MovementState


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar = COLUMN_TYPES


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


class Organization(Base):
    __tablename__ = "organization"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    external_key: Mapped[str | None] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    uscc: Mapped[str | None] = mapped_column(Text, unique=True)
    verified: Mapped[bool] = mapped_column(default=False)
    division_code: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    entered_by: Mapped[str] = mapped_column(Text)
    approved_by: Mapped[str | None] = mapped_column(Text)
    approved_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("entered_by", "external_key"),
        CheckConstraint(_one_of("state", OrganizationState), name="state_known"),
        CheckConstraint("NOT verified OR uscc IS NOT NULL", name="verified_on_uscc"),
        CheckConstraint("approved_by <> entered_by", name="approved_by_another"),
        Index(None, "state", "id"),
    )


class Offer(Base):
    __tablename__ = "offer"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    external_key: Mapped[str | None] = mapped_column(Text)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organization.id"), index=True)
    kind: Mapped[str] = mapped_column(Text)
    category: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    text: Mapped[str | None] = mapped_column(Text)
    applicant_kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    household_classes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime]
    state: Mapped[str] = mapped_column(Text)
    entered_by: Mapped[str] = mapped_column(Text)
    submitted_by: Mapped[str | None] = mapped_column(Text)
    approved_by: Mapped[str | None] = mapped_column(Text)
    opened_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(default=1)

    organization: Mapped[Organization] = relationship(lazy="raise")
    lines: Mapped[list["OfferLine"]] = relationship(lazy="raise", order_by="OfferLine.position")
    served: Mapped[list["OfferDivision"]] = relationship(
        lazy="raise", order_by="OfferDivision.division_code"
    )

    __table_args__ = (
        UniqueConstraint("entered_by", "external_key"),
        CheckConstraint(_one_of("state", OfferState), name="state_known"),
        CheckConstraint("valid_until > valid_from", name="validity_not_empty"),
        CheckConstraint(
            "approved_by <> entered_by AND approved_by <> submitted_by", name="approved_by_another"
        ),
        CheckConstraint(
            "state NOT IN ('open', 'exhausted') OR opened_at IS NOT NULL", name="opened_at_known"
        ),
        Index(None, "state", "id"),
        Index(None, "category", "state", "id"),
        Index("ix_offer_opens", "valid_from", postgresql_where=sql("state = 'approved'")),
        Index(
            "ix_offer_expires",
            "valid_until",
            postgresql_where=sql(f"state IN ({', '.join(repr(str(s)) for s in MAY_EXPIRE)})"),
        ),
    )


class OfferLine(Base):
    """`quantity` and `lot_min` are as entered, in `unit`; the other amounts in `base_unit`."""

    __tablename__ = "offer_line"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    offer_id: Mapped[UUID] = mapped_column(ForeignKey("offer.id"), index=True)
    position: Mapped[int] = mapped_column(SmallInteger)
    item_class: Mapped[str] = mapped_column(Text, index=True)
    item: Mapped[str] = mapped_column(Text)
    specification: Mapped[str | None] = mapped_column(Text)
    quantity: Mapped[int | None] = mapped_column(BigInteger)
    daily_quantity: Mapped[int | None] = mapped_column(BigInteger)
    unit: Mapped[str] = mapped_column(Text)
    lot_min: Mapped[int] = mapped_column(BigInteger)
    base_unit: Mapped[str] = mapped_column(Text)
    lot_min_base: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int | None] = mapped_column(BigInteger)
    available: Mapped[int] = mapped_column(BigInteger)
    reserved: Mapped[int] = mapped_column(BigInteger, default=0)
    in_transit: Mapped[int] = mapped_column(BigInteger, default=0)
    delivered: Mapped[int] = mapped_column(BigInteger, default=0)
    written_off: Mapped[int] = mapped_column(BigInteger, default=0)

    __table_args__ = (
        CheckConstraint("available >= 0", name="available_not_negative"),
        CheckConstraint("reserved >= 0", name="reserved_not_negative"),
        CheckConstraint("in_transit >= 0", name="in_transit_not_negative"),
        CheckConstraint("delivered >= 0", name="delivered_not_negative"),
        CheckConstraint("written_off >= 0", name="written_off_not_negative"),
        CheckConstraint(
            "available + reserved + in_transit + delivered + written_off = coalesce(total, 0)",
            name="sum_is_total",
        ),
        CheckConstraint("total > 0", name="total_positive"),
        CheckConstraint("lot_min_base > 0", name="lot_min_positive"),
    )


class OfferDivision(Base):
    """A division an offer serves, no finer than a township."""

    __tablename__ = "offer_division"

    offer_id: Mapped[UUID] = mapped_column(ForeignKey("offer.id"), primary_key=True)
    division_code: Mapped[str] = mapped_column(Text, primary_key=True)

    __table_args__ = (Index(None, "division_code", "offer_id"),)


class Reservation(Base):
    """What one allocation holds of a line; a row stays when the quantity has gone back."""

    __tablename__ = "reservation"

    line_id: Mapped[UUID] = mapped_column(ForeignKey("offer_line.id"), primary_key=True)
    allocation_id: Mapped[UUID] = mapped_column(primary_key=True)
    quantity: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text)
    moved_at: Mapped[datetime]
    # The county it goes to, for totals.
    division_code: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity_positive"),
        CheckConstraint(_one_of("state", MovementState), name="state_known"),
    )


add_event_tables(Base.metadata)
add_totals_table(Base.metadata)
