"""Quantities, counts and names as a person writes them, in Chinese and English; pure.

Quantities come with their unit in the largest form that stays whole: 5,000 grams are 5 kilograms,
20,000 元 are 2 万元 in Chinese.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.matching.planning.results import Json
from shared.vocabulary import divisions
from shared.vocabulary.codes import Urgency

Words = tuple[str, str]  # Chinese, English

# Base unit -> (factor, Chinese name, English singular, English plural) of its forms, largest first.
FORMS: Mapping[str, Sequence[tuple[int, str, str, str]]] = {
    "yuan": ((1, "元", "yuan", "yuan"),),
    "grams": (
        (1_000_000, "吨", "tonne", "tonnes"),
        (1_000, "公斤", "kilogram", "kilograms"),
        (1, "克", "gram", "grams"),
    ),
    "millilitres": ((1_000, "升", "litre", "litres"), (1, "毫升", "millilitre", "millilitres")),
    "metres": ((1_000, "公里", "kilometre", "kilometres"), (1, "米", "metre", "metres")),
    "square_metres": ((1, "平方米", "square metre", "square metres"),),
    "pieces": ((1, "件", "piece", "pieces"),),
    "hours": ((1, "小时", "hour", "hours"),),
    "seats": ((1, "个名额", "training seat", "training seats"),),
    "jobs": ((1, "个岗位", "job", "jobs"),),
    "households": ((1, "户", "household", "households"),),
    "bottles": ((1, "瓶", "bottle", "bottles"),),
    "mu": ((1, "亩", "mu", "mu"),),
    "sets": ((1, "套", "set", "sets"),),
    "boxes": ((1, "箱", "box", "boxes"),),
    "packs": ((1, "盒", "pack", "packs"),),
}
_TEN_THOUSAND = 10_000


def quantity(amount: int, unit: str) -> Words:
    """The amount of base units with its unit."""
    if unit == "yuan" and amount >= _TEN_THOUSAND and amount % 1_000 == 0:
        whole, rest = divmod(amount, _TEN_THOUSAND)
        tenth = f".{rest // 1_000}" if rest else ""
        return f"{whole:,}{tenth} 万元", f"{amount:,} yuan"
    forms = FORMS.get(unit, ((1, unit, unit, unit),))
    factor, zh, one, many = next(form for form in forms if amount % form[0] == 0)
    counted = amount // factor
    return f"{counted:,} {zh}", f"{counted:,} {one if counted == 1 else many}"


def counted(number: int, zh: str, one: str, many: str) -> Words:
    return f"{number:,} {zh}", f"{number:,} {one if number == 1 else many}"


def urgency_name(code: str) -> Words:
    term = Urgency(code)
    return term.name_zh, term.name_en.lower()


def points(permille: int) -> Words:
    return f"{permille:,} 分", f"{permille:,} {'point' if permille == 1 else 'points'}"


def names(division_code: str) -> Words:
    """The division's names; of one the vocabulary does not name, its code."""
    if divisions.exists(division_code):
        division = divisions.get(division_code)
        return division.name_zh, division.name_en
    return division_code, division_code


def percent(ppm: int) -> str:
    """Three significant places are enough: 0.034 %, 1.2 %, 12 %."""
    if ppm == 0:
        return "0%"
    share = ppm / 10_000
    return f"{share:.3f}%" if share < 1 else f"{share:.1f}%" if share < 10 else f"{share:.0f}%"


def taken_read(taken: Sequence[Sequence[str | int]]) -> list[Json]:
    return [
        {"urgency": code, "allocations": number, "quantity": units} for code, number, units in taken
    ]


def both(words: Words) -> Json:
    return {"text_zh": words[0], "text_en": words[1]}
