"""The round of the story: run once, approved once."""

from typing import Any

from deploy.story.calling import Calls, StoryFailed, all_of
from deploy.story.needs import CITY, POLICY
from services.matching import contract

SAMPLE = 8


async def run_round(calls: Calls) -> None:
    """Run and approve the example's round, or go on with the one that was begun."""
    coordinator = calls.person("alliance_coordinator", "coordinator-zhuzhou", CITY)
    rounds = [
        r
        for r in await calls.pages("matching", "/v1/rounds", coordinator)
        if r["division_code"] == CITY and r["policy"] == POLICY and r["state"] != "discarded"
    ]
    if any(r["state"] == "approved" for r in rounds):
        calls.say("round: approved before")
        return
    found = rounds[0] if rounds else await _start(calls, coordinator)
    computed = await _computed(calls, coordinator, found)
    totals = computed["totals"]
    approver = calls.person("alliance_coordinator", "coordinator-approving", CITY)
    await calls.post("matching", f"/v1/rounds/{computed['id']}/approval", approver)
    calls.say(
        f"round: {computed['snapshot']['needs']:,} needs x {computed['snapshot']['lines']:,}"
        f" offer lines -> {totals['proposals']:,} proposals for {totals['needs_met']:,} needs;"
        " approved"
    )


async def _start(calls: Calls, coordinator: str) -> dict[str, Any]:
    await calls.wait_until("matching follows needs and donors", lambda: _followed(calls))
    body = contract.RoundCreate(division_code=CITY, policy=POLICY, note="Example round")
    started: dict[str, Any] = await calls.post("matching", "/v1/rounds", coordinator, body)
    return started


async def _followed(calls: Calls) -> bool:
    """Whether matching knows what was published and opened last."""
    needs = await calls.get("needs", "/v1/needs", division=CITY, limit=SAMPLE)
    offers = await calls.get("donors", "/v1/offers", serves_within=CITY, limit=SAMPLE)
    paths = [f"/v1/needs/{row['id']}/offers" for row in needs["data"]]
    paths += [f"/v1/offers/{row['id']}/needs" for row in offers["data"]]
    return all(await all_of(calls.is_there("matching", path, limit=1) for path in paths))


async def _computed(calls: Calls, coordinator: str, found: dict[str, Any]) -> dict[str, Any]:
    latest = found

    async def done() -> bool:
        nonlocal latest
        latest = await calls.get("matching", f"/v1/rounds/{found['id']}", coordinator)
        return str(latest["state"]) != "computing"

    await calls.wait_until("the round is computed", done)
    if latest["state"] != "computed":
        raise StoryFailed(f"The round is {latest['state']}: {latest['discard_reason']}")
    return latest
