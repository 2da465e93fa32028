"""Free text over a `WordIndex`: which documents are hits, their facets, and a page of them.

Nothing is sampled: counts are those of all hits. A hit of a text holds a good part of the weight
of its words (MATCH_PERMILLE of the greatest BM25), so that one common character of four does not
make one. Hits come by likeness, equals and lists without a text from the newest on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np

from services.matching.index.codes import ancestors_of, code_range, prefix_of
from services.matching.index.words import Query, WordIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    Mask = NDArray[np.bool_]

PERMILLE = 1_000
# A quarter of the greatest score: two of four equally rare words of a short document reach it.
MATCH_PERMILLE = 250
# The likest hits are put in their final order, and can be paged through.
RANKED_MAX = 2_000
_STEPS = tuple(10 ** (12 - digits) for digits in (2, 4, 6, 9, 12))


@dataclass(frozen=True, slots=True)
class Filter:
    """facets: the value each facet must have, or None; division: in it, or serving part of it."""

    facets: tuple[int | None, ...]
    division: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """All hits of a search.

    serials  (hits,) of the documents;  scores  (hits,) thousandths
    """

    serials: IntArray
    scores: IntArray


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind this hit."""

    score: int
    id: UUID


def find(words: WordIndex, query: Query | None, wanted: Filter) -> Found:
    """Every document that fulfils the filter and, with a query, is a hit of it."""
    mask = words.alive.copy()
    for number, value in enumerate(wanted.facets):
        if value is not None:
            mask &= words.facet(number) == value
    if wanted.division is not None:
        mask &= _in_division(words, wanted.division)
    if query is None:
        serials = np.flatnonzero(mask)
        return Found(serials, np.zeros(len(serials), dtype=np.int64))
    if not query.greatest:
        nothing = np.zeros(0, dtype=np.int64)
        return Found(nothing, nothing)
    scores = words.scores(query) * PERMILLE // query.greatest
    serials = np.flatnonzero(mask & (scores >= MATCH_PERMILLE))
    return Found(serials, np.minimum(scores[serials], PERMILLE))


def _in_division(words: WordIndex, division: str) -> Mask:
    serials, codes = words.coded
    low, high = code_range(division)
    mask = np.zeros(len(words.alive), dtype=np.bool_)
    mask[serials[((codes >= low) & (codes < high)) | _holds(codes, division)]] = True
    return mask


def _holds(codes: IntArray, division: str) -> Mask:
    """Codes that are the division or contain it."""
    return np.isin(codes, [int(code) for code in ancestors_of(division)])


def likest(found: Found, count: int) -> Found:
    """Those with the highest scores, and all with as many as the last of them."""
    if len(found.serials) <= count:
        return found
    least = -np.partition(-found.scores, count - 1)[count - 1]
    kept = found.scores >= least
    return Found(found.serials[kept], found.scores[kept])


def page(words: WordIndex, found: Found, behind: Place | None, count: int) -> list[Place]:
    """The next `count` hits: by score, then from the newest on."""
    high, low = (half[found.serials] for half in words.keys)
    scores = found.scores
    if behind is not None:
        key_high, key_low = behind.id.int >> 64, behind.id.int & (2**64 - 1)
        older = (high < key_high) | ((high == key_high) & (low < key_low))
        kept = (scores < behind.score) | ((scores == behind.score) & older)
        high, low, scores = high[kept], low[kept], scores[kept]
    # Only what can be on the page is sorted.
    if len(scores) > 4 * count:
        least = -np.partition(-scores, count - 1)[count - 1]
        kept = scores >= least
        high, low, scores = high[kept], low[kept], scores[kept]
        if len(scores) > 4 * count:
            tied = scores == least
            wanted = count - int((~tied).sum())
            newest = np.partition(high[tied], -wanted)[-wanted]
            kept = ~tied | (high >= newest)
            high, low, scores = high[kept], low[kept], scores[kept]
    order = np.lexsort((~low, ~high, -scores))[:count]
    return [
        Place(int(score), UUID(int=(int(h) << 64) | int(m)))
        for score, h, m in zip(scores[order], high[order], low[order], strict=True)
    ]


def facet(words: WordIndex, found: Found, number: int) -> list[tuple[int, int]]:
    """(value, hits) of one facet, most first; -1 is left out."""
    values = words.facet(number)[found.serials]
    counts = np.bincount(values[values >= 0])
    order = np.argsort(-counts, kind="stable")
    return [(int(value), int(counts[value])) for value in order if counts[value]]


def division_facet(words: WordIndex, found: Found, division: str) -> list[tuple[str, int]]:
    """(division code, hits) of the divisions directly below, most first; see `contract.Facets`."""
    hits = np.zeros(len(words.alive), dtype=np.bool_)
    hits[found.serials] = True
    serials, codes = words.coded
    kept = hits[serials]
    serials, codes = serials[kept], codes[kept]
    low, high = code_range(division)
    inside = (codes > low) & (codes < high)
    whole = np.unique(serials[_holds(codes, division)])
    counted = np.zeros(len(words.alive), dtype=np.bool_)
    counted[whole] = True
    inside &= ~counted[serials]
    children = _children(codes[inside], low, len(prefix_of(division)))
    owners = serials[inside]
    if np.any(owners[1:] <= owners[:-1]):
        # Some are of several divisions: each counts once in each of the divisions below.
        places = np.unique(children * len(words.alive) + owners)
        children = places // len(words.alive)
    below, counts = np.unique(children, return_counts=True)
    rows = [(f"{low:012}", len(whole))] if len(whole) else []
    rows += [(f"{code:012}", count) for code, count in zip(below, counts.tolist(), strict=True)]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def _children(codes: IntArray, parent: int, digits: int) -> IntArray:
    """The division below the parent that each code lies in. Where a level is skipped (a city
    without counties) its digits are zeros, and the next level is the one below."""
    found = np.full(len(codes), parent, dtype=np.int64)
    for step in _STEPS[(0, 2, 4, 6, 9, 12).index(digits) :]:
        still = found == parent
        found[still] = codes[still] // step * step
    return found
