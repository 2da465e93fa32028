"""How well a line suits a need: seven features in thousandths, weighted by a named policy.

Integers throughout, so that a score is the same wherever it is computed again. Weights are a first
reasoned choice of the policy, not learned: accepted and declined allocations are what later
versions may learn from (design MATCHING 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

PERMILLE = 1_000
# A feature of which nothing is known: neither for nor against.
NEUTRAL = 500
FEATURES = (
    "text_similarity",
    "specification_overlap",
    "quantity_fit",
    "level_of_match",
    "waiting_time",
    "poverty",
    "verified_organization",
)
# By the number of significant digits of the served division: the nearer, the better known on the
# spot.
_LEVEL_PERMILLE = {0: 200, 2: 400, 4: 600, 6: 800, 9: 1_000}


@dataclass(frozen=True, slots=True)
class Pair:
    """What is known of one need and one line before scoring.

    similarity       cosine of the texts, -1..1
    need_words       tokens of the need's specification; empty = not stated
    line_words       tokens of the line's item and specification
    required         what the need still lacks, base units, >= 1
    available        what the line still has, base units
    served_digits    significant digits of the served division that covers the need
    waiting_days     since publication
    poverty          deprivation score in thousandths, None when not a household
    verified         the organization was approved on a checked code
    """

    similarity: float
    need_words: frozenset[str]
    line_words: frozenset[str]
    required: int
    available: int
    served_digits: int
    waiting_days: int
    poverty: int | None
    verified: bool


@dataclass(frozen=True, slots=True)
class Reason:
    feature: str
    value_permille: int
    weight: int
    points: int
    text_zh: str
    text_en: str


def features(pair: Pair, waiting_days_full: int) -> tuple[int, ...]:
    """Values 0..1000 in the order of FEATURES."""
    return (
        # Rounded to thousandths: the last bits of a float differ between machines.
        max(0, min(PERMILLE, round(pair.similarity * PERMILLE))),
        _overlap(pair.need_words, pair.line_words),
        min(pair.required, pair.available) * PERMILLE // pair.required,
        _LEVEL_PERMILLE.get(pair.served_digits, PERMILLE),
        min(pair.waiting_days, waiting_days_full) * PERMILLE // waiting_days_full,
        NEUTRAL if pair.poverty is None else max(0, min(PERMILLE, pair.poverty)),
        PERMILLE if pair.verified else 0,
    )


def _overlap(need_words: frozenset[str], line_words: frozenset[str]) -> int:
    if not need_words or not line_words:
        return NEUTRAL
    return len(need_words & line_words) * PERMILLE // len(need_words)


def scores(values: IntArray, weights: Mapping[str, int]) -> IntArray:
    """Weighted means, 0..1000, of the rows of values (n, len(FEATURES)); rounded down."""
    weight = np.array([weights[name] for name in FEATURES], dtype=np.int64)
    return values @ weight // max(1, int(weight.sum()))


_TEXTS = {
    "text_similarity": ("需求与供给文字相似度 {p}%", "The texts are alike to {p}%"),
    "specification_overlap": ("规格要求符合 {p}%", "{p}% of the asked specification is met"),
    "quantity_fit": ("可满足所缺数量的 {p}%", "It could cover {p}% of what is lacking"),
    "level_of_match": ("服务范围贴近程度 {p}%", "The served area is near to {p}%"),
    "waiting_time": ("等待时间占满期的 {p}%", "The need has waited {p}% of the full period"),
    "poverty": ("困难程度 {p}%", "Degree of deprivation {p}%"),
    "verified_organization": ("机构信用代码核验 {p}%", "Organization's code checked: {p}%"),
}
_UNSTATED = {
    "specification_overlap": ("规格未写明，按中性计", "No specification to compare; neutral"),
    "poverty": ("非农户或未评估，按中性计", "Not a household, or not assessed; neutral"),
}


def reasons(values: tuple[int, ...], weights: Mapping[str, int]) -> list[Reason]:
    """Why a pair scored as it did, the strongest reason first."""
    found = []
    for name, value in zip(FEATURES, values, strict=True):
        texts = _UNSTATED[name] if value == NEUTRAL and name in _UNSTATED else _TEXTS[name]
        percent = value // 10
        found.append(
            Reason(
                feature=name,
                value_permille=value,
                weight=weights[name],
                points=weights[name] * value,
                text_zh=texts[0].format(p=percent),
                text_en=texts[1].format(p=percent),
            )
        )
    return sorted(found, key=lambda reason: (-reason.points, reason.feature))
