"""The index against brute force: nothing eligible is missed, nothing removed comes back."""

from datetime import UTC, datetime
from uuid import UUID

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching.index import (
    TIE_SPAN,
    Asks,
    Hit,
    LineEntry,
    NeedEntry,
    NeedIndex,
    OfferIndex,
    ancestors_of,
    code_range,
    widest,
)

DIMENSION = 8
ROUNDED = 1e-4
NATION = "000000000000"
CODES = [
    NATION,
    "430000000000",
    "430200000000",
    "430224000000",
    "430225000000",
    "430224101000",
    "430224101001",
    "440000000000",
]
CLASSES = ["masks", "seed"]


def covers(outer: str, inner: str) -> bool:
    """Written apart from the index: digits in the groups of the standard."""
    groups = [(0, 2), (2, 4), (4, 6), (6, 9), (9, 12)]
    for start, end in groups:
        if outer[start:].strip("0") == "":
            return True
        if outer[start:end] != inner[start:end]:
            return False
    return True


def vectors_for(seeds: list[int]) -> np.ndarray:
    rows = np.array([np.random.default_rng(s).normal(size=DIMENSION) for s in seeds])
    rows = rows.reshape(len(seeds), DIMENSION)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    # As the index keeps them.
    return np.asarray(np.rint(rows * 127) / 127, dtype=np.float32)


changes = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "remove"]),
        st.integers(0, 7),
        st.sampled_from(CLASSES),
        st.lists(st.sampled_from(CODES), min_size=1, max_size=4),
        st.integers(0, 50),
    ),
    max_size=25,
)


def similarities(hits: list[Hit]) -> list[float]:
    return [round(hit.similarity, 5) for hit in hits]


@settings(deadline=None, max_examples=80)
@given(
    changes=changes,
    query=st.tuples(st.sampled_from(CLASSES), st.sampled_from(CODES), st.integers(51, 60)),
    k=st.integers(1, 10),
)
def test_a_search_finds_exactly_what_brute_force_finds(changes, query, k):
    index = OfferIndex(DIMENSION, lists=1)  # few lists: the index must grow on the way
    truth: dict[UUID, tuple[str, list[str], np.ndarray]] = {}
    for action, number, item_class, divisions, seed in changes:
        line_id = UUID(int=number + 1)
        if action == "remove":
            index.remove([line_id])
            truth.pop(line_id, None)
        else:
            vectors = vectors_for([seed])
            index.put([LineEntry(line_id, item_class, tuple(divisions))], vectors)
            truth[line_id] = (item_class, divisions, vectors[0])
    item_class, division, seed = query
    vector = vectors_for([seed])
    expected = sorted(
        (
            round(float(v @ vector[0]), 5)
            for c, served, v in truth.values()
            if c == item_class and any(covers(s, division) for s in served)
        ),
        reverse=True,
    )
    [hits] = index.search([item_class], [division], vector, k)
    np.testing.assert_allclose(similarities(hits), expected[:k], atol=TIE_SPAN + ROUNDED)
    assert len({hit.id for hit in hits}) == len(hits)
    assert {hit.id for hit in hits} <= truth.keys()
    assert len(index) == len(truth)


def test_a_line_serving_nested_divisions_does_not_crowd_out_another():
    index = OfferIndex(DIMENSION)
    near, far = UUID(int=1), UUID(int=2)
    vectors = vectors_for([1, 2])
    index.put(
        [
            LineEntry(near, "masks", (NATION, "430000000000", "430200000000", "430224000000")),
            LineEntry(far, "masks", (NATION,)),
        ],
        vectors,
    )
    [hits] = index.search(["masks"], ["430224101001"], vectors[:1], 2)
    assert [hit.id for hit in hits] == [near, far]


