"""Personal values as somebody entered them, and whether a text shows one in any normal form."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_plus

# Between the digits of a number people write spaces, dashes and dots.
_SEPARATORS = re.compile(r"(?<=[0-9x])[\s\-.·()_]+(?=[0-9x])")
_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")


@dataclass(frozen=True)
class Value:
    """A value that was entered; `kind` is what to call it in a failing test."""

    kind: str
    text: str


def normal_forms(text: str) -> Iterable[str]:
    """The text as it reads: unescaped, decoded, compatibility-normalised, without separators."""
    unescaped = _ESCAPED.sub(lambda m: json.loads(f'"{m[0]}"'), text)
    for form in {text, unescaped, unquote_plus(unescaped)}:
        plain = unicodedata.normalize("NFKC", form).casefold()
        yield plain
        yield _SEPARATORS.sub("", plain)


class Watch:
    """Looks for values that must not be seen."""

    def __init__(self, values: Iterable[Value]) -> None:
        self._by_needle = {needle: value for value in values for needle in _needles(value)}
        # Longest first, so that an ID number is not reported as the birth date in it.
        needles = sorted(self._by_needle, key=len, reverse=True)
        assert needles, "nothing to look for"
        self._pattern = re.compile("|".join(map(re.escape, needles)))

    def seen(self, text: str) -> set[Value]:
        return {
            self._by_needle[match[0]]
            for form in normal_forms(text)
            for match in self._pattern.finditer(form)
        }


def _needles(value: Value) -> Iterable[str]:
    plain = unicodedata.normalize("NFKC", value.text).casefold()
    yield plain
    if squeezed := _SEPARATORS.sub("", plain):
        yield squeezed
