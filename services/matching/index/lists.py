"""FAISS inverted lists that ARE the pairs (item class, division): the list address is the filter.

Nothing is trained and no centroid is consulted: every insertion and search names its lists, so
recall is 1.0 and nothing outside them is touched (design MATCHING 3a). An entry is one place in
one list and has an id of its own; what it stands for (a row of the caller) is looked up beside
FAISS. An id in two lists would be found twice and leave a ghost when removed.

Traps met here: `remove_ids` with a hash-table map takes an IDSelectorArray only, whose array must
stay referenced; arrays handed over by pointer must stay referenced; `search_preassigned` reads
`nprobe` of the index, which threads share, unless it is given parameters, which only its C form
takes; it reads no more lists a query than the index has; missing results come back as id -1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Lists before the first doubling; an empty list costs 48 bytes.
LISTS_AT_START = 4_096
# Vectors are kept in whole numbers: a component of a unit vector is at most 127, as in
# `text.likeness`. Times WIDENED, so that there is room for TIE_COLUMNS more whole numbers up to
# TIE_MOST, the products sum to less than 2^24, where 32-bit floats are exact: an order that does
# not depend on the machine, on other queries or on the order of insertion.
WHOLE = 127
WIDENED = 16
# What is equally alike would be in the order of insertion, for every query alike: many lines say
# "masks", and were all needs given the same sixteen of them, the others would never be proposed.
# These columns, of the ids, put equals into an order of their own for each query.
TIE_COLUMNS = 8
TIE_MOST = 16
_SQUARED = (WHOLE * WIDENED) ** 2
# The most by which that changes a cosine: half of the thousandths that scores count in.
TIE_SPAN = TIE_COLUMNS * TIE_MOST**2 / _SQUARED
_MIXERS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


class Gate:
    """One writer or any number of readers; a waiting writer goes before new readers.

    FAISS allows searches beside each other, not beside a change.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._readers = self._waiting = 0
        self._writing = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._changed:
            while self._writing or self._waiting:
                self._changed.wait()
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            while self._writing or self._readers:
                self._changed.wait()
            self._waiting -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()


