"""Offers of the example: 400 of all six kinds, sized so that most needs but not all can be met."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import ceil, log10
from random import Random
from uuid import UUID

from deploy.example.needs import SeededNeed, templates
from services.donors.contract import (
    Eligibility,
    OfferCreate,
    OfferKind,
    OfferLineCreate,
    OrganizationCreate,
)
from shared.vocabulary import divisions, item_classes, units

COUNT = 400
# What is given of a class in all, as a share of what is needed; drawn for each class.
_SUPPLY_SHARE = (0.28, 0.75)
_CITY, _PROVINCE = "430200000000", "430000000000"
# Level served -> (share of the offers, weight of a line's quantity).
_SERVED = {"township": (25, 1.0), "county": (40, 3.0), "city": (22, 5.0), "province": (13, 6.0)}
_KIND_OF_BASE: dict[str, OfferKind] = {
    "yuan": "money", "hours": "service_hours", "seats": "training_seats", "jobs": "jobs",
}  # fmt: skip
# Which organizations give what; where none is named any may.
_GIVERS: dict[OfferKind, frozenset[str]] = {
    "money": frozenset({"foundation", "chamber_of_commerce", "enterprise", "ngo"}),
    "service_hours": frozenset(
        {"volunteer_federation", "social_work_centre", "ngo", "public_body"}
    ),
    "training_seats": frozenset({"public_body", "social_work_centre", "enterprise", "foundation"}),
    "jobs": frozenset({"enterprise", "cooperative", "chamber_of_commerce"}),
    "purchase_orders": frozenset({"enterprise", "cooperative", "chamber_of_commerce"}),
    "goods": frozenset({"enterprise", "foundation", "ngo", "cooperative", "chamber_of_commerce"}),
}
_TITLES: dict[OfferKind, str] = {
    "goods": "捐赠{items}", "money": "资助{items}", "service_hours": "提供{items}志愿服务",
    "training_seats": "提供{items}", "jobs": "提供{items}", "purchase_orders": "采购{items}",
}  # fmt: skip
_NO_ID = UUID(int=0)


@dataclass(frozen=True)
class SeededOffer:
    """`organization_key` names the organization."""

    organization_key: str
    body: OfferCreate

    def create_body(self, organization_id: UUID) -> OfferCreate:
        return self.body.model_copy(update={"organization_id": organization_id})


@dataclass
class _Plan:
    """One offer before its quantities are known."""

    kind: OfferKind
    category: str
    served: tuple[str, ...]
    level: str
    classes: list[str]
    eligible_kinds: tuple[str, ...]


def offers(
    chance: Random,
    needs: Sequence[SeededNeed],
    organizations: Sequence[OrganizationCreate],
    today: date,
) -> tuple[SeededOffer, ...]:
    demand = _demand(needs)
    plans = _plans(chance, demand, {n.division_code for n in needs})
    quantities = _quantities(chance, plans, demand)
    made = []
    for number, plan in enumerate(plans):
        giver = chance.choice([o for o in organizations if o.kind in _GIVERS[plan.kind]])
        lines = [_line(item_class, quantities[number, item_class]) for item_class in plan.classes]
        key = f"example-offer-{number + 1:03d}"
        body = _body(chance, key, plan, lines, giver.name, today)
        made.append(SeededOffer(giver.external_key or "", body))
    return tuple(made)


def kind_of(item_class: str) -> OfferKind:
    if item_class == "produce_sales":
        return "purchase_orders"
    return _KIND_OF_BASE.get(item_classes.get(item_class).base_unit, "goods")


def _demand(needs: Sequence[SeededNeed]) -> dict[str, dict[str, int]]:
    """Item class -> division (each need's and all around it) -> base quantity needed."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for need in needs:
        wanted, _ = units.to_base(need.body.item_class, need.body.quantity or 0, need.body.unit)
        for code in (need.division_code, *divisions.ancestors(need.division_code)):
            found[need.body.item_class][code] += wanted
    return found


def _plans(chance: Random, demand: dict[str, dict[str, int]], homes: set[str]) -> list[_Plan]:
    """Every class is in some offer; popular groups of classes are in many."""
    weight: dict[str, int] = defaultdict(int)
    for template in templates():
        if template.item_class in demand:
            weight[template.item_class] += template.weight
    groups: dict[tuple[str, OfferKind], list[str]] = defaultdict(list)
    for code in weight:
        groups[item_classes.get(code).category.value, kind_of(code)].append(code)
    townships = sorted({divisions.cut_to_township(code) for code in homes})
    plans: list[_Plan] = []
    # Two rounds over all classes put each into at least two offers that serve a whole county
    # or more; the rest is drawn by weight.
    for (category, kind), codes in groups.items():
        for level in ("county", "city"):
            plans += [
                _plan(chance, kind, category, level, codes[start : start + 3], townships)
                for start in range(0, len(codes), 3)
            ]
    while len(plans) < COUNT:
        leading = chance.choices(list(weight), weights=list(weight.values()))[0]
        category, kind = item_classes.get(leading).category.value, kind_of(leading)
        others = [c for c in groups[category, kind] if c != leading]
        more = chance.sample(others, min(len(others), chance.choices((0, 1, 2), (45, 35, 20))[0]))
        level = chance.choices(list(_SERVED), weights=[s for s, _ in _SERVED.values()])[0]
        plans.append(_plan(chance, kind, category, level, [leading, *more], townships))
    return plans


def _plan(
    chance: Random,
    kind: OfferKind,
    category: str,
    level: str,
    classes: list[str],
    townships: list[str],
) -> _Plan:
    counties = sorted({divisions.cut_to(code, "county") for code in townships})
    served: tuple[str, ...]
    if level == "township":
        proper = [code for code in townships if divisions.level(code) == "township"]
        served = tuple(sorted(chance.sample(proper, chance.randint(1, 5))))
    elif level == "county":
        served = (chance.choice(counties),)
    else:
        served = (_CITY,) if level == "city" else (_PROVINCE,)
    eligible: tuple[str, ...] = ()
    if level == "county" and chance.random() < 0.2:
        eligible = ("household",)
    return _Plan(kind, category, served, level, classes, eligible)


def _quantities(
    chance: Random, plans: list[_Plan], demand: dict[str, dict[str, int]]
) -> dict[tuple[int, str], int]:
    """(number of the offer, item class) -> base quantity: shares of what is given of the class.

    A line never holds much more than is needed where it serves, nor less than a small need.
    """
    lines: dict[str, list[tuple[int, float, int]]] = defaultdict(list)
    for number, plan in enumerate(plans):
        for code in plan.classes:
            reach = sum(demand[code].get(served, 0) for served in plan.served)
            share = _SERVED[plan.level][1] * chance.uniform(0.6, 1.6)
            lines[code].append((number, share, reach))
    found = {}
    for code, shares in lines.items():
        given = demand[code][divisions.ROOT] * chance.uniform(*_SUPPLY_SHARE)
        total = sum(share for _, share, _ in shares)
        smallest = min(
            units.to_base(code, t.quantity_min, t.unit)[0]
            for t in templates()
            if t.item_class == code
        )
        for number, share, reach in shares:
            wanted = min(given * share / total, max(reach, smallest))
            found[number, code] = max(smallest, round(wanted))
    return found


def _line(item_class: str, base_quantity: int) -> OfferLineCreate:
    """Entered in the unit people use for it, in a round number."""
    template = next(t for t in templates() if t.item_class == item_class)
    factor, _ = units.to_base(item_class, 1, template.unit)
    return OfferLineCreate(
        item_class=item_class,
        item=template.item,
        specification=template.specification,
        quantity=_rounded(max(1, base_quantity // factor)),
        unit=template.unit,
    )


def _rounded(quantity: int) -> int:
    """Two leading digits, upwards: 1,234 -> 1,300."""
    step = int(10 ** max(0, int(log10(quantity)) - 1))
    return ceil(quantity / step) * step


def _body(
    chance: Random,
    key: str,
    plan: _Plan,
    lines: list[OfferLineCreate],
    giver: str,
    today: date,
) -> OfferCreate:
    classes = [item_classes.get(line.item_class) for line in lines]
    # Valid since yesterday: the day begins earlier in China than in UTC.
    start = datetime.combine(today - timedelta(days=1), time(), UTC)
    title = _TITLES[plan.kind].format(items="、".join(c.name_zh for c in classes))
    where = "、".join(divisions.names(code)[0] for code in plan.served)
    return OfferCreate(
        external_key=key,
        organization_id=_NO_ID,
        kind=plan.kind,
        category=plan.category,
        title=f"{title} · {', '.join(c.name_en for c in classes)}"[:200],
        text=f"{giver}面向{where}{_TITLES[plan.kind].format(items='')}，按需求清单分批落实，送达后回访。",
        served_division_codes=list(plan.served),
        eligibility=Eligibility.model_validate({"applicant_kinds": list(plan.eligible_kinds)}),
        valid_from=start,
        valid_until=start + timedelta(days=chance.choice((90, 180, 365))),
        lines=lines,
        submit=True,
    )
