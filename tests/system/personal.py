"""Personal values as somebody entered them, and whether a text shows one in any normal form."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_plus

# Between the digits of a number people write spaces, dashes and dots.
_SEPARATORS = re.compile(r"(?<=[0-9x])[\s\-.·()_]+(?=[0-9x])")
_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
# base64url of a JSON array that begins with a text, as what opens a digest does.
_DISCLOSURE = re.compile(r"WyJ[A-Za-z0-9_-]{16,}")
# Bytes in hex, as PostgreSQL writes them.
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){8,}")
# Hashes, and bytes in base64.
_TOKEN = re.compile(r"[A-Za-z0-9+/_-]{12,}")


@dataclass(frozen=True)
class Value:
    """A value that was entered; `kind` is what to call it in a failing test."""

    kind: str
    text: str


def normal_forms(text: str) -> Iterable[str]:
    """The text as it reads: unescaped, decoded, compatibility-normalised, without separators."""
    unescaped = _ESCAPED.sub(lambda m: json.loads(f'"{m[0]}"'), text)
    opened = [
        base64.urlsafe_b64decode(found + "=" * (-len(found) % 4))
        for found in _DISCLOSURE.findall(text)
        if len(found) % 4 != 1
    ]
    opened += [bytes.fromhex(found) for found in _HEX.findall(text)]
    inside = b"\n".join(opened).decode(errors="ignore")
    for form in {text, unescaped, unquote_plus(unescaped), inside}:
        plain = unicodedata.normalize("NFKC", form).casefold()
        yield plain
        yield _SEPARATORS.sub("", plain)


class Watch:
    """Looks for values that must not be seen."""

    def __init__(self, values: Iterable[Value]) -> None:
        values = list(values)
        self._by_needle = {needle: value for value in values for needle in _needles(value)}
        # Longest first, so that an ID number is not reported as the birth date in it.
        needles = sorted(self._by_needle, key=len, reverse=True)
        assert needles, "nothing to look for"
        self._pattern = re.compile("|".join(map(re.escape, needles)))
        self._by_spelling = {s: value for value in values for s in _spellings(value)}

    def seen(self, text: str) -> set[Value]:
        found = {
            self._by_needle[match[0]]
            for form in normal_forms(text)
            for match in self._pattern.finditer(form)
        }
        tokens = {token.casefold() for token in _TOKEN.findall(text)}
        return found | {self._by_spelling[s] for s in tokens & self._by_spelling.keys()}


def _needles(value: Value) -> Iterable[str]:
    plain = unicodedata.normalize("NFKC", value.text).casefold()
    yield plain
    if squeezed := _SEPARATORS.sub("", plain):
        yield squeezed


def _spellings(value: Value) -> Iterable[str]:
    """What can be tried out is said by a plain hash of it, and by its bytes in base64."""
    plain = value.text.encode()
    hashed = hashlib.sha256(plain).digest()
    yield hashed.hex()
    for content in (plain, hashed):
        for spelled in (base64.b64encode(content), base64.urlsafe_b64encode(content)):
            yield spelled.decode().rstrip("=").casefold()
