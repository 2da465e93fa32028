"""What a round is computed of, and the hard conditions of a match; pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class NeedTerms:
    """A published need, frozen for a round; quantities in base units.

    aided_at   when its applicant last got an aid of the class for another need; None = never. What
               counts as too soon is the policy's to say (one_aid_days, repeat_penalty)
    """

    need_id: UUID
    applicant: str
    applicant_kind: str
    household_class: str | None
    poverty_permille: int | None
    item_class: str
    title: str
    item: str
    specification: str | None
    unit: str
    remaining: int
    urgency: str
    division_code: str
    published_at: datetime
    needed_by: date | None
    aided_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LineTerms:
    """An open offer line, frozen for a round; quantities in base units.

    lot   the smallest quantity it gives to one need: the offer's own, or all that is left when that
          is less, so that a remainder is not stranded
    """

    line_id: UUID
    offer_id: UUID
    organization_id: UUID
    organization_verified: bool
    item_class: str
    title: str
    item: str
    specification: str | None
    unit: str
    available: int
    lot: int
    served_division_codes: tuple[str, ...]
    applicant_kinds: tuple[str, ...]
    household_classes: tuple[str, ...]
    valid_from: datetime
    valid_until: datetime


def text_of(one: NeedTerms | LineTerms) -> str:
    """What is compared of a need or line, in rounds and live."""
    return f"{one.title} {one.item} {one.specification or ''}"


def may_serve(line: LineTerms, need: NeedTerms, at: datetime) -> bool:
    """Hard conditions but the division, which the index's lists are: class, unit, time, rules."""
    return (
        line.item_class == need.item_class
        and line.unit == need.unit
        and line.valid_from <= at < line.valid_until
        and (not line.applicant_kinds or need.applicant_kind in line.applicant_kinds)
        and (not line.household_classes or need.household_class in line.household_classes)
        and line.lot <= need.remaining
        and line.available > 0
    )