def prepared(vectors: NDArray[np.float32], ids: NDArray[np.uint64] | None) -> NDArray[np.float32]:
    """The vectors as the lists hold them, TIE_COLUMNS wider.

    vectors  (n, dimension) rows of length one, or already rounded to whole numbers of 1/127
    ids      (n, 2); without them equals come in one order for all queries
    """
    n = len(vectors)
    given = np.asarray(vectors, dtype=np.float32)
    # A component of a unit vector is at most 1; the greatest of a whole one is more.
    if not np.any(np.abs(given) > 1):
        given = np.rint(given * WHOLE)
    both = np.zeros((n, 2), dtype=np.uint64) if ids is None else ids
    mixed = _mix(both[:, 0] ^ _mix(both[:, 1]))
    words = np.stack([mixed, _mix(mixed)], axis=1).view(np.uint16)
    columns = (words % (2 * TIE_MOST + 1)).astype(np.float32) - TIE_MOST
    return np.hstack([given * WIDENED, columns])


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195): every bit depends on all."""
    step, first, second = (np.uint64(m) for m in _MIXERS)
    mixed = np.asarray(words + step, dtype=np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * first
    mixed = (mixed ^ (mixed >> np.uint64(27))) * second
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)


class Lists:
    """Vectors by list. Not locked: its owner's Gate is held.

    list_of   (item class, division code) -> number of the list
    """

    def __init__(self, dimension: int, lists: int = LISTS_AT_START) -> None:
        self.list_of: dict[tuple[str, str], int] = {}
        # Entry id -> row of the owner, -1 where free. Freed ids are used again: nobody holds one
        # outside the gate.
        self.row_of = np.full(1_024, -1, dtype=np.int32)
        self._free: list[int] = []
        self._used = 0
        self._faiss = _empty_ivf(dimension + TIE_COLUMNS, lists)

    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    def add(
        self,
        keys: Sequence[tuple[str, str]],
        rows: NDArray[np.int32],
        vectors: NDArray[np.float32],
    ) -> NDArray[np.int64]:
        """One entry each in the list of its key; return their ids. vectors as of `prepared`."""
        import faiss

        numbers = np.array([self._number(key) for key in keys], dtype=np.int64)
        # Named, because only pointers are handed over: a temporary would be freed before it is
        # read.
        x = np.ascontiguousarray(vectors, dtype=np.float32)
        ids = self._take(len(keys))
        self.row_of[ids] = rows
        self._faiss.add_core(
            len(ids), faiss.swig_ptr(x), faiss.swig_ptr(ids), faiss.swig_ptr(numbers)
        )
        return ids

    def remove(self, entries: NDArray[np.int64]) -> None:
        import faiss

        if not len(entries):
            return
        ids = np.ascontiguousarray(entries, dtype=np.int64)
        removed = self._faiss.remove_ids(faiss.IDSelectorArray(len(ids), faiss.swig_ptr(ids)))
        if removed != len(ids):
            raise RuntimeError(f"the index removed {removed} of {len(ids)} entries")
        self.row_of[ids] = -1
        self._free.extend(ids.tolist())

    def search(
        self,
        vectors: NDArray[np.float32],
        numbers: NDArray[np.int64],
        k: int,
        threads: int = 1,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows (n, k) and cosines of the k likest entries in the lists of each query.

        vectors   (n, dimension + TIE_COLUMNS), as of `prepared`
        numbers   (n, p) of lists, none twice in a row, -1 where there are fewer
        """
        import faiss

        faiss.omp_set_num_threads(threads)  # of the calling thread only
        x = np.ascontiguousarray(vectors, dtype=np.float32)
        lists = np.ascontiguousarray(numbers, dtype=np.int64)
        distances = np.zeros(lists.shape, dtype=np.float32)
        similarities = np.empty((len(x), k), dtype=np.float32)
        entries = np.empty((len(x), k), dtype=np.int64)
        self._faiss.search_preassigned_c(
            len(x),
            faiss.swig_ptr(x),
            k,
            faiss.swig_ptr(lists),
            faiss.swig_ptr(distances),
            faiss.swig_ptr(similarities),
            faiss.swig_ptr(entries),
            False,
            faiss.SearchParametersIVF(nprobe=lists.shape[1]),  # type: ignore[call-arg]  # SWIG's
        )
        missing = entries < 0
        rows = np.where(missing, -1, self.row_of[np.maximum(entries, 0)])
        return rows.astype(np.int64), np.where(missing, 0, similarities / np.float32(_SQUARED))

    def cosines(self, vectors: NDArray[np.float32], entries: NDArray[np.int64]) -> Any:
        """(entries,) float32 cosines of one vector (1, dimension + TIE_COLUMNS) with entries."""
        if not len(entries):
            return np.zeros(0, dtype=np.float32)
        return self._faiss.reconstruct_batch(entries) @ vectors[0] / np.float32(_SQUARED)

    def room_for(self, lists: int) -> None:
        """At least so many lists: a search reads no more a query than there are in all."""
        while self._faiss.nlist < lists:
            self._faiss = _with_more_lists(self._faiss)

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays, for `restored`."""
        import faiss

        keys = sorted(self.list_of, key=self.list_of.__getitem__)
        return {
            "row_of": self.row_of[: self._used],
            "classes": np.array([c for c, _ in keys], dtype=np.str_),
            "divisions": np.array([d for _, d in keys], dtype=np.str_),
            "faiss": faiss.serialize_index(self._faiss),
        }

    @classmethod
    def restored(cls, state: dict[str, NDArray[Any]]) -> Lists:
        import faiss

        made = cls.__new__(cls)
        keys = zip(state["classes"].tolist(), state["divisions"].tolist(), strict=True)
        made.list_of = {key: number for number, key in enumerate(keys)}
        made.row_of = np.array(state["row_of"], dtype=np.int32)
        made._used = len(made.row_of)
        made._free = np.flatnonzero(made.row_of < 0).tolist()
        made._faiss = _mapped(faiss.deserialize_index(state["faiss"]))
        return made

    def _number(self, key: tuple[str, str]) -> int:
        number = self.list_of.setdefault(key, len(self.list_of))
        self.room_for(number + 1)
        return number

    def _take(self, count: int) -> NDArray[np.int64]:
        again = [self._free.pop() for _ in range(min(count, len(self._free)))]
        fresh = count - len(again)
        self._used += fresh
        if self._used > len(self.row_of):
            more = np.full(max(self._used, 2 * len(self.row_of)), -1, dtype=np.int32)
            more[: len(self.row_of)] = self.row_of
            self.row_of = more
        return np.concatenate(
            [np.array(again, dtype=np.int64), np.arange(self._used - fresh, self._used)]
        )


def _direct_map() -> Any:
    import faiss

    # Made by SWIG at run time: the package's annotations do not know it.
    return faiss.DirectMap  # type: ignore[attr-defined]  # see above


def _empty_ivf(width: int, lists: int) -> Any:
    import faiss

    # The Python wrapper keeps a reference to the quantizer, to which C++ holds a bare pointer.
    ivf = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(width), width, max(lists, 1), faiss.METRIC_INNER_PRODUCT
    )
    # No centroids exist: every add and search names its lists.
    ivf.is_trained = True
    ivf.set_direct_map_type(_direct_map().Hashtable)
    return ivf


def _with_more_lists(old: Any) -> Any:
    new = _empty_ivf(old.d, old.nlist * 2)
    for number in range(old.nlist):
        size = old.invlists.list_size(number)
        if size:
            new.invlists.add_entries(
                number, size, old.invlists.get_ids(number), old.invlists.get_codes(number)
            )
    new.ntotal = old.ntotal
    return _mapped(new)


def _mapped(ivf: Any) -> Any:
    """With its hash table of ids built from what the lists hold."""
    ivf.set_direct_map_type(_direct_map().NoMap)
    ivf.set_direct_map_type(_direct_map().Hashtable)
    return ivf


# Queries searched at once: their results and copies of their vectors stay within the caches.
BLOCK = 2_048
# What did not fill its k places is asked again for so many times more.
GROWTH = 4


@dataclass(frozen=True, slots=True)
class Candidates:
    """Of each query the entries found, best first.

    rows           (n, k) int64, -1 where there are no more
    similarities   (n, k) float32, cosines but for TIE_SPAN; 0 where rows are -1
    cut            (n,) bool: there were more than k
    """

    rows: NDArray[np.int64]
    similarities: NDArray[np.float32]
    cut: NDArray[np.bool_]


def likest(
    lists: Lists,
    vectors: NDArray[np.float32],
    ids: NDArray[np.uint64] | None,
    numbers: NDArray[np.int64],
    k: int,
    accept: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]] | None = None,
    threads: int = 1,
) -> Candidates:
    """The k likest entries of each query that `accept` lets through; exact.

    accept  (rows (b, p), queries (b,)) -> (b, p); rows may be -1, then the answer does not count

    What is not acceptable is left out after the search; a query whose portion did not hold enough
    asks again for a larger one, until its lists are exhausted.
    """
    n = len(vectors)
    found = Candidates(
        np.full((n, k), -1, dtype=np.int64),
        np.zeros((n, k), dtype=np.float32),
        np.zeros(n, dtype=np.bool_),
    )
    # Neighbours in this order read the same lists, which are then in the cache: twice as fast.
    asking = np.lexsort(numbers.T[::-1])
    portion = k + 1
    while len(asking) and len(lists):
        portion = min(portion, len(lists))
        again = [asking[:0]]
        for start in range(0, len(asking), BLOCK):
            block = asking[start : start + BLOCK]
            x = prepared(vectors[block], None if ids is None else ids[block])
            rows, near = lists.search(x, numbers[block], portion, threads)
            kept = rows >= 0
            exhausted = ~kept[:, -1] | (portion == len(lists))
            if accept is not None:
                kept &= accept(rows, block)
                done = exhausted | (kept.sum(axis=1) > k)
                again.append(block[~done])
                # What is kept moves to the left, in its order.
                places = np.argsort(~kept[done], axis=1, kind="stable")
                kept = np.take_along_axis(kept[done], places, axis=1)
                rows = np.take_along_axis(rows[done], places, axis=1)
                near = np.take_along_axis(near[done], places, axis=1)
                block = block[done]
            width = min(k, portion)
            found.rows[block, :width] = np.where(kept, rows, -1)[:, :width]
            found.similarities[block, :width] = np.where(kept, near, 0)[:, :width]
            found.cut[block] = kept[:, k] if portion > k else False
        asking, portion = np.concatenate(again), portion * GROWTH
    return found
