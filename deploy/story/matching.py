"""The round of the story: tried dry by another policy, run, compared, told, and approved once."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from deploy.story.calling import Calls, StoryFailed, all_of
from deploy.story.needs import CITY, POLICY
from services.matching import contract

SAMPLE = 8
# The same without fairness and diversity, to see what these cost.
PLAIN_POLICY = "example-utilitarian-1"

Row = dict[str, Any]


async def run_round(calls: Calls) -> None:
    """Try, run and approve the example's round, or go on with what was begun of that."""
    coordinator = calls.person("alliance_coordinator", "coordinator-zhuzhou", CITY)
    begun = [
        r
        for r in await calls.pages("matching", "/v1/rounds", coordinator, division_code=CITY)
        if r["state"] not in {"discarded", "cancelled"}
    ]
    if any(r["state"] == "approved" and r["policy"] == POLICY for r in begun):
        calls.say("round: approved before")
        return
    # What fairness costs is tried dry first; the round itself is computed on the same frozen data.
    dry = await _begun(calls, coordinator, begun, "dry_run", PLAIN_POLICY, None)
    real = await _begun(calls, coordinator, begun, "round", POLICY, dry)
    await _computed(calls, coordinator, dry)
    computed = await _computed(calls, coordinator, real)
    comparison = await calls.get(
        "matching",
        f"/v1/rounds/{dry['id']}/comparison",
        coordinator,
        **{"with": real["id"]},
    )
    overview = await calls.get("matching", f"/v1/rounds/{computed['id']}/overview", coordinator)
    for line in _told(comparison, overview):
        calls.say(line)
    approver = calls.person("alliance_coordinator", "coordinator-approving", CITY)
    await calls.post("matching", f"/v1/rounds/{computed['id']}/approval", approver)
    totals = computed["totals"]
    calls.say(
        f"round: {computed['snapshot']['needs']:,} needs x {computed['snapshot']['lines']:,}"
        f" offer lines -> {totals['proposals']:,} proposals for {totals['needs_met']:,} needs;"
        " approved"
    )


async def _begun(
    calls: Calls,
    coordinator: str,
    begun: list[Row],
    kind: contract.RoundKind,
    policy: str,
    same_data: Row | None,
) -> Row:
    """The round of this kind and policy, begun before or now; on the data another one froze."""
    for row in begun:
        if (row["kind"], row["policy"]) == (kind, policy) and (
            same_data is None or row["frozen_by"] == same_data["frozen_by"]
        ):
            return row
    if same_data is None:
        await calls.wait_until("matching follows needs and donors", lambda: _followed(calls))
    body = contract.RoundCreate(
        division_code=CITY,
        policy=policy,
        kind=kind,
        note="Example round",
        snapshot_of=None if same_data is None else UUID(same_data["id"]),
    )
    started: Row = await calls.post("matching", "/v1/rounds", coordinator, body)
    return started


async def _followed(calls: Calls) -> bool:
    """Whether matching knows what was published and opened last."""
    needs = await calls.get("needs", "/v1/needs", division=CITY, limit=SAMPLE)
    offers = await calls.get("donors", "/v1/offers", serves_within=CITY, limit=SAMPLE)
    paths = [f"/v1/needs/{row['id']}/offers" for row in needs["data"]]
    paths += [f"/v1/offers/{row['id']}/needs" for row in offers["data"]]
    return all(await all_of(calls.is_there("matching", path, limit=1) for path in paths))


async def _computed(calls: Calls, coordinator: str, found: Row) -> Row:
    latest = found

    async def done() -> bool:
        nonlocal latest
        latest = await calls.get("matching", f"/v1/rounds/{found['id']}", coordinator)
        return str(latest["state"]) != "computing"

    await calls.wait_until("the round is computed", done)
    if latest["state"] not in {"computed", "approved"}:
        raise StoryFailed(f"The round is {latest['state']}: {latest['discard_reason']}")
    return latest


# --------------------------------------------------------------- for a person


def _told(comparison: Row, overview: Row) -> Iterator[str]:
    """The round as a coordinator reads it before approving."""
    yield f"compared with a dry run: {comparison['text_en']}"
    yield f"round: {overview['text_en']}"
    for tier in overview["tiers"]:
        yield (
            f"  {tier['urgency'].replace('_', ' ')}: {tier['needs']:,} needs,"
            f" {tier['fully_met']:,} met in full, {tier['partly_met']:,} in part"
        )
    for level in overview["fairness"]:
        before, after = level["before"], level["after"]
        yield (
            f"  between {level['divisions']:,} divisions ({level['level']}), welfare alone ->"
            f" with fairness: Gini {_share(before['gini_ppm'])} -> {_share(after['gini_ppm'])},"
            f" worst served {_rate(before['lowest'])} -> {_rate(after['lowest'])}"
        )
    for sample in overview["samples"][:1]:
        yield f"  a match: {sample['need_title']} <- {sample['offer_title']}"
        yield f"    {sample['explanation']['text_zh']}"
        yield f"    {sample['explanation']['text_en']}"
    for unmet in overview["unmet_samples"][:1]:
        yield f"  an unmet need: {unmet['need_title']}"
        yield f"    {unmet['text_zh']}"
        yield f"    {unmet['text_en']}"


def _rate(division: Row | None) -> str:
    if division is None:
        return "none"
    return f"{division['name_zh']} {_share(division['rate_ppm'])}"


def _share(ppm: int) -> str:
    return f"{ppm / 10_000:.1f}%"
