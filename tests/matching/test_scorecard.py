"""Scorecards: whole points, monotone where reason demands it, and reasons that add up."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from services.matching.ranking.features import CODES, UNKNOWN
from services.matching.ranking.scorecard import (
    MONOTONE,
    Curve,
    Scorecard,
    built_in,
    reasoned,
    reasons,
)

VALUES = arrays.arrays(
    np.int64,
    st.tuples(st.integers(1, 20), st.just(len(CODES))),
    elements=st.integers(UNKNOWN, 1000),
)


def a_card(*curves: Curve) -> Scorecard:
    return Scorecard(
        name="test-1",
        description_zh="试",
        description_en="a test",
        curves=list(curves),
        chance=[0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000],
    )


def one(**known: int) -> "np.ndarray":
    return np.array([[known.get(code, UNKNOWN) for code in CODES]], dtype=np.int64)


def test_the_reasoned_card_uses_the_whole_range():
    card = reasoned()
    assert card.fit(np.full((1, len(CODES)), 1000)).tolist() == [1000]
    assert card.fit(np.zeros((1, len(CODES)), dtype=np.int64)).tolist() == [0]


@given(VALUES)
def test_points_add_up_to_the_fit_exactly(values):
    card = reasoned()
    shares = card.shares(values)
    fit = card.fit(values)
    assert (shares.sum(axis=1) == fit).all()
    assert ((fit >= 0) & (fit <= 1000)).all()
    for row, total in zip(values, fit.tolist(), strict=True):
        assert sum(reason.points for reason in reasons(card, row)) == total


@given(VALUES, st.sampled_from(sorted(MONOTONE)), st.integers(0, 1000))
def test_more_of_what_is_good_never_costs_points(values, code, more):
    column = CODES.index(code)
    values = values[values[:, column] != UNKNOWN]
    better = values.copy()
    better[:, column] = np.minimum(1000, better[:, column] + more)
    assert (reasoned().fit(better) >= reasoned().fit(values)).all()


def test_between_knots_points_are_interpolated_in_whole_numbers():
    card = a_card(Curve(feature="text_fused", knots=[100, 400], points=[10, 20], unknown=7))
    at = [0, 100, 129, 130, 250, 400, 1000, UNKNOWN]
    found = card.fit(np.concatenate([one(text_fused=value) for value in at]))
    assert found.tolist() == [10, 10, 10, 11, 15, 20, 20, 7]


def test_a_falling_curve_is_refused_but_for_the_served_area():
    falling = {"knots": [0, 1000], "points": [50, 0], "unknown": 0}
    with pytest.raises(ValidationError, match="never fall"):
        Curve(feature="quantity_fit", **falling)
    assert Curve(feature="level_of_match", **falling).most == 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"feature": "poverty"},
        {"knots": [0, 0]},
        {"knots": [0, 500, 1000]},
        {"points": [0, 1001]},
    ],
)
def test_a_card_that_is_not_whole_is_refused(wrong):
    plain = {"feature": "text_fused", "knots": [0, 1000], "points": [0, 10], "unknown": 5}
    with pytest.raises(ValidationError):
        Curve.model_validate(plain | wrong)


def test_no_card_gives_more_than_a_thousand_points():
    curves = [
        Curve(feature=code, knots=[0, 1000], points=[0, 600], unknown=0)
        for code in ("text_fused", "quantity_fit")
    ]
    with pytest.raises(ValidationError, match="exceed 1000"):
        a_card(*curves)


def test_the_chance_of_acceptance_follows_the_fit():
    card = a_card(Curve(feature="text_fused", knots=[0, 1000], points=[0, 1000], unknown=0))
    assert card.chance_of(np.array([0, 55, 1000])).tolist() == [0, 55, 1000]


def test_reasons_say_what_is_not_known():
    found = {r.feature: r for r in reasons(reasoned(), one(text_fused=620)[0])}
    assert found["text_fused"].value_permille == 620
    assert "62%" in found["text_fused"].text_zh
    assert "62%" in found["text_fused"].text_en
    unknown = found["specification_overlap"]
    assert (unknown.value_permille, unknown.points, unknown.points_max) == (None, 65, 130)
    assert "neutral" in unknown.text_en
    assert "中性" in unknown.text_zh


def test_cards_survive_json_and_keep_their_hash():
    for card in built_in().values():
        again = Scorecard.model_validate(json.loads(card.model_dump_json()))
        assert again == card
        assert again.sha256() == card.sha256()
