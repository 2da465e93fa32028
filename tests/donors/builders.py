"""Bodies for the donors service; a test writes out the values it cares about."""

from typing import Any
from uuid import uuid4

from stdnum.cn import uscc

CHALING = "430224000000"
ZHUZHOU = "430200000000"
TOWNSHIP = "430224101000"
VILLAGE = "430224101201"


def a_uscc() -> str:
    """A new one with a valid check digit."""
    body = f"52430200MJ{uuid4().int % 10**7:07d}"
    return body + uscc.calc_check_digit(body)


def once() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def an_organization(**changes: Any) -> dict[str, Any]:
    return {
        "name": "株洲市春芽公益协会",
        "kind": "ngo",
        "uscc": a_uscc(),
        "division_code": ZHUZHOU,
    } | changes


def a_line(**changes: Any) -> dict[str, Any]:
    return {
        "item_class": "school_supplies",
        "item": "书包",
        "quantity": 100,
        "unit": "pieces",
    } | changes


def an_offer(organization_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "organization_id": organization_id,
        "kind": "goods",
        "category": "education_training",
        "title": "捐赠书包",
        "served_division_codes": [CHALING],
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2100-01-01T00:00:00Z",
        "lines": [a_line()],
        "submit": True,
    } | changes
