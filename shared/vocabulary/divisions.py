"""Administrative divisions of China: 12-digit statistical codes and the covering relation.

A code is province 2 + city 2 + county 2 + township 3 + village 3 digits, padded with zeros; the
root `000000000000` stands for the whole country and covers everything. The file holds all
provinces, cities and counties, and the townships and villages of the example counties. A code of
a township or village that is not in the file is *known* when its county is: rights and matching
need only its digits. Source: National Bureau of Statistics, as of 2023-06-30.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from shared.vocabulary.errors import UnknownDivision
from shared.vocabulary.tables import rows

ROOT = "000000000000"

_DIGITS = 12
# Significant digits of each level, root first.
_LENGTHS = {"nation": 0, "province": 2, "city": 4, "county": 6, "township": 9, "village": 12}
_LEVELS = {length: level for level, length in _LENGTHS.items()}


@dataclass(frozen=True, slots=True)
class Division:
    code: str
    name_zh: str
    name_en: str


@cache
def _divisions() -> Mapping[str, Division]:
    return {
        code.ljust(_DIGITS, "0"): Division(code.ljust(_DIGITS, "0"), name_zh, name_en)
        for code, name_zh, name_en in rows("divisions.tsv", 3)
    }


def divisions() -> Mapping[str, Division]:
    """Return all divisions of the file by code, parents before their children."""
    return _divisions()


def get(code: str) -> Division:
    """Return a division of the file; raise UnknownDivision for any other code."""
    try:
        return _divisions()[code]
    except KeyError:
        raise UnknownDivision(code) from None


def exists(code: str) -> bool:
    """Tell whether the file names the division."""
    return code in _divisions()


def known(code: str) -> bool:
    """Tell whether the code is acceptable: in the file, or below a county that is."""
    if code in _divisions():
        return True
    if not _well_formed(code) or _significant(code) <= _LENGTHS["county"]:
        return False
    return code[:6].ljust(_DIGITS, "0") in _divisions()


def _well_formed(code: str) -> bool:
    return len(code) == _DIGITS and code.isascii() and code.isdigit()


@lru_cache(maxsize=100_000)
def _significant(code: str) -> int:
    """Return how many leading digits say something: 0, 2, 4, 6, 9 or 12."""
    if not _well_formed(code):
        raise UnknownDivision(code)
    used = len(code.rstrip("0"))
    return next(length for length in _LEVELS if length >= used)


def level(code: str) -> str:
    """Return nation, province, city, county, township or village, from the digits alone.

    A city without counties (东莞 441900000000) is a city. Raises UnknownDivision unless 12 digits.
    """
    return _LEVELS[_significant(code)]


def covers(above: str, below: str) -> bool:
    """Tell whether `above` is `below` or contains it; a division covers itself, the root all.

    Judged by the digits alone. Raises UnknownDivision unless both have 12 digits.
    """
    _significant(below)
    return below.startswith(above[: _significant(above)])


def ancestors(code: str) -> tuple[str, ...]:
    """Return the codes of what contains the division, nearest first, the root last.

    The division itself is not among them; the root has none. Raises UnknownDivision unless
    12 digits.
    """
    own = _significant(code)
    shorter = [length for length in sorted(_LEVELS, reverse=True) if length < own]
    padded = (code[:length].ljust(_DIGITS, "0") for length in shorter)
    # A township right below a city without counties has the same code for both.
    return tuple(dict.fromkeys(parent for parent in padded if parent != code))


def cut_to(code: str, level_name: str) -> str:
    """Return the division of that level which contains `code`, or `code` when it is coarser."""
    return code[: min(_significant(code), _LENGTHS[level_name])].ljust(_DIGITS, "0")


def cut_to_township(code: str) -> str:
    """Return the township of a village, or the code itself: what may be said in public."""
    return cut_to(code, "township")


def names(code: str) -> tuple[str, str]:
    """Return (name_zh, name_en) of the division or, for one known but not named, of the nearest
    named division around it. Raises UnknownDivision when the code is not known."""
    if not known(code):
        raise UnknownDivision(code)
    named = next(c for c in (code, *ancestors(code)) if c in _divisions())
    return _divisions()[named].name_zh, _divisions()[named].name_en


def full_name_zh(code: str) -> str:
    """Return the names from the province down in one (湖南省株洲市茶陵县…); the root is 全国."""
    if code == ROOT:
        return get(ROOT).name_zh
    chain = [c for c in (code, *ancestors(code)) if c != ROOT and c in _divisions()]
    return "".join(_divisions()[c].name_zh for c in reversed(chain))


def children(code: str) -> tuple[Division, ...]:
    """Return the divisions of the file directly below one, in the order of their codes."""
    return _children().get(code, ())


@cache
def _children() -> Mapping[str, tuple[Division, ...]]:
    below: dict[str, list[Division]] = {}
    for division in _divisions().values():
        above = next((c for c in ancestors(division.code) if c in _divisions()), None)
        if above is not None:
            below.setdefault(above, []).append(division)
    return {code: tuple(found) for code, found in below.items()}


def find(name: str, within: str | None = None) -> tuple[Division, ...]:
    """Return the divisions of that name (full or without 省, 市, 县, 区 …), coarsest first.

    within  only divisions that this one covers

    A full name wins over a short one: 吉林市 is the city, 吉林 the province and the city.
    """
    wanted = name.strip()
    found = _by_name().get(wanted, ())
    if within is not None:
        found = tuple(d for d in found if covers(within, d.code))
    return tuple(sorted(found, key=lambda d: (_significant(d.code), d.code)))


# Longer endings first, so that 恩施土家族苗族自治州 does not lose only its 州.
_SUFFIXES = (
    *("特别行政区", "自治区", "自治州", "自治县", "地区", "街道"),
    *("省", "市", "县", "区", "旗", "盟", "镇", "乡", "村"),
)


@cache
def _by_name() -> Mapping[str, tuple[Division, ...]]:
    full: dict[str, list[Division]] = {}
    short: dict[str, list[Division]] = {}
    for division in _divisions().values():
        full.setdefault(division.name_zh, []).append(division)
        suffix = next((s for s in _SUFFIXES if division.name_zh.endswith(s)), "")
        stem = division.name_zh.removesuffix(suffix)
        if suffix and len(stem) >= 2:
            short.setdefault(stem, []).append(division)
    return {name: tuple(full.get(name) or short[name]) for name in full.keys() | short.keys()}
