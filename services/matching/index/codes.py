"""Division codes as addresses: what contains what, by digits and by numbers."""

from __future__ import annotations

from collections.abc import Iterable

from shared.vocabulary import divisions

# Ancestors of a need, itself included: nation, province, city, county, township, village.
LEVELS = 6
_PREFIX_DIGITS = (0, 2, 4, 6, 9, 12)


def prefix_of(code: str) -> str:
    """The significant digits of a division code: 0, 2, 4, 6, 9 or 12 of them."""
    for digits in _PREFIX_DIGITS:
        if code[digits:].strip("0") == "":
            return code[:digits]
    return code


def ancestors_of(code: str) -> tuple[str, ...]:
    """The codes that cover `code`, from the nation down to itself, each once."""
    return (*reversed(divisions.ancestors(code)), code)


def widest(codes: Iterable[str]) -> tuple[str, ...]:
    """`codes` without those another one covers, sorted.

    What remains is an antichain: a division lies under at most one of them, so a need meets a
    line in at most one of its lists and no hit can crowd out another line's by appearing twice.
    """
    distinct = set(codes)
    return tuple(sorted(c for c in distinct if not distinct.intersection(ancestors_of(c)[:-1])))


def code_range(code: str) -> tuple[int, int]:
    """Return [low, high): the numbers of all codes that `code` covers."""
    low = int(code)
    return low, low + 10 ** (12 - len(prefix_of(code)))


def step_below(code: str) -> int | None:
    """The distance between codes of the level below; None below the village."""
    digits = len(prefix_of(code))
    if digits == _PREFIX_DIGITS[-1]:
        return None
    return int(10 ** (12 - _PREFIX_DIGITS[_PREFIX_DIGITS.index(digits) + 1]))
