"""What an entry says, in Chinese and in English, for people who read a chain; pure.

A sentence is filled from the event's data; what an event lacks is shown as `?`. Who did it stands
beside it, so sentences name roles only.
"""

from collections.abc import Mapping
from typing import Any

from shared.vocabulary.codes import Level, Role, Term

_SENTENCES: dict[str, tuple[str, str]] = {
    "needs.applicant_registered": ("{who}登记了申请对象", "{who} registered the applicant"),
    "needs.need_drafted": ("{who}录入了需求", "{who} entered the need"),
    "needs.need_edited": ("{who}修改了需求", "{who} changed the need"),
    "needs.need_submitted": (
        "{who}提交了需求，首先由{first_level}核实",
        "{who} submitted the need; the first to verify it: {first_level}",
    ),
    "needs.need_verified": ("{who}核实通过（{level}）", "{who} verified the need ({level})"),
    "needs.need_returned": ("{who}退回了需求（{level}）", "{who} returned the need ({level})"),
    "needs.need_rejected": ("{who}驳回了需求", "{who} rejected the need"),
    "needs.recusal_declared": ("{who}声明回避", "{who} declared a relation and decides nothing"),
    "needs.need_noticed": (
        "需求开始公示，至{notice_ends_at}",
        "The need went on public notice until {notice_ends_at}",
    ),
    "needs.objection_received": ("收到一条异议", "An objection was received"),
    "needs.objection_decided": (
        "{who}对异议作出决定：{outcome}",
        "{who} decided the objection: {outcome}",
    ),
    "needs.need_published": (
        "需求发布：{quantity} {unit}",
        "The need was published: {quantity} {unit}",
    ),
    "needs.need_reviewed": (
        "先发布的需求已补核实",
        "The need, published first, passed its verification afterwards",
    ),
    "needs.need_suspended": ("需求暂停：{reason_code}", "The need was suspended: {reason_code}"),
    "needs.need_withdrawn": ("{who}撤回了需求", "{who} withdrew the need"),
    "needs.need_expired": ("需求过期", "The need expired"),
    "needs.need_renewed": ("{who}确认需求仍然有效", "{who} said that the need still stands"),
    "needs.need_closed": ("需求办结", "The need was closed: all of it was delivered"),
    "needs.commitment_moved": (
        "需求一侧账目变动为{movement}：{quantity}",
        "The need's ledger moved {quantity} to: {movement}",
    ),
    "donors.organization_registered": (
        "{who}登记了社会组织{name}",
        "{who} registered the organization {name}",
    ),
    "donors.organization_approved": ("{who}批准了社会组织", "{who} approved the organization"),
    "donors.organization_blocked": ("{who}停用了社会组织", "{who} blocked the organization"),
    "donors.offer_drafted": ("{who}录入了资源", "{who} entered the offer"),
    "donors.offer_submitted": ("{who}提交了资源", "{who} submitted the offer"),
    "donors.offer_approved": ("{who}批准了资源", "{who} approved the offer"),
    "donors.offer_opened": ("资源开放：{title}", "The offer was opened: {title}"),
    "donors.offer_expired": ("资源过期", "The offer expired"),
    "donors.offer_withdrawn": ("{who}撤回了资源", "{who} withdrew the offer"),
    "donors.offer_blocked": ("{who}停用了资源", "{who} blocked the offer"),
    "donors.reservation_moved": (
        "资源一侧账目变动为{movement}：{quantity}",
        "The offer's ledger moved {quantity} to: {movement}",
    ),
    "matching.round_started": (
        "{who}发起一轮对接，{needs}项需求、{lines}项资源，数据快照 {snapshot_sha256}",
        "{who} started a round over {needs} needs and {lines} lines; snapshot {snapshot_sha256}",
    ),
    "matching.round_computed": (
        "对接算出{proposals}项建议，结果摘要 {proposals_sha256}",
        "The round was computed: {proposals} proposals; hash of the decision {proposals_sha256}",
    ),
    "matching.round_approved": ("{who}批准了这一轮对接", "{who} approved the round"),
    "matching.allocation_proposed": (
        "建议分配 {quantity} {unit}",
        "An allocation of {quantity} {unit} was proposed",
    ),
    "matching.allocation_reserved": (
        "双方数量均已预留，至{due_at}",
        "The quantity was reserved on both sides until {due_at}",
    ),
    "matching.allocation_accepted": ("{who}接受了分配", "{who} accepted the allocation"),
    "matching.allocation_declined": (
        "{who}谢绝了分配：{reason_code}",
        "{who} declined the allocation: {reason_code}",
    ),
    "matching.allocation_approved": ("{who}批准了分配", "{who} approved the allocation"),
    "matching.allocation_dispatched": (
        "{who}发出，批准记录位于日志第{approval_log_index}条",
        "{who} sent it; its approval is entry {approval_log_index} of the log",
    ),
    "matching.allocation_delivered": ("{who}报告已送达", "{who} reported that it arrived"),
    "matching.slip_issued": ("{who}打印了确认单", "{who} printed the confirmation slip"),
    "matching.allocation_confirmed": (
        "确认收到（{method}）",
        "It was confirmed that the help arrived ({method})",
    ),
    "matching.allocation_closed": ("分配办结", "The allocation was closed"),
    "matching.allocation_cancelled": (
        "分配取消：{reason_code}",
        "The allocation was cancelled: {reason_code}",
    ),
    "matching.allocation_expired": ("分配逾期", "The allocation ran out of time"),
    "matching.allocation_returned": (
        "分配退回：{reason_code}",
        "The help came back: {reason_code}",
    ),
}
_WORDS: dict[str, tuple[str, str]] = {
    "reserved": ("预留", "reserved"),
    "dispatched": ("在途", "in transit"),
    "delivered": ("已交付", "delivered"),
    "returned": ("已退回", "returned"),
    "released": ("已释放", "released"),
    "written_off": ("已核销", "written off"),
    "upheld": ("成立", "upheld"),
    "dismissed": ("不成立", "dismissed"),
    "slip_code": ("凭确认码", "with the code of the slip"),
    "before_officer": ("当面确认", "before an officer"),
    "clock": ("系统时钟", "The clock"),
    "public": ("公众", "The public"),
}
_LACKS: dict[str, tuple[str, str]] = {
    "awaited": ("尚未发生：{step}", "Not there yet: {step}"),
    "absent": ("按规则应有而缺失：{step}", "By the rules it should be there, and is not: {step}"),
    "misplaced": (
        "位置不符合规则：{step}",
        "It does not stand where the rules demand: {step}",
    ),
    "differs": ("数量与分配不一致：{step}", "Its quantity is not that of the allocation: {step}"),
}
_STEPS: dict[str, tuple[str, str]] = {
    "needs.need_drafted": ("需求录入", "the entry of the need"),
    "needs.need_submitted": ("需求提交", "the submission of the need"),
    "needs.need_verified": ("需求核实", "a verification of the need"),
    "needs.need_noticed": ("公示", "the public notice"),
    "needs.need_published": ("需求发布", "the publication of the need"),
    "needs.need_reviewed": ("补核实", "the verification after publication"),
    "needs.commitment_moved": ("需求一侧账目", "a movement of the need's ledger"),
    "donors.organization_registered": ("社会组织登记", "the registration of the organization"),
    "donors.organization_approved": ("社会组织批准", "the approval of the organization"),
    "donors.offer_drafted": ("资源录入", "the entry of the offer"),
    "donors.offer_submitted": ("资源提交", "the submission of the offer"),
    "donors.offer_approved": ("资源批准", "the approval of the offer"),
    "donors.offer_opened": ("资源开放", "the opening of the offer"),
    "donors.reservation_moved": ("资源一侧账目", "a movement of the offer's ledger"),
    "matching.round_started": ("对接发起", "the start of the round"),
    "matching.round_computed": ("对接计算", "the computation of the round"),
    "matching.round_approved": ("对接批准", "the approval of the round"),
    "matching.allocation_proposed": ("分配建议", "the proposal"),
    "matching.allocation_reserved": ("数量预留", "the reservation on both sides"),
    "matching.allocation_accepted": ("组织接受", "the organization's acceptance"),
    "matching.allocation_approved": ("分配批准", "the approval of the allocation"),
    "matching.allocation_dispatched": ("发出", "the dispatch"),
    "matching.allocation_delivered": ("送达", "the delivery"),
    "matching.slip_issued": ("确认单", "the slip"),
    "matching.allocation_confirmed": ("收到确认", "the household's confirmation"),
    "matching.allocation_closed": ("办结", "the closing"),
}


