"""Rows to the bodies of the API, each with what has to be said about it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from deploy.loading import places
from deploy.loading.account import Remark
from deploy.loading.columns import CellRefused, Cells
from services.donors.contract import OfferCreate, OrganizationCreate
from services.needs.contract import ApplicantCreate, NeedCreate
from shared.vocabulary import codes, divisions, item_classes, units

# Bounds of shared.bodies: Text, LongText, ExternalKey.
TEXT_MAX, LONG_TEXT_MAX, KEY_MAX = 200, 2_000, 120
VALID_DAYS = 365
_NO_ID = UUID(int=0)
_KIND_OF_BASE = {
    "yuan": "money", "hours": "service_hours", "seats": "training_seats", "jobs": "jobs",
}  # fmt: skip
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True)
class NeedRecord:
    applicant: ApplicantCreate
    need: NeedCreate
    remarks: list[Remark]


@dataclass(frozen=True)
class OfferRecord:
    organization: OrganizationCreate
    offer: OfferCreate
    remarks: list[Remark]


@dataclass(frozen=True)
class _Thing:
    category: str
    item: str
    item_class: str
    specification: str | None
    quantity: int | None
    unit: str
    title: str
    text: str | None


def need(texts: dict[str, str]) -> NeedRecord:
    """Raise CellRefused when the row cannot become a need."""
    cells = Cells(texts)
    key = cells.needed("key", KEY_MAX)
    division, remarks = places.code(cells, "division_code", ("county_name",))
    if (remark := places.coarse(division)) is not None:
        remarks.append(remark)
    thing = _thing(cells)
    if thing.quantity is None:
        remarks.append(NO_QUANTITY)
    body = _valid(
        NeedCreate,
        external_key=key,
        applicant_id=_NO_ID,
        category=thing.category,
        item_class=thing.item_class,
        title=thing.title,
        text=thing.text,
        item=thing.item,
        specification=thing.specification,
        quantity=thing.quantity,
        unit=thing.unit,
        headcount=cells.whole("headcount", 2**31 - 1),
        cause=cells.term("cause", codes.Cause),
        urgency=cells.term("urgency", codes.Urgency) or "normal",
        needed_by=cells.day("needed_by"),
        submit=thing.quantity is not None,
    )
    applicant = _applicant(cells, division)
    if applicant.household is not None and (guessed := _guessed(texts)):
        remarks.append(guessed)
    return NeedRecord(applicant, body, remarks)


def _guessed(texts: dict[str, str]) -> Remark | None:
    """What a household's record holds although the row does not say it."""
    missing = [c for c in ("household_class", "members", "cause") if not texts.get(c)]
    if not missing:
        return None
    return Remark(
        "household_incomplete",
        f"农户信息不全（{'、'.join(missing)}）：按一般农户、一人、其他原因登记，请核对补充。",
        f"The household's {', '.join(missing)} are not stated: entered as general, one member, "
        "other cause; please complete them.",
        missing[0],
    )


NO_QUANTITY = Remark(
    "no_quantity",
    "没有数量：保存为草稿，补上数量后再提交。",
    "No quantity: kept as a draft; say how much, then submit it.",
    "quantity",
)


def _applicant(cells: Cells, division: str) -> ApplicantCreate:
    kind = cells.term("applicant_kind", codes.ApplicantKind)
    if kind is None:
        raise CellRefused(Remark("empty", "不能为空。", "It must not be empty.", "applicant_kind"))
    if kind != "household":
        name = cells.needed("applicant_name", TEXT_MAX)
        key = _digest("applicant", kind, division, name)
        return _valid(
            ApplicantCreate, external_key=key, kind=kind, division_code=division, name=name
        )
    name = cells.needed("applicant_name", 60)
    id_number = cells.text("id_number", 18)
    household = {
        "household_class": cells.term("household_class", codes.HouseholdClass) or "general",
        "main_cause": cells.term("cause", codes.Cause) or "other",
        "other_causes": cells.terms("other_causes", codes.Cause),
        "members": cells.whole("members", 30) or 1,
        "deprivations": cells.terms("deprivations", codes.Deprivation),
    }
    personal = {
        "name": name,
        "id_number": id_number,
        "disability_card": cells.text("disability_card", 20),
        "phone": cells.text("phone", 20),
        "bank_account": cells.text("bank_account", 30),
        "address": cells.text("address", TEXT_MAX),
    }
    # A key is read by more people than the record: it must not hold the name or the number.
    key = _digest("household", division, id_number or name)
    return _valid(
        ApplicantCreate,
        external_key=key,
        kind=kind,
        division_code=division,
        household=household,
        personal=personal,
    )


def offer(texts: dict[str, str], today: date) -> OfferRecord:
    """Raise CellRefused when the row cannot become an offer of one line.

    today  validity begins with it when the row does not say
    """
    cells = Cells(texts)
    key = cells.needed("key", KEY_MAX)
    seat, remarks = places.code(cells, "division_code", ("province_name", "city_name"))
    thing = _thing(cells)
    daily = cells.whole("daily_quantity")
    if thing.quantity is None:
        remarks.append(NO_QUANTITY if daily is None else DAILY_ONLY)
    served = _served(cells, remarks)
    begins = cells.day("valid_from") or today
    ends = cells.day("valid_until") or begins + timedelta(days=VALID_DAYS)
    if ends <= begins:
        raise CellRefused(
            Remark("validity", "截止日期应晚于起始日期。", "It must come after valid_from.",
                   "valid_until")
        )  # fmt: skip
    line = {
        "item_class": thing.item_class,
        "item": thing.item,
        "specification": thing.specification,
        "quantity": thing.quantity,
        "daily_quantity": daily,
        "unit": thing.unit,
        "lot_min": cells.whole("lot_min") or 1,
    }
    body = _valid(
        OfferCreate,
        external_key=key,
        organization_id=_NO_ID,
        kind=cells.term("kind", codes.OfferKind) or _kind(thing.item_class),
        category=thing.category,
        title=thing.title,
        text=thing.text,
        served_division_codes=served,
        valid_from=datetime.combine(begins, time(), UTC),
        valid_until=datetime.combine(ends, time(), UTC),
        lines=[line],
        submit=thing.quantity is not None,
    )
    return OfferRecord(_organization(cells, seat), body, remarks)


