"""How alike the texts of a need and an offer are: words, vectors and both, in thousandths.

What is fused depends on the script of the query. Chinese is compared by BM25 over characters and
pairs alone: everything added to it made rankings worse (design MATCHING 3b and our own check).
Other scripts gain from the latent directions of the collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.matching.text import encoder
from services.matching.text.latent import Latent
from services.matching.text.lexical import Lexical
from services.matching.text.tokens import is_chinese

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Changes whenever the same texts could give other thousandths.
LIKENESS_VERSION = f"bm25-latent64-v1+{encoder.ENCODER_VERSION}"
# Thousandths of a latent inner product added to the lexical share; 150 to 300 are a plateau on
# both English sets.
LATENT_SHARE = 200
# A component of a vector in whole numbers: sums of products of these are exact in any order.
COMPONENT_SCALE = 127
PAIRS_AT_ONCE = 100_000
MILLION = 1_000_000


@dataclass(frozen=True)
class Likeness:
    """Thousandths 0..1000, (e,) int64 each, one per (query, document) pair.

    lexical  share of the greatest BM25 score any document of the collection could have
    dense    cosine of the vectors; opposite directions count as 0
    latent   inner product in the collection's leading directions; opposite ones count as 0
    fused    what orders documents: by the script of the query
    """

    lexical: NDArray[np.int64]
    dense: NDArray[np.int64]
    latent: NDArray[np.int64]
    fused: NDArray[np.int64]


@dataclass(frozen=True)
class TextModel:
    """Statistics and vectors of a collection of documents; equal texts in equal order give equal
    bytes, whatever the number of threads."""

    lexical: Lexical
    latent: Latent
    vectors: NDArray[np.int8]

    @classmethod
    def of(cls, document_texts: Sequence[str]) -> TextModel:
        lexical = Lexical.of(document_texts)
        latent = Latent.of(lexical.without_chinese())
        return cls(lexical, latent, _whole(encoder.encode(document_texts)))

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
        lexical, latent, fused = self._millionths(query_texts, query_rows, document_rows)
        vectors = _whole(encoder.encode(query_texts))
        dense = np.zeros(len(query_rows), dtype=np.int64)
        for start in range(0, len(query_rows), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            dense[part] = _products(vectors[query_rows[part]], self.vectors[document_rows[part]])
        return Likeness(
            _thousandths(lexical),
            _thousandths(dense * MILLION // COMPONENT_SCALE**2),
            _thousandths(latent),
            _thousandths(fused),
        )

    def rank(self, query_text: str, k: int) -> list[tuple[int, int]]:
        """The k likest documents as (row, fused thousandths), the likest first, ties by row."""
        counts, greatest = self.lexical.queries([query_text])
        scores = self.lexical.all_scores(counts)
        latent = self.latent.all_scores(self.latent.queries(counts)[0])
        fused = _fused(_shares(scores, greatest), latent, _latent_shares([query_text]))
        order = np.argsort(-fused, kind="stable")[:k]
        return [(int(row), int(_thousandths(fused[row]))) for row in order]

    def _millionths(
        self,
        query_texts: Sequence[str],
        query_rows: NDArray[np.int64],
        document_rows: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Lexical, latent and fused (e,); what is fused is not yet cut to 0..1."""
        counts, greatest = self.lexical.queries(query_texts)
        scores = self.lexical.pair_scores(counts, query_rows, document_rows)
        lexical = _shares(scores, greatest[query_rows])
        latent = self.latent.pair_scores(self.latent.queries(counts), query_rows, document_rows)
        return lexical, latent, _fused(lexical, latent, _latent_shares(query_texts)[query_rows])


def _shares(scores: NDArray[np.int64], greatest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Millionths; both sides are cut first, or a million times a long query's score overflows."""
    return (scores // 1_000) * MILLION // np.maximum(greatest // 1_000, 1)


def _latent_shares(query_texts: Sequence[str]) -> NDArray[np.int64]:
    return np.array([0 if is_chinese(text) else LATENT_SHARE for text in query_texts], np.int64)


def _fused(
    lexical: NDArray[np.int64], latent: NDArray[np.int64], latent_share: NDArray[np.int64]
) -> NDArray[np.int64]:
    return (lexical * 1000 + latent * latent_share) // (1000 + latent_share)


def _whole(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    whole: NDArray[np.int8] = np.rint(vectors * COMPONENT_SCALE).astype(np.int8)
    return whole


def _products(left: NDArray[np.int8], right: NDArray[np.int8]) -> NDArray[np.int64]:
    products: NDArray[np.int64] = np.einsum("ij,ij->i", left, right, dtype=np.int64)
    return products


def _thousandths(millionths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.clip(millionths // 1000, 0, 1000)
