"""Texts as tokens: what counts as the same word, decided by rules of script and by data files."""

from __future__ import annotations

import re
import unicodedata

# The platform's longest text is far below this; it bounds the work a single text can cause.
TEXT_CHARS_MAX = 8_000

_WORD_OR_HAN_RUN = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]+|[^\W_]+", re.UNICODE)
_HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]+")


def tokens(text: str) -> list[str]:
    """Lower-case words of alphabetic scripts; every character and neighbouring pair of Chinese
    runs."""
    normal = unicodedata.normalize("NFKC", text[:TEXT_CHARS_MAX]).lower()
    found: list[str] = []
    for match in _WORD_OR_HAN_RUN.finditer(normal):
        for piece in _split_scripts(match.group()):
            if _HAN.fullmatch(piece):
                found.extend(piece)
                found.extend(piece[i : i + 2] for i in range(len(piece) - 1))
            else:
                found.append(piece)
    return found


def _split_scripts(run: str) -> list[str]:
    # "N95口罩" is one run of word characters to the regular expression, yet two scripts.
    pieces: list[str] = []
    at = 0
    for match in _HAN.finditer(run):
        if match.start() > at:
            pieces.append(run[at : match.start()])
        pieces.append(match.group())
        at = match.end()
    if at < len(run):
        pieces.append(run[at:])
    return pieces
