"""A scorecard: for each feature a piecewise-linear curve of points; the fit is their sum; pure.

Additive, so that every point of a fit is one feature's; integers, so that a fit is the same
wherever it is computed again; monotone where reason demands it (MONOTONE), so that no learned card
can hold a better text or a fuller quantity against an offer.

After Lou, Caruana, Gehrke (2012), "Intelligible models for classification and regression",
doi:10.1145/2339530.2339556.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from services.matching.ranking.features import CODES, FEATURES, PERMILLE, UNKNOWN
from shared.bodies import Body, Code

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

BUILT_IN = "reasoned-1"
CURVE_KNOTS_MAX = 16
# More of these is never worse. The served area is left free: whether the near or the national
# offer is taken more readily is for the decisions to say.
MONOTONE = frozenset(CODES) - {"level_of_match"}

Points = Annotated[int, Field(ge=0, le=PERMILLE)]
RankingName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class Curve(Body):
    """Points of one feature: linear between knots, level outside of them.

    knots     values of the feature in thousandths, rising
    points    points at the knots
    unknown   points when the feature is not known
    """

    feature: Code
    knots: Annotated[list[Points], Field(min_length=1, max_length=CURVE_KNOTS_MAX)]
    points: Annotated[list[Points], Field(min_length=1, max_length=CURVE_KNOTS_MAX)]
    unknown: Points

    @property
    def most(self) -> int:
        return max(*self.points, self.unknown)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.feature not in CODES:
            raise ValueError(f"{self.feature} is no feature")
        if len(self.knots) != len(self.points):
            raise ValueError(f"{self.feature}: as many points as knots")
        if any(a >= b for a, b in zip(self.knots, self.knots[1:], strict=False)):
            raise ValueError(f"{self.feature}: knots rise")
        if self.feature in MONOTONE and self.points != sorted(self.points):
            raise ValueError(f"{self.feature}: points never fall")
        return self


class Origin(Body):
    """What a card was made of: nothing but reason, or stored decisions.

    encoder_version   of the texts' vectors the decisions were made with, None when reasoned
    decisions_sha256  over the decisions used, in order
    """

    encoder_version: str | None = None
    previous: str | None = None
    decisions: Annotated[int, Field(ge=0)] = 0
    decisions_sha256: str | None = None
    seed: int | None = None


class Scorecard(Body):
    """curves    at most one a feature; a feature without one counts nothing
    chance      chance of acceptance by both sides in thousandths, at fit 0, 100 … 1000
    """

    name: RankingName
    description_zh: str
    description_en: str
    made_of: Origin = Origin()
    curves: Annotated[list[Curve], Field(min_length=1, max_length=len(CODES))]
    chance: Annotated[list[Points], Field(min_length=11, max_length=11)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len({curve.feature for curve in self.curves}) != len(self.curves):
            raise ValueError("a feature twice")
        if sum(curve.most for curve in self.curves) > PERMILLE:
            raise ValueError("the points of all features exceed 1000")
        if self.chance != sorted(self.chance):
            raise ValueError("the chance of acceptance never falls with the fit")
        return self

    @cached_property
    def _by_feature(self) -> dict[str, Curve]:
        return {curve.feature: curve for curve in self.curves}

    def fit(self, values: IntArray) -> IntArray:
        """Return (e,) 0..1000 for feature values (e, F) in the order of FEATURES."""
        total: IntArray = self.shares(values).sum(axis=1)
        return total

    def shares(self, values: IntArray) -> IntArray:
        """Return (e, F) points of each feature; a row's sum is its fit, exactly.

        Values below 0 are UNKNOWN, those above 1000 count as 1000.
        """
        if values.ndim != 2 or values.shape[1] != len(CODES):
            raise ValueError(f"values are (e, {len(CODES)})")
        found = np.zeros(values.shape, dtype=np.int64)
        for column, points in self._points_by_value.items():
            found[:, column] = points.take(values[:, column] - UNKNOWN, mode="clip")
        return found

    @cached_property
    def _points_by_value(self) -> dict[int, IntArray]:
        """Column -> points of UNKNOWN, 0, 1 … 1000: millions of pairs are looked up in it."""
        every = np.arange(UNKNOWN, PERMILLE + 1, dtype=np.int64)
        return {
            CODES.index(code): _points(curve, every) for code, curve in self._by_feature.items()
        }

    def chance_of(self, fit: IntArray) -> IntArray:
        """Return (e,) thousandths: how likely both sides accept a pair of this fit."""
        steps = np.arange(0, PERMILLE + 1, PERMILLE // 10, dtype=np.int64)
        return _interpolate(steps, np.array(self.chance, dtype=np.int64), fit)

    def sha256(self) -> str:
        """Over the card as JSON with sorted keys and no spaces."""
        plain = json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        return hashlib.sha256(plain.encode()).hexdigest()

    def most(self, code: str) -> int:
        """The most points the feature can give."""
        curve = self._by_feature.get(code)
        return 0 if curve is None else curve.most


def _points(curve: Curve, column: IntArray) -> IntArray:
    knots = np.array(curve.knots, dtype=np.int64)
    points = np.array(curve.points, dtype=np.int64)
    return np.where(column == UNKNOWN, curve.unknown, _interpolate(knots, points, column))


def _interpolate(knots: IntArray, points: IntArray, at: IntArray) -> IntArray:
    """Linear between knots in whole numbers, rounded down; level outside."""
    if len(knots) == 1:
        return np.full(at.shape, points[0], dtype=np.int64)
    within = np.clip(at, knots[0], knots[-1])
    left = np.clip(np.searchsorted(knots, within, side="right") - 1, 0, len(knots) - 2)
    run = knots[left + 1] - knots[left]
    rise = points[left + 1] - points[left]
    found: IntArray = points[left] + (within - knots[left]) * rise // run
    return found


@dataclass(frozen=True, slots=True)
class Reason:
    """How one feature counted: `points` of at most `points_max`; value None when unknown."""

    feature: str
    name_zh: str
    name_en: str
    value_permille: int | None
    points: int
    points_max: int
    text_zh: str
    text_en: str


def reasons(card: Scorecard, values: IntArray) -> list[Reason]:
    """Why one pair, values (F,), fits as it does; the most points first, without features that
    the card does not count. Their points sum to the fit."""
    shares = card.shares(values[np.newaxis, :])[0]
    found = []
    for feature, value, points in zip(FEATURES, values.tolist(), shares.tolist(), strict=True):
        if (most := card.most(feature.code)) == 0:
            continue
        known = value != UNKNOWN
        percent = value // 10
        found.append(
            Reason(
                feature=feature.code,
                name_zh=feature.name_zh,
                name_en=feature.name_en,
                value_permille=value if known else None,
                points=points,
                points_max=most,
                text_zh=feature.text_zh.format(p=percent) if known else feature.unknown_zh,
                text_en=feature.text_en.format(p=percent) if known else feature.unknown_en,
            )
        )
    return sorted(found, key=lambda reason: (-reason.points, reason.feature))


@cache
def built_in() -> dict[str, Scorecard]:
    """The cards that are part of the program, by name: they need no decisions."""
    found = {}
    for path in sorted((Path(__file__).parent / "scorecards").glob("*.json")):
        card = Scorecard.model_validate_json(path.read_bytes())
        if card.name != path.stem:
            raise ValueError(f"{path.name}: not the card's name")
        found[card.name] = card
    return found


def reasoned() -> Scorecard:
    """The card before any decision is known, active until a learned one is activated."""
    return built_in()[BUILT_IN]