class _Filled(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "?"


def of_event(kind: str, role: str, data: Mapping[str, Any]) -> tuple[str, str]:
    """What an event says: (zh, en). An unknown type is told by its name."""
    zh, en = _SENTENCES.get(kind, (kind, kind))
    return zh.format_map(_values(role, data, 0)), en.format_map(_values(role, data, 1))


def of_lack(step: str, kind: str) -> tuple[str, str]:
    """What is missing: (zh, en). `step` is a type, with `:` and a level or a movement."""
    name, _, detail = step.partition(":")
    said = []
    for language, template in enumerate(_LACKS[kind]):
        words = _STEPS.get(name, (name, name))[language]
        more = f" ({_word(detail, language)})" if detail else ""
        said.append(template.format(step=words + more))
    return said[0], said[1]


def _values(role: str, data: Mapping[str, Any], language: int) -> _Filled:
    values = _Filled({name: _word(value, language) for name, value in data.items()})
    separator = ("、", ", ")[language]
    values["who"] = separator.join(_word(each, language) for each in role.split("+"))
    if "state" in data:
        values["movement"] = values["state"]
    return values


def _word(value: object, language: int) -> str:
    for terms in (Level, Role):
        if isinstance(value, str) and value in terms.__members__.values():
            term: Term = terms(value)
            return (term.name_zh, term.name_en)[language]
    return _WORDS[value][language] if isinstance(value, str) and value in _WORDS else str(value)
