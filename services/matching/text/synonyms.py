"""Different words for one thing, from synonyms.tsv; no item class is named there.

A line is a canonical form and the other forms of the same thing, Chinese or English. Whatever form
a text has, the same concept token is found for it, which is what makes the forms meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from services.matching.text.stems import stem, stop_words

# No token of a text starts with it.
CONCEPT = "="


@dataclass(frozen=True, slots=True)
class Synonyms:
    """Forms by where a search for them starts.

    written  first two characters -> (form, concept), the longest first: forms with Chinese in them
    phrases  first stem -> (stems, concept), the longest first: English forms of several words
    words    stem -> concept: English forms of one word
    """

    written: dict[str, tuple[tuple[str, str], ...]]
    phrases: dict[str, tuple[tuple[tuple[str, ...], str], ...]]
    words: dict[str, str]


@cache
def synonyms() -> Synonyms:
    """Raise ValueError when a form stands for two things or is a single character: the file is part
    of the code."""
    written: dict[str, list[tuple[str, str]]] = {}
    phrases: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    words: dict[str, str] = {}
    seen: dict[str, str] = {}
    for form, concept in _forms():
        if seen.setdefault(form, concept) != concept:
            raise ValueError(f"synonyms.tsv: {form} stands for {seen[form]} and {concept}")
        if len(form) < 2:
            raise ValueError(f"synonyms.tsv: {form} is part of too many words")
        if not form.isascii():
            written.setdefault(form[:2], []).append((form, concept))
        elif len(stems := _stems(form)) > 1:
            phrases.setdefault(stems[0], []).append((stems, concept))
        else:
            words[stems[0]] = concept
    return Synonyms(
        {first: tuple(sorted(found, key=_longest_first)) for first, found in written.items()},
        {first: tuple(sorted(found, key=_longest_first)) for first, found in phrases.items()},
        words,
    )


def _forms() -> Iterator[tuple[str, str]]:
    text = files("services.matching.text").joinpath("synonyms.tsv").read_text(encoding="utf-8")
    for line in text.splitlines()[1:]:
        canonical, _, others = line.lower().partition("\t")
        for form in (canonical, *others.split("|")):
            if form:
                yield form, CONCEPT + canonical


def _stems(form: str) -> tuple[str, ...]:
    words = form.replace("-", " ").split()
    return tuple(stem(word) for word in words if word not in stop_words())


def _longest_first(found: tuple[str | tuple[str, ...], str]) -> tuple[int, str | tuple[str, ...]]:
    return -len(found[0]), found[0]
