"""How well a ranking does on decisions it has not seen: nDCG@10, AUC, log-loss; pure.

Järvelin and Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques",
doi:10.1145/582415.582418. Intervals by drawing needs, not decisions, with replacement: decisions on
one need hang together (Efron 1979, doi:10.1214/aos/1176344552).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray: TypeAlias = NDArray[np.int64]
    FloatArray: TypeAlias = NDArray[np.float64]
    BoolArray: TypeAlias = NDArray[np.bool_]

DRAWS = 200
CUT = 10
MILLION = 1_000_000
PERMILLE = 1_000


@dataclass(frozen=True)
class Predicted:
    """(d,) chance of acceptance in thousandths, by the learned and by the previous card."""

    learned: IntArray
    previous: IntArray


@dataclass(frozen=True, slots=True)
class Metric:
    """In millionths; low and high bound the difference with 95 % confidence."""

    learned: int
    previous: int
    difference: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Figures:
    """ndcg_at_10   None when no need has both an accepted and a declined pair"""

    decisions: int
    needs: int
    accepted: int
    declined: int
    folds: int
    ndcg_at_10: Metric | None
    auc: Metric
    log_loss: Metric


def figures_of(
    predicted: Predicted, accepted: BoolArray, need: IntArray, folds: int, seed: int
) -> Figures:
    """Figures of the learned card beside the previous one."""
    needs, row = np.unique(need, return_inverse=True)
    chance = np.random.Generator(np.random.PCG64(seed))
    # Equal scores in an order that knows nothing of the decisions, the same for both.
    order = chance.permutation(len(need))
    drawn = chance.multinomial(len(needs), np.full(len(needs), 1 / len(needs)), size=DRAWS)
    gains = [ndcg_by_need(score, accepted, row, order) for score in _both(predicted)]
    mixed = np.flatnonzero(~np.isnan(gains[0]))
    losses = [_loss_by_need(score, accepted, row) for score in _both(predicted)]
    size = np.bincount(row).astype(np.float64)
    auc = [_Auc(score, accepted, row) for score in _both(predicted)]
    return Figures(
        decisions=len(need),
        needs=len(needs),
        accepted=int(accepted.sum()),
        declined=int((~accepted).sum()),
        folds=folds,
        ndcg_at_10=_metric(
            [_mean(gain[mixed], np.ones(len(mixed))) for gain in gains],
            drawn[:, mixed].astype(np.float64),
        )
        if len(mixed)
        else None,
        auc=_metric([one.of for one in auc], drawn.astype(np.float64)),
        log_loss=_metric([_mean(loss, size) for loss in losses], drawn.astype(np.float64)),
    )


def _both(predicted: Predicted) -> tuple[IntArray, IntArray]:
    return predicted.learned, predicted.previous


def _metric(of: list[Callable[[FloatArray], float]], drawn: FloatArray) -> Metric:
    """of   learned and previous: the metric by how often each need is counted"""
    once = np.ones(drawn.shape[1])
    learned, previous = (round(metric(once) * MILLION) for metric in of)
    differences = [of[0](times) - of[1](times) for times in drawn]
    # A draw without any need of both kinds says nothing.
    said = [one for one in differences if not np.isnan(one)] or [0.0]
    low, high = np.quantile(said, (0.025, 0.975))
    return Metric(
        learned, previous, learned - previous, round(low * MILLION), round(high * MILLION)
    )


def _mean(sums: FloatArray, sizes: FloatArray) -> Callable[[FloatArray], float]:
    def mean(times: FloatArray) -> float:
        count = float(times @ sizes)
        return float(times @ sums) / count if count else float("nan")

    return mean


def ndcg_by_need(
    score: IntArray, accepted: BoolArray, need: IntArray, order: IntArray
) -> FloatArray:
    """(needs,) nDCG@10 of each need's pairs; NaN unless some are accepted and some declined.

    need    (d,) rows 0..needs-1;  order  (d,) decides among equal scores
    """
    counts = np.bincount(need)
    good = np.bincount(need, weights=accepted, minlength=len(counts)).astype(np.int64)
    sorted_rows = np.lexsort((order, -score, need))
    begins = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place = np.arange(len(need)) - np.repeat(begins, counts)
    discount = np.where(place < CUT, 1 / np.log2(place + 2), 0.0)
    gained = np.bincount(
        need[sorted_rows], weights=accepted[sorted_rows] * discount, minlength=len(counts)
    )
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(CUT) + 2))])
    best = ideal[np.minimum(good, CUT)]
    mixed = (good > 0) & (good < counts)
    return np.where(mixed, gained / np.where(best > 0, best, 1.0), np.nan)


def _loss_by_need(score: IntArray, accepted: BoolArray, need: IntArray) -> FloatArray:
    """(needs,) summed log-loss; a certain mistake counts as one in a thousand."""
    chance = np.clip(score, 1, PERMILLE - 1) / PERMILLE
    lost: FloatArray = np.bincount(
        need, weights=-np.log(np.where(accepted, chance, 1 - chance))
    ).astype(np.float64)
    return lost


class _Auc:
    """Area under the ROC curve when needs are counted several times; sorted once."""

    def __init__(self, score: IntArray, accepted: BoolArray, need: IntArray) -> None:
        by_score = np.argsort(score, kind="stable")
        self._need, self._accepted = need[by_score], accepted[by_score]
        self._begins = np.flatnonzero(np.diff(score[by_score], prepend=score[by_score][0] - 1))

    def of(self, times: FloatArray) -> float:
        weight = times[self._need]
        good = np.add.reduceat(np.where(self._accepted, weight, 0.0), self._begins)
        bad = np.add.reduceat(np.where(self._accepted, 0.0, weight), self._begins)
        below = np.cumsum(bad) - bad
        pairs = good.sum() * bad.sum()
        return float((good * (below + bad / 2)).sum() / pairs) if pairs else float("nan")
