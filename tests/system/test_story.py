"""The main job: killed again and again, it goes on; told twice, it changes nothing."""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from random import Random
from typing import Any

import pytest

from deploy import story
from deploy.example import Example, generate
from deploy.platform import Platform, Summary
from deploy.story.calling import Calls, StoryFailed, all_of
from deploy.story.needs import CITY, LEFT_BY_TOWNSHIP, OBJECTED_TO, REJECTED_BY_VILLAGE
from shared.vocabulary import divisions
from tests.breaking_off import breaking_off
from tests.system.harness import System

STEPS_MIN = 12
ENDED = {"closed", "declined", "cancelled"}


def some_of(example: Example) -> Example:
    """A twentieth of the needs with their applicants, and an eighth of what is offered."""
    special = (LEFT_BY_TOWNSHIP, OBJECTED_TO, REJECTED_BY_VILLAGE)
    needs = tuple(
        need
        for number, need in enumerate(example.needs, start=1)
        if number % 20 == 0
        or any(number % every == offset for every, offset in special)
        or need.body.urgency == "life_threatening"
    )
    keys = {need.applicant_key for need in needs}
    return replace(
        example,
        applicants=tuple(a for a in example.applicants if a.external_key in keys),
        needs=needs,
        offers=example.offers[:50],
    )


@pytest.fixture(scope="module")
async def system() -> AsyncIterator[System]:
    """A platform of its own: the story puts a policy into force and counts everything."""
    made = System(durable=False)
    try:
        await made.begin()
        yield made
    finally:
        await made.end()


@pytest.fixture(scope="module")
def platform(system: System) -> Platform:
    return Platform(
        **{f"{service}_url": url for service, url in system.urls.items()},
        issuer=system.issuer,
        state=system.state.folder,
    )


@pytest.fixture(scope="module")
def example() -> Example:
    return some_of(generate(date.today()))  # noqa: DTZ011 - offers are valid since yesterday


@pytest.fixture(scope="module")
async def told(platform: Platform, example: Example) -> Summary:
    """The end of a story that was killed in every third step, shortly after the one before."""
    chance, seen = Random(20_201_127), set[str]()
    loop = asyncio.get_running_loop()
    with breaking_off():
        while True:
            telling = asyncio.create_task(story.run(platform, lambda line: say(line), example))

            def say(line: str, telling: asyncio.Task[Summary] = telling) -> None:
                print(line)
                step = re.sub(r"[\d,]+", "", line)[:24]
                if step not in seen:
                    seen.add(step)
                    if len(seen) % 3 == 1:
                        loop.call_later(chance.uniform(0, 0.4), telling.cancel)

            await asyncio.wait({telling})
            if not telling.cancelled():
                assert len(seen) >= STEPS_MIN
                return telling.result()


async def test_the_story_ends_with_households_served_and_a_log_that_verifies(
    told: Summary, example: Example
):
    assert told.log_verified
    assert told.households_served > 20
    assert told.allocations > told.households_served
    assert 0 < told.offers_open <= len(example.offers)
    assert 0.8 * len(example.needs) < told.needs_published < len(example.needs)
    # Each allocation that ended well has nine events, each need at least six.
    assert told.log_size > 6 * len(example.needs) + 6 * told.allocations


async def test_told_again_it_changes_nothing(platform: Platform, told: Summary, example: Example):
    again = await story.run(platform, print, example)
    assert replace(again, seconds=0, log_size=0) == replace(told, seconds=0, log_size=0)
    assert again.log_verified


async def test_nothing_is_left_half_done(platform: Platform, told: Summary, example: Example):
    async with Calls(platform, print) as calls:
        reader = calls.person("city_officer", "reader", CITY)
        allocations = await calls.pages("matching", "/v1/allocations")
        assert {row["state"] for row in allocations} <= ENDED
        held: defaultdict[str, int] = defaultdict(int)
        received: defaultdict[str, int] = defaultdict(int)
        for row in allocations:
            closed = row["state"] == "closed"
            expected = "delivered" if closed else "released"
            assert (row["line_movement"], row["need_movement"]) == (expected, expected)
            held[row["line_id"]] += row["quantity"] if closed else 0
            received[row["need_id"]] += row["quantity"] if closed else 0
        coordinator = calls.person("alliance_coordinator", "looker", divisions.ROOT)
        offers = await calls.pages("donors", "/v1/offers", coordinator, any_state=True)
        assert len(offers) == len(example.offers)
        for line in (line for offer in offers for line in offer["lines"]):
            assert (line["reserved"], line["in_transit"]) == (0, 0)
            assert line["delivered"] == held[line["id"]]
            assert line["available"] + line["delivered"] == line["total"]
        needs = await calls.pages("needs", "/v1/work/needs", reader)
        assert len(needs) == len(example.needs)
        for need in needs:
            assert need["delivered"] == received[need["id"]] <= (need["base_quantity"] or 0)
            assert (need["reserved"], need["in_transit"]) == (0, 0)
        states = {need["state"] for need in needs}
        # Suspended ones too, unless the kills came between the notice and the objection.
        assert {"published", "closed", "rejected", "village_verified"} <= states


async def test_nobody_plays_two_parts(platform: Platform, told: Summary, system: System):
    """Each actor of the whole feed holds one role, and approvers have verified nothing."""
    headers = {"Authorization": f"Bearer {platform.token('service', 'reading-the-feeds')}"}
    roles: defaultdict[str, set[str]] = defaultdict(set)
    did: defaultdict[str, set[str]] = defaultdict(set)
    for service in ("needs", "donors", "matching"):
        after = 0
        while events := await _events(system, service, after, headers):
            for event in events:
                if not event["actor"].startswith("clock:"):
                    roles[event["actor"]].add(event["actorrole"])
                    did[event["type"]].add(event["actor"])
            after = int(events[-1]["sequence"])
    assert {actor: held for actor, held in roles.items() if len(held) > 1} == {}
    apart = (
        "needs.need_drafted",
        "needs.need_verified",
        "matching.round_approved",
        "matching.allocation_accepted",
        "matching.allocation_approved",
        "matching.slip_issued",
    )
    for one in apart:
        assert did[one], one
        for other in apart:
            assert one == other or not did[one] & did[other], (one, other)
    confirmed = did["matching.allocation_confirmed"]
    assert not confirmed & (did["matching.allocation_approved"] | did["matching.slip_issued"])
    assert {roles[actor].copy().pop() for actor in confirmed} == {"organization", "village_officer"}


async def _events(
    system: System, service: str, after: int, headers: dict[str, str]
) -> list[dict[str, Any]]:
    answer = await system.http.get(
        f"{system.urls[service]}/events", params={"after": after, "limit": 2000}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    return list(answer.json())


async def test_what_fails_among_many_calls_comes_out_as_itself(platform: Platform):
    async with Calls(platform, print) as calls:
        paths = ["/v1/policies", "/v1/no-such-list", "/v1/notices"]
        with pytest.raises(StoryFailed, match="404 route_not_found"):
            await all_of(calls.get("needs", path) for path in paths)
