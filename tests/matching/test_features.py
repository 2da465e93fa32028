"""Features: thousandths of what is known, UNKNOWN of what is not; what was accepted before."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.matching.ranking import features
from services.matching.ranking import memory as of_memory
from services.matching.ranking.features import CODES, FEATURES, NO_DATE, UNKNOWN, Pairs
from services.matching.ranking.memory import (
    LIKENESS_MIN,
    SPEAKING,
    AcceptanceFacts,
    OrganizationCount,
    Precedent,
    acceptance_facts,
    likeness,
    memory,
    resemblance,
    speakers,
    whole_vectors,
)


def column(*values: int) -> "np.ndarray":
    return np.array(values, dtype=np.int64)


def of(**changes: int) -> dict[str, int]:
    """The features of one pair by code."""
    plain = {
        "lexical": 400,
        "dense": 300,
        "fused": 350,
        "specification_asked": 4,
        "specification_met": 3,
        "required": 10,
        "available": 100,
        "served_digits": 4,
        "verified": 1,
        "accepted": 0,
        "declined": 0,
        "memory": UNKNOWN,
        "valid_days": 60,
        "needed_days": NO_DATE,
    } | changes
    found = features.values(Pairs(**{name: column(value) for name, value in plain.items()}))
    return dict(zip(CODES, found[0].tolist(), strict=True))


def test_every_feature_is_documented_in_both_languages():
    assert len(set(CODES)) == len(CODES) == 10
    for feature in FEATURES:
        assert all(
            getattr(feature, field)
            for field in ("name_zh", "name_en", "doc_zh", "doc_en", "unknown_zh", "unknown_en")
        )
        assert "{p}" in feature.text_zh
        assert "{p}" in feature.text_en


def test_features_of_one_pair():
    assert of() == {
        "text_lexical": 400,
        "text_dense": 300,
        "text_fused": 350,
        "specification_overlap": 750,
        "quantity_fit": 1000,
        "level_of_match": 600,
        "verified_organization": 1000,
        "organization_acceptance": UNKNOWN,
        "acceptance_memory": UNKNOWN,
        "timeliness": 1000,
    }


def test_what_neither_side_states_is_unknown():
    assert of(specification_asked=0)["specification_overlap"] == UNKNOWN
    assert of(specification_met=UNKNOWN)["specification_overlap"] == UNKNOWN


@pytest.mark.parametrize(
    ("digits", "level"), [(0, 200), (2, 400), (4, 600), (6, 800), (9, 1000), (12, 1000)]
)
def test_the_nearer_the_served_division_the_higher(digits, level):
    assert of(served_digits=digits)["level_of_match"] == level


def test_one_decline_does_not_condemn_and_size_is_no_merit():
    assert of(declined=1)["organization_acceptance"] == 600
    assert of(accepted=1)["organization_acceptance"] == 800
    few, many = (of(accepted=n) for n in (50, 5_000))
    assert few == many


def test_an_offer_that_ends_before_the_need_s_date_counts_in_part():
    assert of(valid_days=30, needed_days=60)["timeliness"] == 500
    assert of(valid_days=15)["timeliness"] == 500, "30 days without a date"
    assert of(valid_days=1, needed_days=-3)["timeliness"] == 1000, "a date that has passed"
    assert of(valid_days=180, needed_days=400)["timeliness"] == 1000, "nobody offers for so long"


@given(
    st.integers(0, 1200),
    st.integers(0, 2000),
    st.integers(0, 1000),
    st.integers(1, 10**12),
    st.integers(1, 10**12),
)
def test_all_values_are_thousandths(fused, accepted, declined, required, available):
    found = of(
        fused=fused, accepted=accepted, declined=declined, required=required, available=available
    )
    assert all(value == UNKNOWN or 0 <= value <= 1000 for value in found.values())


def test_specifications_are_counted_pair_by_pair():
    needs = [frozenset({"n95", "成人"}), frozenset(), frozenset({"xl"})]
    lines = [frozenset({"n95"}), frozenset()]
    need, line = column(0, 0, 1, 2), column(0, 1, 0, 0)
    asked, met = features.specification_counts(needs, lines, need, line)
    assert asked.tolist() == [2, 2, 0, 1]
    assert met.tolist() == [1, UNKNOWN, 0, 0]


# -------------------------------------------------------------------- memory

# Few of them, so that some are equal.
_FEW = st.sampled_from([0, 200, 300, 500, 1000])
NEED, OTHER, LINE, ORGANIZATION = (UUID(int=n) for n in range(1, 5))
MASKS = "医用外科口罩 一次性"


def a_precedent(**changes) -> Precedent:
    precedent = Precedent(
        "mask_surgical", OTHER, MASKS, LINE, "医用外科口罩 独立包装", ORGANIZATION
    )
    return replace(precedent, **changes)


def remembered(precedents, *, line_id=LINE, organization_id=ORGANIZATION, text=MASKS) -> int:
    found = memory(
        precedents,
        [NEED],
        whole_vectors([text]),
        [line_id],
        [organization_id],
        whole_vectors(["医用外科口罩 独立包装"]),
        column(0),
        column(0),
    )
    return int(found[0])


def test_the_line_a_like_need_accepted_is_remembered():
    assert remembered([a_precedent()]) == 1000
    same_organization = remembered([a_precedent()], line_id=UUID(int=9))
    another = remembered([a_precedent()], line_id=UUID(int=9), organization_id=UUID(int=8))
    assert 1000 > same_organization > another > 0


def test_a_precedent_speaks_for_another_line_by_the_square_of_its_likeness():
    half = "医用外科口罩 五十只装"
    [[alike]] = likeness(whole_vectors([half]), whole_vectors(["医用外科口罩 独立包装"]))
    assert 300 < alike < 800
    found = remembered([a_precedent(line_text=half)], line_id=UUID(int=9))
    assert found == alike**2 // 1000 * 900 // 1000


def test_without_a_similar_past_need_nothing_is_known():
    assert remembered([]) == UNKNOWN
    assert remembered([a_precedent(need_text="拖拉机 柴油")]) == UNKNOWN


def test_a_need_s_own_past_never_speaks_for_it():
    assert remembered([a_precedent(need_id=NEED)]) == UNKNOWN


def test_two_weak_precedents_count_more_than_one_and_none_against():
    near, given_ = column(600, 500, 900)[np.newaxis, :], column(500, 500, 0)[:, np.newaxis]
    both = resemblance(*speakers(near), given_, column(0), column(0))
    alone = resemblance(*speakers(near[:, :1]), given_[:1], column(0), column(0))
    assert alone.tolist() == [300]
    assert both.tolist() == [1000 - 1000 * 700 // 1000 * 750 // 1000]


@given(arrays.arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=_FEW))
def test_the_likest_speak_and_the_first_among_equals(near):
    speaking, weight = speakers(near)
    expected = np.argsort(-near, axis=1, kind="stable")[:, :SPEAKING]
    assert (speaking == expected).all()
    heard = np.take_along_axis(near, expected, axis=1)
    assert (weight == np.where(heard < LIKENESS_MIN, 0, heard)).all()


def test_many_needs_and_lines_are_compared_in_portions(monkeypatch):
    precedents = [a_precedent(line_id=UUID(int=n), need_id=UUID(int=50 + n)) for n in range(7)]
    texts = [f"{MASKS} {'甲乙丙丁戊己庚辛壬癸'[n]}" for n in range(10)]
    arguments = (
        precedents,
        [UUID(int=50 + n) for n in range(10)],
        whole_vectors(texts),
        [UUID(int=n) for n in range(10)],
        [UUID(int=n % 3) for n in range(10)],
        whole_vectors(texts[::-1]),
        np.repeat(np.arange(10), 10),
        np.tile(np.arange(10), 10),
    )
    whole = memory(*arguments)
    monkeypatch.setattr(of_memory, "ROWS_AT_ONCE", 3)
    assert memory(*arguments).tolist() == whole.tolist()


def test_facts_survive_json():
    facts = AcceptanceFacts(
        (OrganizationCount(ORGANIZATION, "mask_surgical", 3, 1),), (a_precedent(),)
    )
    plain = facts.plain()
    for row in (*plain["counts"], *plain["precedents"]):
        row |= {name: str(value) for name, value in row.items() if isinstance(value, UUID)}
    assert acceptance_facts(plain) == facts
    assert facts.counts_of[ORGANIZATION, "mask_surgical"] == (3, 1)
    assert len(facts.precedents_of("mask_surgical")) == 1
    assert facts.precedents_of("tent") == ()
