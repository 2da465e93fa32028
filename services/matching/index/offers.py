"""Offer lines by item class and division served: what may serve a need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from services.matching.index.codes import LEVELS, ancestors_of, widest
from services.matching.index.facts import BEGINNING, END, Asks, Rows, Words, microseconds
from services.matching.index.lists import (
    LISTS_AT_START,
    Candidates,
    Gate,
    Lists,
    likest,
    prepared,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLUMNS: dict[str, Any] = {
    "unit": np.int32,
    "available": np.int64,
    "lot": np.int64,
    "valid_from": np.int64,
    "valid_until": np.int64,
    "kinds": np.int64,
    "classes": np.int64,
}


@dataclass(frozen=True, slots=True)
class LineEntry:
    """An offer line as the index sees it; `divisions` are the 12-digit codes it serves.

    lot  the smallest quantity it gives to one need now (see `domain.LineTerms`)
    """

    line_id: UUID
    item_class: str
    divisions: tuple[str, ...]
    unit: str = ""
    available: int = 1
    lot: int = 1
    valid_from: datetime = BEGINNING
    valid_until: datetime = END
    applicant_kinds: tuple[str, ...] = ()
    household_classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    id: UUID
    similarity: float


class OfferIndex:
    """Every method may be called from any thread.

    rows  facts of each line; read them under `gate.reading()` when others may change the index
    """

    def __init__(self, dimension: int, lists: int = LISTS_AT_START) -> None:
        self._dimension = dimension
        self.gate = Gate()
        self.rows = Rows(_COLUMNS)
        self._words = {name: Words() for name in ("units", "kinds", "classes")}
        self._lists = Lists(dimension, lists)
        self._lists.room_for(LEVELS)
        self._entries_of: dict[int, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def put(self, lines: Sequence[LineEntry], vectors: NDArray[np.float32]) -> None:
        """Insert the lines, or replace those already there. vectors (len(lines), dimension)
        float32."""
        if vectors.shape != (len(lines), self._dimension):
            raise ValueError(f"vectors of shape {vectors.shape} for {len(lines)} lines")
        # The last mention of a line wins, as in a sequence of single puts.
        place_of = {line.line_id: place for place, line in enumerate(lines)}
        with self.gate.writing():
            self._take_entries([self.rows.row_of[i] for i in place_of if i in self.rows.row_of])
            keys: list[tuple[str, str]] = []
            places: list[int] = []
            owners: list[int] = []
            for line_id, place in place_of.items():
                line = lines[place]
                row = self.rows.take(line_id)
                self._set_facts(row, line)
                for division in widest(line.divisions):
                    keys.append((line.item_class, division))
                    places.append(place)
                    owners.append(row)
            rows = np.array(owners, dtype=np.int32)
            x = prepared(vectors[places], self.rows["ids"][rows])
            entries = self._lists.add(keys, rows, x)
            # The entries of one row lie together.
            starts = np.flatnonzero(np.diff(rows, prepend=-1))
            for row, part in zip(
                rows[starts].tolist(), np.split(entries, starts[1:]), strict=bool(len(rows))
            ):
                self._entries_of[row] = part

    def set_facts(self, lines: Iterable[LineEntry]) -> None:
        """New facts of lines that are there, whose item class, divisions and vector are as
        before."""
        with self.gate.writing():
            for line in lines:
                self._set_facts(self.rows.row_of[line.line_id], line)

    def remove(self, line_ids: Iterable[UUID]) -> None:
        """Take lines out; one that is not there is no error."""
        with self.gate.writing():
            rows = [self.rows.give_back(line_id) for line_id in line_ids]
            self._take_entries([row for row in rows if row is not None])

    def candidates(
        self,
        item_classes: Sequence[str],
        codes: Sequence[str],
        vectors: NDArray[np.float32],
        k: int,
        asks: Asks | None = None,
        *,
        ids: NDArray[np.uint64] | None = None,
        threads: int = 1,
    ) -> Candidates:
        """The k likest lines of each query that serve its division and, with asks, may serve it.

        codes    the divisions of the queries
        vectors  (n, dimension) float32
        ids      (n, 2) as of `id_words`; lines that are equally alike come in an order that
                 depends on them, without them in one order for all

        Row i of a fresh index is the i-th distinct line it was given. The same whatever the
        number of threads.
        """
        with self.gate.reading():
            return self.candidates_now(item_classes, codes, vectors, k, asks, ids, threads)

    def candidates_now(
        self,
        item_classes: Sequence[str],
        codes: Sequence[str],
        vectors: NDArray[np.float32],
        k: int,
        asks: Asks | None = None,
        ids: NDArray[np.uint64] | None = None,
        threads: int = 1,
    ) -> Candidates:
        """As `candidates`, for a caller that holds the gate and goes on to read the rows."""
        numbers = self._numbers(item_classes, codes)
        accept = None if asks is None else self._acceptance(asks)
        return likest(self._lists, vectors, ids, numbers, k, accept, threads)

    def search(
        self,
        item_classes: Sequence[str],
        codes: Sequence[str],
        vectors: NDArray[np.float32],
        k: int,
    ) -> list[list[Hit]]:
        """As `candidates`, as lists of ids, best first, ties by id."""
        with self.gate.reading():
            found = self.candidates_now(item_classes, codes, vectors, k)
            return [
                sorted(
                    (
                        Hit(self.rows.id_of(row), float(s))
                        for row, s in zip(rows, near, strict=True)
                        if row >= 0
                    ),
                    key=lambda hit: (-hit.similarity, hit.id.bytes),
                )
                for rows, near in zip(found.rows.tolist(), found.similarities, strict=True)
            ]

    def cosines(self, vector: NDArray[np.float32], ids: Sequence[UUID]) -> NDArray[np.float32]:
        """How alike these lines are to a vector (dimension,); 0 for one that is not there."""
        with self.gate.reading():
            rows = [self.rows.row_of.get(key, -1) for key in ids]
            entries = [self._entries_of[row][0] if row in self._entries_of else -1 for row in rows]
            return cosines_of(self._lists, vector, np.array(entries, dtype=np.int64))

    def line_id(self, row: int) -> UUID:
        return self.rows.id_of(row)

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays, for `restored`. The caller holds the gate."""
        return state_of(self.rows, self._lists, self._words)

    @classmethod
    def restored(cls, dimension: int, state: dict[str, NDArray[Any]]) -> OfferIndex:
        made = cls(dimension, 1)
        made.rows.restore(part_of(state, "rows"))
        made._lists = Lists.restored(part_of(state, "lists"))
        made._words = words_of(state, made._words)
        entries = np.flatnonzero(made._lists.row_of >= 0)
        owners = made._lists.row_of[entries]
        order = np.argsort(owners, kind="stable")
        rows, starts = np.unique(owners[order], return_index=True)
        made._entries_of = dict(
            zip(rows.tolist(), np.split(entries[order], starts[1:]), strict=bool(len(rows)))
        )
        return made

    def _set_facts(self, row: int, line: LineEntry) -> None:
        rows = self.rows
        rows["unit"][row] = self._words["units"].number(line.unit)
        rows["available"][row] = line.available
        rows["lot"][row] = line.lot
        rows["valid_from"][row] = microseconds(line.valid_from)
        rows["valid_until"][row] = microseconds(line.valid_until)
        rows["kinds"][row] = self._words["kinds"].mask(line.applicant_kinds)
        rows["classes"][row] = self._words["classes"].mask(line.household_classes)

    def _take_entries(self, rows: Sequence[int]) -> None:
        gone = [self._entries_of.pop(row) for row in rows if row in self._entries_of]
        if gone:
            self._lists.remove(np.concatenate(gone))

    def _numbers(self, item_classes: Sequence[str], codes: Sequence[str]) -> NDArray[np.int64]:
        """(n, LEVELS): the lists of each query's division and of what contains it."""
        place_of: dict[tuple[str, str], int] = {}
        places = [
            place_of.setdefault(key, len(place_of)) for key in zip(item_classes, codes, strict=True)
        ]
        distinct = np.full((len(place_of), LEVELS), -1, dtype=np.int64)
        for (item_class, division), place in place_of.items():
            for level, ancestor in enumerate(ancestors_of(division)):
                number = self._lists.list_of.get((item_class, ancestor), -1)
                distinct[place, level] = number
        return distinct[np.array(places, dtype=np.int64)]

    def _acceptance(self, asks: Asks) -> Any:
        """The hard conditions of `domain.may_serve` but class and division, over arrays."""
        units = self._words["units"].known(asks.units)
        kinds = self._words["kinds"].bits(asks.applicant_kinds)
        classes = self._words["classes"].bits(asks.household_classes)
        remaining = np.asarray(asks.remaining, dtype=np.int64)
        facts, at, least = self.rows, microseconds(asks.at), max(1, asks.available_min)

        def accept(rows: NDArray[np.int64], queries: NDArray[np.int64]) -> NDArray[np.bool_]:
            kinds_of, classes_of = facts["kinds"][rows], facts["classes"][rows]
            accepted: NDArray[np.bool_] = (
                (facts["available"][rows] >= least)
                & (facts["valid_from"][rows] <= at)
                & (at < facts["valid_until"][rows])
                & (facts["unit"][rows] == units[queries, None])
                & (facts["lot"][rows] <= remaining[queries, None])
                & ((kinds_of == 0) | (kinds_of & kinds[queries, None] != 0))
                & ((classes_of == 0) | (classes_of & classes[queries, None] != 0))
            )
            return accepted

        return accept


