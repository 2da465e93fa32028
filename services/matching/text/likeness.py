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

from services.matching.text.encoder import ENCODER_VERSION, HASHED, Encoder
from services.matching.text.latent import Latent
from services.matching.text.lexical import Lexical
from services.matching.text.tokens import is_chinese

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FUSION = "bm25-latent64-v1"
# The version of a model with the default encoder.
LIKENESS_VERSION = f"{_FUSION}+{ENCODER_VERSION}"
# Thousandths of a latent inner product added to the lexical share; 150 to 300 are a plateau on
# both English sets.
LATENT_SHARE = 200
# The same for the cosine of trained vectors; hashed ones know nothing that BM25 does not.
TRAINED_SHARE = 200
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
    encoder: Encoder

    @classmethod
    def of(cls, document_texts: Sequence[str], encoder: Encoder = HASHED) -> TextModel:
        lexical = Lexical.of(document_texts)
        latent = Latent.of(lexical.without_chinese())
        return cls(lexical, latent, _whole(encoder.encode(document_texts)), encoder)

    @property
    def version(self) -> str:
        """Changes whenever the same texts could give other thousandths."""
        return f"{_FUSION}+{self.encoder.version}"

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
        lexical = _shares(scores, greatest[query_rows])
        latent = self.latent.pair_scores(self.latent.queries(counts), query_rows, document_rows)
        vectors = _whole(self.encoder.encode(query_texts))
        dense = np.zeros(len(query_rows), dtype=np.int64)
        for start in range(0, len(query_rows), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            dense[part] = _cosines(vectors[query_rows[part]], self.vectors[document_rows[part]])
        fused = self._fused(_only_words(query_texts)[query_rows], lexical, latent, dense)
        return Likeness(*map(_thousandths, (lexical, dense, latent, fused)))

    def rank(self, query_text: str, k: int) -> list[tuple[int, int]]:
        """The k likest documents as (row, fused thousandths), the likest first, ties by row."""
        counts, greatest = self.lexical.queries([query_text])
        lexical = _shares(self.lexical.all_scores(counts), greatest)
        latent = self.latent.all_scores(self.latent.queries(counts)[0])
        dense = np.zeros(1, dtype=np.int64)
        if self._trained_share:
            dense = _cosines(_whole(self.encoder.encode([query_text])), self.vectors)
        fused = self._fused(_only_words([query_text]), lexical, latent, dense)
        order = np.argsort(-fused, kind="stable")[:k]
        return [(int(row), int(_thousandths(fused[row]))) for row in order]

    @property
    def _trained_share(self) -> int:
        return 0 if self.encoder is HASHED else TRAINED_SHARE

    def _fused(
        self,
        only_words: NDArray[np.bool_],
        lexical: NDArray[np.int64],
        latent: NDArray[np.int64],
        dense: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Millionths of all three, in millionths, not yet cut to 0..1."""
        mixed = lexical * 1000 + latent * LATENT_SHARE + dense * self._trained_share
        return np.where(only_words, lexical, mixed // (1000 + LATENT_SHARE + self._trained_share))


def _only_words(query_texts: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([is_chinese(text) for text in query_texts], dtype=bool)


def _shares(scores: NDArray[np.int64], greatest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Millionths; both sides are cut first, or a million times a long query's score overflows."""
    return (scores // 1_000) * MILLION // np.maximum(greatest // 1_000, 1)


def _whole(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    whole: NDArray[np.int8] = np.rint(vectors * COMPONENT_SCALE).astype(np.int8)
    return whole


def _cosines(left: NDArray[np.int8], right: NDArray[np.int8]) -> NDArray[np.int64]:
    """Millionths, row by row; one row on the left stands for as many as there are on the right."""
    products: NDArray[np.int64]
    products = np.einsum("ij,ij->i", np.broadcast_to(left, right.shape), right, dtype=np.int64)
    return products * MILLION // COMPONENT_SCALE**2


def _thousandths(millionths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.clip(millionths // 1000, 0, 1000)
