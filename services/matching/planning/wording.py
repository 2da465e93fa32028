"""Explanations and overviews as a person reads them: names, and one sentence each in Chinese and
English, made from the stored numbers and codes; pure. (Outcomes: `reasons`.)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.matching.planning.candidates import POVERTY_UNKNOWN
from services.matching.planning.reasons import outcome, outcome_words
from services.matching.planning.results import Json
from services.matching.planning.words import (
    Words,
    both,
    counted,
    names,
    percent,
    points,
    quantity,
    taken_read,
    urgency_name,
)
from services.matching.ranking import scorecard
from services.matching.ranking.features import CODES
from services.matching.ranking.scorecard import Scorecard
from services.matching.solver.fairness import price_ppm

__all__ = ["explanation", "names", "outcome", "outcome_words", "overview", "quantity"]

_LEVELS: Mapping[str, Words] = {
    "nation": ("全国", "the whole country"),
    "province": ("省", "the province"),
    "city": ("市", "the city"),
    "county": ("县", "the county"),
    "township": ("乡镇", "the township"),
    "village": ("村", "the village"),
}
_KEPT_BY: Mapping[str, Words] = {
    "more_urgent": ("其数量已给更紧急的需求", "its quantities went to more urgent needs"),
    "better_matches": (
        "同等紧急的需求更适合它",
        "needs as urgent gain more from it",
    ),
    "others_served": (
        "让出后能多满足较缓的需求，本需求并不少得",
        "leaving it lets less urgent needs be met too, and this need loses nothing",
    ),
    "fairness": (
        "为各区划之间的公平而让出",
        "it was left for the sake of fairness between divisions",
    ),
    "diversity": (
        "同一机构给得越多，再给一份计分越低",
        "the more one organization already gives, the less its next part counts",
    ),
    "smallest_lot": ("余量不足最小发放量", "what is left of it is below its smallest lot"),
    "unsplittable": (
        "所剩不够一次给足，而此物不可拆分",
        "what is left of it would not meet the need whole, and it is not split",
    ),
    "kept_back": (
        "留给后来更紧急或更适合的需求",
        "it is kept back for needs to come that are more urgent or gain more",
    ),
    "gap": (
        "差别在已证明的误差之内",
        "the difference lies within the certified gap",
    ),
}
_TERMS: Mapping[str, Words] = {
    "fit": ("供给适合程度 {p}%", "The offer suits the need to {p}%"),
    "poverty": ("困难程度 {p}%以上", "Degree of deprivation {p}% or more"),
    "waiting_time": ("等待时间占满期的 {p}%", "Waited {p}% of the full period"),
    "acceptance": ("预计双方接受的可能 {p}%", "Chance that both sides accept: {p}%"),
    "repeat": ("以往得过同类帮扶，减分", "Had the same kind of aid before: points off"),
}
_POVERTY_UNKNOWN: Words = ("非农户或未评估，按中性计", "Not a household, or not assessed; neutral")


def explanation(
    stored: Json, features: Sequence[int], fit: int, value: int, card: Scorecard
) -> Json:
    """`contract.ExplanationRead` of what was stored with a proposal."""
    zh, en = _why(stored, value)
    better = stored["better"]
    return {
        "features": [vars_of(reason) for reason in _reasons(card, features)],
        "terms": [
            {
                "term": term,
                "value_permille": given,
                "points": gained,
                **both(_term_words(term, given)),
            }
            for term, (given, gained) in stored["terms"].items()
            if term != "repeat" or given
        ],
        "fit_permille": fit,
        "value_permille": value,
        "level": stored["level"],
        "served_division_code": stored["served"],
        "compared": stored["compared"],
        "runner_up": stored["second"]
        and {"line_id": stored["second"]["line"], "by": stored["second"]["by"]},
        "better": better
        and {
            "line_id": better["line"],
            "by": better["by"],
            "kept_by": better["kept_by"],
            "taken": taken_read(better["taken"]),
            "price_permille": better["price"],
        },
        "text_zh": zh,
        "text_en": en,
    }


def _reasons(card: Scorecard, features: Sequence[int]) -> list[scorecard.Reason]:
    if len(features) != len(CODES):
        return []
    return scorecard.reasons(card, np.array(features, dtype=np.int64))


def vars_of(reason: scorecard.Reason) -> Json:
    return {name: getattr(reason, name) for name in scorecard.Reason.__dataclass_fields__}


def _term_words(term: str, given: int) -> Words:
    if term == "poverty" and given == POVERTY_UNKNOWN:
        return _POVERTY_UNKNOWN
    zh, en = _TERMS[term]
    return zh.format(p=given // 10), en.format(p=given // 10)


def _why(stored: Json, value: int) -> Words:
    level_zh, level_en = _LEVELS[stored["level"]]
    compared_zh, compared_en = counted(stored["compared"], "条供给", "offer", "offers")
    value_zh, value_en = points(value)
    zh = f"比较了 {compared_zh}，本条服务范围为{level_zh}，得 {value_zh}"
    en = f"Of {compared_en} compared, this one serves {level_en} and gets {value_en}"
    second, better = stored["second"], stored["better"]
    if better:
        by_zh, by_en = points(better["by"])
        reason_zh, reason_en = _KEPT_BY[better["kept_by"]]
        zh += f"；最高的一条多 {by_zh}，但{reason_zh}"
        en += f"; the best would get {by_en} more, but {reason_en}"
        if better["taken"] and better["kept_by"] in {"more_urgent", "better_matches"}:
            taken_zh, taken_en = _takers(better["taken"])
            zh += f"（{taken_zh}）"
            en += f" ({taken_en})"
    elif stored["compared"] == 1:
        zh += "；没有别的可比"
        en += "; there is no other"
    else:
        zh += "，为其中最高"
        en += ", the most of them"
    if second and not better:
        by_zh, by_en = points(second["by"])
        zh += f"；次优少 {by_zh}" if second["by"] else "；另有一条同分"
        en += f"; the next gets {by_en} less" if second["by"] else "; another gets as much"
    return zh + "。", en + "."


def _takers(taken: Sequence[Sequence[str | int]]) -> Words:
    """Without quantities: the unit stands elsewhere."""
    parts = [
        (urgency_name(str(code)), counted(int(number), "笔", "allocation", "allocations"))
        for code, number, _ in taken
    ]
    return (
        "、".join(f"{name[0]} {number[0]}" for name, number in parts),
        ", ".join(f"{name[1]}: {number[1]}" for name, number in parts),
    )


# ------------------------------------------------------------------ overview


def overview(totals: Json, card: Scorecard) -> Json:
    """`contract.OverviewRead` of a round's stored totals."""
    zh, en = _in_short(totals)
    return {
        **totals,
        "fairness": [_named_level(level) for level in totals["fairness"]],
        "samples": [
            {
                **sample,
                "explanation": explanation(
                    sample["explanation"], sample["features"], sample["fit"], sample["value"], card
                ),
            }
            for sample in totals["samples"]
        ],
        "unmet_samples": [
            {
                **sample,
                **outcome(
                    sample["code"],
                    sample["counts"],
                    sample["lacking"],
                    sample["given"],
                    sample["unit"],
                ),
            }
            for sample in totals["unmet_samples"]
        ],
        "text_zh": zh,
        "text_en": en,
    }


