"""What the hard conditions of a match look at, as arrays beside the inverted lists.

A row is a place in these arrays; rows of what was removed are used again. Words (units, applicant
kinds, household classes) are numbered as they come, sets of them are bit masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BEGINNING = datetime.min.replace(tzinfo=UTC)
END = datetime.max.replace(tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Bits of a mask; the vocabulary knows three applicant kinds and six household classes.
WORDS_MAX = 63


def microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


class Words:
    """Numbers for the few words of one column, and masks of them."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._number_of = {word: number for number, word in enumerate(words)}

    def __iter__(self) -> Any:
        return iter(self._number_of)

    def number(self, word: str) -> int:
        return self._number_of.setdefault(word, len(self._number_of))

    def known(self, words: Sequence[str]) -> NDArray[np.int32]:
        """Numbers of words, -1 for one that was never stored."""
        found = [self._number_of.get(word, -1) for word in words]
        return np.array(found, dtype=np.int32).reshape(len(words))

    def mask(self, words: Iterable[str]) -> int:
        """One bit a word; 0 = none is named."""
        mask = 0
        for word in words:
            number = self.number(word)
            if number >= WORDS_MAX:
                raise ValueError(f"more than {WORDS_MAX} words in one column: {word}")
            mask |= 1 << number
        return mask

    def bits(self, words: Sequence[str | None]) -> NDArray[np.int64]:
        """The bit of each word, 0 for None and for one that was never stored."""
        found = [-1 if w is None else self._number_of.get(w, -1) for w in words]
        return np.array([0 if n < 0 else 1 << n for n in found], dtype=np.int64)


class Rows:
    """Arrays of one length, a row for each id; rows of what left are used again.

    ids   (rows, 2) uint64: the 16 bytes of each id, zeros where the row is free
    """

    def __init__(self, columns: dict[str, Any]) -> None:
        self._kinds = {"ids": (np.uint64, 2)} | {n: (kind, 0) for n, kind in columns.items()}
        self.columns: dict[str, NDArray[Any]] = {}
        self.row_of: dict[UUID, int] = {}
        self._free: list[int] = []
        self.used = 0
        self._grow(256)

    def __len__(self) -> int:
        return len(self.row_of)

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.columns[column]

    def take(self, key: UUID) -> int:
        """The row of this id, a free one if it has none yet."""
        row = self.row_of.get(key)
        if row is None:
            row = self._free.pop() if self._free else self.used
            self.used = max(self.used, row + 1)
            if self.used > len(self["ids"]):
                self._grow(2 * len(self["ids"]))
            self.row_of[key] = row
            self["ids"][row] = np.frombuffer(key.bytes, dtype=np.uint64)
        return row

    def give_back(self, key: UUID) -> int | None:
        row = self.row_of.pop(key, None)
        if row is not None:
            self["ids"][row] = 0
            self._free.append(row)
        return row

    def id_of(self, row: int) -> UUID:
        return UUID(bytes=self["ids"][row].tobytes())

    def state(self) -> dict[str, NDArray[Any]]:
        return {name: column[: self.used] for name, column in self.columns.items()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        self.used = len(state["ids"])
        self._grow(max(256, self.used))
        for name, column in self.columns.items():
            column[: self.used] = state[name]
        raw = np.ascontiguousarray(state["ids"]).tobytes()
        held = np.flatnonzero(state["ids"].any(axis=1))
        self.row_of = {UUID(bytes=raw[16 * r : 16 * r + 16]): r for r in held.tolist()}
        self._free = np.setdiff1d(np.arange(self.used), held).tolist()

    def _grow(self, rows: int) -> None:
        for name, (kind, width) in self._kinds.items():
            column = np.zeros((rows, width) if width else rows, dtype=kind)
            old = self.columns.get(name)
            if old is not None:
                column[: len(old)] = old
            self.columns[name] = column


@dataclass(frozen=True, slots=True)
class Asks:
    """What the hard conditions look at, one entry a query (see `domain.may_serve`).

    available_min  what a reader asks of lines besides
    """

    units: Sequence[str]
    remaining: NDArray[np.int64]
    applicant_kinds: Sequence[str]
    household_classes: Sequence[str | None]
    at: datetime
    available_min: int = 1


@dataclass(frozen=True, slots=True)
class Offered:
    """The same from the other side: what one line asks of needs."""

    unit: str
    lot: int
    applicant_kinds: Sequence[str]
    household_classes: Sequence[str]
    at: datetime
