"""Fictitious people: names of their generation, numbers with right check digits."""

from datetime import date, timedelta
from random import Random

_SURNAMES = (
    ("谭", 14), ("陈", 12), ("刘", 10), ("李", 9), ("罗", 8), ("段", 7), ("尹", 7), ("颜", 6),
    ("彭", 6), ("周", 5), ("张", 5), ("龙", 4), ("邓", 4), ("肖", 4), ("唐", 3), ("曾", 3),
    ("郭", 3), ("黄", 3), ("何", 2), ("朱", 2), ("霍", 2), ("盘", 1), ("雷", 1), ("欧阳", 1),
)  # fmt: skip
# Year of birth up to which names of that generation are usual -> (men's, women's).
_GIVEN: tuple[tuple[int, str, str], ...] = (
    (1950, "福生 德华 昌盛 光明 松柏 茂林 祖德 有财 春生 金山",
     "秀英 桂花 玉兰 冬莲 凤娥 梅香 满姑 翠云 菊秀 春秀"),
    (1965, "建国 国华 志强 爱民 卫东 跃进 忠良 水生 新华 和平",
     "丽华 秋香 桂英 爱莲 建英 玉梅 雪娥 素珍 月娥 秀兰"),
    (1980, "勇 军 伟平 小明 海军 志刚 云飞 文斌 建平 国庆",
     "小红 丽萍 艳平 海燕 小玲 春梅 雪梅 金花 爱华 燕"),
    (9999, "鹏 俊杰 浩 超 凯 志鹏 文杰 帅 磊 宇",
     "婷 丽娜 倩 佳 慧 雅琴 思敏 娟 玲 芳"),
)  # fmt: skip
# SPEC GB 11643 / ISO 7064 MOD 11-2: weights of the first 17 digits and the check characters.
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECKS = "10X98765432"


def surname(chance: Random) -> str:
    return chance.choices(
        [name for name, _ in _SURNAMES], weights=[weight for _, weight in _SURNAMES]
    )[0]


def given_name(chance: Random, born: date, *, female: bool) -> str:
    _, men, women = next(row for row in _GIVEN if born.year <= row[0])
    return chance.choice((women if female else men).split())


def birth_date(chance: Random) -> date:
    """A head of a household: born between 1938 and 1992."""
    return date(1938, 1, 1) + timedelta(days=chance.randrange(55 * 365))


def id_number(chance: Random, county_code: str, born: date, *, female: bool) -> str:
    """18 characters; the sequence number's parity says the sex, 900 and above is not handed out."""
    sequence = 900 + 2 * chance.randrange(50) + (0 if female else 1)
    digits = f"{county_code[:6]}{born:%Y%m%d}{sequence}"
    total = sum(w * int(d) for w, d in zip(_ID_WEIGHTS, digits, strict=True))
    return digits + _ID_CHECKS[total % 11]


def disability_card(chance: Random, id_number: str) -> str:
    """SPEC GB/T 33653: the ID number, one digit of the kind (1-7), one of the grade (1-4)."""
    return f"{id_number}{chance.randint(1, 7)}{chance.randint(1, 4)}"


def phone(number: int) -> str:
    """The number-th phone: 1740 0 is a range of satellite telephones, nobody's in a village."""
    return f"17400{number:06d}"


def bank_account(chance: Random) -> str:
    """19 digits with a Luhn check digit, beginning as no bank of the country does (99)."""
    digits = "99" + "".join(str(chance.randrange(10)) for _ in range(16))
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return digits + str(-total % 10)
