"""Exact retrieval: FAISS inverted lists that ARE the pairs (item class, division served).

The list address is the filter: a line is stored once under each division it serves, a need reads
the lists of its item class under its own ancestors (nation, province, city, county, township), so
nothing eligible is missed and nothing else is touched (design MATCHING 3a: recall 1.0 where
selectors and graphs lose most). Nothing is trained; lists are administrative facts.

Traps met here: `remove_ids` with a hash-table map takes an IDSelectorArray only, whose array must
stay referenced; arrays given to `add_core` by pointer must stay referenced; `search_preassigned`
reads `index.nprobe` and pads lists with -1; missing results come back as id -1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from shared.vocabulary import divisions

if TYPE_CHECKING:
    from numpy.typing import NDArray

INDEX_VERSION = "ivf-flat-class-division-v1"
# Ancestors of a need, itself included: nation, province, city, county, township, village.
LEVELS = 6
# (class, division) pairs before the first doubling; an empty list costs 48 bytes.
LISTS_AT_START = 4_096
_PREFIX_DIGITS = (0, 2, 4, 6, 9, 12)
BEGINNING = datetime.min.replace(tzinfo=UTC)
END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LineEntry:
    """An offer line as the index sees it; `divisions` are the 12-digit codes it serves."""

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
class Asks:
    """What the hard conditions look at, one entry a query (see `domain.may_serve`)."""

    units: Sequence[str]
    remaining: NDArray[np.int64]
    applicant_kinds: Sequence[str]
    household_classes: Sequence[str | None]
    at: datetime


@dataclass(frozen=True, slots=True)
class Candidates:
    """Of each query the lines found, best first.

    rows           (n, k) int64 into the index's rows, -1 where there are no more
    similarities   (n, k) float32, 0 at the same places
    cut            (n,) bool: there were more than k
    """

    rows: NDArray[np.int64]
    similarities: NDArray[np.float32]
    cut: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Hit:
    id: UUID
    similarity: float


def prefix_of(code: str) -> str:
    """The significant digits of a division code: 0, 2, 4, 6, 9 or 12 of them."""
    for digits in _PREFIX_DIGITS:
        if code[digits:].strip("0") == "":
            return code[:digits]
    return code


def ancestors_of(code: str) -> tuple[str, ...]:
    """The codes that cover `code`, from the nation down to itself, each once."""
    return (*reversed(divisions.ancestors(code)), code)


def widest(codes: Iterable[str]) -> tuple[str, ...]:
    """`codes` without those another one covers, sorted.

    What remains is an antichain: a division lies under at most one of them, so a need meets a
    line in at most one of its lists and no hit can crowd out another line's by appearing twice.
    """
    distinct = set(codes)
    return tuple(sorted(c for c in distinct if not distinct.intersection(ancestors_of(c)[:-1])))


def code_range(code: str) -> tuple[int, int]:
    """Return [low, high): the numbers of all codes that `code` covers."""
    low = int(code)
    return low, low + 10 ** (12 - len(prefix_of(code)))


class OfferIndex:
    """Offer lines by item class and division served. Every method may be called from any thread."""

    def __init__(self, dimension: int, lists: int = LISTS_AT_START) -> None:
        self._dimension = dimension
        self._lock = Lock()
        self._list_of: dict[tuple[str, str], int] = {}
        self._entries_of: dict[UUID, tuple[int, ...]] = {}
        self._line_of: dict[int, UUID] = {}
        # Surrogate ids are never used twice, so a late reader cannot take a new line for an old
        # one.
        self._next_entry = 0
        self._row_of: dict[UUID, int] = {}
        self._line_at: dict[int, LineEntry] = {}
        self._faiss = _empty_ivf(dimension, lists)

    def __len__(self) -> int:
        return len(self._entries_of)

    def put(self, lines: Sequence[LineEntry], vectors: NDArray[np.float32]) -> None:
        """Insert the lines, or replace those already there. vectors (len(lines), dimension)
        float32."""
        if vectors.shape != (len(lines), self._dimension):
            raise ValueError(f"vectors of shape {vectors.shape} for {len(lines)} lines")
        # The last mention of a line wins, as in a sequence of single puts.
        rows = {line.line_id: row for row, line in enumerate(lines)}
        with self._lock:
            self._remove(rows)
            entry_ids: list[int] = []
            list_numbers: list[int] = []
            source_rows: list[int] = []
            for line_id, row in rows.items():
                line = lines[row]
                ids = []
                for division in widest(line.divisions):
                    list_numbers.append(self._list_number(line.item_class, division))
                    ids.append(self._next_entry)
                    self._line_of[self._next_entry] = line_id
                    self._next_entry += 1
                    source_rows.append(row)
                entry_ids.extend(ids)
                self._entries_of[line_id] = tuple(ids)
                self._line_at[self._row_of.setdefault(line_id, len(self._row_of))] = line
            if entry_ids:
                self._add(vectors[source_rows], entry_ids, list_numbers)

    def remove(self, line_ids: Iterable[UUID]) -> None:
        """Take lines out; one that is not there is no error."""
        with self._lock:
            self._remove(line_ids)

    def search(
        self,
        item_classes: Sequence[str],
        codes: Sequence[str],
        vectors: NDArray[np.float32],
        k: int,
    ) -> list[list[Hit]]:
        """Return for each query the k most similar lines that serve its division, best first.

        item_classes, codes (divisions) and the rows of vectors belong to each other. Ties are
        broken by line id, except at place k, where any of the tied lines may be the one returned.
        """
        if not len(item_classes):
            return []
        import faiss

        # Of this thread: on few cores OpenMP's own threads only get in each other's way.
        faiss.omp_set_num_threads(1)
        queries = np.ascontiguousarray(vectors, dtype=np.float32)
        with self._lock:
            lists = np.full((len(item_classes), LEVELS), -1, dtype=np.int64)
            for row, (item_class, division) in enumerate(zip(item_classes, codes, strict=True)):
                for place, ancestor in enumerate(ancestors_of(division)):
                    lists[row, place] = self._list_of.get((item_class, ancestor), -1)
            found = min(k, max(1, self._faiss.ntotal))
            distances = np.zeros(lists.shape, dtype=np.float32)
            similarities, entries = self._faiss.search_preassigned(queries, found, lists, distances)
            lines = [[self._line_of[e] for e in row if e >= 0] for row in entries.tolist()]
        return [
            sorted(
                (Hit(line, float(s)) for line, s in zip(row, near, strict=False)),
                key=lambda hit: (-hit.similarity, hit.id.bytes),
            )
            for row, near in zip(lines, similarities, strict=True)
        ]

    def candidates(
        self,
        item_classes: Sequence[str],
        codes: Sequence[str],
        vectors: NDArray[np.float32],
        k: int,
        asks: Asks | None = None,
    ) -> Candidates:
        """The k likest lines of each query that serve its division and, with asks, may serve it.

        Row i of a fresh index is the i-th distinct line it was given.
        """
        rows = np.full((len(item_classes), k), -1, dtype=np.int64)
        similarities = np.zeros(rows.shape, dtype=np.float32)
        cut = np.zeros(len(item_classes), dtype=np.bool_)
        asking, portion = np.arange(len(item_classes)), k + 1
        while len(asking):
            found = self.search(
                [item_classes[q] for q in asking.tolist()],
                [codes[q] for q in asking.tolist()],
                vectors[asking],
                portion,
            )
            again = []
            for q, hits in zip(asking.tolist(), found, strict=True):
                fit = [h for h in hits if asks is None or self._may_serve(h.id, asks, q)]
                if len(fit) <= k and len(hits) == portion:
                    again.append(q)
                    continue
                cut[q] = len(fit) > k
                for place, hit in enumerate(fit[:k]):
                    rows[q, place] = self._row_of[hit.id]
                    similarities[q, place] = hit.similarity
            asking, portion = np.array(again, dtype=np.int64), portion * 4
        return Candidates(rows, similarities, cut)

    def line_id(self, row: int) -> UUID:
        return self._line_at[row].line_id

    def _may_serve(self, line_id: UUID, asks: Asks, query: int) -> bool:
        line = self._line_at[self._row_of[line_id]]
        kind, household_class = asks.applicant_kinds[query], asks.household_classes[query]
        return (
            line.unit == asks.units[query]
            and line.valid_from <= asks.at < line.valid_until
            and (not line.applicant_kinds or kind in line.applicant_kinds)
            and (not line.household_classes or household_class in line.household_classes)
            and line.lot <= asks.remaining[query]
            and line.available > 0
        )

    def _list_number(self, item_class: str, division: str) -> int:
        number = self._list_of.setdefault((item_class, division), len(self._list_of))
        if number >= self._faiss.nlist:
            self._faiss = _with_more_lists(self._faiss, self._dimension)
        return number

    def _add(
        self, vectors: NDArray[np.float32], entry_ids: list[int], list_numbers: list[int]
    ) -> None:
        import faiss

        # Named, because only pointers are handed over: a temporary would be freed before it is
        # read.
        x = np.ascontiguousarray(vectors, dtype=np.float32)
        ids = np.array(entry_ids, dtype=np.int64)
        assign = np.array(list_numbers, dtype=np.int64)
        self._faiss.add_core(
            len(ids), faiss.swig_ptr(x), faiss.swig_ptr(ids), faiss.swig_ptr(assign)
        )

    def _remove(self, line_ids: Iterable[UUID]) -> None:
        import faiss

        gone = [e for line_id in line_ids for e in self._entries_of.pop(line_id, ())]
        if not gone:
            return
        ids = np.array(gone, dtype=np.int64)
        removed = self._faiss.remove_ids(faiss.IDSelectorArray(len(ids), faiss.swig_ptr(ids)))
        if removed != len(gone):
            raise RuntimeError(f"the index removed {removed} of {len(gone)} entries")
        for entry in gone:
            del self._line_of[entry]


def _direct_map() -> Any:
    import faiss

    # Made by SWIG at run time: the package's annotations do not know it.
    return faiss.DirectMap  # type: ignore[attr-defined]  # see above


def _empty_ivf(dimension: int, lists: int) -> Any:
    import faiss

    # search_preassigned silently reads no more lists a query than the index has in all.
    lists = max(lists, LEVELS)
    # The Python wrapper keeps a reference to the quantizer, to which C++ holds a bare pointer.
    ivf = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(dimension), dimension, lists, faiss.METRIC_INNER_PRODUCT
    )
    # No centroids exist and none are consulted: every add and search names its lists.
    ivf.is_trained = True
    ivf.nprobe = LEVELS
    ivf.set_direct_map_type(_direct_map().Hashtable)
    return ivf


def _with_more_lists(old: Any, dimension: int) -> Any:
    new = _empty_ivf(dimension, old.nlist * 2)
    for number in range(old.nlist):
        size = old.invlists.list_size(number)
        if size:
            new.invlists.add_entries(
                number, size, old.invlists.get_ids(number), old.invlists.get_codes(number)
            )
    new.ntotal = old.ntotal
    new.set_direct_map_type(_direct_map().NoMap)
    new.set_direct_map_type(_direct_map().Hashtable)  # built again from the copied lists
    return new


@dataclass(frozen=True, slots=True)
class _NeedBlock:
    codes: NDArray[np.int64]  # ascending
    ids: list[UUID]
    vectors: NDArray[np.float32]


class NeedIndex:
    """Needs by item class and division: an offer asks for all it serves, which are ranges of codes.

    Every need in the ranges is scored (exact). A class's block is sorted when first read after a
    change.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._lock = Lock()
        self._class_of: dict[UUID, str] = {}
        self._needs_of: dict[str, dict[UUID, tuple[int, NDArray[np.float32]]]] = {}
        self._blocks: dict[str, _NeedBlock] = {}

    def __len__(self) -> int:
        return len(self._class_of)

    def put(self, needs: Sequence[tuple[UUID, str, str]], vectors: NDArray[np.float32]) -> None:
        """Insert or replace (need id, item class, division code), one row of vectors each."""
        if vectors.shape != (len(needs), self._dimension):
            raise ValueError(f"vectors of shape {vectors.shape} for {len(needs)} needs")
        with self._lock:
            for (need_id, item_class, division), vector in zip(needs, vectors, strict=True):
                self._remove(need_id)
                self._class_of[need_id] = item_class
                self._needs_of.setdefault(item_class, {})[need_id] = (int(division), vector.copy())
                self._blocks.pop(item_class, None)

    def remove(self, need_ids: Iterable[UUID]) -> None:
        """Take needs out; one that is not there is no error."""
        with self._lock:
            for need_id in need_ids:
                self._remove(need_id)

    def search(
        self, item_class: str, codes: Sequence[str], vector: NDArray[np.float32], k: int
    ) -> list[Hit]:
        """Return the k needs most similar to vector under the codes, best first, ties by id."""
        with self._lock:
            block = self._block(item_class)
        ranges = [code_range(code) for code in widest(codes)]
        rows = [
            np.arange(*np.searchsorted(block.codes, bounds), dtype=np.int64) for bounds in ranges
        ]
        chosen = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        similarities = block.vectors[chosen] @ np.asarray(vector, dtype=np.float32)
        hits = [
            Hit(block.ids[row], float(s))
            for row, s in zip(chosen.tolist(), similarities.tolist(), strict=True)
        ]
        return sorted(hits, key=lambda hit: (-hit.similarity, hit.id.bytes))[:k]

    def _remove(self, need_id: UUID) -> None:
        item_class = self._class_of.pop(need_id, None)
        if item_class is not None:
            del self._needs_of[item_class][need_id]
            self._blocks.pop(item_class, None)

    def _block(self, item_class: str) -> _NeedBlock:
        block = self._blocks.get(item_class)
        if block is None:
            needs = sorted(
                self._needs_of.get(item_class, {}).items(), key=lambda n: (n[1][0], n[0].bytes)
            )
            block = _NeedBlock(
                codes=np.array([code for _, (code, _) in needs], dtype=np.int64),
                ids=[need_id for need_id, _ in needs],
                vectors=np.array([v for _, (_, v) in needs], dtype=np.float32).reshape(
                    len(needs), self._dimension
                ),
            )
            self._blocks[item_class] = block
        return block
