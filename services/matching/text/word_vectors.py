"""A heavier encoder: trained word vectors from a file, with nothing but numpy.

The file is the text format of word2vec, GloVe and fastText: a word and its numbers on each line,
the most frequent word first, optionally a first line of two counts. A text is the mean of its
words' vectors, rare words counting more. Words are not stemmed; a Chinese run is cut into the
longest words the file has. Who configures such a file chooses what it knows: an English one gives
Chinese texts no vector at all, and then nothing of it enters their likeness.

Arora, Liang, Ma (2017), "A simple but tough-to-beat baseline for sentence embeddings", with word
frequencies after Zipf's law because the file holds ranks only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from services.matching.text.stems import stop_words
from services.matching.text.tokens import pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The paper's constant; between 1e-3 and 1e-4 it changes little.
SMOOTHING = 1e-3
# No Chinese word of such a file is longer in practice; bounds the work of cutting.
WORD_CHARS_MAX = 6


class BadVectors(ValueError):
    """The file is not in the format of the module's docstring; the message names the line."""


@dataclass(frozen=True)
class WordVectors:
    """Word vectors of one file.

    rows     word -> row of vectors
    vectors  (words, dimension) float32, already weighted by how rare the word is
    version  names the file's content: another file, other vectors
    """

    rows: dict[str, int]
    vectors: NDArray[np.float32]
    version: str

    @property
    def dimension(self) -> int:
        return int(self.vectors.shape[1])

    @classmethod
    def read(cls, path: Path) -> WordVectors:
        """Raise BadVectors for a malformed file, OSError for one that cannot be read."""
        digest = hashlib.sha256()
        rows: dict[str, int] = {}
        found: list[NDArray[np.float32]] = []
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                digest.update(line)
                try:
                    # Some files have words that are spaces themselves: only the end is cut.
                    word, _, numbers = line.decode().rstrip().partition(" ")
                    if number == 1 and numbers.strip().isdigit():
                        continue
                    vector = np.array(numbers.split(), dtype=np.float32)
                except ValueError as error:
                    raise BadVectors(f"line {number}: not a word and numbers") from error
                if not len(vector) or (found and len(vector) != len(found[0])):
                    raise BadVectors(f"line {number}: {len(vector)} numbers")
                if not np.isfinite(vector).all():
                    raise BadVectors(f"line {number}: a number that is none")
                if rows.setdefault(word.lower(), len(found)) == len(found):
                    found.append(vector)
        if not found:
            raise BadVectors("no word vectors")
        return cls(rows, np.stack(found) * _rarity(len(found)), f"words-{digest.hexdigest()[:16]}")

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (len(texts), dimension) rows of length one; a text without any word of the file is
        a row of zeros."""
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            known = [self.rows[word] for word in self._words(text)]
            if known:
                row += np.add.reduce(self.vectors[known], axis=0)
        length = np.sqrt(np.add.reduce(rows * rows, axis=1, keepdims=True))
        return (rows / np.where(length > 0, length, np.float32(1))).astype(np.float32, copy=False)

    def _words(self, text: str) -> Iterator[str]:
        for piece, chinese in pieces(text):
            if chinese:
                yield from self._cut(piece)
            elif piece in self.rows and piece not in stop_words():
                yield piece

    def _cut(self, run: str) -> Iterator[str]:
        at = 0
        while at < len(run):
            ends = range(min(len(run), at + WORD_CHARS_MAX), at, -1)
            end = next((end for end in ends if run[at:end] in self.rows), None)
            if end is not None:
                yield run[at:end]
            at = end or at + 1


def _rarity(words: int) -> NDArray[np.float32]:
    """a / (a + p), with p of the r-th word proportional to 1 / r."""
    ranks = np.arange(1, words + 1)
    frequency = 1 / ranks / np.add.reduce(1 / ranks)
    weights: NDArray[np.float32] = (SMOOTHING / (SMOOTHING + frequency)).astype(np.float32)
    return weights[:, None]
