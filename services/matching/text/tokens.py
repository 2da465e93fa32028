"""Texts as tokens: what counts as the same word, decided by rules of script and by data files.

stop_words.txt      English words that say nothing of a thing (the list of Lucene)
synonyms.tsv        different words for one thing
specifications.tsv  spellings of measures and standards
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from services.matching.text.specifications import specifications
from services.matching.text.stems import stem, stop_words
from services.matching.text.synonyms import synonyms

# Changes whenever the same text could give other tokens.
TOKENS_VERSION = "tokens-v3"
# The platform's longest text is far below this; it bounds the work a single text can cause.
TEXT_CHARS_MAX = 8_000

_HAN_RANGE = r"\u3400-\u9fff\U00020000-\U0003ffff"
_HAN = re.compile(f"[{_HAN_RANGE}]+")
# "N95口罩" is one run of word characters, yet two scripts.
_PIECE = re.compile(rf"([{_HAN_RANGE}]+)|[^\W_{_HAN_RANGE}]+")
_SPACE_BETWEEN_SCRIPTS = re.compile(rf"(?<=[a-z0-9%])\s+(?=[{_HAN_RANGE}])")


def tokens(text: str) -> list[str]:
    """Stems of words of alphabetic scripts; every character and neighbouring pair of Chinese runs;
    one token per thing that has synonyms, per measure and per standard.

    An English word of a thing with synonyms is replaced by the thing, everything else found by data
    is added: "N95口罩" keeps its characters.
    """
    normal = _normal(text)
    stop = stop_words()
    words = synonyms().words
    found: list[str] = []
    stems: list[str] = []
    any_chinese = False
    for piece, chinese in _pieces(normal):
        if chinese:
            any_chinese = True
            found.extend(piece)
            found.extend(piece[at : at + 2] for at in range(len(piece) - 1))
        elif piece not in stop:
            stemmed = stem(piece)
            stems.append(stemmed)
            found.append(words.get(stemmed, stemmed))
    found.extend(_phrases(stems))
    if any_chinese:
        found.extend(_written(_SPACE_BETWEEN_SCRIPTS.sub("", normal)))
    found.extend(token for token in specifications(normal) if token not in stems)
    return found


def counted(texts: Sequence[str]) -> list[Counter[str]]:
    """How often each text has each of its tokens, in the order they are found."""
    return [Counter(tokens(text)) for text in texts]


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Words of alphabetic scripts, and Chinese runs whole: (piece, whether it is Chinese)."""
    return _pieces(_normal(text))


def is_chinese(text: str) -> bool:
    """Whether any character is Chinese: such a text is compared by its characters alone."""
    return _HAN.search(_normal(text)) is not None


def is_chinese_token(token: str) -> bool:
    """Whether a token is a character or pair of a Chinese run."""
    return _HAN.fullmatch(token) is not None


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text[:TEXT_CHARS_MAX]).lower()


def _pieces(normal: str) -> Iterator[tuple[str, bool]]:
    for match in _PIECE.finditer(normal):
        yield match.group(), match.group(1) is not None


def _phrases(stems: list[str]) -> Iterator[str]:
    """Concepts of several English words, the longest at each word."""
    phrases = synonyms().phrases
    for at, first in enumerate(stems):
        for form, concept in phrases.get(first, ()):
            if tuple(stems[at : at + len(form)]) == form:
                yield concept
                break


def _written(normal: str) -> Iterator[str]:
    """Concepts written with Chinese characters, the longest at each character.

    口罩 is found in 医用防护口罩 too, because it is another thing; 防护口罩 is not: the same thing
    is counted once.
    """
    written = synonyms().written
    until: dict[str, int] = {}
    for at in range(len(normal) - 1):
        for form, concept in written.get(normal[at : at + 2], ()):
            if not normal.startswith(form, at):
                continue
            # 184消毒液 is not 84消毒液.
            if form[0].isascii() and at and normal[at - 1].isascii() and normal[at - 1].isalnum():
                continue
            if until.get(concept, 0) < at + len(form):
                until[concept] = at + len(form)
                yield concept
            break
