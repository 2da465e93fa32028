"""Tables of the needs service; what must never be is refused here, whoever writes."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, deferred, mapped_column

from shared.db import COLUMN_TYPES, NAMING_CONVENTION
from shared.events.tables import add_event_tables
from shared.totals import add_totals_table
from shared.vocabulary.codes import ApplicantKind, HouseholdClass, Level, NeedState, Term, Urgency
from shared.vocabulary.movements import MovementState


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = COLUMN_TYPES


add_event_tables(Base.metadata)
add_totals_table(Base.metadata)


def _one_of(column: str, codes: type[Term] | type[MovementState] | tuple[str, ...]) -> str:
    listed = ", ".join(f"'{code}'" for code in codes)
    return f"{column} IN ({listed})"


class Applicant(Base):
    """What needs are for. `shown_name` is public: a household's is masked (李**).

    What is assessed of a household is sealed with its personal data; rows from before that have it
    in `household`, and their exact score. Otherwise the score is rounded down to hundreds.
    """

    __tablename__ = "applicant"
    __table_args__ = (
        UniqueConstraint("entered_by", "external_key", name="applicant_key_once"),
        UniqueConstraint("id_number_index", name="applicant_person_once"),
        CheckConstraint(_one_of("kind", ApplicantKind), name="kind"),
        CheckConstraint(_one_of("household_class", HouseholdClass), name="household_class"),
        CheckConstraint(
            "(kind = 'household') = (household_class IS NOT NULL)", name="household_classed"
        ),
        CheckConstraint("division_code ~ '^[0-9]{12}$'", name="division_code"),
        CheckConstraint("deprivation_score_permille BETWEEN 0 AND 1000", name="score"),
        Index("ix_applicant_division_code", "division_code", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    external_key: Mapped[str | None] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    division_code: Mapped[str] = mapped_column(Text)
    shown_name: Mapped[str] = mapped_column(Text)
    household: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    household_class: Mapped[str | None] = mapped_column(Text)
    deprivation_score_permille: Mapped[int | None] = mapped_column(SmallInteger)
    deprivation_index: Mapped[str | None] = mapped_column(Text)
    id_number_index: Mapped[bytes | None] = mapped_column(LargeBinary)
    erased_at: Mapped[datetime | None]
    entered_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class PersonalData(Base):
    """Ciphertext under the applicant's own key, which lies outside the database."""

    __tablename__ = "personal_data"
    __table_args__ = (CheckConstraint("octet_length(sealed) > 28", name="sealed_whole"),)

    applicant_id: Mapped[UUID] = mapped_column(ForeignKey("applicant.id"), primary_key=True)
    fields: Mapped[list[str]] = mapped_column(ARRAY(Text))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class EventDisclosures(Base):
    """What opens the digests of one event, sealed as `personal_data` is; see `privacy`."""

    __tablename__ = "event_disclosures"
    __table_args__ = (
        CheckConstraint("octet_length(sealed) > 28", name="sealed_whole"),
        Index("ix_event_disclosures_applicant", "applicant_id", "event_id"),
        Index(
            "ix_event_disclosures_need",
            "need_id",
            "event_id",
            postgresql_where=text("need_id IS NOT NULL"),
        ),
    )

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    applicant_id: Mapped[UUID] = mapped_column(ForeignKey("applicant.id"))
    # None: the event is about the applicant.
    need_id: Mapped[UUID | None] = mapped_column(ForeignKey("need.id"))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


def _prefix(length: int) -> Mapped[str]:
    # Stored, so that each level of a listing is one index condition (RUNTIME 4.4: six times
    # faster than LIKE). Never read into an object, only filtered by.
    return deferred(
        mapped_column(
            Text, Computed(f"left(division_code, {length})", persisted=True), nullable=False
        )
    )


_NEWEST = (text("published_at DESC"), text("id DESC"))
_PUBLISHED = text("state = 'published'")
_NOBODY = text("'{}'")


def _listing(name: str, *columns: str) -> Index:
    return Index(f"ix_need_list_{name}", *columns, *_NEWEST, postgresql_where=_PUBLISHED)


