"""What is looked at when a line is ranked for a need: ten features in thousandths; pure.

Poverty and waiting are not among them: they say whom to help first, not what suits, and belong to
the welfare terms of the policy. A feature of which nothing is known is UNKNOWN, never a guessed
number: the scorecard says what that counts, and the reason says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

PERMILLE = 1_000
UNKNOWN = -1
# Days until the need's date where none is stated.
NO_DATE = 1_000_000
# How long an offer should stay open for a need without a date: reserve, accept, approve, dispatch.
HANDLING_DAYS = 30
HANDLING_DAYS_MAX = 180
# An organization's rate starts at 0.75 as if four decisions were known (Beta(3, 1)), so that one
# decline does not condemn; and more than 50 decisions count as 50, so that size alone is no merit.
PRIOR_ACCEPTED, PRIOR_DECISIONS, DECISIONS_MAX = 3, 4, 50


@dataclass(frozen=True, slots=True)
class Feature:
    """doc_*: what a high value means, its range, and where it comes from.

    text_*      the reason shown, {p} = value in percent
    unknown_*   the reason shown when nothing is known
    """

    code: str
    name_zh: str
    name_en: str
    doc_zh: str
    doc_en: str
    text_zh: str
    text_en: str
    unknown_zh: str
    unknown_en: str


FEATURES = (
    Feature(
        "text_lexical",
        "文字重合",
        "Words in common",
        "需求文字在供给文字中能达到的 BM25 份额，0–1000；来自双方标题、物品与规格",
        "Share of the need's greatest possible BM25 that the line's text reaches, 0..1000;"
        " from title, item and specification of both",
        "需求用词有 {p}% 见于供给",
        "{p}% of the need's wording is found in the offer",
        "没有可比的文字，按中性计",
        "No text to compare; neutral",
    ),
    Feature(
        "text_dense",
        "语义相近",
        "Likeness of meaning",
        "双方文字向量的余弦，0–1000；编码器版本随评分一并保存",
        "Cosine of the two text vectors, 0..1000; the encoder's version is kept with the score",
        "文字向量相近 {p}%",
        "The texts are alike to {p}%",
        "没有可比的文字，按中性计",
        "No text to compare; neutral",
    ),
    Feature(
        "text_fused",
        "文字综合",
        "Likeness of text, both ways",
        "上述两项按文字所用语言加权合并，0–1000",
        "The two above in one, weighted by the script of the need's text, 0..1000",
        "需求与供给文字综合相似 {p}%",
        "Need and offer read alike to {p}%",
        "没有可比的文字，按中性计",
        "No text to compare; neutral",
    ),
    Feature(
        "specification_overlap",
        "规格符合",
        "Specification met",
        "需求所写规格有多少见于供给，0–1000；任一方未写则未知",
        "How much of the specification asked for the line states, 0..1000; unknown when either"
        " side states none",
        "规格要求符合 {p}%",
        "{p}% of the asked specification is met",
        "规格未写明，按中性计",
        "No specification to compare; neutral",
    ),
    Feature(
        "quantity_fit",
        "数量满足",
        "Quantity covered",
        "该供给现有数量可覆盖所缺数量的份额，0–1000；来自双方账目",
        "Share of what the need lacks that the line could cover now, 0..1000; from the ledgers",
        "可满足所缺数量的 {p}%",
        "It could cover {p}% of what is lacking",
        "数量未知，按中性计",
        "Quantity not known; neutral",
    ),
    Feature(
        "level_of_match",
        "服务范围贴近",
        "Nearness of the served area",
        "所服务区划的级别：全国 200、省 400、市 600、县 800、乡镇 1000",
        "Level of the served division the need lies in: nation 200, province 400, city 600,"
        " county 800, township 1000",
        "服务范围贴近程度 {p}%",
        "The served area is near to {p}%",
        "服务范围未知，按中性计",
        "Served area not known; neutral",
    ),
    Feature(
        "verified_organization",
        "机构已核验",
        "Organization checked",
        "机构统一社会信用代码已核验为 1000，否则 0；来自机构登记",
        "1000 when the organization was approved on a checked credit code, else 0; from its"
        " registration",
        "机构信用代码核验 {p}%",
        "Organization's code checked: {p}%",
        "机构核验情况未知，按中性计",
        "Not known whether the organization was checked; neutral",
    ),
    Feature(
        "organization_acceptance",
        "机构以往接受率",
        "Organization's past acceptance",
        "该机构在同类物品中接受分配的比例（贝塔平滑，至多计 50 次），0–1000；没有记录则未知",
        "Share of allocations of this item class that the organization accepted, Beta-smoothed,"
        " at most 50 counted, 0..1000; unknown without any",
        "该机构以往接受同类分配约 {p}%",
        "The organization accepted about {p}% of such allocations",
        "该机构尚无同类分配记录，按中性计",
        "No past allocations of this kind by the organization; neutral",
    ),
    Feature(
        "acceptance_memory",
        "相似成功先例",
        "Accepted before for similar needs",
        "最相似的以往需求所接受的供给与此供给有多像，0–1000；没有相似先例则未知",
        "How like this line is to what the most similar past needs accepted, 0..1000; unknown"
        " without similar past needs",
        "与相似需求以往接受的供给相符 {p}%",
        "Like what similar needs accepted before to {p}%",
        "尚无相似先例，按中性计",
        "No similar past match; neutral",
    ),
    Feature(
        "timeliness",
        "时间充裕",
        "Time left",
        "供给有效期覆盖所需办理时间的份额，0–1000；需求未写日期时按 30 天计",
        "Share of the time up to the need's date (30 days when none is stated, 180 at most) in"
        " which the offer is still valid, 0..1000",
        "供给有效期覆盖所需时间的 {p}%",
        "The offer stays valid for {p}% of the time needed",
        "时间未知，按中性计",
        "Dates not known; neutral",
    ),
)
CODES = tuple(feature.code for feature in FEATURES)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Facts of e pairs of a need and a line, one column each, (e,) int64.

    lexical, dense, fused   likeness of text in thousandths, as TextModel gives it
    specification_asked     tokens of the need's specification; 0 = none stated
    specification_met       how many of them the line's item and specification hold; UNKNOWN when
                            the line states nothing
    required                what the need still lacks, base units, >= 1
    available               what the line still has, base units
    served_digits           significant digits of the served division that covers the need
    verified                1 when the organization was approved on a checked code, else 0
    accepted, declined      decisions of the organization on allocations of this item class
    memory                  `memory.resemblance`, or UNKNOWN
    valid_days              whole days the offer is still valid, >= 0
    needed_days             whole days until the need's date, NO_DATE when none is stated; a date
                            that has passed counts as one day
    """

    lexical: IntArray
    dense: IntArray
    fused: IntArray
    specification_asked: IntArray
    specification_met: IntArray
    required: IntArray
    available: IntArray
    served_digits: IntArray
    verified: IntArray
    accepted: IntArray
    declined: IntArray
    memory: IntArray
    valid_days: IntArray
    needed_days: IntArray


