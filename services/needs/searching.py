"""Search terms made by the application, so that core PostgreSQL finds Chinese as well as English.

PostgreSQL's own parsers do not cut Chinese into words. Here a word of letters or digits is one
term, and a run of Chinese is cut into overlapping terms of one and of two characters; a query
becomes a phrase of them, so that 防护服 finds 医用防护服 and not 防寒服. Positions are those of
characters (Chinese) and words (others); 16,383 is the last one a tsvector can keep.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

POSITION_MAX = 16_383
TERM_CHARACTERS_MAX = 40
QUERY_TERMS_MAX = 60


def vector(texts: Iterable[str | None]) -> str:
    """The text form of a tsvector over the texts; a phrase never reaches from one into another."""
    positions: dict[str, list[int]] = {}
    at = 1
    for text in texts:
        for run in _runs(text or ""):
            for term, offset in _terms(run):
                if at + offset <= POSITION_MAX:
                    positions.setdefault(term, []).append(at + offset)
            at += _width(run)
        at += 2
    # Terms hold letters and digits only, so quoting cannot be broken out of.
    return " ".join(f"'{term}':{','.join(map(str, at))}" for term, at in positions.items())


def query(text: str) -> str | None:
    """The text form of a tsquery that asks for every word of `text`; None when it holds no term.

    Chinese is found anywhere in a text, other words by their beginning (mas finds masks).
    """
    phrases = []
    budget = QUERY_TERMS_MAX
    for word in text.split():
        steps: list[str] = []
        at, last = 0, None
        for run in _runs(word):
            for term, offset in _phrase(run):
                if budget == 0:
                    break
                budget -= 1
                if last is not None:
                    steps.append(f"<{at + offset - last}>")
                steps.append(f"'{term}'" if _is_chinese(term[0]) else f"'{term}':*")
                last = at + offset
            at += _width(run)
        if steps:
            phrases.append("(" + " ".join(steps) + ")")
    return " & ".join(phrases) or None


def _runs(text: str) -> Iterator[str]:
    """Runs of Chinese, and words of other letters and digits, in their order."""
    for match in _RUN.finditer(unicodedata.normalize("NFKC", text).casefold()):
        yield match[0]


_CHINESE = "\u3007\u3400-\u9fff\U00020000-\U0003ffff"
_RUN = re.compile(f"[{_CHINESE}]+|[^\\W_{_CHINESE}]+")
_is_chinese = re.compile(f"[{_CHINESE}]").match


def _width(run: str) -> int:
    return len(run) if _is_chinese(run[0]) else 1


def _terms(run: str) -> Iterator[tuple[str, int]]:
    if not _is_chinese(run[0]):
        yield run[:TERM_CHARACTERS_MAX], 0
        return
    for i, character in enumerate(run):
        yield character, i
        if i + 1 < len(run):
            yield run[i : i + 2], i


def _phrase(run: str) -> Iterator[tuple[str, int]]:
    """The fewest terms that pin a run down: pairs, or the one character there is."""
    if not _is_chinese(run[0]) or len(run) == 1:
        yield run[:TERM_CHARACTERS_MAX], 0
        return
    for i in range(len(run) - 1):
        yield run[i : i + 2], i
