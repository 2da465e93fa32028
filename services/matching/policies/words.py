"""The order of power of a policy, in words: what decides before the next thing is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.matching.contract.policies import Policy, PolicyRead, Power
from shared.vocabulary.codes import Level, Urgency

if TYPE_CHECKING:
    from collections.abc import Iterator

_CURVES = {
    "utilitarian": ("各级地区不作平衡", "divisions are not balanced"),
    "proportional": ("按比例公平曲线", "a proportional curve (logarithm)"),
    "alpha": ("α＝{alpha} 公平曲线", "a curve of alpha {alpha}"),
}


def policy_read(policy: Policy) -> PolicyRead:
    zh, en = without_quorum(policy)
    return PolicyRead(
        order_of_power=order_of_power(policy),
        without_quorum_zh=zh,
        without_quorum_en=en,
        policy=policy,
    )


def without_quorum(policy: Policy) -> tuple[str, str]:
    """What is dispatched while too few witnesses cosign the log."""
    let_go = policy.without_quorum.dispatch
    held = [Urgency(tier) for tier in policy.tiers if tier not in let_go]
    if not held:
        return (
            "日志见证人不足时，一切照常发出",
            "While too few witnesses cosign the log, everything is still dispatched",
        )
    zh, en = "、".join(f"“{t.name_zh}”" for t in held), ", ".join(t.name_en.lower() for t in held)
    return (
        f"日志见证人不足时，{zh}的物资暂缓发出，恢复后照发；危及生命的从不等待",
        f"While too few witnesses cosign the log, dispatch waits for these: {en}; what threatens"
        " life never waits",
    )


def order_of_power(policy: Policy) -> list[Power]:
    """What decides, the mightiest first."""
    steps = [_conditions(policy), _tiers(policy), *_floors(policy), _welfare(policy)]
    return [
        Power(place=place, code=code, text_zh=zh, text_en=en)
        for place, (code, zh, en) in enumerate(steps, start=1)
    ]


def _conditions(policy: Policy) -> tuple[str, str, str]:
    zh = "硬性条件：物品类别、单位、服务地区、有效期、对象与起订量必须相符"
    en = (
        "Conditions: item class, unit, served division, validity, recipients and smallest lot"
        " must fit"
    )
    if policy.one_aid_days:
        zh += f"；同一对象同类援助 {policy.one_aid_days} 天内只有一次"
        en += f"; one aid of a class for one applicant in {policy.one_aid_days} days"
    if policy.unsplittable.units or policy.unsplittable.item_classes:
        zh += "；不可拆分的物品由一个来源整笔满足，否则不给"
        en += "; what cannot be split comes whole from one line, or not at all"
    return "conditions", zh, en


def _tiers(policy: Policy) -> tuple[str, str, str]:
    terms = [Urgency(tier) for tier in policy.tiers]
    zh = "紧急程度：" + "，其次".join(f"“{t.name_zh}”" for t in terms)
    en = "Urgency: " + ", then ".join(t.name_en.lower() for t in terms)
    return (
        "tiers",
        f"{zh}；较缓的需求决不占用更急的需求可用的数量",
        f"{en}; nothing a more urgent need could use goes to a less urgent one",
    )


def _floors(policy: Policy) -> Iterator[tuple[str, str, str]]:
    fairness = policy.fairness
    if not fairness.levels:
        return
    if fairness.floor_permille:
        zh, en = _levels(policy)
        yield (
            "floors",
            f"地区底线：{zh}每个地区先达到 {_percent(fairness.floor_permille)} 的满足率",
            f"Floors: every division ({en}) is first brought to a service rate of"
            f" {_percent(fairness.floor_permille)}",
        )
    if fairness.cap_permille < 1_000:
        zh, en = _levels(policy)
        yield (
            "caps",
            f"地区上限：{zh}每个地区满足率不超过 {_percent(fairness.cap_permille)}",
            f"Caps: no division ({en}) is served above {_percent(fairness.cap_permille)}",
        )


def _welfare(policy: Policy) -> tuple[str, str, str]:
    welfare = policy.welfare
    total = max(1, sum(welfare.model_dump().values()))

    def share(weight: int) -> str:
        return f"{weight * 100 // total}%"

    zh = (
        f"总效益：匹配度 {share(welfare.fit)}、困难程度 {share(welfare.poverty)}、"
        f"等待时间 {share(welfare.waiting_time)}、接受可能 {share(welfare.acceptance)}"
    )
    en = (
        f"Welfare: fit {share(welfare.fit)}, deprivation {share(welfare.poverty)}, waiting time"
        f" {share(welfare.waiting_time)}, chance of acceptance {share(welfare.acceptance)}"
    )
    if policy.repeat_penalty:
        zh += f"；同一对象重复获得同类援助减 {policy.repeat_penalty} 分"
        en += f"; {policy.repeat_penalty} points less for the same aid to the same applicant again"
    if policy.diversity.points_max:
        zh += f"；同一来源给得越多越靠后，至多减 {policy.diversity.points_max} 分"
        en += f"; up to {policy.diversity.points_max} points less for a source that gives much"
    fairness = policy.fairness
    if fairness.levels and fairness.curve != "utilitarian":
        level_zh, level_en = _levels(policy)
        curve_zh, curve_en = (
            text.format(alpha=f"{fairness.alpha_permille / 1_000:g}")
            for text in _CURVES[fairness.curve]
        )
        zh += f"；{level_zh}各地区满足率按{curve_zh}平衡，强度 {fairness.strength_permille}‰"
        en += (
            f"; service rates of divisions ({level_en}) are balanced by {curve_en},"
            f" strength {fairness.strength_permille}/1000"
        )
    return "welfare", zh, en


def _levels(policy: Policy) -> tuple[str, str]:
    terms = [Level(level) for level in policy.fairness.levels]
    return "、".join(t.name_zh for t in terms), ", ".join(t.name_en.lower() for t in terms)


def _percent(permille: int) -> str:
    return f"{permille / 10:g}%"
