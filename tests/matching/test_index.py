"""The index against brute force: nothing eligible is missed, nothing removed comes back."""

from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any
from uuid import UUID

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching.domain import LineTerms, NeedTerms, may_serve
from services.matching.index import (
    TIE_SPAN,
    Asks,
    Document,
    Hit,
    LineEntry,
    NeedEntry,
    NeedIndex,
    Offered,
    OfferIndex,
    WordIndex,
    ancestors_of,
    code_range,
    id_words,
    widest,
)
from services.matching.text.lexical import Lexical
from services.matching.text.tokens import counted

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


@settings(max_examples=80)
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


@settings(max_examples=60)
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


# ------------------------------------------------------------------- facts

AT = datetime(2026, 6, 1, tzinfo=UTC)
KINDS = ["household", "village", "institution"]
HOUSEHOLDS = ["general", "poor"]

terms_of_lines = st.fixed_dictionaries(
    {
        "unit": st.sampled_from(["piece", "grams"]),
        "available": st.integers(0, 5),
        "lot": st.integers(1, 4),
        "valid_from": st.sampled_from([AT, AT + timedelta(days=1), AT - timedelta(days=1)]),
        "valid_until": st.sampled_from([AT, AT + timedelta(days=1)]),
        "applicant_kinds": st.lists(st.sampled_from(KINDS), max_size=2).map(tuple),
        "household_classes": st.lists(st.sampled_from(HOUSEHOLDS), max_size=1).map(tuple),
    }
)
terms_of_needs = st.fixed_dictionaries(
    {
        "unit": st.sampled_from(["piece", "grams"]),
        "remaining": st.integers(1, 5),
        "applicant_kind": st.sampled_from(KINDS),
        "household_class": st.sampled_from([None, *HOUSEHOLDS]),
    }
)


def a_line(number: int, terms: dict[str, Any]) -> LineTerms:
    return LineTerms(
        line_id=UUID(int=number + 1),
        offer_id=UUID(int=1),
        organization_id=UUID(int=1),
        organization_verified=True,
        item_class="masks",
        title="",
        item="",
        specification=None,
        served_division_codes=(NATION,),
        **terms,
    )


def a_need(number: int, terms: dict[str, Any]) -> NeedTerms:
    return NeedTerms(
        need_id=UUID(int=number + 1),
        applicant="",
        poverty_permille=None,
        item_class="masks",
        title="",
        item="",
        specification=None,
        urgency="normal",
        division_code="430224101001",
        published_at=AT,
        needed_by=None,
        **terms,
    )


@settings(max_examples=60)
@given(
    lines=st.lists(terms_of_lines, max_size=30),
    needs=st.lists(terms_of_needs, min_size=1, max_size=5),
    k=st.integers(1, 6),
)
def test_candidates_fulfil_the_hard_conditions_and_none_is_missed(lines, needs, k):
    """Both directions, against the rule itself."""
    offers, wants = OfferIndex(DIMENSION), NeedIndex(DIMENSION)
    line_terms = [a_line(n, terms) for n, terms in enumerate(lines)]
    need_terms = [a_need(n, terms) for n, terms in enumerate(needs)]
    line_vectors = vectors_for(list(range(len(lines))))
    need_vectors = vectors_for(list(range(100, 100 + len(needs))))
    entries = [
        LineEntry(line.line_id, "masks", (NATION,), **terms)
        for line, terms in zip(line_terms, lines, strict=True)
    ]
    # Facts that came later count like those that came at once.
    offers.put([LineEntry(e.line_id, "masks", (NATION,), unit="x") for e in entries], line_vectors)
    offers.set_facts(entries)
    wants.put(
        [
            NeedEntry(need.need_id, "masks", need.division_code, **terms)
            for need, terms in zip(need_terms, needs, strict=True)
        ],
        need_vectors,
    )
    found = offers.candidates(
        ["masks"] * len(needs),
        [need.division_code for need in need_terms],
        need_vectors,
        k,
        Asks(
            [need.unit for need in need_terms],
            np.array([need.remaining for need in need_terms]),
            [need.applicant_kind for need in need_terms],
            [need.household_class for need in need_terms],
            AT,
        ),
    )
    for place, need in enumerate(need_terms):
        right = {line.line_id for line in line_terms if may_serve(line, need, AT)}
        got = [offers.line_id(row) for row in found.rows[place].tolist() if row >= 0]
        assert len(got) == min(k, len(right)) == len(set(got))
        assert set(got) <= right
        assert bool(found.cut[place]) == (len(right) > k)
        near = found.similarities[place][: len(got)]
        assert (np.diff(near) <= 0).all()
    for line, vector in zip(line_terms, line_vectors, strict=True):
        if not (line.valid_from <= AT < line.valid_until and line.available):
            continue
        offered = Offered(line.unit, line.lot, line.applicant_kinds, line.household_classes, AT)
        with wants.gate.reading():
            hits = wants.candidates_now("masks", [NATION], vector, len(needs), offered)
            got = [wants.rows.id_of(row) for row in hits.rows[0].tolist() if row >= 0]
        assert set(got) == {n.need_id for n in need_terms if may_serve(line, n, AT)}


def filled(order: list[int], vectors: np.ndarray) -> OfferIndex:
    index = OfferIndex(DIMENSION)
    for number in order:
        index.put(
            [LineEntry(UUID(int=number + 1), "masks", (CODES[number % 3],))],
            vectors[number : number + 1],
        )
    return index


def found_by(index: OfferIndex, **how: Any) -> list[list[UUID]]:
    queries = np.repeat(vectors_for([1]), 20, axis=0)
    found = index.candidates(["masks"] * 20, ["430224101001"] * 20, queries, 8, **how)
    return [[index.line_id(row) for row in rows if row >= 0] for rows in found.rows.tolist()]