def values(pairs: Pairs) -> IntArray:
    """Return (e, len(FEATURES)) thousandths in the order of FEATURES, UNKNOWN where unknown."""
    columns = (
        _bounded(pairs.lexical),
        _bounded(pairs.dense),
        _bounded(pairs.fused),
        _specification(pairs.specification_asked, pairs.specification_met),
        np.minimum(pairs.required, pairs.available) * PERMILLE // pairs.required,
        _level(pairs.served_digits),
        pairs.verified * PERMILLE,
        acceptance(pairs.accepted, pairs.declined),
        np.where(pairs.memory == UNKNOWN, UNKNOWN, _bounded(pairs.memory)),
        _timeliness(pairs.valid_days, pairs.needed_days),
    )
    table: IntArray = np.stack(columns, axis=1)
    return table


def _bounded(column: IntArray) -> IntArray:
    return np.clip(column, 0, PERMILLE)


def _specification(asked: IntArray, met: IntArray) -> IntArray:
    known = (asked > 0) & (met != UNKNOWN)
    return np.where(known, met * PERMILLE // np.maximum(asked, 1), UNKNOWN)


# The nearer, the better known on the spot. By significant digits of a division code: nation,
# province, city, county, township.
_LEVEL_DIGITS = np.array([0, 2, 4, 6, 9], dtype=np.int64)


def _level(served_digits: IntArray) -> IntArray:
    level: IntArray = np.searchsorted(_LEVEL_DIGITS, served_digits, side="right").astype(np.int64)
    return level * (PERMILLE // 5)


def acceptance(accepted: IntArray, declined: IntArray) -> IntArray:
    """(e,) `organization_acceptance` from counts of decisions."""
    decisions = accepted + declined
    counted = np.minimum(decisions, DECISIONS_MAX)
    # accepted x counted / decisions in thousandths: counts above the cap keep their share.
    kept = accepted * counted * PERMILLE // np.maximum(decisions, 1)
    rate = (kept + PRIOR_ACCEPTED * PERMILLE) // (counted + PRIOR_DECISIONS)
    return np.where(decisions > 0, rate, UNKNOWN)


def _timeliness(valid_days: IntArray, needed_days: IntArray) -> IntArray:
    asked = np.where(needed_days >= NO_DATE, HANDLING_DAYS, needed_days)
    horizon = np.clip(asked, 1, HANDLING_DAYS_MAX)
    share: IntArray = np.minimum(valid_days, horizon) * PERMILLE // horizon
    return share


def specification_counts(
    needs: Sequence[frozenset[str]],
    lines: Sequence[frozenset[str]],
    need: IntArray,
    line: IntArray,
) -> tuple[IntArray, IntArray]:
    """`specification_asked` and `specification_met` of the pairs (need[k], line[k]).

    needs   tokens of each need's specification, empty when none is stated
    lines   tokens of each line's item and specification, empty when it states nothing
    need    (e,) rows of needs;  line  (e,) rows of lines
    """
    # Few specifications are distinct: each pair of texts is compared once.
    need_kind, kinds_n = _kinds(needs)
    line_kind, kinds_m = _kinds(lines)
    key = need_kind[need] * max(1, len(kinds_m)) + line_kind[line]
    distinct, back = np.unique(key, return_inverse=True)
    met = np.empty(len(distinct), dtype=np.int64)
    for place, pair in enumerate(distinct.tolist()):
        asked, stated = kinds_n[pair // len(kinds_m)], kinds_m[pair % len(kinds_m)]
        met[place] = len(asked & stated) if stated else UNKNOWN
    asked_of = np.array([len(words) for words in kinds_n] or [0], dtype=np.int64)
    return asked_of[need_kind[need]], met[back.reshape(-1)]


def _kinds(words: Sequence[frozenset[str]]) -> tuple[IntArray, list[frozenset[str]]]:
    place: dict[frozenset[str], int] = {}
    rows = [place.setdefault(tokens, len(place)) for tokens in words]
    return np.array(rows, dtype=np.int64), list(place)