class Need(Base):
    """One item with one quantity; quantities below `base_unit` are in that unit."""

    __tablename__ = "need"
    __table_args__ = (
        UniqueConstraint("entered_by", "external_key", name="need_key_once"),
        CheckConstraint(_one_of("state", NeedState), name="state"),
        CheckConstraint(_one_of("urgency", Urgency), name="urgency"),
        CheckConstraint(_one_of("next_level", Level), name="next_level"),
        CheckConstraint("division_code ~ '^[0-9]{12}$'", name="division_code"),
        CheckConstraint("quantity > 0 AND base_quantity > 0", name="quantity_positive"),
        CheckConstraint(
            "(quantity IS NULL) = (base_quantity IS NULL)"
            " AND (quantity IS NULL) = (base_unit IS NULL)",
            name="base_quantity_stated",
        ),
        CheckConstraint(
            "quantity IS NOT NULL OR state IN ('draft', 'withdrawn')", name="only_drafts_lack"
        ),
        CheckConstraint(
            "reserved >= 0 AND in_transit >= 0 AND delivered >= 0", name="held_not_negative"
        ),
        CheckConstraint(
            "reserved + in_transit + delivered <= coalesce(base_quantity, 0)",
            name="held_within_required",
        ),
        CheckConstraint(
            "state NOT IN ('published', 'closed', 'expired')"
            " OR (published_at IS NOT NULL AND expires_at IS NOT NULL)",
            name="published_dated",
        ),
        CheckConstraint("state <> 'noticed' OR notice_ends_at IS NOT NULL", name="notice_dated"),
        CheckConstraint("headcount > 0", name="headcount_positive"),
        CheckConstraint("version > 0", name="version_positive"),
        _listing("all"),
        _listing("category", "category"),
        _listing("item_class", "item_class"),
        _listing("urgency", "urgency"),
        _listing("province", "province"),
        _listing("city", "city"),
        _listing("county", "county"),
        _listing("township", "township"),
        _listing("province_category", "province", "category"),
        _listing("city_category", "city", "category"),
        _listing("county_category", "county", "category"),
        _listing("township_category", "township", "category"),
        Index("ix_need_list_closed", *_NEWEST, postgresql_where=text("state = 'closed'")),
        Index(
            "ix_need_search",
            "search",
            postgresql_using="gin",
            postgresql_where=_PUBLISHED,
        ),
        Index("ix_need_notice", "notice_ends_at", "id", postgresql_where=text("state = 'noticed'")),
        Index("ix_need_expiry", "expires_at", postgresql_where=_PUBLISHED),
        Index(
            "ix_need_review",
            "review_due_at",
            postgresql_where=text(
                "state = 'published' AND publish_first AND next_level IS NOT NULL"
            ),
        ),
        Index(
            "ix_need_awaits",
            "next_level",
            "division_code",
            "id",
            postgresql_where=text("next_level IS NOT NULL"),
        ),
        Index("ix_need_division", "division_code", "id"),
        Index("ix_need_applicant_id", "applicant_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    external_key: Mapped[str | None] = mapped_column(Text)
    applicant_id: Mapped[UUID] = mapped_column(ForeignKey("applicant.id"))
    division_code: Mapped[str] = mapped_column(Text)
    province: Mapped[str] = _prefix(2)
    city: Mapped[str] = _prefix(4)
    county: Mapped[str] = _prefix(6)
    township: Mapped[str] = _prefix(9)
    category: Mapped[str] = mapped_column(Text)
    item_class: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    text: Mapped[str | None] = mapped_column(Text)
    item: Mapped[str] = mapped_column(Text)
    specification: Mapped[str | None] = mapped_column(Text)
    quantity: Mapped[int | None] = mapped_column(BigInteger)
    unit: Mapped[str] = mapped_column(Text)
    base_quantity: Mapped[int | None] = mapped_column(BigInteger)
    base_unit: Mapped[str | None] = mapped_column(Text)
    reserved: Mapped[int] = mapped_column(BigInteger, default=0)
    in_transit: Mapped[int] = mapped_column(BigInteger, default=0)
    delivered: Mapped[int] = mapped_column(BigInteger, default=0)
    headcount: Mapped[int | None] = mapped_column(Integer)
    cause: Mapped[str | None] = mapped_column(Text)
    urgency: Mapped[str] = mapped_column(Text)
    needed_by: Mapped[date | None]
    evidence: Mapped[list[dict[str, str]]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(Text)
    next_level: Mapped[str | None] = mapped_column(Text)
    # Counts submissions: a returned need that is submitted again climbs the levels anew.
    submission: Mapped[int] = mapped_column(SmallInteger, default=0)
    publish_first: Mapped[bool] = mapped_column(default=False)
    policy: Mapped[str | None] = mapped_column(Text)
    notice_ends_at: Mapped[datetime | None]
    review_due_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    entered_by: Mapped[str] = mapped_column(Text)
    # Subjects; who changed what is asked for decides it as little as who entered it.
    edited_by: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=_NOBODY)
    created_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(Integer, default=1)
    search: Mapped[str] = deferred(mapped_column(TSVECTOR, nullable=False))


class Verification(Base):
    """One officer's decision about one need, under the policy in force then."""

    __tablename__ = "verification"
    __table_args__ = (
        UniqueConstraint("need_id", "officer", name="verification_officer_once"),
        UniqueConstraint("need_id", "submission", "level", name="verification_level_once"),
        CheckConstraint(_one_of("level", Level), name="level"),
        CheckConstraint(_one_of("outcome", ("passed", "returned", "rejected")), name="outcome"),
        CheckConstraint("outcome = 'passed' OR reason IS NOT NULL", name="reason_given"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    need_id: Mapped[UUID] = mapped_column(ForeignKey("need.id"))
    submission: Mapped[int] = mapped_column(SmallInteger)
    level: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    officer: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    policy: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime]


class Recusal(Base):
    """An officer's relation to an applicant, declared at one need; it holds for all of them."""

    __tablename__ = "recusal"
    __table_args__ = (Index("ix_recusal_officer", "officer"),)

    need_id: Mapped[UUID] = mapped_column(ForeignKey("need.id"), primary_key=True)
    officer: Mapped[str] = mapped_column(Text, primary_key=True)
    reason_code: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime]


class Objection(Base):
    """`received_from` is None when the public objected without an account."""

    __tablename__ = "objection"
    __table_args__ = (
        CheckConstraint(_one_of("state", ("open", "upheld", "dismissed")), name="state"),
        CheckConstraint(
            "(state = 'open') = (decided_at IS NULL) AND (state = 'open') = (decided_by IS NULL)"
            " AND (state = 'open') = (decision_reason IS NULL)",
            name="decision_whole",
        ),
        Index("ix_objection_need_id", "need_id"),
        Index("ix_objection_open", "id", postgresql_where=text("state = 'open'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    need_id: Mapped[UUID] = mapped_column(ForeignKey("need.id"))
    reason: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    received_from: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[datetime]
    decided_by: Mapped[str | None] = mapped_column(Text)
    decided_at: Mapped[datetime | None]
    decision_reason: Mapped[str | None] = mapped_column(Text)


class Commitment(Base):
    """What one allocation holds of one need, in base units."""

    __tablename__ = "commitment"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity_positive"),
        CheckConstraint(_one_of("state", MovementState), name="state"),
    )

    need_id: Mapped[UUID] = mapped_column(ForeignKey("need.id"), primary_key=True)
    allocation_id: Mapped[UUID] = mapped_column(primary_key=True)
    quantity: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text)
    moved_at: Mapped[datetime]


class PolicyActivation(Base):
    __tablename__ = "policy_activation"
    __table_args__ = (
        CheckConstraint("valid_until > valid_from", name="valid_some_time"),
        CheckConstraint("division_code ~ '^[0-9]{12}$'", name="division_code"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    policy: Mapped[str] = mapped_column(Text)
    division_code: Mapped[str] = mapped_column(Text)
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime | None]
    reason: Mapped[str] = mapped_column(Text)
    activated_by: Mapped[str] = mapped_column(Text)
