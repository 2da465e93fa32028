"""While too few witnesses cosign the log: what the policy lets go, and what it holds back."""

from datetime import timedelta
from uuid import UUID

import pytest
from pydantic import ValidationError

from services.audit.contract import AlarmRaised, QuorumMet
from services.matching.contract.policies import WithoutQuorum
from services.matching.policies import policies
from shared.db import now
from shared.events import emit
from tests.matching.test_allocations import logged


async def tell(world, event):
    """As the log does, in its own feed; returns when matching has heard it."""
    async with world.apps["audit"].state.sessions.begin() as session:
        await emit(session, event, subject="quorum", actor="audit", role="service")
    missing = isinstance(event, AlarmRaised)

    async def heard():
        [row] = await world.rows("matching", "SELECT quorum_missing_since FROM log_view")
        return (row[0] is not None) == missing

    await world.until(heard, "matching follows the log's own events")


async def ready_to_go(world, policy):
    """A normal and a life-threatening allocation, both approved and in the log."""
    await world.caught_up()
    await world.rows("matching", "UPDATE need_view SET state = 'closed'")
    await world.rows("matching", "UPDATE line_view SET state = 'withdrawn'")
    normal, _ = await world.publish([{"quantity": 10} for _ in range(2)])
    made = await world.open_offer(lines=[{"quantity": 20}])
    organization = world.of(made["organization_id"])
    await world.caught_up()
    await world.rows(
        "matching", "UPDATE need_view SET urgency = 'normal' WHERE need_id = $1", UUID(normal)
    )
    rows = await world.approved(policy=policy)
    rows = await world.reached(rows[0]["round_id"], "reserved")
    for each in rows:
        await world.act(each, "acceptance", organization)
        await world.act(each, "approval", world.county)
        await logged(world, each)
    by_urgency = {each["urgency"]: each for each in rows}
    return by_urgency["normal"], by_urgency["life_threatening"], organization


async def test_what_threatens_life_goes_on_and_the_rest_waits_until_the_quorum_is_back(world):
    normal, urgent, organization = await ready_to_go(world, "national-1")
    away = AlarmRaised(alarm="quorum_missing", size=7, since=now() - timedelta(minutes=2))
    await tell(world, away)
    refused = await world.act(normal, "dispatch", organization, status=409)
    assert refused["code"] == "log_without_quorum"
    await world.act(urgent, "dispatch", organization)
    # Delivering and confirming ask nothing of the log.
    await world.act(urgent, "delivery", organization)
    await tell(world, AlarmRaised(alarm="producer_silent", producer="needs"))
    await tell(world, QuorumMet(size=9, witnesses=["north", "south"]))
    await world.act(normal, "dispatch", organization)


async def test_a_policy_may_let_everything_go_on(world):
    normal, _, organization = await ready_to_go(world, "example-1")
    await tell(world, AlarmRaised(alarm="quorum_missing", size=7, since=now()))
    await world.act(normal, "dispatch", organization)
    await tell(world, QuorumMet(size=9, witnesses=[]))


def test_no_policy_holds_back_what_threatens_life():
    for policy in policies().values():
        assert "life_threatening" in policy.without_quorum.dispatch
    with pytest.raises(ValidationError, match="threatens life"):
        WithoutQuorum(dispatch=["urgent", "normal"])


async def test_a_policy_says_in_words_what_waits(world):
    national = await world.get("/policies/national-1")
    assert "危及生命的从不等待" in national["without_quorum_zh"]
    assert "urgent, normal" in national["without_quorum_en"]
    example = await world.get("/policies/example-1")
    assert example["without_quorum_zh"] == "日志见证人不足时，一切照常发出"
