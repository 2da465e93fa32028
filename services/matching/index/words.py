"""An inverted index of words that documents enter and leave: BM25 over everything, unfiltered.

The statistics (documents, documents having a word, mean length) are those of the documents in it
now, so scores do not depend on the order or number of changes: the same as of a fresh index. The
formula and its whole numbers are those of `text.lexical`, whose collections never change.

A document gets a serial number, ascending and never used again but when all are numbered anew.
Postings of most documents are in sorted arrays; those of the newest in lists, which are now and
then merged in (O'Neil et al. 1996, "The log-structured merge-tree", doi:10.1007/s002360050048).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from services.matching.index.lists import Gate
from services.matching.text.lexical import emphasis_of, rarity_of, weights_of
from services.matching.text.tokens import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

# The newest documents are merged in when they are more than this and an eighth of the others.
TAIL_DOCUMENTS = 4_096
TAIL_PART = 8


@dataclass(frozen=True, slots=True)
class Document:
    """words   how often it has each, as of `text.tokens.counted`
    facets  one number in each of the index's facets
    codes   the divisions it is of, as numbers
    """

    id: UUID
    words: Mapping[str, int]
    facets: tuple[int, ...]
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """columns   (q,) of the words some document has, ascending
    counts    (q,) how often they are asked, emphasised
    greatest  the highest score a document could have, were it the best for every word
    """

    columns: IntArray
    counts: IntArray
    greatest: int


class Column:
    """An array that grows at its end."""

    def __init__(self, kind: type[np.generic]) -> None:
        self._array = np.zeros(1_024, dtype=kind)
        self.used = 0

    def __len__(self) -> int:
        return self.used

    def extend(self, values: Sequence[int] | NDArray[Any]) -> None:
        end = self.used + len(values)
        if end > len(self._array):
            more = np.zeros(max(end, 2 * len(self._array)), dtype=self._array.dtype)
            more[: self.used] = self._array[: self.used]
            self._array = more
        self._array[self.used : end] = values
        self.used = end

    @property
    def array(self) -> NDArray[Any]:
        return self._array[: self.used]

    def replace(self, values: NDArray[Any]) -> None:
        self.used = 0
        self.extend(values)


class WordIndex:
    """Documents by id. One thread changes it at a time; any number read under `gate.reading()`."""

    def __init__(self, facets: int) -> None:
        self.gate = Gate()
        self._facets = [Column(np.int32) for _ in range(facets)]
        # A pair for each division of each document.
        self._coded, self._codes = Column(np.int64), Column(np.int64)
        self.serial_of: dict[UUID, int] = {}
        self.ids: list[UUID] = []
        self._column_of: dict[str, int] = {}
        # The ids as two big-endian numbers: what was made later is greater (UUIDv7).
        self._high, self._low = Column(np.uint64), Column(np.uint64)
        self._alive, self._lengths = Column(np.bool_), Column(np.int64)
        # Words of document s: places starts[s] to starts[s + 1] of words and counts.
        self._starts = Column(np.int64)
        self._starts.extend([0])
        self._words, self._counts = Column(np.int32), Column(np.int32)
        self._having = Column(np.int64)
        self._length = 0
        self._main = _Postings.empty()
        self._tail: dict[int, list[int]] = {}
        self._greatest: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.serial_of)

    def put(self, documents: Sequence[Document]) -> None:
        """Insert or replace documents; the last mention of one wins."""
        with self.gate.writing():
            for document in documents:
                self._remove([document.id])
                self._append(document)
            self._greatest.clear()
        self._keep_small()

    def remove(self, ids: Iterable[UUID]) -> None:
        """Take documents out; one that is not there is no error."""
        with self.gate.writing():
            self._remove(ids)
            self._greatest.clear()

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays, for `restored`."""
        columns = {name: column.array for name, column in self._columns().items()}
        # No token holds a NUL: it is no letter, digit or Chinese character.
        words = "\0".join(self._column_of).encode()
        return columns | {"vocabulary": np.frombuffer(words, dtype=np.uint8)}

    @classmethod
    def restored(cls, facets: int, state: dict[str, NDArray[Any]]) -> WordIndex:
        made = cls(facets)
        for name, column in made._columns().items():
            column.replace(state[name])
        words = state["vocabulary"].tobytes().decode()
        made._column_of = {word: n for n, word in enumerate(words.split("\0") if words else ())}
        halves = zip(made._high.array.tolist(), made._low.array.tolist(), strict=True)
        made.ids = [UUID(int=(high << 64) | low) for high, low in halves]
        alive = np.flatnonzero(made._alive.array)
        made.serial_of = {made.ids[serial]: serial for serial in alive.tolist()}
        made._length = int(made._lengths.array[alive].sum())
        made._merge()
        return made

    def _columns(self) -> dict[str, Column]:
        facets = {f"facet{number}": column for number, column in enumerate(self._facets)}
        return facets | {
            "coded": self._coded,
            "codes": self._codes,
            "high": self._high,
            "low": self._low,
            "alive": self._alive,
            "lengths": self._lengths,
            "starts": self._starts,
            "words": self._words,
            "counts": self._counts,
            "having": self._having,
        }

    # ---------------------------------------------- reading, under the gate

    @property
    def alive(self) -> NDArray[np.bool_]:
        """(serials,) whether the document is still here."""
        alive: NDArray[np.bool_] = self._alive.array.astype(np.bool_, copy=False)
        return alive

    def facet(self, number: int) -> NDArray[np.int32]:
        """(serials,)"""
        return self._facets[number].array

    @property
    def keys(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """(serials,) each: the halves of the ids, in the order of their making."""
        return self._high.array, self._low.array

    @property
    def coded(self) -> tuple[IntArray, IntArray]:
        """Serials and division codes, one pair a division of a document."""
        return self._coded.array, self._codes.array

    def query(self, text: str) -> Query:
        asked = {
            column: count * emphasis_of(word)
            for word, count in counted([text])[0].items()
            if (column := self._column_of.get(word)) is not None and self._having.array[column]
        }
        columns = np.array(sorted(asked), dtype=np.int64)
        counts = np.array([asked[column] for column in columns.tolist()], dtype=np.int64)
        greatest = sum(self._greatest_of(c) * asked[c] for c in columns.tolist())
        return Query(columns, counts, greatest)

    def scores(self, query: Query) -> IntArray:
        """(serials,) score of every document; 0 for those that are gone."""
        found = np.zeros(len(self._alive), dtype=np.int64)
        for column, count in zip(query.columns.tolist(), query.counts.tolist(), strict=True):
            serials, counts = self._postings(column)
            found[serials] += self._weights(column, serials, counts) * count
        return found

    def scores_of(self, query: Query, serials: IntArray) -> IntArray:
        """(n,) scores of these documents."""
        starts = self._starts.array.astype(np.int64, copy=False)
        sizes = starts[serials + 1] - starts[serials]
        owner = np.repeat(np.arange(len(serials)), sizes)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        places = starts[serials][owner] + within
        words = self._words.array[places].astype(np.int64)
        found = np.zeros(len(serials), dtype=np.int64)
        if not len(query.columns):
            return found
        at = np.minimum(np.searchsorted(query.columns, words), len(query.columns) - 1)
        hit = query.columns[at] == words
        weights = self._weights(
            words[hit], serials[owner[hit]], self._counts.array[places[hit]].astype(np.int64)
        )
        np.add.at(found, owner[hit], weights * query.counts[at[hit]])
        return found

    def _greatest_of(self, column: int) -> int:
        known = self._greatest.get(column)
        if known is None:
            serials, counts = self._postings(column)
            known = int(self._weights(column, serials, counts).max(initial=0))
            self._greatest[column] = known
        return known

    def _postings(self, column: int) -> tuple[IntArray, IntArray]:
        """Serials and counts of the documents that have the word."""
        part = self._main.of_word(column)
        serials = self._main.serials[part].astype(np.int64)
        counts = self._main.counts[part].astype(np.int64)
        tail = self._tail.get(column)
        if tail:
            newest = np.array(tail, dtype=np.int64).reshape(-1, 2)
            serials = np.concatenate([serials, newest[:, 0]])
            counts = np.concatenate([counts, newest[:, 1]])
        alive = self.alive[serials]
        return serials[alive], counts[alive]

    def _weights(self, columns: int | IntArray, serials: IntArray, counts: IntArray) -> IntArray:
        documents = len(self.serial_of)
        rarity = rarity_of(self._having.array[columns], documents)
        mean = self._length / max(1, documents)
        return weights_of(rarity, counts, self._lengths.array[serials], max(mean, 1e-9))

    # ------------------------------------------------------------- changing

    def _append(self, document: Document) -> None:
        serial = len(self.ids)
        self.serial_of[document.id] = serial
        self.ids.append(document.id)
        for facet, value in zip(self._facets, document.facets, strict=True):
            facet.extend([value])
        self._coded.extend([serial] * len(document.codes))
        self._codes.extend(document.codes)
        columns = [self._column_of.setdefault(w, len(self._column_of)) for w in document.words]
        missing = len(self._column_of) - len(self._having)
        if missing:
            self._having.extend([0] * missing)
        counts = list(document.words.values())
        self._having.array[columns] += 1
        self._words.extend(columns)
        self._counts.extend(counts)
        self._starts.extend([len(self._words)])
        self._high.extend([document.id.int >> 64])
        self._low.extend([document.id.int & (2**64 - 1)])
        self._alive.extend([True])
        self._lengths.extend([sum(counts)])
        self._length += sum(counts)
        for column, count in zip(columns, counts, strict=True):
            self._tail.setdefault(column, []).extend((serial, count))

    def _remove(self, ids: Iterable[UUID]) -> None:
        for key in ids:
            serial = self.serial_of.pop(key, None)
            if serial is None:
                continue
            self._alive.array[serial] = False
            self._length -= int(self._lengths.array[serial])
            self._having.array[self._words_of(serial)] -= 1

    def _words_of(self, serial: int) -> NDArray[Any]:
        start, end = self._starts.array[serial : serial + 2].tolist()
        return self._words.array[start:end]

    def _keep_small(self) -> None:
        if len(self.ids) - len(self.serial_of) > max(TAIL_DOCUMENTS, len(self.serial_of)):
            self._number_anew()
        tail = len(self.ids) - self._main.documents
        if tail > max(TAIL_DOCUMENTS, self._main.documents // TAIL_PART):
            self._merge()

    def _merge(self) -> None:
        # Only this thread changes anything, so readers may go on while the new arrays are made.
        main = _Postings.of(
            self._starts.array, self._words.array, self._counts.array, len(self._column_of)
        )
        with self.gate.writing():
            self._main, self._tail = main, {}

    def _number_anew(self) -> None:
        """Drop what is gone."""
        alive = np.flatnonzero(self._alive.array)
        starts = self._starts.array
        sizes = starts[alive + 1] - starts[alive]
        ends = np.cumsum(sizes)
        places = np.arange(sizes.sum()) + np.repeat(starts[alive] - (ends - sizes), sizes)
        number_of = np.full(len(self.ids), -1, dtype=np.int64)
        number_of[alive] = np.arange(len(alive))
        coded = number_of[self._coded.array]
        with self.gate.writing():
            self.ids = [self.ids[serial] for serial in alive.tolist()]
            self.serial_of = {key: serial for serial, key in enumerate(self.ids)}
            self._words.replace(self._words.array[places])
            self._counts.replace(self._counts.array[places])
            self._starts.replace(np.concatenate([[0], ends]))
            self._lengths.replace(self._lengths.array[alive])
            self._high.replace(self._high.array[alive])
            self._low.replace(self._low.array[alive])
            self._alive.replace(np.ones(len(alive), dtype=np.bool_))
            for facet in self._facets:
                facet.replace(facet.array[alive])
            self._codes.replace(self._codes.array[coded >= 0])
            self._coded.replace(coded[coded >= 0])
            self._main, self._tail = (
                _Postings.of(
                    self._starts.array, self._words.array, self._counts.array, len(self._column_of)
                ),
                {},
            )


@dataclass(frozen=True, slots=True)
class _Postings:
    """By word: serials and counts of starts[c] to starts[c + 1]."""

    documents: int
    starts: IntArray
    serials: NDArray[np.int32]
    counts: NDArray[np.int32]

    @classmethod
    def empty(cls) -> _Postings:
        nothing = np.zeros(0, dtype=np.int32)
        return cls(0, np.zeros(1, dtype=np.int64), nothing, nothing)

    @classmethod
    def of(
        cls,
        document_starts: IntArray,
        words: NDArray[np.int32],
        counts: NDArray[np.int32],
        columns: int,
    ) -> _Postings:
        order = np.argsort(words, kind="stable")
        documents = len(document_starts) - 1
        owner = np.repeat(np.arange(documents, dtype=np.int32), np.diff(document_starts))
        starts = np.zeros(columns + 1, dtype=np.int64)
        np.cumsum(np.bincount(words, minlength=columns), out=starts[1:])
        return cls(documents, starts, owner[order], counts[order])

    def of_word(self, column: int) -> slice:
        if column + 1 >= len(self.starts):
            return slice(0, 0)
        return slice(int(self.starts[column]), int(self.starts[column + 1]))
