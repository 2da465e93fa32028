"""Learning: what decisions teach, what they may not, and what is said of it."""

import numpy as np
import pytest

from services.matching.ranking.evaluation import Predicted, figures_of, ndcg_by_need
from services.matching.ranking.features import CODES, UNKNOWN
from services.matching.ranking.learning import (
    Decisions,
    Title,
    TooFewDecisions,
    fit,
    train,
    weights,
)
from services.matching.ranking.scorecard import MONOTONE, reasoned

TITLE = Title("learned-1", "encoder-1", "0" * 64, seed=7)
QUANTITY, LEVEL, DENSE = (
    CODES.index(code) for code in ("quantity_fit", "level_of_match", "text_dense")
)


def some_decisions(count: int = 1_500, needs: int = 300, seed: int = 0) -> Decisions:
    """Accepted for a great quantity and a far offer; text says nothing."""
    chance = np.random.default_rng(seed)
    values = chance.integers(0, 1001, (count, len(CODES)))
    values[chance.random(values.shape) < 0.1] = UNKNOWN
    quantity = np.where(values[:, QUANTITY] == UNKNOWN, 500, values[:, QUANTITY])
    level = np.where(values[:, LEVEL] == UNKNOWN, 500, values[:, LEVEL])
    odds = (quantity - 500) / 150 - (level - 500) / 200
    return Decisions(
        values=values,
        accepted=chance.random(count) < 1 / (1 + np.exp(-odds)),
        need=chance.integers(0, needs, count),
        organization=chance.integers(0, 60, count),
        rank=chance.integers(1, 9, count),
    )


@pytest.fixture(scope="module")
def learned():
    return train(some_decisions(), reasoned(), TITLE)


def test_a_learned_card_beats_the_one_before_on_needs_it_did_not_see(learned):
    _, figures = learned
    assert figures.decisions == 1_500
    assert figures.accepted + figures.declined == 1_500
    assert figures.ndcg_at_10 is not None
    assert figures.ndcg_at_10.low > 0
    assert figures.auc.low > 0
    assert figures.auc.learned > 850_000
    assert figures.log_loss.high < 0


def test_curves_never_fall_but_where_decisions_may_say_so(learned):
    card, _ = learned
    by_code = {curve.feature: curve for curve in card.curves}
    for code in MONOTONE & by_code.keys():
        assert by_code[code].points == sorted(by_code[code].points)
    assert by_code["level_of_match"].points[0] > by_code["level_of_match"].points[-1]


def test_equal_decisions_and_seed_give_equal_bytes(learned):
    again = train(some_decisions(), reasoned(), TITLE)
    assert again[0].model_dump_json() == learned[0].model_dump_json()
    assert again[1] == learned[1]


def test_a_card_says_what_it_was_made_of(learned):
    made_of = learned[0].made_of
    assert (made_of.previous, made_of.decisions, made_of.seed) == ("reasoned-1", 1_500, 7)
    assert made_of.encoder_version == "encoder-1"


def test_text_against_which_decisions_went_counts_nothing_rather_than_against():
    decisions = some_decisions()
    dense = decisions.values[:, DENSE]
    accepted = np.where(dense == UNKNOWN, decisions.accepted, dense < 500)
    turned = Decisions(
        decisions.values, accepted, decisions.need, decisions.organization, decisions.rank
    )
    card = fit(turned, reasoned(), TITLE)
    points = card.shares(np.array([[1000] * len(CODES), [0] * len(CODES)]))[:, DENSE]
    assert points[0] == points[1]


def test_what_decisions_do_not_speak_of_stays_as_it_was():
    decisions = some_decisions(count=400)
    same = decisions.values.copy()
    same[:, CODES.index("verified_organization")] = 1000
    card = fit(
        Decisions(
            same,
            decisions.accepted,
            decisions.need,
            decisions.organization,
            decisions.rank,
        ),
        reasoned(),
        TITLE,
    )
    assert card.most("verified_organization") > 0


def test_a_few_decisions_leave_the_card_nearly_as_it_was():
    few = some_decisions().of(np.arange(3))
    card, before = fit(few, reasoned(), TITLE), reasoned()
    values = some_decisions(seed=9).values
    apart = np.abs(card.fit(values) - before.fit(values))
    assert np.corrcoef(card.fit(values), before.fit(values))[0, 1] > 0.95, apart.max()


def test_a_curve_can_bend_where_the_few_accepted_pairs_lie():
    chance = np.random.default_rng(3)
    values = np.full((2_000, len(CODES)), UNKNOWN)
    values[:, QUANTITY] = chance.integers(0, 1001, 2_000)
    accepted = np.arange(2_000) < 20
    values[:20, QUANTITY] = chance.integers(905, 960, 20)
    rows = np.arange(2_000)
    card = fit(Decisions(values, accepted, rows, rows, np.ones_like(rows)), reasoned(), TITLE)
    [knots] = [curve.knots for curve in card.curves if curve.feature == "quantity_fit"]
    assert [knot for knot in knots if 910 <= knot <= 960]


@pytest.mark.parametrize("count", [0, 100])
def test_too_few_decisions_are_refused(count):
    with pytest.raises(TooFewDecisions, match="at least"):
        train(some_decisions().of(np.arange(count)), reasoned(), TITLE)


def test_decisions_that_all_went_one_way_are_refused():
    decisions = some_decisions()
    with pytest.raises(TooFewDecisions):
        train(decisions.of(np.flatnonzero(decisions.accepted)), reasoned(), TITLE)


def test_low_places_weigh_more_and_large_organizations_do_not_outvote():
    decisions = some_decisions(count=1_000)
    rank = np.ones(1_000, dtype=np.int64)
    rank[0] = 4
    loud = np.arange(1_000)
    loud[500:] = 0
    weight = weights(Decisions(decisions.values, decisions.accepted, decisions.need, loud, rank))
    assert weight[0] / weight[600] == pytest.approx(2.0)
    assert weight[1] / weight[600] == pytest.approx(501 / 50)
    rank[0] = 10_000
    deep = weights(Decisions(decisions.values, decisions.accepted, decisions.need, loud, rank))
    assert deep[0] / deep[600] == pytest.approx(5.0), "no single row decides"
    assert weight.mean() == pytest.approx(1.0)


# ------------------------------------------------------------------ figures


def test_ndcg_by_hand():
    score = np.array([900, 800, 700, 500, 400])
    accepted = np.array([False, True, False, True, True])
    need = np.array([0, 0, 0, 1, 1])
    found = ndcg_by_need(score, accepted, need, np.arange(5))
    assert found[0] == pytest.approx(1 / np.log2(3))
    assert np.isnan(found[1]), "a need of which all was accepted says nothing of order"


def test_ndcg_of_a_perfect_order_is_one_however_many_are_accepted():
    score, need = np.arange(15, 0, -1), np.zeros(15, dtype=np.int64)
    for accepted in (1, 3, 12):
        [found] = ndcg_by_need(score, np.arange(15) < accepted, need, np.arange(15))
        assert found == pytest.approx(1.0)


def test_equal_scores_are_worth_the_same_whoever_came_first():
    accepted = np.zeros(1_000, dtype=bool)
    accepted[::10] = True
    need = np.repeat(np.arange(100), 10)
    flat = np.full(1_000, 500)
    figures = figures_of(Predicted(flat, flat), accepted, need, 5, seed=1)
    assert figures.auc.learned == 500_000
    assert figures.auc.difference == figures.auc.low == figures.auc.high == 0
    assert figures.ndcg_at_10 is not None
    assert figures.ndcg_at_10.learned < 600_000, "the accepted stood first in each need"


def test_auc_by_hand():
    score = np.array([3, 2, 2, 1])
    accepted = np.array([True, True, False, False])
    figures = figures_of(Predicted(score, -score), accepted, np.arange(4), 5, seed=1)
    assert figures.auc.learned == 875_000
    assert figures.auc.previous == 125_000