def test_equals_come_in_one_order_whatever_the_insertion_and_the_threads():
    """Sixty lines of three texts: who is found is not who was there first."""
    vectors = np.repeat(vectors_for([1, 2, 3]), 20, axis=0)
    ids = id_words([UUID(int=n) for n in range(20)])
    forwards = filled(list(range(60)), vectors)
    backwards = filled(list(reversed(range(60))), vectors)
    backwards.remove([UUID(int=n + 1) for n in range(0, 60, 2)])
    again = list(range(0, 60, 2))
    backwards.put(
        [LineEntry(UUID(int=n + 1), "masks", (CODES[n % 3],)) for n in again], vectors[again]
    )
    expected = found_by(forwards, ids=ids)
    assert found_by(backwards, ids=ids) == expected
    assert found_by(forwards, ids=ids, threads=2) == expected
    assert found_by(backwards) == found_by(forwards)


def test_needs_alike_are_given_different_ones_of_many_equal_lines():
    vectors = np.repeat(vectors_for([1]), 60, axis=0)
    index = filled(list(range(60)), vectors)
    ids = id_words([UUID(int=n) for n in range(20)])
    spread = {line for lines in found_by(index, ids=ids) for line in lines}
    assert len(spread) > 40
    assert len({line for lines in found_by(index) for line in lines}) == 8


def test_places_of_what_left_are_used_again_without_ghosts():
    index = OfferIndex(DIMENSION)
    vectors = vectors_for(list(range(10)))
    for turn in range(5):
        ids = [UUID(int=10 * turn + n + 1) for n in range(10)]
        index.put([LineEntry(i, "masks", (CODES[1], CODES[7])) for i in ids], vectors)
        [hits] = index.search(["masks"], ["430224101001"], vectors[:1], 100)
        assert {hit.id for hit in hits} == set(ids)
        index.remove(ids)
    assert index.rows.used == 10
    assert len(index) == 0


def test_a_restored_index_goes_on_like_the_first():
    vectors = vectors_for(list(range(60)))
    index = filled(list(range(60)), vectors)
    index.remove([UUID(int=5)])
    index.set_facts([LineEntry(UUID(int=7), "masks", (CODES[0],), available=0)])
    again = OfferIndex.restored(DIMENSION, index.state())
    for one in (index, again):
        one.remove([UUID(int=9)])
        one.put([LineEntry(UUID(int=99), "masks", (CODES[2],))], vectors[:1])
    queries = vectors_for([70])
    asks = Asks([""], np.array([1]), [""], [None], AT)
    for how in (None, asks):
        mine = index.candidates(["masks"], ["430224101001"], queries, 100, how)
        theirs = again.candidates(["masks"], ["430224101001"], queries, 100, how)
        assert [index.line_id(r) for r in mine.rows[0] if r >= 0] == [
            again.line_id(r) for r in theirs.rows[0] if r >= 0
        ]


def test_searches_go_on_beside_changes():
    """Readers in threads see each line whole or not at all, and no row of another."""
    index = OfferIndex(DIMENSION)
    vectors = vectors_for(list(range(50)))
    entries = [LineEntry(UUID(int=n + 1), "masks", (NATION,)) for n in range(50)]
    index.put(entries[:25], vectors[:25])
    wrong: list[object] = []
    done = Event()

    def read() -> None:
        while not done.is_set():
            [hits] = index.search(["masks"], [NATION], vectors[:1], 100)
            if len({h.id for h in hits}) != len(hits) or len(hits) < 25:
                wrong.append(hits)

    readers = [Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(100):
        index.put(entries[25:], vectors[25:])
        index.remove([entry.line_id for entry in entries[25:]])
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong


# -------------------------------------------------------------------- words

TEXTS = ["儿童口罩 N95", "医用口罩", "crutches for adults", "玉米种子 10kg", "口罩", ""]
WORDS = counted(TEXTS)
word_changes = st.lists(
    st.tuples(st.sampled_from(["put", "put", "remove"]), st.integers(0, 9), st.integers(0, 5)),
    max_size=30,
)


@settings(max_examples=60)
@given(changes=word_changes, anew=st.booleans())
def test_scores_are_those_of_a_fresh_index_whatever_went_before(changes, anew):
    index = WordIndex(1)
    truth: dict[UUID, int] = {}
    for action, number, text in changes:
        key = UUID(int=number + 1)
        if action == "remove":
            index.remove([key])
            truth.pop(key, None)
        else:
            index.put([Document(key, WORDS[text], (text,), (number,))])
            truth[key] = text
    if anew:
        index._number_anew()
    index._merge()
    restored = WordIndex.restored(1, index.state())
    fresh = WordIndex(1)
    fresh.put([Document(k, WORDS[t], (t,), (k.int - 1,)) for k, t in truth.items()])
    texts = Lexical.of([WORDS[t] for t in truth.values()])
    for text in TEXTS:
        expected: dict[UUID, int] = {}
        for one in (fresh, index, restored):
            query = one.query(text)
            scores = one.scores(query)
            found = {k: int(scores[s]) for k, s in one.serial_of.items()}
            assert found.keys() == truth.keys()
            serials = np.array(list(one.serial_of.values()), dtype=np.int64)
            assert one.scores_of(query, serials).tolist() == list(found.values())
            assert [int(one.facet(0)[s]) for s in serials] == [truth[k] for k in one.serial_of]
            expected = expected or found
            assert found == expected
            assert query.greatest == fresh.query(text).greatest
        if truth:  # the same as of a collection that does not change
            counts, greatest = texts.queries(counted([text]))
            assert list(expected.values()) == texts.all_scores(counts[[0]]).tolist()
            assert int(greatest[0]) == fresh.query(text).greatest
