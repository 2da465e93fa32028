"""The reasons of needs that are not, or not fully, met: one sentence each in Chinese and English,
made from the stored codes and counts; pure."""

from __future__ import annotations

from collections.abc import Mapping

from services.matching.planning.results import Json
from services.matching.planning.words import (
    Words,
    both,
    counted,
    quantity,
    taken_read,
    urgency_name,
)

_CONDITIONS: Mapping[str, Words] = {
    "unit": ("计量单位不同", "counted in another unit"),
    "validity": ("不在有效期内", "not valid now"),
    "applicant_kind": ("不面向此类申请人", "not for this kind of applicant"),
    "household_class": ("不面向此类农户", "not for this class of household"),
    "lot": ("最小发放量高于所缺数量", "smallest lot above what is lacking"),
    "used_up": ("已无余量", "nothing left"),
}


def outcome(code: str, counts: Json, lacking: int, given: int, unit: str) -> Json:
    """What `contract.OutcomeRead` adds to the stored row."""
    return {
        "eligible": counts.get("eligible", 0),
        "taken": taken_read(counts.get("taken", [])),
        "left": counts.get("left", 0),
        "failed": [
            {"condition": condition, "lines": lines}
            for condition, lines in counts.get("failed", {}).items()
        ],
        **both(outcome_words(code, counts, lacking, given, unit)),
    }


def outcome_words(code: str, counts: Json, lacking: int, given: int, unit: str) -> Words:
    """One sentence: what is missing, and the binding reason."""
    if given:
        got, of = quantity(given, unit), quantity(lacking, unit)
        start = f"缺 {of[0]}，得 {got[0]}：", f"{got[1]} of {of[1]} met: "
    else:
        of = quantity(lacking, unit)
        start = f"缺 {of[0]}，未得：", f"Nothing of {of[1]} met: "
    zh, en = _REASONS[code](counts, unit)
    return f"{start[0]}{zh}。", f"{start[1]}{en}."


def _no_offer_of_class(counts: Json, unit: str) -> Words:
    return "目前没有此类供给", "there is no offer of this kind"


def _no_offer_serves_division(counts: Json, unit: str) -> Words:
    zh, en = counted(counts["of_class"], "条", "offer", "offers")
    return (
        f"此类供给有 {zh}，都不服务这一地区",
        f"of {en} of this kind none serves this area",
    )


def _no_eligible_offer(counts: Json, unit: str) -> Words:
    zh, en = counted(counts["serving"], "条", "offer serves", "offers serve")
    failed = [(_CONDITIONS[name], number) for name, number in counts["failed"].items()]
    listed_zh = "，".join(f"{words[0]} {number:,} 条" for words, number in failed)
    listed_en = ", ".join(f"{words[1]}: {number:,}" for words, number in failed)
    return f"服务本地的有 {zh}，都不适用：{listed_zh}", f"{en} this area and none fits: {listed_en}"


def _one_aid_in_period(counts: Json, unit: str) -> Words:
    return (
        "申请人在规定期限内已得过同类帮扶",
        "the applicant was given the same kind of aid within the period",
    )


def _one_aid_in_round(counts: Json, unit: str) -> Words:
    return (
        "同一申请人的另一项同类需求已参与本轮",
        "another need of the same applicant for the same kind took part in this round",
    )


def _gone_to_more_urgent(counts: Json, unit: str) -> Words:
    zh, en = _eligible(counts)
    taken_zh, taken_en = _gone(counts, unit)
    return (
        f"{zh}，数量已先给更紧急的需求（{taken_zh}）",
        f"{en}, whose quantities went to more urgent needs first ({taken_en})",
    )


def _gone_to_better_matches(counts: Json, unit: str) -> Words:
    zh, en = _eligible(counts)
    taken_zh, taken_en = _gone(counts, unit)
    return (
        f"{zh}，数量已给同等紧急而更适合的需求（{taken_zh}）",
        f"{en}, whose quantities went to needs as urgent that gain more from them ({taken_en})",
    )


def _fairness_cap(counts: Json, unit: str) -> Words:
    zh, en = _gone_to_better_matches(counts, unit)
    would = quantity(counts["without_fairness"], unit)
    return (
        f"{zh}；若不计区划之间的公平，可得 {would[0]}",
        f"{en}; without fairness between divisions it would get {would[1]}",
    )


def _not_enough_offered(counts: Json, unit: str) -> Words:
    zh, en = _eligible(counts)
    return f"{zh}，合计数量不够，已全部给它", f"{en}, and it gets all there is"


def _smallest_lot(counts: Json, unit: str) -> Words:
    zh, en = _eligible(counts)
    return (
        f"{zh}，余量受最小发放量所限，给不出去",
        f"{en}; what is left cannot be given because of smallest lots",
    )


def _unsplittable(counts: Json, unit: str) -> Words:
    zh, en = _eligible(counts)
    return (
        f"{zh}，此物不可拆分，没有一条够一次给足",
        f"{en}; it is not split, and none has enough to meet the need whole",
    )


def _kept_back(counts: Json, unit: str) -> Words:
    zh, en = _eligible(counts)
    return (
        f"{zh}，数量留给后来更紧急或更适合的需求，下一轮再算",
        f"{en}, kept back for needs to come that are more urgent or gain more",
    )


def _eligible(counts: Json) -> Words:
    zh, en = counted(counts["eligible"], "条", "offer", "offers")
    return f"适用的供给有 {zh}", f"{en} would fit"


def _gone(counts: Json, unit: str) -> Words:
    parts = [
        (
            urgency_name(code),
            counted(number, "笔", "allocation", "allocations"),
            quantity(units, unit),
        )
        for code, number, units in counts["taken"]
    ]
    return (
        "，".join(f"{name[0]} {number[0]}共 {units[0]}" for name, number, units in parts),
        ", ".join(f"{name[1]}: {number[1]}, {units[1]}" for name, number, units in parts),
    )


_REASONS = {
    "no_offer_of_class": _no_offer_of_class,
    "no_offer_serves_division": _no_offer_serves_division,
    "no_eligible_offer": _no_eligible_offer,
    "one_aid_in_period": _one_aid_in_period,
    "one_aid_in_round": _one_aid_in_round,
    "gone_to_more_urgent": _gone_to_more_urgent,
    "gone_to_better_matches": _gone_to_better_matches,
    "fairness_cap": _fairness_cap,
    "not_enough_offered": _not_enough_offered,
    "smallest_lot": _smallest_lot,
    "unsplittable": _unsplittable,
    "kept_back": _kept_back,
}
