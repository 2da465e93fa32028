"""A silent producer is an alarm in the log: one for each silence, whoever looks and how often."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from services.audit.contract import AlarmRaised, ProducerHeard
from services.audit.domain import hearing
from services.audit.heartbeat import Heartbeat
from shared.client import Client
from shared.events import Consumer
from tests.audit.conftest import NOWHERE

T0 = datetime(2126, 11, 1, 8, 0, tzinfo=UTC)  # later than what the running service writes
HEARTBEAT_S = 300.0


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("heard_s", "silent_since_s", "asks_since_s", "now_s", "found"),
    [
        (0, None, 0, 299, None),
        (0, None, 0, 300, "silent"),
        (0, None, 200, 499, None),  # nobody asked before: we were away, not the producer
        (0, None, 200, 500, "silent"),
        (400, None, 0, 699, None),
        (0, 0, 0, 10_000, None),  # told already
        (0, 0, 9_000, 10_000, None),  # and not again after a restart
        (10_000, 0, 0, 10_001, "heard"),
        (10_000, 0, 0, 10_400, "heard"),  # and then silent anew
    ],
)
def test_a_silence_begins_once_and_ends_with_an_answer(
    heard_s, silent_since_s, asks_since_s, now_s, found
):
    silent_since = None if silent_since_s is None else at(silent_since_s)
    assert found == hearing(
        heard_at=at(heard_s),
        silent_since=silent_since,
        asks_since=at(asks_since_s),
        now=at(now_s),
        heartbeat=timedelta(seconds=HEARTBEAT_S),
    )


@pytest.fixture
async def consumer():
    async def hand_over(after, events):
        raise AssertionError("nothing is asked here")

    client = Client(NOWHERE)
    yield Consumer("needs", client, hand_over=hand_over)
    await client.aclose()


async def look(running, heartbeat, moment):
    async with running.app.state.sessions.begin() as session:
        await heartbeat.look(session, moment)


async def look_until(running, heartbeat, first_s, last_s):
    """As the clock looks, every 30 s."""
    for seconds in (*range(first_s, last_s, 30), last_s):
        await look(running, heartbeat, at(seconds))


async def told(running):
    async with running.app.state.sessions() as session:
        rows = await session.execute(
            text(
                "SELECT type, data FROM (SELECT id, type, data FROM outbox"
                " UNION ALL SELECT id, type, data FROM event) AS each"
                " WHERE type = :heard OR data->>'alarm' = 'producer_silent' ORDER BY id"
            ),
            {"heard": ProducerHeard.type},
        )
        return [(row.type, row.data["producer"], row.data.get("since")) for row in rows]


SILENT = (AlarmRaised.type, "needs", "2126-11-01T08:00:10.000000Z")
HEARD = (ProducerHeard.type, "needs", None)


async def test_the_alarm_is_told_once_across_replicas_and_restarts_and_ends(running, consumer):
    one = Heartbeat([("needs", consumer)], HEARTBEAT_S)
    await look(running, one, at(0))
    consumer.heard_at = at(10)
    await look_until(running, one, 20, 309)
    assert await told(running) == []
    await look(running, one, at(310))
    await look(running, one, at(340))
    deaf = Consumer("needs", consumer.client, hand_over=consumer.hand_over)
    other = Heartbeat([("needs", deaf)], HEARTBEAT_S)  # a replica, or the same started again
    await look_until(running, other, 350, 700)
    await look(running, other, at(10_000))
    assert await told(running) == [SILENT]
    consumer.heard_at = at(10_001)
    await look(running, one, at(10_002))
    await look_until(running, other, 10_003, 10_300)  # what the one heard counts for the other
    assert await told(running) == [SILENT, HEARD]
    await look(running, other, at(10_301))
    assert [each[0] for each in await told(running)] == [SILENT[0], HEARD[0], SILENT[0]]


async def test_a_log_that_was_away_does_not_call_its_producers_silent(running, consumer):
    consumer.heard_at = at(0)
    await look(running, Heartbeat([("needs", consumer)], HEARTBEAT_S), at(0))
    deaf = Consumer("needs", consumer.client, hand_over=consumer.hand_over)
    again = Heartbeat([("needs", deaf)], HEARTBEAT_S)
    await look_until(running, again, 50_000, 50_299)
    assert await told(running) == []
    await look(running, again, at(50_300))
    assert len(await told(running)) == 1


async def test_a_log_whose_database_was_away_does_not_call_its_producers_silent(running, consumer):
    """Without it nobody is asked; the clock may look again before the consumers do."""
    heartbeat = Heartbeat([("needs", consumer)], HEARTBEAT_S)
    consumer.heard_at = at(0)
    await look_until(running, heartbeat, 0, 60)
    await look_until(running, heartbeat, 660, 959)
    assert await told(running) == []
    await look(running, heartbeat, at(960))
    assert len(await told(running)) == 1


async def test_a_silence_is_an_entry_and_blames_no_entry(start, consumer):
    async with start(own_feed=True) as running:
        await running.signed(1)  # log_started
        heartbeat = Heartbeat([("needs", consumer)], HEARTBEAT_S)
        await look_until(running, heartbeat, 0, 301)
        await running.signed(2)
        status, summary = await running.verify()
        assert (status, summary["size"]) == (0, 2), summary
