"""From rows of the read models to the values the rules are about."""

from services.matching.domain import LineTerms, NeedTerms
from services.matching.tables import LineView, NeedView


def need_terms(view: NeedView, remaining: int) -> NeedTerms:
    return NeedTerms(
        need_id=view.need_id,
        applicant=view.applicant,
        applicant_kind=view.applicant_kind,
        household_class=view.household_class,
        poverty_permille=view.poverty_permille,
        item_class=view.item_class,
        title=view.title,
        item=view.item,
        specification=view.specification,
        unit=view.unit,
        remaining=remaining,
        urgency=view.urgency,
        division_code=view.division_code,
        published_at=view.published_at,
        needed_by=view.needed_by,
    )


def line_terms(view: LineView, available: int) -> LineTerms:
    return LineTerms(
        line_id=view.line_id,
        offer_id=view.offer_id,
        organization_id=view.organization_id,
        organization_verified=view.organization_verified,
        item_class=view.item_class,
        title=view.title,
        item=view.item,
        specification=view.specification,
        unit=view.unit,
        available=available,
        lot=min(view.lot_min, available),
        served_division_codes=tuple(view.served_division_codes),
        applicant_kinds=tuple(view.applicant_kinds),
        household_classes=tuple(view.household_classes),
        valid_from=view.valid_from,
        valid_until=view.valid_until,
    )
