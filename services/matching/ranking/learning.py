"""A scorecard from decisions: additive, monotone logistic regression, held to the card before.

Every feature is a sum of ramps between knots taken from the decisions; that a curve never falls is
a bound on the ramps. The penalty pulls each ramp to that of the previous card, so that what the
decisions do not speak of stays as it was. Minimised by L-BFGS-B over sparse columns, in one thread:
equal decisions give equal points. Afterwards everything is whole numbers.

Byrd, Lu, Nocedal, Zhu (1995), "A limited memory algorithm for bound constrained optimization",
doi:10.1137/0916069, via scipy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit

from services.matching.ranking.evaluation import Figures, Predicted, figures_of
from services.matching.ranking.features import CODES, PERMILLE, UNKNOWN
from services.matching.ranking.scorecard import MONOTONE, Curve, Origin, Scorecard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]

# Below these, held-out figures swing more than any card could gain.
DECISIONS_MIN, EACH_MIN, NEEDS_MIN = 200, 40, 50
FOLDS = 5
# How firmly the previous card is held to: a feature's whole height strays from its own by a third
# of a unit of log-odds (the root of 1/HOLD) as easily as a decision is surprised; the reasoned card
# spans three units in all. A handful of decisions then moves nothing much.
HOLD = 10.0
KNOT_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
KNOT_GAP = 20
# A pair low in its need's list is proposed, and so decided upon, the more seldom the lower: chance
# 1/sqrt(rank) (Joachims et al. 2017, "Unbiased learning-to-rank", doi:10.1145/3018661.3018699, with
# an exponent between none and theirs); weights above WEIGHT_MAX would let single rows decide.
WEIGHT_MAX = 5.0
# One organization speaks at most for this share of all decisions, and never for fewer than ten.
ORGANIZATION_SHARE, ORGANIZATION_MIN = 0.05, 10


@dataclass(frozen=True)
class Decisions:
    """d pairs that were decided upon, in a fixed order.

    values        (d, F) features as stored with the proposals, UNKNOWN where unknown
    accepted      (d,) taken by both sides
    need          (d,) equal for decisions on the same need
    organization  (d,) equal for decisions on the same organization
    rank          (d,) place of the pair among the need's candidates when proposed, from 1
    """

    values: IntArray
    accepted: BoolArray
    need: IntArray
    organization: IntArray
    rank: IntArray

    def __len__(self) -> int:
        return len(self.accepted)

    def of(self, rows: IntArray) -> Decisions:
        return Decisions(
            self.values[rows],
            self.accepted[rows],
            self.need[rows],
            self.organization[rows],
            self.rank[rows],
        )


class TooFewDecisions(ValueError):
    """Nothing can be learned, or nothing could be said of what was learned."""


@dataclass(frozen=True, slots=True)
class Title:
    """How the new card is called and what it is said to be made of."""

    name: str
    encoder_version: str
    decisions_sha256: str
    seed: int


def train(
    decisions: Decisions,
    previous: Scorecard,
    title: Title,
    progress: Callable[[int], None] = lambda permille: None,
) -> tuple[Scorecard, Figures]:
    """A card of all decisions, and figures of cards of a part of them on needs they did not see.

    Raises TooFewDecisions. Deterministic by the decisions, their order and title.seed.
    """
    _check_enough(decisions)
    predicted = cross_validated(decisions, previous, title, progress)
    card = fit(decisions, previous, title)
    progress(900)
    found = figures_of(predicted, decisions.accepted, decisions.need, FOLDS, title.seed)
    progress(PERMILLE)
    return card, found


def _check_enough(decisions: Decisions) -> None:
    accepted = int(decisions.accepted.sum())
    declined, needs = len(decisions) - accepted, len(np.unique(decisions.need))
    if len(decisions) < DECISIONS_MIN or min(accepted, declined) < EACH_MIN or needs < NEEDS_MIN:
        raise TooFewDecisions(
            f"{accepted} accepted and {declined} declined pairs of {needs} needs; at least"
            f" {DECISIONS_MIN} pairs, {EACH_MIN} of each kind, and {NEEDS_MIN} needs are wanted"
        )


def cross_validated(
    decisions: Decisions, previous: Scorecard, title: Title, progress: Callable[[int], None]
) -> Predicted:
    """Fit and chance of every decision by a card that saw none of its need."""
    # Imported here: scikit-learn costs a second, and only training needs it.
    from sklearn.model_selection import GroupKFold

    folds = GroupKFold(n_splits=FOLDS, shuffle=True, random_state=title.seed)
    chance = np.zeros(len(decisions), dtype=np.int64)
    for number, (seen, held_out) in enumerate(folds.split(decisions.values, groups=decisions.need)):
        card = fit(decisions.of(seen), previous, title)
        chance[held_out] = card.chance_of(card.fit(decisions.values[held_out]))
        progress(800 * (number + 1) // FOLDS)
    before = previous.chance_of(previous.fit(decisions.values))
    return Predicted(learned=chance, previous=before)


def fit(decisions: Decisions, previous: Scorecard, title: Title) -> Scorecard:
    """A card of these decisions, whatever their number."""
    ladders = [
        _ladder(column, decisions.values[:, column], decisions.accepted, previous)
        for column in range(len(CODES))
    ]
    columns = sparse.hstack(
        [ladder.columns(decisions.values[:, ladder.column]) for ladder in ladders], format="csr"
    )
    steps, intercept = _regress(columns, decisions, ladders)
    return _card(ladders, steps, intercept, decisions, previous, title)


# ------------------------------------------------------------------- ladders


@dataclass(frozen=True)
class _Ladder:
    """A feature as ramps between knots, and one column for "not known".

    start   (len(knots),) the previous card's steps in log-odds: each ramp, then unknown
    """

    column: int
    knots: IntArray
    start: FloatArray

    @property
    def bounds(self) -> list[tuple[float | None, None]]:
        low = 0.0 if CODES[self.column] in MONOTONE else None
        return [(low, None)] * (len(self.knots) - 1) + [(None, None)]

    @property
    def hold(self) -> FloatArray:
        """(len(knots),) penalty of each step; the more ramps share a height, the firmer each."""
        ramps = len(self.knots) - 1
        return HOLD * np.append(np.full(ramps, float(ramps)), 1.0)

    def columns(self, values: IntArray) -> sparse.csr_array:
        """(d, len(knots)): how much of each ramp a value has climbed, 0..1; and whether unknown."""
        known = values != UNKNOWN
        left, run = self.knots[:-1], np.diff(self.knots)
        climbed = np.clip((values[:, np.newaxis] - left) / run, 0.0, 1.0)
        climbed[~known] = 0.0
        return sparse.csr_array(np.column_stack([climbed, ~known]).astype(np.float64))


def _ladder(column: int, values: IntArray, accepted: BoolArray, previous: Scorecard) -> _Ladder:
    known = values != UNKNOWN
    parts = [part for part in (values[known], values[known & accepted]) if len(part)]
    # Few pairs are accepted; where these lie, the curve must be able to bend.
    wanted = sorted({int(v) for part in parts for v in np.quantile(part, KNOT_SHARES)})
    knots = [0]
    for knot in wanted:
        if knot - knots[-1] >= KNOT_GAP and PERMILLE - knot >= KNOT_GAP:
            knots.append(knot)
    ladder = np.array([*knots, PERMILLE], dtype=np.int64)
    asked = np.zeros((len(ladder) + 1, len(CODES)), dtype=np.int64)
    asked[:-1, column], asked[-1, column] = ladder, UNKNOWN
    points = previous.shares(asked)[:, column]
    of_points = _logit(previous.chance[-1]) - _logit(previous.chance[0])
    start = np.append(np.diff(points[:-1]), points[-1] - points[0]) / PERMILLE * of_points
    return _Ladder(column, ladder, start)


def _logit(permille: int) -> float:
    share = min(max(permille, 1), PERMILLE - 1) / PERMILLE
    return math.log(share / (1 - share))


# ---------------------------------------------------------------- regression


def weights(decisions: Decisions) -> FloatArray:
    """(d,) of mean 1: up for pairs low in their list, down for organizations of many decisions."""
    shown = np.minimum(np.sqrt(np.maximum(decisions.rank, 1)), WEIGHT_MAX)
    _, who, count = np.unique(decisions.organization, return_inverse=True, return_counts=True)
    most = max(ORGANIZATION_MIN, ORGANIZATION_SHARE * len(decisions))
    weight: FloatArray = shown * np.minimum(1.0, most / count)[who]
    even: FloatArray = weight * (len(weight) / weight.sum())
    return even


def _regress(
    columns: sparse.csr_array, decisions: Decisions, ladders: list[_Ladder]
) -> tuple[FloatArray, float]:
    """Steps of all ladders and the intercept, which is free."""
    start = np.concatenate([ladder.start for ladder in ladders])
    hold = np.concatenate([ladder.hold for ladder in ladders])
    bounds = [bound for ladder in ladders for bound in ladder.bounds]
    weight = weights(decisions)
    sign = np.where(decisions.accepted, 1.0, -1.0)
    transposed = columns.T.tocsr()

    def loss(at: FloatArray) -> tuple[float, FloatArray]:
        margin = sign * (columns @ at[:-1] + at[-1])
        away = at[:-1] - start
        pull = -weight * sign * expit(-margin)
        slope = np.append(transposed @ pull + hold * away, pull.sum())
        return float(
            (weight * np.logaddexp(0.0, -margin)).sum() + (hold * away**2).sum() / 2
        ), slope

    found: Any = minimize(
        loss,
        np.append(start, 0.0),
        jac=True,
        method="L-BFGS-B",
        bounds=[*bounds, (None, None)],
        options={"maxiter": 500},
    )
    return found.x[:-1], float(found.x[-1])


# -------------------------------------------------------------- whole numbers


def _card(
    ladders: list[_Ladder],
    steps: FloatArray,
    intercept: float,
    decisions: Decisions,
    previous: Scorecard,
    title: Title,
) -> Scorecard:
    """Log-odds as points: the least a feature can say is 0, all that all can say is 1000."""
    heights, unknowns, base = [], [], intercept
    at = 0
    for ladder in ladders:
        own = steps[at : at + len(ladder.knots)]
        at += len(ladder.knots)
        height = np.concatenate([[0.0], np.cumsum(own[:-1])])
        least = min(height.min(), own[-1])
        base += least
        heights.append(height - least)
        unknowns.append(own[-1] - least)
    whole = sum(max(h.max(), u) for h, u in zip(heights, unknowns, strict=True)) or 1.0

    def points(log_odds: float) -> int:
        # Down, so that the most of all features together never exceeds 1000.
        return math.floor(log_odds / whole * PERMILLE)

    curves = [
        Curve(
            feature=CODES[ladder.column],
            knots=ladder.knots.tolist(),
            points=[points(one) for one in height],
            unknown=points(unknown),
        )
        for ladder, height, unknown in zip(ladders, heights, unknowns, strict=True)
    ]
    chance = [round(PERMILLE * float(expit(base + whole * tenth / 10))) for tenth in range(11)]
    count, needs = len(decisions), len(np.unique(decisions.need))
    return Scorecard(
        name=title.name,
        description_zh=f"由 {needs} 项需求的 {count} 次决定学得",
        description_en=f"Learned from {count} decisions on {needs} needs",
        made_of=Origin(
            encoder_version=title.encoder_version,
            previous=previous.name,
            decisions=count,
            decisions_sha256=title.decisions_sha256,
            seed=title.seed,
        ),
        curves=[curve for curve in curves if curve.most],
        chance=chance,
    )
