"""BM25 of given documents, in whole numbers.

The share a token has in a document's score is rounded once, when the documents are read; scores are
sums of these whole numbers, so no order of adding and no number of threads changes them.

Robertson and Zaragoza (2009), "The probabilistic relevance framework: BM25 and beyond",
doi:10.1561/1500000019; inverse document frequency as in Lucene (never negative).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from services.matching.text.tokens import is_chinese_token

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The usual values of the literature; not tuned.
K1 = 1.2
B = 0.75
# A pair of Chinese characters repeats what its two characters say already; in passages and titles
# of Chinese manual pages 0.7 to 1 of a character's emphasis are a plateau.
EMPHASIS, PAIR_EMPHASIS = 20, 17
# One unit of a stored weight; a query of 8,000 tokens stays far below 2**63.
WEIGHT_SCALE = 1_000_000
# Pairs scored at once: bounds memory to some hundred MB whatever the number of pairs.
PAIRS_AT_ONCE = 200_000


@dataclass(frozen=True)
class Lexical:
    """BM25 statistics and weights of a collection.

    columns   token -> column
    weights   (documents, tokens) int64: what a token gives to the score when asked once
    by_token  the same, token by token
    greatest  (tokens,) int64: the greatest weight of the token in any document
    emphasis  (tokens,) int64: what one occurrence in a query counts
    """

    columns: dict[str, int]
    weights: sparse.csr_array
    by_token: sparse.csc_array
    greatest: NDArray[np.int64]
    emphasis: NDArray[np.int64]

    @classmethod
    def of(cls, documents: Iterable[Counter[str]]) -> Lexical:
        """documents   how often each has each token, as `tokens.counted` gives it"""
        columns: dict[str, int] = {}
        counts = _counts(documents, columns, grow=True)
        weights = _weights(counts)
        by_token = weights.tocsc()
        greatest = np.zeros(len(columns), dtype=np.int64)
        if by_token.nnz:
            greatest[:] = by_token.max(axis=0).toarray().ravel()
        emphasis = np.array([emphasis_of(token) for token in columns], dtype=np.int64)
        return cls(columns, weights, by_token, greatest, emphasis)

    def queries(
        self, queries: Iterable[Counter[str]]
    ) -> tuple[sparse.csr_array, NDArray[np.int64]]:
        """Emphasised counts (queries, tokens) and each query's greatest possible score; tokens that
        no document has count in neither."""
        counts = _counts(queries, self.columns, grow=False)
        counts.data *= self.emphasis[counts.indices]
        return counts, np.asarray(counts @ self.greatest)

    def pair_scores(
        self,
        queries: sparse.csr_array,
        query_rows: NDArray[np.int64],
        document_rows: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Scores (e,) of the pairs (query_rows[i], document_rows[i])."""
        scores = np.zeros(len(query_rows), dtype=np.int64)
        for start in range(0, len(query_rows), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            product = queries[query_rows[part]].multiply(self.weights[document_rows[part]])
            scores[part] = np.asarray(product.sum(axis=1)).ravel()
        return scores

    def all_scores(self, query: sparse.csr_array) -> NDArray[np.int64]:
        """Scores (documents,) of one query's row of counts."""
        return np.asarray(self.by_token[:, query.indices] @ query.data).ravel()

    def without_chinese(self) -> sparse.csr_array:
        """The weights (documents, tokens) with those of Chinese tokens left out."""
        kept = np.array([not is_chinese_token(token) for token in self.columns], dtype=bool)
        stays = kept[self.weights.indices] if self.weights.nnz else np.zeros(0, bool)
        before = np.concatenate([[0], np.cumsum(stays)])
        return sparse.csr_array(
            (
                self.weights.data[stays],
                self.weights.indices[stays],
                before[self.weights.indptr],
            ),
            shape=self.weights.shape,
        )


def _counts(
    texts: Iterable[Counter[str]], columns: dict[str, int], *, grow: bool
) -> sparse.csr_array:
    # Eight bytes a number: a million documents have forty million tokens.
    indptr, indices, data = array("q", [0]), array("q"), array("q")
    for found in texts:
        for token, times in found.items():
            column = columns.setdefault(token, len(columns)) if grow else columns.get(token)
            if column is not None:
                indices.append(column)
                data.append(times)
        indptr.append(len(indices))
    return sparse.csr_array(
        (np.array(data), np.array(indices), np.array(indptr)),
        shape=(len(indptr) - 1, len(columns)),
    )


def _weights(counts: sparse.csr_array) -> sparse.csr_array:
    documents = counts.shape[0]
    if not counts.nnz:
        return counts
    having = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = rarity_of(having, documents)[counts.indices]
    length = np.asarray(counts.sum(axis=1)).ravel()
    of_row = np.repeat(np.arange(documents), np.diff(counts.indptr))
    whole = weights_of(rarity, counts.data, length[of_row], float(length.mean()))
    return sparse.csr_array((whole, counts.indices, counts.indptr), shape=counts.shape)


def rarity_of(having: NDArray[np.int64], documents: int) -> NDArray[np.float64]:
    """Inverse document frequency of tokens that `having` of the documents have."""
    rarity: NDArray[np.float64] = np.log1p((documents - having + 0.5) / (having + 0.5))
    return rarity


def weights_of(
    rarity: NDArray[np.float64],
    counts: NDArray[np.int64],
    length: NDArray[np.int64],
    mean: float,
) -> NDArray[np.int64]:
    """What tokens give to their documents' scores when asked once.

    counts, length   of the token in the document; of the document, beside the mean of all
    """
    slack = K1 * (1 - B + B * length / mean)
    share = rarity * counts * (K1 + 1) / (counts + slack)
    whole: NDArray[np.int64] = np.rint(share * WEIGHT_SCALE).astype(np.int64)
    return whole


def emphasis_of(token: str) -> int:
    """What one occurrence in a query counts."""
    return PAIR_EMPHASIS if len(token) == 2 and is_chinese_token(token) else EMPHASIS