DAILY_ONLY = Remark(
    "daily_rate_only",
    "只有每日数量：保存为草稿，数量须由机构或应急策略确定。",
    "Only a daily rate: kept as a draft; the organization or an emergency policy says how much.",
    "quantity",
)
_SERVED_NOT_STATED = Remark(
    "served_not_stated",
    "未说明服务范围：按全国处理。",
    "No division served is stated: taken as the whole country.",
    "served_division_codes",
)


def _organization(cells: Cells, seat: str) -> OrganizationCreate:
    name = cells.needed("organization_name", TEXT_MAX)
    kind = cells.term("organization_kind", codes.OrganizationKind)
    if kind is None:
        raise CellRefused(
            Remark("empty", "不能为空。", "It must not be empty.", "organization_kind")
        )
    uscc = cells.text("uscc", 40)
    return _valid(
        OrganizationCreate,
        external_key=_digest("organization", uscc or name, "" if uscc else seat),
        name=name,
        kind=kind,
        uscc=uscc.upper() if uscc else None,
        division_code=seat,
    )


def _served(cells: Cells, remarks: list[Remark]) -> list[str]:
    stated = cells.text("served_division_codes", 1_000)
    if stated is None:
        remarks.append(_SERVED_NOT_STATED)
        return [divisions.ROOT]
    found = []
    for part in stated.replace("，", ",").replace("、", ",").replace("|", ",").split(","):
        served, _ = places.code(
            Cells({"served_division_codes": part.strip()}), "served_division_codes", ()
        )
        found.append(divisions.cut_to_township(served))
    if any(divisions.level(code) == "township" for code in found):
        remarks.append(
            Remark(
                "served_township",
                "服务范围最细到乡镇。",
                "Divisions served are no finer than the township.",
                "served_division_codes",
            )
        )
    return list(dict.fromkeys(found))


def _kind(item_class: str) -> str:
    if item_class == "produce_sales":
        return "purchase_orders"
    return _KIND_OF_BASE.get(item_classes.get(item_class).base_unit, "goods")


def _thing(cells: Cells) -> _Thing:
    category = cells.term("category", codes.Category)
    if category is None:
        raise CellRefused(Remark("empty", "不能为空。", "It must not be empty.", "category"))
    item = cells.needed("item", TEXT_MAX)
    item_class = _item_class(cells, category, item)
    unit = cells.unit("unit")
    quantity = cells.whole("quantity")
    allowed = item_classes.get(item_class).units
    if unit not in allowed:
        raise CellRefused(
            Remark(
                "unit_not_allowed",
                "该类物品不按此单位计量，可用：" + "、".join(units.get(u).name_zh for u in allowed),
                f"This item class is not counted in that unit; use: {', '.join(allowed)}.",
                "unit",
            )
        )
    return _Thing(
        category=category,
        item=item,
        item_class=item_class,
        specification=cells.text("specification", TEXT_MAX),
        quantity=quantity,
        unit=unit,
        title=cells.text("title", TEXT_MAX) or item,
        text=cells.text("text", LONG_TEXT_MAX),
    )


def _item_class(cells: Cells, category: str, item: str) -> str:
    stated = cells.text("item_class", 64)
    if stated is not None:
        known = {c.code: c.code for c in item_classes.of_category(category)}
        known |= {c.name_zh: c.code for c in item_classes.of_category(category)}
        if stated not in known:
            raise CellRefused(
                Remark(
                    "unknown_item_class",
                    "不是该类别下的物品小类。",
                    "Not an item class of this category.",
                    "item_class",
                )
            )
        return known[stated]
    found = item_classes.classify(category, item)
    if found is None:
        raise CellRefused(
            Remark(
                "item_not_recognised",
                "无法判断物品小类：写得更具体，或填写 item_class 列。",
                "The item class cannot be told: name the item more exactly or fill item_class.",
                "item",
            )
        )
    return found


def _digest(*parts: str) -> str:
    """A key that is the same for the same parts and tells nothing of them."""
    joined = "\x1f".join(parts).encode()
    return f"{parts[0]}-{hashlib.sha256(joined).hexdigest()[:32]}"


def _valid(body: Callable[..., B], **fields: object) -> B:
    """Make a body; what its contract refuses is the cell's fault, named by its column."""
    try:
        return body(**fields)
    except ValidationError as error:
        # The field's path ends in the name of its column, or in a number inside a list.
        path = [str(part) for part in error.errors()[0]["loc"] if not isinstance(part, int)]
        raise CellRefused(
            Remark(
                "refused_by_contract",
                "不符合接口约束（长度、字符或格式），见 docs/import.md。",
                "Outside the bounds of the API (length, characters or form): see docs/import.md.",
                path[-1] if path else None,
            )
        ) from None