def _named_level(level: Json) -> Json:
    def named(row: Json | None) -> Json | None:
        if row is None:
            return None
        zh, en = names(row["division_code"])
        return {**row, "name_zh": zh, "name_en": en}

    return {
        **level,
        **{
            when: {
                **level[when],
                "lowest": named(level[when]["lowest"]),
                "highest": named(level[when]["highest"]),
            }
            for when in ("before", "after")
        },
        "table": [named(row) for row in level["table"]],
    }


def _in_short(totals: Json) -> Words:
    needs, offers = totals["needs"], totals["lines"]
    met = totals["needs_met"]
    needs_words = counted(needs, "项需求", "need", "needs")
    offers_words = counted(offers, "条供给", "offer", "offers")
    zh = f"{needs_words[0]}与 {offers_words[0]}：{met:,} 项得到供给，共 {totals['proposals']:,} 笔"
    en = (
        f"{needs_words[1]} and {offers_words[1]}: {met:,} get something, in"
        f" {totals['proposals']:,} {'proposal' if totals['proposals'] == 1 else 'proposals'}"
    )
    how_zh, how_en = _how_good(totals)
    return f"{zh}；{how_zh}。", f"{en}; {how_en}."


def _how_good(totals: Json) -> Words:
    if totals["kind"] != "placement":
        price, gap = percent(totals["price_of_fairness_ppm"]), percent(totals["gap_ppm"])
        return (
            f"公平所费福利 {price}，与最优之差经证明不超过 {gap}",
            f"fairness costs {price} of welfare, and the result is within {gap} of the best there"
            " is",
        )
    zh, en = "按保留价逐项安排，未证明最优", "placed at reserve prices, which is not proven best"
    kept = counted(totals["kept_back"], "项需求", "need gets", "needs get")
    if totals["kept_back"]:
        cost = percent(price_ppm(totals["welfare_without_reserves"], totals["welfare"]))
        zh += f"；{kept[0]}少得或暂无，数量留给后来的需求，所费福利 {cost}"
        en += f"; {kept[1]} less, for the sake of needs to come, which costs {cost} of welfare"
    return zh, en