def test_a_replaced_line_leaves_no_ghost_in_the_division_it_left():
    index = OfferIndex(DIMENSION)
    vectors = vectors_for([1])
    index.put([LineEntry(UUID(int=1), "masks", ("430224000000",))], vectors)
    index.put([LineEntry(UUID(int=1), "masks", ("430225000000",))], vectors)
    assert index.search(["masks"], ["430224101001"], vectors, 5) == [[]]
    [hits] = index.search(["masks"], ["430225000000"], vectors, 5)
    assert [hit.id for hit in hits] == [UUID(int=1)]


def test_many_queries_at_once_give_what_each_gives_alone():
    index = OfferIndex(DIMENSION)
    vectors = vectors_for(list(range(40)))
    index.put(
        [LineEntry(UUID(int=i + 1), CLASSES[i % 2], (CODES[i % 8],)) for i in range(40)], vectors
    )
    queries = vectors_for(list(range(100, 130)))
    classes = [CLASSES[i % 2] for i in range(30)]
    divisions = [CODES[i % 8] for i in range(30)]
    together = index.search(classes, divisions, queries, 4)
    for i in range(30):
        alone = index.search([classes[i]], [divisions[i]], queries[i : i + 1], 4)[0]
        assert [hit.id for hit in together[i]] == [hit.id for hit in alone]


@settings(deadline=None, max_examples=60)
@given(
    changes=changes,
    served=st.lists(st.sampled_from(CODES), min_size=1, max_size=3),
    k=st.integers(1, 10),
)
def test_an_offer_finds_exactly_the_needs_it_serves(changes, served, k):
    index = NeedIndex(DIMENSION)
    truth: dict[UUID, tuple[str, str, np.ndarray]] = {}
    for action, number, item_class, divisions, seed in changes:
        need_id = UUID(int=number + 1)
        if action == "remove":
            index.remove([need_id])
            truth.pop(need_id, None)
        else:
            vectors = vectors_for([seed])
            index.put([NeedEntry(need_id, item_class, divisions[0])], vectors)
            truth[need_id] = (item_class, divisions[0], vectors[0])
    vector = vectors_for([77])[0]
    expected = sorted(
        (
            round(float(v @ vector), 5)
            for c, division, v in truth.values()
            if c == "masks" and any(covers(s, division) for s in served)
        ),
        reverse=True,
    )
    hits = index.search("masks", served, vector, k)
    np.testing.assert_allclose(similarities(hits), expected[:k], atol=TIE_SPAN + ROUNDED)
    assert len({hit.id for hit in hits}) == len(hits)


def test_division_arithmetic_follows_the_digit_groups():
    assert ancestors_of("430224101001") == (
        NATION,
        "430000000000",
        "430200000000",
        "430224000000",
        "430224101000",
        "430224101001",
    )
    assert ancestors_of("430200000000") == (NATION, "430000000000", "430200000000")
    assert widest(["430224000000", "430000000000", "440000000000", "430000000000"]) == (
        "430000000000",
        "440000000000",
    )
    assert code_range("430224000000") == (430224000000, 430225000000)
    assert code_range(NATION) == (0, 10**12)


def test_candidates_are_rows_of_lines_that_may_serve():
    index = OfferIndex(DIMENSION)
    vectors = vectors_for([1, 2, 3])
    ids = [UUID(int=i + 1) for i in range(3)]
    index.put(
        [
            LineEntry(ids[0], "masks", (NATION,), unit="piece", available=5),
            LineEntry(ids[1], "masks", (NATION,), unit="piece", available=5, lot=4),
            LineEntry(ids[2], "masks", (NATION,), unit="piece", household_classes=("poor",)),
        ],
        vectors,
    )
    asks = Asks(["piece"], np.array([3]), ["household"], [None], datetime(2026, 1, 1, tzinfo=UTC))
    found = index.candidates(["masks"], ["430224101001"], vectors[:1], 2, asks)
    assert found.rows.tolist() == [[0, -1]]
    assert not found.cut[0]
    found = index.candidates(["masks"], ["430224101001"], vectors[:1], 2)
    assert found.rows[0, 0] == 0
    assert found.cut[0]
    assert index.line_id(int(found.rows[0, 1])) in ids[1:]
