"""Directions in which the words of a collection vary together.

A need that says "food stamps" is to find an offer that says "nutrition assistance": both words
stand in the same documents of the collection. The span of the leading singular vectors of the
documents is found by block power iteration; a query is compared with a document inside that span
(the inner product of latent semantic analysis, which any basis of the span gives).

Deerwester et al. (1990), "Indexing by latent semantic analysis"; Halko, Martinsson, Tropp (2011),
"Finding structure with randomness", arXiv:0909.4061, algorithm 4.4.

Every sum runs row after row, in numpy and scipy loops that know no threads (no BLAS), and the
vectors are rounded to whole numbers at the end: equal documents give equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Directions kept: 32 to 128 differ little on both English sets; fewer blur, more repeat the words.
RANK = 64
# A collection smaller than this times the rank gets fewer directions, or none.
DOCUMENTS_A_DIRECTION = 16
# Each sharpens the span; two are measurably too few, more than eight change nothing.
ITERATIONS = 8
# The span is sought among so many documents, evenly taken; the last step is over all of them.
FITTED_DOCUMENTS = 20_000
ROWS_AT_ONCE = 4_096
TOKEN_SCALE = 1 << 30
COMPONENT_SCALE = 1 << 10
PAIRS_AT_ONCE = 100_000


@dataclass(frozen=True)
class Latent:
    """Tokens and documents of a collection in its leading directions.

    by_token   (tokens, r) int64, TOKEN_SCALE is one
    documents  (documents, r) int16, COMPONENT_SCALE is one; rows are of length one on average
    """

    by_token: NDArray[np.int64]
    documents: NDArray[np.int16]

    @classmethod
    def of(cls, weights: sparse.csr_array) -> Latent:
        """Fit to the weights (documents, tokens); rows are scaled to length one first."""
        documents, tokens = weights.shape
        rank = min(RANK, documents // DOCUMENTS_A_DIRECTION, tokens)
        if not rank or not weights.nnz:
            return cls(np.zeros((tokens, 0), np.int64), np.zeros((documents, 0), np.int16))
        rows = _unit_rows(weights)
        some = rows[:: -(-documents // FITTED_DOCUMENTS)]
        columns = sparse.csr_array(some.T)
        basis = _orthonormal(_start(some.shape[0], rank))
        for _ in range(ITERATIONS - 1):
            basis = _orthonormal(some @ (columns @ basis))
        basis = _orthonormal(rows @ (columns @ basis))
        columns = sparse.csr_array(rows.T)
        longer = np.sqrt(documents / rank) * COMPONENT_SCALE
        limit = np.iinfo(np.int16).max
        return cls(
            np.rint((columns @ basis) * TOKEN_SCALE).astype(np.int64),
            np.clip(np.rint(basis * longer), -limit, limit).astype(np.int16),
        )

    def queries(self, counts: sparse.csr_array) -> NDArray[np.int16]:
        """Queries of token counts (queries, tokens) in the same directions, (queries, r) of length
        one; zeros where a query has no known token."""
        sums = np.asarray(counts @ self.by_token).astype(np.float64)
        length = np.sqrt(np.add.reduce(sums * sums, axis=1, keepdims=True))
        unit = sums * COMPONENT_SCALE / np.maximum(length, 1.0)
        whole: NDArray[np.int16] = np.rint(unit).astype(np.int16)
        return whole

    def pair_scores(
        self,
        queries: NDArray[np.int16],
        query_rows: NDArray[np.int64],
        document_rows: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Inner products (e,) in millionths; negative where directions are opposed."""
        scores = np.zeros(len(query_rows), dtype=np.int64)
        for start in range(0, len(query_rows), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            scores[part] = np.einsum(
                "ij,ij->i",
                queries[query_rows[part]],
                self.documents[document_rows[part]],
                dtype=np.int64,
            )
        return scores * 1_000_000 // COMPONENT_SCALE**2

    def all_scores(self, query: NDArray[np.int16]) -> NDArray[np.int64]:
        """The same for one query (r,) and every document."""
        products: NDArray[np.int64]
        products = np.einsum("ij,j->i", self.documents, query, dtype=np.int64)
        return products * 1_000_000 // COMPONENT_SCALE**2


def _unit_rows(weights: sparse.csr_array) -> sparse.csr_array:
    squares = np.asarray(weights.multiply(weights).sum(axis=1), dtype=np.float64).ravel()
    length = np.sqrt(np.where(squares > 0, squares, 1.0))
    of_row = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    return sparse.csr_array(
        (weights.data / length[of_row], weights.indices, weights.indptr), shape=weights.shape
    )


def _start(rows: int, columns: int) -> NDArray[np.float64]:
    # Signs from a counter mixed as in splitmix64: the same everywhere, and nothing to store.
    with np.errstate(over="ignore"):
        mixed = np.arange(1, rows * columns + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.where(mixed >> np.uint64(63), 1.0, -1.0).reshape(rows, columns)


def _orthonormal(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of length one at right angles; one that depends on earlier ones becomes zero.

    Gram-Schmidt on the columns' inner products: the long columns are read twice, not once a pair.
    """
    products = np.zeros((block.shape[1], block.shape[1]))
    for start in range(0, len(block), ROWS_AT_ONCE):
        part = np.ascontiguousarray(block[start : start + ROWS_AT_ONCE].T)
        products += np.einsum("in,jn->ij", part, part)
    mix = np.zeros_like(products)
    for j in range(len(products)):
        column = np.zeros(len(products))
        column[j] = 1.0
        for _ in range(2):  # Twice is enough (Kahan, Parlett).
            shares = np.add.reduce(mix[:j] * _times(products, column), axis=1)
            column -= np.add.reduce(mix[:j] * shares[:, None], axis=0)
        square = np.add.reduce(column * _times(products, column))
        if square > 1e-10 * products[j, j]:
            mix[j] = column / np.sqrt(square)
    found = np.empty_like(block)
    for start in range(0, len(block), ROWS_AT_ONCE):
        part = block[start : start + ROWS_AT_ONCE]
        found[start : start + ROWS_AT_ONCE] = np.einsum("nj,ij->ni", part, mix)
    return found


def _times(matrix: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    product: NDArray[np.float64] = np.add.reduce(matrix * vector, axis=1)
    return product
