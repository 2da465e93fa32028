"""Needs by item class and division: an offer asks for all it serves, which are ranges of codes.

The lists are each need's own (item class, division); a line reads every list of its class whose
code lies in its ranges, so all of them are scored (exact), and a need is one entry in one list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from services.matching.index.codes import code_range, widest
from services.matching.index.facts import END, Offered, Rows, Words, microseconds
from services.matching.index.lists import (
    LISTS_AT_START,
    Candidates,
    Gate,
    Lists,
    likest,
    prepared,
)
from services.matching.index.offers import Hit, cosines_of, part_of, state_of, words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLUMNS: dict[str, Any] = {
    "entry": np.int64,
    "unit": np.int32,
    "remaining": np.int64,
    "kind": np.int64,
    "class": np.int64,
    "urgency": np.int32,
    "expires_at": np.int64,
}


@dataclass(frozen=True, slots=True)
class NeedEntry:
    """A need as the index sees it."""

    need_id: UUID
    item_class: str
    division: str
    unit: str = ""
    remaining: int = 1
    applicant_kind: str = ""
    household_class: str | None = None
    urgency: str = ""
    expires_at: datetime = END


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader narrows the needs to."""

    urgency: str | None = None
    remaining_min: int = 1


class NeedIndex:
    """Every method may be called from any thread.

    rows  facts of each need; read them under `gate.reading()` when others may change the index
    """

    def __init__(self, dimension: int, lists: int = LISTS_AT_START) -> None:
        self._dimension = dimension
        self.gate = Gate()
        self.rows = Rows(_COLUMNS)
        self._words = {name: Words() for name in ("units", "kinds", "classes", "urgencies")}
        self._lists = Lists(dimension, lists)
        # Item class -> its divisions' codes, ascending, and their lists; of so many lists in all.
        self._sorted: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self._sorted_lists = 0

    def __len__(self) -> int:
        return len(self.rows)

    def put(self, needs: Sequence[NeedEntry], vectors: NDArray[np.float32]) -> None:
        """Insert or replace; one row of vectors (len(needs), dimension) each."""
        if vectors.shape != (len(needs), self._dimension):
            raise ValueError(f"vectors of shape {vectors.shape} for {len(needs)} needs")
        place_of = {need.need_id: place for place, need in enumerate(needs)}
        with self.gate.writing():
            self._take_entries([self.rows.row_of[i] for i in place_of if i in self.rows.row_of])
            places = np.array(list(place_of.values()), dtype=np.int64)
            chosen = [needs[place] for place in places.tolist()]
            rows = np.array([self.rows.take(need.need_id) for need in chosen], dtype=np.int32)
            for row, need in zip(rows.tolist(), chosen, strict=True):
                self._set_facts(row, need)
            self.rows["entry"][rows] = self._lists.add(
                [(need.item_class, need.division) for need in chosen],
                rows,
                prepared(vectors[places], self.rows["ids"][rows]),
            )

    def set_facts(self, needs: Iterable[NeedEntry]) -> None:
        """New facts of needs that are there, whose item class, division and vector are as
        before."""
        with self.gate.writing():
            for need in needs:
                self._set_facts(self.rows.row_of[need.need_id], need)

    def remove(self, need_ids: Iterable[UUID]) -> None:
        """Take needs out; one that is not there is no error."""
        with self.gate.writing():
            rows = [self.rows.give_back(need_id) for need_id in need_ids]
            self._take_entries([row for row in rows if row is not None])

    def candidates_now(
        self,
        item_class: str,
        codes: Sequence[str],
        vector: NDArray[np.float32],
        k: int,
        offered: Offered | None = None,
        wanted: Wanted | None = None,
        ids: NDArray[np.uint64] | None = None,
    ) -> Candidates:
        """The k likest needs under the codes that the line may serve: arrays of one row.

        vector  (dimension,) float32

        For a caller that holds the gate and goes on to read the rows.
        """
        numbers = self._numbers(item_class, codes)
        k = min(k, max(1, len(self.rows)))
        if not numbers.shape[1]:
            return Candidates(
                np.full((1, k), -1, dtype=np.int64),
                np.zeros((1, k), dtype=np.float32),
                np.zeros(1, dtype=np.bool_),
            )
        accept = self._acceptance(offered, wanted) if offered or wanted else None
        return likest(self._lists, vector[None], ids, numbers, k, accept)

    def search(
        self, item_class: str, codes: Sequence[str], vector: NDArray[np.float32], k: int
    ) -> list[Hit]:
        """Return the k needs most similar to vector under the codes, best first, ties by id."""
        with self.gate.reading():
            found = self.candidates_now(item_class, codes, vector, k)
            hits = [
                Hit(self.rows.id_of(row), float(s))
                for row, s in zip(found.rows[0].tolist(), found.similarities[0], strict=True)
                if row >= 0
            ]
        return sorted(hits, key=lambda hit: (-hit.similarity, hit.id.bytes))

    def cosines(self, vector: NDArray[np.float32], ids: Sequence[UUID]) -> NDArray[np.float32]:
        """How alike these needs are to a vector (dimension,); 0 for one that is not there."""
        with self.gate.reading():
            rows = np.array([self.rows.row_of.get(key, -1) for key in ids], dtype=np.int64)
            entries = np.where(rows >= 0, self.rows["entry"][rows], -1)
            return cosines_of(self._lists, vector, entries)

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays, for `restored`. The caller holds the gate."""
        return state_of(self.rows, self._lists, self._words)

    @classmethod
    def restored(cls, dimension: int, state: dict[str, NDArray[Any]]) -> NeedIndex:
        made = cls(dimension, 1)
        made.rows.restore(part_of(state, "rows"))
        made._lists = Lists.restored(part_of(state, "lists"))
        made._words = words_of(state, made._words)
        return made

    def _set_facts(self, row: int, need: NeedEntry) -> None:
        rows = self.rows
        rows["unit"][row] = self._words["units"].number(need.unit)
        rows["remaining"][row] = need.remaining
        rows["kind"][row] = self._words["kinds"].mask([need.applicant_kind])
        rows["class"][row] = self._words["classes"].mask(
            [] if need.household_class is None else [need.household_class]
        )
        rows["urgency"][row] = self._words["urgencies"].number(need.urgency)
        rows["expires_at"][row] = microseconds(need.expires_at)

    def _take_entries(self, rows: Sequence[int]) -> None:
        self._lists.remove(self.rows["entry"][np.array(rows, dtype=np.int64)])

    def _numbers(self, item_class: str, codes: Sequence[str]) -> NDArray[np.int64]:
        """(1, p): the lists of the class in the ranges of the codes."""
        known, lists = self._divisions_of(item_class)
        parts = [lists[slice(*np.searchsorted(known, code_range(code)))] for code in widest(codes)]
        return np.concatenate([lists[:0], *parts])[None]

    def _divisions_of(self, item_class: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        # Readers beside each other may both sort anew: they come to the same. Lists are never
        # given up, so as long as their number is the same, so are they.
        if len(self._lists.list_of) != self._sorted_lists:
            places: dict[str, list[tuple[int, int]]] = {}
            for (name, division), number in self._lists.list_of.items():
                places.setdefault(name, []).append((int(division), number))
            by_class = {}
            for name, pairs in places.items():
                table = np.array(sorted(pairs), dtype=np.int64)
                by_class[name] = (table[:, 0].copy(), table[:, 1].copy())
            self._sorted = by_class
            self._sorted_lists = len(self._lists.list_of)
        nothing = np.zeros(0, dtype=np.int64)
        return self._sorted.get(item_class, (nothing, nothing))

    def _acceptance(self, offered: Offered | None, wanted: Wanted | None) -> Any:
        """The hard conditions of `domain.may_serve`, from the line's side, and a reader's own."""
        facts = self.rows
        tests: list[Callable[[NDArray[np.int64]], NDArray[np.bool_]]] = []
        if offered is not None:
            unit = self._words["units"].known([offered.unit])[0]
            lot, at = offered.lot, microseconds(offered.at)
            tests += [
                lambda rows: facts["unit"][rows] == unit,
                lambda rows: facts["remaining"][rows] >= max(lot, 1),
                lambda rows: facts["expires_at"][rows] > at,
            ]
            if offered.applicant_kinds:
                bits = self._words["kinds"].bits(offered.applicant_kinds)
                kinds = np.bitwise_or.reduce(bits)
                tests.append(lambda rows: facts["kind"][rows] & kinds != 0)
            if offered.household_classes:
                bits = self._words["classes"].bits(offered.household_classes)
                classes = np.bitwise_or.reduce(bits)
                tests.append(lambda rows: facts["class"][rows] & classes != 0)
        if wanted is not None:
            least = wanted.remaining_min
            tests.append(lambda rows: facts["remaining"][rows] >= least)
            if wanted.urgency is not None:
                urgency = self._words["urgencies"].known([wanted.urgency])[0]
                tests.append(lambda rows: facts["urgency"][rows] == urgency)

        def accept(rows: NDArray[np.int64], queries: NDArray[np.int64]) -> NDArray[np.bool_]:
            accepted: NDArray[np.bool_] = np.logical_and.reduce([test(rows) for test in tests])
            return accepted

        return accept
