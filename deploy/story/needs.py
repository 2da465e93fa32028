"""Needs of the story: loaded, verified level by level, objected to, published."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from deploy.example import COUNTIES, Example, SeededNeed
from deploy.story.calling import Calls, StoryFailed, all_of, grouped, parts
from services.needs import contract
from shared.vocabulary import divisions

CITY = "430200000000"
POLICY = "example-1"
BATCH = 250
# Small, so that objections are made while the shortened notice still runs.
COUNTY_BATCH = 100

# How the example is kept from looking too good: every so-manieth need, by its number.
RETURNED_BY_VILLAGE = (97, 5)
REJECTED_BY_VILLAGE = (211, 8)
LEFT_BY_TOWNSHIP = (151, 11)
RETURNED_BY_COUNTY = (307, 3)
OBJECTED_TO = (173, 9)

_ROLES = {
    "village": "village_committee",
    "township": "township_officer",
    "county": "county_officer",
}
_AFTER = {"village": "township", "township": "county", "county": None}
_VERIFIED = {"village_verified": "township", "township_verified": "county"}


@dataclass(frozen=True)
class EnteredNeed:
    """A need of the example as the service knows it; `level` has to decide it next, if any.

    grave  life-threatening, so published before it is verified: the rules below pass it by
    """

    id: UUID
    applicant_id: UUID
    number: int
    division_code: str
    grave: bool
    level: str | None

    def is_every(self, rule: tuple[int, int]) -> bool:
        every, offset = rule
        return not self.grave and self.number % every == offset


# ------------------------------------------------------------------- policy


async def activate_policy(calls: Calls) -> None:
    """Put the example's short clocks into force where the example is, and say so."""
    known = {p["code"]: p for p in await calls.get("needs", "/v1/policies")}
    if POLICY not in known:
        raise StoryFailed(f"The needs service knows no policy {POLICY}.")
    active = await calls.pages("needs", "/v1/policy-activations", division=CITY)
    if not any(_in_force(activation) for activation in active):
        body = contract.PolicyActivate(
            policy=POLICY,
            division_code=CITY,
            reason="Example data only, so that the whole path is seen at once.",
        )
        coordinator = calls.person("alliance_coordinator", "coordinator-zhuzhou", CITY)
        await calls.post("needs", "/v1/policy-activations", coordinator, body)
    policy = known[POLICY]
    calls.say(f"policy {POLICY} is in force for {divisions.get(CITY).name_en} ({CITY}):")
    calls.say(f"  {policy['says_zh']}")
    calls.say(f"  {policy['says_en']}")


def _in_force(activation: dict[str, Any]) -> bool:
    until = activation["valid_until"]
    return (
        activation["policy"] == POLICY
        and activation["division_code"] == CITY
        and (until is None or datetime.fromisoformat(until) > datetime.now(UTC))
    )


async def publish(calls: Calls, example: Example) -> list[EnteredNeed]:
    """From entry to publication; return all that were entered."""
    entered = await _load(calls, example)
    await _verify(calls, entered)
    await _decide_objections(calls, entered)
    await _wait_for_publication(calls)
    return entered


# ------------------------------------------------------------------- loading


async def _load(calls: Calls, example: Example) -> list[EnteredNeed]:
    """Enter what is not there yet, each township by its own clerk."""
    applicants = grouped(example.applicants, lambda a: divisions.cut_to_township(a.division_code))
    wanted = grouped(example.needs, lambda n: divisions.cut_to_township(n.division_code))
    outcomes: Counter[str] = Counter()
    found = await all_of(
        _load_township(calls, code, applicants[code], wanted.get(code, []), outcomes)
        for code in applicants
    )
    calls.say(
        f"needs: {len(example.applicants):,} applicants and {len(example.needs):,} needs,"
        f" {outcomes['created']:,} records created, {outcomes['already_there']:,} already there"
    )
    return sorted((need for needs in found for need in needs), key=lambda need: need.number)


async def _load_township(
    calls: Calls,
    code: str,
    applicants: list[contract.ApplicantCreate],
    wanted: list[SeededNeed],
    outcomes: Counter[str],
) -> list[EnteredNeed]:
    clerk = calls.person("entry_clerk", f"clerk-{code[:9]}", code)
    ids: dict[str, UUID] = {}
    for part in parts(applicants, BATCH):
        body = contract.ApplicantBatch(applicants=part)
        for row, item in zip(
            part, await _created(calls, "/v1/applicant-batches", clerk, body, outcomes), strict=True
        ):
            ids[row.external_key or ""] = UUID(item["id"])
    entered: list[EnteredNeed] = []
    for some in parts(wanted, BATCH):
        needs = contract.NeedBatch(needs=[n.create_body(ids[n.applicant_key]) for n in some])
        for need, item in zip(
            some, await _created(calls, "/v1/need-batches", clerk, needs, outcomes), strict=True
        ):
            entered.append(
                EnteredNeed(
                    id=UUID(item["id"]),
                    applicant_id=ids[need.applicant_key],
                    number=int((need.body.external_key or "").rpartition("-")[2]),
                    division_code=need.division_code,
                    grave=need.body.urgency == "life_threatening",
                    level=await _level(calls, need, item),
                )
            )
    return entered


async def _created(
    calls: Calls,
    path: str,
    clerk: str,
    body: contract.ApplicantBatch | contract.NeedBatch,
    outcomes: Counter[str],
) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = (await calls.post("needs", path, clerk, body))["results"]
    for item in results:
        outcomes[item["outcome"]] += 1
        if item["outcome"] == "refused":
            raise StoryFailed(f"{path} refused {item['loc']}: {item['code']}, {item['detail']}")
    return results


