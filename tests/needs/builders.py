"""Bodies as callers send them, and the people of one village, its township, county and city."""

from itertools import count
from typing import Any
from uuid import uuid4

from stdnum.iso7064 import mod_11_2

CITY = "430200000000"
COUNTY = "430224000000"
TOWNSHIP = "430224101000"
VILLAGE = "430224101201"
OTHER_COUNTY = "430225000000"

NAME = "欧阳小满"
PHONE = "13807312345"
ADDRESS = "云阳山脚下第三户"
ACCOUNT = "6222021901000000008"


def once() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


_numbers = count()


def an_id_number() -> str:
    """A valid number, another one each time."""
    serial = next(_numbers)
    year, rest = 1940 + serial // 27_000 % 60, serial % 27_000
    stem = f"430224{year}01{rest // 1_000 + 1:02d}{rest % 1_000:03d}"
    return stem + mod_11_2.calc_check_digit(stem)


def a_household(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "household",
        "division_code": VILLAGE,
        "household": {
            "household_class": "subsistence_allowance",
            "main_cause": "illness",
            "members": 3,
            "deprivations": ["food", "basic_medical_care"],
        },
        "personal": {
            "name": NAME,
            "id_number": an_id_number(),
            "phone": PHONE,
            "bank_account": ACCOUNT,
            "address": ADDRESS,
        },
    } | changes


def a_hospital(**changes: Any) -> dict[str, Any]:
    return {"kind": "institution", "division_code": COUNTY, "name": "茶陵县人民医院"} | changes


def a_need(applicant_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "applicant_id": applicant_id,
        "category": "medical_care",
        "item_class": "mask_surgical",
        "title": "急需医用外科口罩",
        "item": "医用外科口罩",
        "specification": "YY 0469-2011, 建议3M 1860/1870/9123",
        "quantity": 100,
        "unit": "pieces",
    } | changes