def cosines_of(
    lists: Lists, vector: NDArray[np.float32], entries: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(entries,); 0 where the entry is -1."""
    found = np.zeros(len(entries), dtype=np.float32)
    there = entries >= 0
    found[there] = lists.cosines(prepared(vector[None], None), entries[there])
    return found


def state_of(rows: Rows, lists: Lists, words: dict[str, Words]) -> dict[str, NDArray[Any]]:
    """An index as arrays; `part_of` and `words_of` read them back."""
    return (
        {f"rows.{name}": array for name, array in rows.state().items()}
        | {f"lists.{name}": array for name, array in lists.state().items()}
        | {f"words.{name}": np.array(list(of), dtype=np.str_) for name, of in words.items()}
    )


def words_of(state: dict[str, NDArray[Any]], names: Iterable[str]) -> dict[str, Words]:
    return {name: Words(state[f"words.{name}"].tolist()) for name in names}


def part_of(state: dict[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    start = f"{name}."
    return {key.removeprefix(start): a for key, a in state.items() if key.startswith(start)}


def id_words(ids: Sequence[UUID]) -> NDArray[np.uint64]:
    """(n, 2) uint64: the ids' bytes, as `candidates` takes them."""
    return np.frombuffer(b"".join(i.bytes for i in ids), dtype=np.uint64).reshape(len(ids), 2)


def uuids_of(words: NDArray[np.uint64]) -> list[UUID]:
    """What `id_words` was made of."""
    raw = np.ascontiguousarray(words).tobytes()
    return [UUID(bytes=raw[at : at + 16]) for at in range(0, len(raw), 16)]
