"""Explanations, reasons and overviews as a person reads them: names, and one sentence each in
Chinese and English, made from the stored numbers and codes; pure.

Quantities come with their unit in the largest form that stays whole: 5,000 grams are 5 kilograms,
20,000 元 are 2 万元 in Chinese.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.matching.planning.candidates import POVERTY_UNKNOWN
from services.matching.planning.results import Json
from services.matching.ranking import scorecard
from services.matching.ranking.features import CODES
from services.matching.ranking.scorecard import Scorecard
from shared.vocabulary import divisions
from shared.vocabulary.codes import Urgency

Words = tuple[str, str]  # Chinese, English

# Base unit -> (factor, Chinese name, English singular, English plural) of its forms, largest first.
_FORMS: Mapping[str, Sequence[tuple[int, str, str, str]]] = {
    "yuan": ((1, "元", "yuan", "yuan"),),
    "grams": (
        (1_000_000, "吨", "tonne", "tonnes"),
        (1_000, "公斤", "kilogram", "kilograms"),
        (1, "克", "gram", "grams"),
    ),
    "millilitres": ((1_000, "升", "litre", "litres"), (1, "毫升", "millilitre", "millilitres")),
    "metres": ((1_000, "公里", "kilometre", "kilometres"), (1, "米", "metre", "metres")),
    "square_metres": ((1, "平方米", "square metre", "square metres"),),
    "pieces": ((1, "件", "piece", "pieces"),),
    "hours": ((1, "小时", "hour", "hours"),),
    "seats": ((1, "个名额", "training seat", "training seats"),),
    "jobs": ((1, "个岗位", "job", "jobs"),),
    "households": ((1, "户", "household", "households"),),
    "bottles": ((1, "瓶", "bottle", "bottles"),),
    "mu": ((1, "亩", "mu", "mu"),),
    "sets": ((1, "套", "set", "sets"),),
    "boxes": ((1, "箱", "box", "boxes"),),
    "packs": ((1, "盒", "pack", "packs"),),
}
_TEN_THOUSAND = 10_000

_LEVELS: Mapping[str, Words] = {
    "nation": ("全国", "the whole country"),
    "province": ("省", "the province"),
    "city": ("市", "the city"),
    "county": ("县", "the county"),
    "township": ("乡镇", "the township"),
    "village": ("村", "the village"),
}
_CONDITIONS: Mapping[str, Words] = {
    "unit": ("计量单位不同", "counted in another unit"),
    "validity": ("不在有效期内", "not valid now"),
    "applicant_kind": ("不面向此类申请人", "not for this kind of applicant"),
    "household_class": ("不面向此类农户", "not for this class of household"),
    "lot": ("最小发放量高于所缺数量", "smallest lot above what is lacking"),
    "used_up": ("已无余量", "nothing left"),
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
    "kept_back": ("留给可能更紧急的后来需求", "it is kept back for more urgent needs to come"),
    "gap": (
        "差别在已证明的误差之内",
        "the difference lies within the certified gap",
    ),
}
_TERMS: Mapping[str, Words] = {
    "fit": ("供给适合程度 {p}%", "The offer suits the need to {p}%"),
    "poverty": ("困难程度 {p}%", "Degree of deprivation {p}%"),
    "waiting_time": ("等待时间占满期的 {p}%", "Waited {p}% of the full period"),
    "acceptance": ("预计双方接受的可能 {p}%", "Chance that both sides accept: {p}%"),
    "repeat": ("以往得过同类帮扶，减分", "Had the same kind of aid before: points off"),
}
_POVERTY_UNKNOWN: Words = ("非农户或未评估，按中性计", "Not a household, or not assessed; neutral")


def quantity(amount: int, unit: str) -> Words:
    """The amount of base units with its unit."""
    if unit == "yuan" and amount >= _TEN_THOUSAND and amount % 1_000 == 0:
        whole, rest = divmod(amount, _TEN_THOUSAND)
        tenth = f".{rest // 1_000}" if rest else ""
        return f"{whole:,}{tenth} 万元", f"{amount:,} yuan"
    forms = _FORMS.get(unit, ((1, unit, unit, unit),))
    factor, zh, one, many = next(form for form in forms if amount % form[0] == 0)
    counted = amount // factor
    return f"{counted:,} {zh}", f"{counted:,} {one if counted == 1 else many}"


def counted(number: int, zh: str, one: str, many: str) -> Words:
    return f"{number:,} {zh}", f"{number:,} {one if number == 1 else many}"


def urgency_name(code: str) -> Words:
    term = Urgency(code)
    return term.name_zh, term.name_en.lower()


def points(permille: int) -> Words:
    return f"{permille:,} 分", f"{permille:,} {'point' if permille == 1 else 'points'}"


# --------------------------------------------------------------- explanation


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
                **_both(_term_words(term, given)),
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


def taken_read(taken: Sequence[Sequence[str | int]]) -> list[Json]:
    return [
        {"urgency": code, "allocations": number, "quantity": units} for code, number, units in taken
    ]


def _both(words: Words) -> Json:
    return {"text_zh": words[0], "text_en": words[1]}


# ------------------------------------------------------------------- outcome


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
        **_both(outcome_words(code, counts, lacking, given, unit)),
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
        f"{zh}，数量留给可能更紧急的后来需求，下一轮再算",
        f"{en}, kept back for more urgent needs to come until the next round",
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


def names(division_code: str) -> Words:
    """The division's names; of one the vocabulary does not name, its code."""
    if divisions.exists(division_code):
        division = divisions.get(division_code)
        return division.name_zh, division.name_en
    return division_code, division_code


def _in_short(totals: Json) -> Words:
    needs, offers = totals["needs"], totals["lines"]
    met = totals["needs_met"]
    needs_words = counted(needs, "项需求", "need", "needs")
    offers_words = counted(offers, "条供给", "offer", "offers")
    price = totals["price_of_fairness_ppm"]
    zh = (
        f"{needs_words[0]}与 {offers_words[0]}：{met:,} 项得到供给，"
        f"共 {totals['proposals']:,} 笔；公平所费福利 {percent(price)}，"
        f"与最优之差经证明不超过 {percent(totals['gap_ppm'])}"
    )
    en = (
        f"{needs_words[1]} and {offers_words[1]}: {met:,} get something, in"
        f" {totals['proposals']:,} {'proposal' if totals['proposals'] == 1 else 'proposals'};"
        f" fairness costs {percent(price)} of welfare, and the result is within"
        f" {percent(totals['gap_ppm'])} of the best there is"
    )
    if totals["kept_back"]:
        kept = counted(totals["kept_back"], "项需求", "need", "needs")
        zh += f"；{kept[0]}暂不安排，数量留给更紧急的"
        en += f"; {kept[1]} kept waiting, the quantities held for more urgent ones"
    return zh + "。", en + "."


def percent(ppm: int) -> str:
    """Three significant places are enough: 0.034 %, 1.2 %, 12 %."""
    if ppm == 0:
        return "0%"
    share = ppm / 10_000
    return f"{share:.3f}%" if share < 1 else f"{share:.1f}%" if share < 10 else f"{share:.0f}%"