async def _level(calls: Calls, need: SeededNeed, item: dict[str, Any]) -> str | None:
    if need.body.urgency == "life_threatening":
        # Published before it is verified: its state does not say who has to decide.
        reader = calls.person("city_officer", "city-reader", CITY)
        level = (await calls.get("needs", f"/v1/work/needs/{item['id']}", reader))["next_level"]
        return None if level is None else str(level)
    if item["state"] == "submitted":
        return divisions.level(need.division_code)
    return _VERIFIED.get(str(item["state"]))


# -------------------------------------------------------------- verification


async def _verify(calls: Calls, entered: list[EnteredNeed]) -> None:
    """Village, township, county; nobody decides twice. A few are returned, rejected, left."""
    pending = [need for need in entered if need.level is not None]
    for level in _ROLES:
        due = [n for n in pending if n.level == level and not _is_left(n, level)]
        states: Counter[str] = Counter()
        bodies = grouped(due, lambda n: n.division_code if level == "village" else _seat(n, level))  # noqa: B023 - called before the next turn
        decided = await all_of(
            _decide(calls, level, seat, part, states)
            for seat, needs in bodies.items()
            for part in parts(needs, COUNTY_BATCH if level == "county" else BATCH)
        )
        passed = {need_id for ids in decided for need_id in ids}
        pending = [replace(n, level=_AFTER[level]) if n.id in passed else n for n in pending]
        if due:
            told = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
            calls.say(f"{level} level: {len(bodies)} officers decided: {told}")


def _seat(need: EnteredNeed, level: str) -> str:
    return divisions.cut_to(need.division_code, level)


def _is_left(need: EnteredNeed, level: str) -> bool:
    return level == "township" and need.is_every(LEFT_BY_TOWNSHIP)


async def _decide(
    calls: Calls, level: str, seat: str, needs: list[EnteredNeed], states: Counter[str]
) -> set[UUID]:
    """Decide as the officer of one division; return what was passed."""
    officer = calls.person(_ROLES[level], f"{_ROLES[level].replace('_', '-')}-{seat}", seat)
    body = contract.DecisionBatch(decisions=[_decision(need, level) for need in needs])
    results = (await calls.post("needs", "/v1/decision-batches", officer, body))["results"]
    passed: set[UUID] = set()
    for need, decision, item in zip(needs, body.decisions, results, strict=True):
        states[item["state"] or item["code"]] += 1
        if item["outcome"] == "refused":
            raise StoryFailed(f"A {level} decision was refused: {item['code']}, {item['detail']}")
        if decision.outcome == "passed":
            passed.add(need.id)
    if level == "county":
        for need in needs:
            if need.id in passed and need.is_every(OBJECTED_TO):
                await _object(calls, need)
    return passed


def _decision(need: EnteredNeed, level: str) -> contract.Decision:
    if level == "village" and need.is_every(RETURNED_BY_VILLAGE):
        reason = "数量与入户核实不一致，请补充说明。 The quantity differs from what was seen."
        return contract.Decision(need_id=need.id, outcome="returned", reason=reason)
    if level == "village" and need.is_every(REJECTED_BY_VILLAGE):
        reason = "同一需求已由其他渠道解决。 The need was met elsewhere."
        return contract.Decision(need_id=need.id, outcome="rejected", reason=reason)
    if level == "county" and need.is_every(RETURNED_BY_COUNTY):
        reason = "请补充证明材料。 Evidence is missing."
        return contract.Decision(need_id=need.id, outcome="returned", reason=reason)
    return contract.Decision(need_id=need.id, outcome="passed")


# ---------------------------------------------------------------- objections


async def _object(calls: Calls, need: EnteredNeed) -> None:
    """Somebody objects during the notice; a notice that has ended already hears nobody."""
    body = contract.ObjectionCreate(
        reason="公示内容与实际情况不符，请复核。 What is on notice should be checked again."
    )
    path = f"/v1/needs/{need.id}/objections"
    await calls.post("needs", path, None, body, unless="not_open_to_objection")


async def _decide_objections(calls: Calls, entered: list[EnteredNeed]) -> None:
    """A supervisor outside the chain decides; every third objection is still open."""
    numbers = {str(need.id): need.number // OBJECTED_TO[0] for need in entered}
    supervisor = calls.person("supervisor", "supervisor-zhuzhou", CITY)
    told: Counter[str] = Counter()
    for objection in await calls.pages("needs", "/v1/work/objections", supervisor):
        number = numbers.get(objection["need_id"])
        if number is None or number % 3 == 0:
            told["open"] += 1
            continue
        body = contract.ObjectionDecision(
            outcome="dismissed" if number % 3 == 1 else "upheld",
            reason="已重新入户核实。 Visited again.",
        )
        await calls.post("needs", f"/v1/objections/{objection['id']}/decision", supervisor, body)
        told[body.outcome] += 1
    if told:
        calls.say("objections: " + ", ".join(f"{count} {what}" for what, count in told.items()))


async def _wait_for_publication(calls: Calls) -> None:
    """Until the notices of the two counties are over and the clock has published."""

    async def nothing_on_notice() -> bool:
        boards = [
            await calls.get("needs", "/v1/notices", division=county, limit=1) for county in COUNTIES
        ]
        return not any(board["data"] for board in boards)

    await calls.wait_until("the public notices end", nothing_on_notice)
