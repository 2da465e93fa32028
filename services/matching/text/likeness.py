"""How alike the texts of a need and an offer are: words, vectors and both, in thousandths.

What is fused depends on the script of the query. Chinese is compared by BM25 over characters and
pairs alone: everything added to it made rankings worse (design MATCHING 3b and our own check).
Other scripts gain from the latent directions of the collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.matching.text.encoder import DIMENSION, ENCODER_VERSION, encode_counted
from services.matching.text.latent import Latent
from services.matching.text.lexical import Lexical
from services.matching.text.tokens import counted, is_chinese
from services.matching.text.word_vectors import WordVectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Changes whenever the same texts could give other thousandths.
LIKENESS_VERSION = f"bm25-latent64-v2+{ENCODER_VERSION}"
# Thousandths of a latent inner product added to the lexical share; 150 to 300 are a plateau on
# both English sets.
LATENT_SHARE = 200
# The same for the cosine of trained vectors; hashed ones know nothing that BM25 does not.
TRAINED_SHARE = 200
# A component of a vector in whole numbers: sums of products of these are exact in any order.
COMPONENT_SCALE = 127
PAIRS_AT_ONCE = 100_000
TEXTS_AT_ONCE = 10_000
MILLION = 1_000_000


@dataclass(frozen=True)
class Likeness:
    """Thousandths 0..1000, (e,) int64 each, one per (query, document) pair.

    lexical  share of the greatest BM25 score any document of the collection could have
    dense    cosine of the hashed vectors; opposite directions count as 0
    latent   inner product in the collection's leading directions; opposite ones count as 0
    fused    what orders documents: all that helps, by the script of the query
    """

    lexical: NDArray[np.int64]
    dense: NDArray[np.int64]
    latent: NDArray[np.int64]
    fused: NDArray[np.int64]


@dataclass(frozen=True)
class TextModel:
    """Statistics and vectors of a collection of documents; equal texts in equal order give equal
    bytes, whatever the number of threads.

    vectors  (documents, encoder.DIMENSION), COMPONENT_SCALE is one
    trained  word vectors this process was configured with, and those of the documents
    """

    lexical: Lexical
    latent: Latent
    vectors: NDArray[np.int8]
    trained: tuple[WordVectors, NDArray[np.int8]] | None

    @classmethod
    def of(cls, document_texts: Sequence[str], trained: WordVectors | None = None) -> TextModel:
        vectors = np.zeros((len(document_texts), DIMENSION), dtype=np.int8)
        lexical = Lexical.of(_read(document_texts, vectors))
        return cls(
            lexical,
            Latent.of(lexical.without_chinese()),
            vectors,
            None if trained is None else (trained, whole(trained.encode(document_texts))),
        )

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
        vectors = np.zeros((len(query_texts), DIMENSION), dtype=np.int8)
        counts, greatest = self.lexical.queries(_read(query_texts, vectors))
        scores = self.lexical.pair_scores(counts, query_rows, document_rows)
        lexical = _shares(scores, greatest[query_rows])
        latent = self.latent.pair_scores(self.latent.queries(counts), query_rows, document_rows)
        dense = pair_cosines(vectors, self.vectors, query_rows, document_rows)
        trained = None
        if self.trained is not None:
            encoder, documents = self.trained
            queries = whole(encoder.encode(query_texts))
            trained = pair_cosines(queries, documents, query_rows, document_rows)
        fused = fuse(are_chinese(query_texts)[query_rows], lexical, latent, trained)
        return Likeness(*map(_thousandths, (lexical, dense, latent, fused)))

    def rank(self, query_text: str, k: int) -> list[tuple[int, int]]:
        """The k likest documents as (row, fused thousandths), the likest first, ties by row."""
        counts, greatest = self.lexical.queries(counted([query_text]))
        lexical = _shares(self.lexical.all_scores(counts), greatest)
        latent = self.latent.all_scores(self.latent.queries(counts)[0])
        trained = None
        if self.trained is not None:
            encoder, documents = self.trained
            trained = _cosines(whole(encoder.encode([query_text])), documents)
        fused = fuse(are_chinese([query_text]), lexical, latent, trained)
        order = np.argsort(-fused, kind="stable")[:k]
        return [(int(row), int(_thousandths(fused[row]))) for row in order]


def fuse(
    chinese: NDArray[np.bool_],
    lexical: NDArray[np.int64],
    latent: NDArray[np.int64],
    trained: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    """What orders documents, in the unit of its parts; not yet cut to 0..1.

    chinese  whether the query is: then words alone count
    trained  cosines of trained vectors; None where the process has none
    """
    mixed = lexical * 1000 + latent * LATENT_SHARE
    shares = 1000 + LATENT_SHARE
    if trained is not None:
        mixed = mixed + trained * TRAINED_SHARE
        shares += TRAINED_SHARE
    return np.where(chinese, lexical, mixed // shares)


def _read(texts: Sequence[str], vectors: NDArray[np.int8]) -> Iterator[Counter[str]]:
    """Yield how often each text has each token, and fill in its row of vectors.

    In parts: a million texts' tokens at once would take gigabytes.
    """
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        counts = counted(texts[start : start + TEXTS_AT_ONCE])
        vectors[start : start + TEXTS_AT_ONCE] = whole(encode_counted(counts))
        yield from counts


def are_chinese(query_texts: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([is_chinese(text) for text in query_texts], dtype=bool)


def _shares(scores: NDArray[np.int64], greatest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Millionths; both sides are cut first, or a million times a long query's score overflows."""
    return (scores // 1_000) * MILLION // np.maximum(greatest // 1_000, 1)


def whole(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    """Rows of length one in whole numbers, COMPONENT_SCALE is one."""
    rounded: NDArray[np.int8] = np.rint(vectors * COMPONENT_SCALE).astype(np.int8)
    return rounded


def pair_cosines(
    queries: NDArray[np.int8],
    documents: NDArray[np.int8],
    query_rows: NDArray[np.int64],
    document_rows: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Millionths (e,) of the pairs (query_rows[i], document_rows[i])."""
    found = np.zeros(len(query_rows), dtype=np.int64)
    for start in range(0, len(query_rows), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        found[part] = _cosines(queries[query_rows[part]], documents[document_rows[part]])
    return found


def _cosines(left: NDArray[np.int8], right: NDArray[np.int8]) -> NDArray[np.int64]:
    """Millionths, row by row; one row on the left stands for as many as there are on the right."""
    products: NDArray[np.int64]
    products = np.einsum("ij,ij->i", np.broadcast_to(left, right.shape), right, dtype=np.int64)
    return products * MILLION // COMPONENT_SCALE**2


def _thousandths(millionths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.clip(millionths // 1000, 0, 1000)
