"""From rows of the read models to the values the rules are about."""

from datetime import datetime
from typing import Any

from services.matching.domain import LineTerms, NeedTerms


def need_terms(row: Any, remaining: int, aided_at: datetime | None = None) -> NeedTerms:
    """`row` is a NeedView, or a row of its columns."""
    return NeedTerms(
        need_id=row.need_id,
        applicant=row.applicant,
        applicant_kind=row.applicant_kind,
        household_class=row.household_class,
        poverty_permille=row.poverty_permille,
        item_class=row.item_class,
        title=row.title,
        item=row.item,
        specification=row.specification,
        unit=row.unit,
        remaining=remaining,
        urgency=row.urgency,
        division_code=row.division_code,
        published_at=row.published_at,
        needed_by=row.needed_by,
        aided_at=aided_at,
    )


def line_terms(row: Any, available: int) -> LineTerms:
    """`row` is a LineView, or a row of its columns."""
    return LineTerms(
        line_id=row.line_id,
        offer_id=row.offer_id,
        organization_id=row.organization_id,
        organization_verified=row.organization_verified,
        item_class=row.item_class,
        title=row.title,
        item=row.item,
        specification=row.specification,
        unit=row.unit,
        available=available,
        lot=min(row.lot_min, available),
        served_division_codes=tuple(row.served_division_codes),
        applicant_kinds=tuple(row.applicant_kinds),
        household_classes=tuple(row.household_classes),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )
