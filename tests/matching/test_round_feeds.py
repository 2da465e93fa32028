"""Events twice, out of time, by two replicas: the frozen data and the round are the same bytes."""

import asyncio
import json
import random
from datetime import timedelta
from itertools import pairwise

import httpx
from sqlalchemy import select, text

from services.matching import following
from services.matching.tables import LineView, NeedView
from shared.client import Client
from shared.db import now
from shared.events import Consumer
from shared.events.consumer import CursorMoved, FeedBroken
from tests.matching.frozen import computed, scalar, sessions_of

APPLY = {"needs": following.apply_needs, "donors": following.apply_donors}


async def test_a_round_is_the_same_whatever_way_the_events_came(world, database):
    await world.publish([{"quantity": n} for n in (300, 500, 700)])
    offer = await world.open_offer(lines=[{"quantity": 900}, {"quantity": 50}])
    found = await world.round()
    await world.post(f"/rounds/{found['id']}/approval", world.coordinator)
    [allocation, *_] = await world.reached(found["id"], "reserved")
    await world.act(
        allocation,
        "declination",
        world.of(offer["organization_id"]),
        {"reason_code": "stock_reserved_elsewhere"},
    )
    await world.publish([{"quantity": 40}, {"quantity": 60}])
    await world.caught_up()
    told = {name: await events_of(world, name) for name in APPLY}
    assert all(len(events) > 3 for events in told.values())
    at = now() + timedelta(minutes=1)

    outcomes = []
    for way in (straight, troubled):
        async with sessions_of(database("matching")) as sessions:
            await way(sessions, told)
            ended = await computed(sessions, at)
            rows = [await rows_of(sessions, table) for table in (NeedView, LineView)]
            outcomes.append((rows, ended.snapshot_sha256, ended.proposals_sha256))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0][0]


async def events_of(world, name):
    answer = await world.client.get(
        f"{world.urls[name]}/events?limit=2000", headers=world.token("service")
    )
    return answer.json()


async def rows_of(sessions, table):
    async with sessions() as session:
        rows = await session.execute(select(table.__table__).order_by(*table.__table__.primary_key))
        return [tuple(row) for row in rows]


async def straight(sessions, told):
    """In order, needs first, all at once."""
    for name, events in told.items():
        await follow(sessions, name, events, lambda after, of: of[after:])


async def troubled(sessions, told):
    """Donors before needs; repeats, gaps and disorder; each feed followed by two at a time."""
    rng = random.Random(3)

    def disturbed(after, events):
        due = events[after : after + rng.randint(1, 3)]
        return rng.choice(
            [
                due,
                due,
                events[max(0, after - 2) : after + 1],  # what was applied before, again
                events[after + 1 : after + 3],  # what comes later, first
                [*due, *due],
                list(reversed(events[after : after + 2])),
            ]
        )

    for name in reversed(list(told)):
        refused = await asyncio.gather(
            *(follow(sessions, name, told[name], disturbed) for _ in range(2))
        )
        assert sum(refused) > 0


async def follow(sessions, name, events, batch):
    """Ask a feed that answers as `batch` says until all of it is applied."""

    def answer(request):
        after = int(request.url.params["after"])
        return httpx.Response(200, content=json.dumps(batch(after, events)))

    client = Client("http://feed", transport=httpx.MockTransport(answer))
    consumer = Consumer(source=name, client=client, apply=APPLY[name])
    refused = 0
    try:
        while (await scalar(sessions, _CURSOR.bindparams(source=name)) or 0) < len(events):
            try:
                await consumer._step(sessions)
            except FeedBroken:
                refused += 1
            except CursorMoved:
                continue
    finally:
        await client.aclose()
    assert all(int(a["sequence"]) + 1 == int(b["sequence"]) for a, b in pairwise(events))
    return refused


_CURSOR = text("SELECT seq FROM feed_cursor WHERE source = :source")
