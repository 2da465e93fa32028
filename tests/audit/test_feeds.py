"""What a producer's feed lacks, or says otherwise than before, is told in the log."""

import asyncio

import pytest
from sqlalchemy import text

from services.audit import domain
from shared.client import ATTEMPTS_MAX
from tests.audit.conftest import an_event
from tests.audit.producers import Producers, event_of


@pytest.fixture
async def producers():
    made = Producers()
    serving = await made.serve()
    yield made
    await made.end(serving)


@pytest.fixture
async def following(start, producers):
    urls = {f"{name}_url": producers.url(name) for name in producers.told}
    async with start(own_feed=True, **urls) as running:
        yield running


async def rows_of(running, producer):
    async with running.app.state.sessions() as session:
        sql = "SELECT seq, key, type, body FROM entry WHERE producer = :producer ORDER BY index"
        return list(await session.execute(text(sql), {"producer": producer}))


async def of_needs(running):
    return [row.seq for row in await rows_of(running, "needs")]


async def alarms(running):
    rows = await rows_of(running, "audit")
    told = [domain.event_in(row.body) or {} for row in rows]
    return [event["data"] for event in told if event["type"] == "audit.alarm_raised"]


async def until(what):
    for _ in range(2_000):
        if found := await what():
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("it does not come")


async def missed(producers):
    """The feed of needs is away until its reader has given up once."""
    producers.away = True

    async def given_up():
        return producers.refused["needs"] > ATTEMPTS_MAX

    await until(given_up)


async def test_a_gap_is_an_alarm_in_the_log_and_what_follows_it_is_logged(following, producers):
    producers.lost.add(("needs", 4))
    producers.told["needs"] = 10
    [alarm] = await until(lambda: alarms(following))
    assert (alarm["alarm"], alarm["producer"]) == ("sequence_gap", "needs")
    assert (alarm["seq"], alarm["seq_due"]) == (5, 4)
    assert await of_needs(following) == [1, 2, 3, 5, 6, 7, 8, 9, 10]


async def test_a_feed_set_back_to_a_backup_is_told_though_it_has_grown_beyond(following, producers):
    producers.told["needs"] = 10
    await following.signed(10)
    await missed(producers)
    for seq in range(8, 13):
        producers.other["needs", seq] = an_event("needs", seq)
    producers.told["needs"], producers.away = 12, False
    [alarm] = await until(lambda: alarms(following))
    assert (alarm["alarm"], alarm["seq"]) == ("content_repeated", 10)
    assert alarm["event_id"] == str(producers.other["needs", 10].id)
    reasons = (await following.ready())["reasons"]
    assert "needs: 10 is another event than it was" in reasons
    await asyncio.sleep(1)  # it is asked again meanwhile
    assert len(await alarms(following)) == 1
    assert await of_needs(following) == list(range(1, 11))


async def test_a_feed_set_back_within_one_breath_is_told_as_well(following, producers):
    producers.told["needs"] = 10
    await following.signed(10)
    for seq in range(8, 13):
        producers.other["needs", seq] = an_event("needs", seq)
    producers.told["needs"] = 12
    [alarm] = await until(lambda: alarms(following))
    assert (alarm["alarm"], alarm["seq"]) == ("content_repeated", 10)
    assert await of_needs(following) == list(range(1, 11))


async def test_a_feed_that_was_away_goes_on_where_it_stood(following, producers):
    producers.told["needs"] = 10
    await following.signed(10)
    await missed(producers)
    producers.told["needs"], producers.away = 12, False
    assert await until(lambda: _all(following)) == list(range(1, 13))
    assert await alarms(following) == []
    keys = {seq: str(event_of("needs", seq).id) for seq in range(1, 13)}
    assert {row.seq: str(row.key) for row in await rows_of(following, "needs")} == keys


async def _all(running):
    seqs = await of_needs(running)
    return seqs if len(seqs) == 12 else None
