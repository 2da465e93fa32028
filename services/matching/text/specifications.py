"""Measures and standards in one spelling, from specifications.tsv: 0.5 L is 500ml, GB 19083-2010 is
gb19083."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from importlib.resources import files

# More digits than any measure has; they bound the work of converting. 1,000 is a thousand.
_NUMBER = r"(?:\d{1,3}(?:,\d{3}){1,3}|\d{1,9})(?:\.\d{1,6})?"


def specifications(normal: str) -> Iterator[str]:
    """Tokens of the measures and standards in a text that is NFKC and lower case.

    A measure is a whole number of the smallest unit of its kind; one that is not whole, or nothing,
    is none.
    """
    # Nothing below is found in a text without digits, and most texts have none.
    if _DIGIT.search(normal) is None:
        return
    measures, units, standards, prefixes = _patterns()
    for match in measures.finditer(normal):
        canonical, factor = units[match[2]]
        value = Decimal(match[1].replace(",", "")) * factor
        if value and value == value.to_integral_value():
            yield f"{int(value)}{canonical}"
    for match in standards.finditer(normal):
        yield f"{prefixes[match[1]]}{match[2]}"


_DIGIT = re.compile(r"[0-9]")


@cache
def _patterns() -> tuple[
    re.Pattern[str], dict[str, tuple[str, int]], re.Pattern[str], dict[str, str]
]:
    text = files("services.matching.text").joinpath("specifications.tsv")
    units: dict[str, tuple[str, int]] = {}
    prefixes: dict[str, str] = {}
    for line in text.read_text(encoding="utf-8").splitlines()[1:]:
        kind, written, canonical, factor = line.split("\t")
        for form in written.split("|"):
            if kind == "unit":
                units[form] = (canonical, int(factor))
            else:
                prefixes[form] = canonical
    # A Latin unit is a whole word (5 grams, not 5 great); a Chinese one needs no border.
    unit = "|".join(
        re.escape(form) + ("(?![a-z0-9])" if form.isascii() else "") for form in _longest(units)
    )
    prefix = "|".join(map(re.escape, _longest(prefixes)))
    return (
        re.compile(rf"(?<![a-z0-9.])({_NUMBER})\s?({unit})"),
        units,
        re.compile(rf"(?<![a-z0-9])({prefix})\s?(\d{{2,6}})(?!\d)"),
        prefixes,
    )


def _longest(forms: dict[str, object] | dict[str, tuple[str, int]] | dict[str, str]) -> list[str]:
    return sorted(forms, key=lambda form: (-len(form), form))
