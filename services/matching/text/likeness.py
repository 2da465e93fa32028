"""How alike the texts of a need and an offer are: words, vectors and both, in thousandths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.matching.text import encoder
from services.matching.text.lexical import Lexical

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Changes whenever the same texts could give other thousandths.
LIKENESS_VERSION = f"bm25+{encoder.ENCODER_VERSION}"
# A component of a vector in whole numbers: sums of products of these are exact in any order.
COMPONENT_SCALE = 127
PAIRS_AT_ONCE = 100_000


@dataclass(frozen=True)
class Likeness:
    """Thousandths 0..1000, (e,) int64 each, one per (query, document) pair.

    lexical  share of the greatest BM25 score any document of the collection could have
    dense    cosine of the vectors; opposite directions count as 0
    fused    both, weighted by the script of the query
    """

    lexical: NDArray[np.int64]
    dense: NDArray[np.int64]
    fused: NDArray[np.int64]


@dataclass(frozen=True)
class TextModel:
    """Statistics and vectors of a collection of documents; equal texts in equal order give equal
    bytes, whatever the number of threads."""

    lexical: Lexical
    vectors: NDArray[np.int8]

    @classmethod
    def of(cls, document_texts: Sequence[str]) -> TextModel:
        return cls(Lexical.of(document_texts), _whole(encoder.encode(document_texts)))

    def likeness(
        self,
        query_texts: Sequence[str],
        query_rows: NDArray[np.int64],
        document_rows: NDArray[np.int64],
    ) -> Likeness:
        """Likeness of the pairs (query_rows[i], document_rows[i]).

        query_rows     (e,) rows of query_texts
        document_rows  (e,) rows of the collection
        """
        counts, greatest = self.lexical.queries(query_texts)
        scores = self.lexical.pair_scores(counts, query_rows, document_rows)
        lexical = _thousandths(scores, greatest[query_rows])
        vectors = _whole(encoder.encode(query_texts))
        dense = np.zeros(len(query_rows), dtype=np.int64)
        for start in range(0, len(query_rows), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            dense[part] = _cosines(vectors[query_rows[part]], self.vectors[document_rows[part]])
        return Likeness(lexical, dense, _fused(lexical, dense))

    def rank(self, query_text: str, k: int) -> list[tuple[int, int]]:
        """The k likest documents as (row, fused thousandths), the likest first, ties by row."""
        rows = np.arange(len(self.vectors), dtype=np.int64)
        fused = self.likeness([query_text], np.zeros_like(rows), rows).fused
        order = np.lexsort((rows, -fused))[:k]
        return [(int(row), int(fused[row])) for row in order]


def _whole(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    whole: NDArray[np.int8] = np.rint(vectors * COMPONENT_SCALE).astype(np.int8)
    return whole


def _cosines(left: NDArray[np.int8], right: NDArray[np.int8]) -> NDArray[np.int64]:
    products: NDArray[np.int64] = np.einsum("ij,ij->i", left, right, dtype=np.int64)
    return np.clip(products * 1000 // COMPONENT_SCALE**2, 0, 1000)


def _thousandths(scores: NDArray[np.int64], greatest: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.clip(scores * 1000 // np.maximum(greatest, 1), 0, 1000)


def _fused(lexical: NDArray[np.int64], dense: NDArray[np.int64]) -> NDArray[np.int64]:
    return (3 * lexical + dense) // 4
