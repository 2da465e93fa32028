"""English words as stems: "tents" and "tent" are one word, "the" is none."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files

import Stemmer

# Porter's second English stemmer, "Snowball"; its rules are fixed.
_STEMMER = Stemmer.Stemmer("english")


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The stem of a lower-case word; words that are not all of a to z stay as they are."""
    if word.isascii() and word.isalpha():
        return str(_STEMMER.stemWord(word))
    return word


@cache
def stop_words() -> frozenset[str]:
    """English words that say nothing of a thing, from stop_words.txt."""
    text = files("services.matching.text").joinpath("stop_words.txt").read_text(encoding="utf-8")
    return frozenset(text.split())
