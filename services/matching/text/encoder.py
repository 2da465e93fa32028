"""Need and offer texts as vectors, without trained weights.

Tokens are hashed with a sign into DIMENSION columns, the root of how often each occurs is added
there, and the row is scaled to length one. Nothing is learned, so a text gives the same vector on
every machine and after every restart, and a vector can be kept as long as ENCODER_VERSION stays the
same.

Weinberger et al. (2009), "Feature hashing for large scale multitask learning", arXiv:0902.2206.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from services.matching.text.tokens import TOKENS_VERSION, counted
from services.matching.text.tokens import tokens as tokens  # named here by its first users

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Changes whenever the same text could give another vector: stored with vectors, compared before
# use.
ENCODER_VERSION = f"signed-hash-512-sqrt-{TOKENS_VERSION}"
# 1,024 would find a little more (0.43 against 0.40 of the Miami set in the first 50) for twice the
# memory of the index.
DIMENSION = 512


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return (len(texts), DIMENSION) rows of length one; a text without any token is a row of
    zeros."""
    return encode_counted(counted(texts))


def encode_counted(counts_of_texts: Sequence[Counter[str]]) -> NDArray[np.float32]:
    places, times, indptr = list[int](), list[int](), [0]
    for found in counts_of_texts:
        places.extend(map(_place, found))
        times.extend(found.values())
        indptr.append(len(places))
    signed = np.array(places, dtype=np.int64)
    roots = np.sign(signed) * np.sqrt(np.array(times, dtype=np.float32))
    rows = sparse.csr_array(
        (roots.astype(np.float32), np.abs(signed) - 1, np.array(indptr)),
        shape=(len(counts_of_texts), DIMENSION),
    ).toarray()
    length = np.sqrt(np.add.reduce(rows * rows, axis=1, keepdims=True))
    unit = rows / np.where(length > 0, length, np.float32(1))
    return unit.astype(np.float32, copy=False)


@lru_cache(maxsize=1 << 17)
def _place(token: str) -> int:
    """Column counted from one, with the token's sign."""
    digest = hashlib.blake2b(token.encode(), digest_size=8).digest()
    column = int.from_bytes(digest[:4], "little") % DIMENSION + 1
    return column if digest[7] & 1 else -column
