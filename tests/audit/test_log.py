"""Taking events in: exactly once, in one order, whoever else does it at the same time."""

import asyncio
import json
import random
from unittest.mock import ANY
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.audit import domain, hashes, operations
from services.audit.contract import AlarmRaised
from shared.db import STORAGE_ERRORS
from shared.events import CloudEvent
from shared.tlog import merkle
from tests.audit.conftest import an_event, events


async def entries(running):
    async with running.app.state.sessions() as session:
        rows = await session.execute(text("SELECT * FROM entry ORDER BY index"))
        return rows.mappings().all()


async def alarms(running):
    """What was raised, wherever the sequencer has it by now."""
    async with running.app.state.sessions() as session:
        rows = await session.scalars(
            text(
                "SELECT data FROM outbox WHERE type = :type"
                " UNION ALL SELECT data FROM event WHERE type = :type"
            ),
            {"type": AlarmRaised.type},
        )
        return rows.all()


# ---------------------------------------------------------------- what an entry is


def test_an_entry_begins_with_producer_and_number_and_holds_the_event_as_it_came():
    event = an_event("needs", 12, data={"b": None, "a": "李**", "n": 3})
    entry = domain.entry_of("needs", event)
    prefix, _, document = entry.body.partition(b"\n")
    assert prefix == b"needs    00000000000000000012"
    assert document.startswith(b'{"actor":"officer-0","actorrole":"township_officer","data":{"a":')
    assert json.loads(document) == event.model_dump(mode="json", exclude={"traceparent"})


def test_attributes_unknown_to_us_stay_in_the_entry():
    event = CloudEvent.model_validate({**an_event("needs", 1).model_dump(), "novel": "kept"})
    assert json.loads(domain.entry_of("needs", event).body[30:])["novel"] == "kept"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"text": "x" * 70_000}, "too_large"),
        ({"number": 2**60}, "not_canonical"),
        ({"text": "\ud800"}, "not_canonical"),
    ],
)
def test_what_cannot_be_an_entry_is_replaced_by_its_hash(data, reason):
    entry = domain.entry_of("needs", an_event("needs", 1, data=data))
    document = json.loads(entry.body[30:])
    assert document["replaced"]["reason"] == reason
    assert len(document["replaced"]["sha256"]) == 64
    assert len(entry.body) < 1_500
    assert "data" not in document


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), json_values), st.text(min_size=1), st.text())
def test_no_content_stops_the_log(data, subject, actor):
    event = an_event("needs", 1, data=data, subject=subject, actor=actor)
    entry = domain.entry_of("needs", event)
    assert len(entry.body) <= domain.BODY_BYTES_MAX
    assert "\x00" not in entry.subject + entry.actor


def test_every_id_an_event_names_is_found():
    one, two, three = "a" * 8 + "-bbbb-cccc-dddd-" + "e" * 12, str(an_event("x", 1).id), "f" * 36
    event = an_event(
        "needs", 1, subject=f"need/{one}", data={"list": [{"offer_id": two}], "not": three}
    )
    assert list(domain.entry_of("needs", event).mentions) == sorted([one, two])


@pytest.mark.parametrize("around", ["{}\n", "\n{}", " {}", "{{{}}}", "{}\u2028", "urn:uuid:{}"])
async def test_a_text_that_is_nearly_an_id_stops_nothing_and_is_no_mention(running, around):
    """Texts come from anybody: who could stop the log by one would stop every dispatch."""
    event = an_event("needs", 1, data={"reason": around.format(UUID(int=7))})
    assert domain.entry_of("needs", event).mentions == (str(UUID(int=2)),)  # its subject
    assert await running.take_in("needs", [event]) == 1
    await running.signed(1)
    assert await running.verify() == (0, ANY)


@pytest.mark.parametrize(
    ("code", "lowest", "highest"),
    [
        ("430000000000", "430000000000", "439999999999"),
        ("430200000000", "430200000000", "430299999999"),
        ("430224000000", "430224000000", "430224999999"),
        ("430224101000", "430224101000", "430224101999"),
        ("430224101001", "430224101001", "430224101001"),
    ],
)
def test_a_division_covers_a_range_of_codes(code, lowest, highest):
    assert domain.division_bounds(code) == (lowest, highest)


# ---------------------------------------------------------------- appending


async def test_a_repeated_batch_changes_nothing(running):
    batch = events("needs", 1, 20)
    assert await running.take_in("needs", batch) == 20
    assert await running.take_in("needs", batch) == 0
    assert await running.take_in("needs", [*batch[15:], an_event("needs", 21)]) == 1
    assert [row["seq"] for row in await entries(running)] == list(range(1, 22))
    assert await alarms(running) == []


async def test_the_tree_in_the_database_is_the_tree_of_the_bodies(running):
    await running.fill(600)
    rows = await entries(running)
    frontier, nodes = merkle.extend(
        merkle.Frontier(), (merkle.leaf_hash(row["body"]) for row in rows)
    )
    async with running.app.state.sessions() as session:
        assert await operations.head(session) == frontier
        assert await hashes.frontier_at(session, 600) == frontier
        stored = await session.execute(text("SELECT level, index, hash FROM node"))
        assert {merkle.Node(r[0], r[1]): r[2] for r in stored} == nodes


async def test_of_two_connections_with_the_same_head_one_appends_and_the_other_does_not(running):
    sessions = running.app.state.sessions
    first = [domain.entry_of("needs", each) for each in events("needs", 1, 3)]
    second = [domain.entry_of("donors", each) for each in events("donors", 1, 3)]
    async with sessions() as one, sessions() as other:
        head = await operations.head(one)
        assert await operations.head(other) == head
        async with one.begin_nested():
            assert await operations.append(one, head, first)
        waiting = asyncio.create_task(operations.append(other, head, second))
        await asyncio.sleep(0.1)
        assert not waiting.done()  # it waits for the winner's transaction
        await one.execute(text("COMMIT"))
        assert not await waiting
        await other.rollback()
    assert [row["producer"] for row in await entries(running)] == ["needs"] * 3


async def test_many_appenders_at_once_make_one_contiguous_log(running):
    async def feed(producer):
        for begin in range(1, 61, 5):
            await running.take_in(producer, events(producer, begin, 5))

    async def twin(producer):  # a second replica that follows the same feed, always a bit late
        for begin in range(1, 61, 5):
            batch = [an_event(producer, seq) for seq in range(begin, begin + 5)]
            await running.take_in(producer, batch)

    await asyncio.gather(*(feed(p) for p in ("needs", "donors", "matching", "audit")))
    rows = await entries(running)
    assert [row["index"] for row in rows] == list(range(240))
    for producer in ("needs", "donors", "matching", "audit"):
        assert [r["seq"] for r in rows if r["producer"] == producer] == list(range(1, 61))
    await running.signed(240)
    assert (await running.verify())[0] == 0


async def test_what_is_appended_while_the_log_is_checked_does_not_make_it_refuse(running):
    await running.fill(10)
    log = running.app.state.log
    async with running.app.state.sessions() as session:
        head = await operations.head(session)
        await running.take_in("matching", events("matching", 1, 5))
        signed, _ = log._state.signed(log._keys.load(may_create=False))
        assert (await log._check(session, head, signed)).size == signed.size


async def test_two_replicas_taking_in_the_same_feed_append_each_event_once(start):
    async with start() as one, start() as other:
        batches = [events("needs", begin, 5) for begin in range(1, 101, 5)]

        async def follow(running):
            for batch in batches:
                await running.take_in("needs", batch)

        await asyncio.gather(follow(one), follow(other))
        assert [row["seq"] for row in await entries(one)] == list(range(1, 101))
        assert await alarms(one) == []
        await one.signed(100)
        assert (await other.verify())[0] == 0


async def test_a_connection_killed_before_the_commit_leaves_nothing_and_a_retry_appends(running):
    batch = events("needs", 1, 10)

    async def die_before_the_commit():
        async with running.app.state.sessions.begin() as session:
            entries = [domain.entry_of("needs", each) for each in batch]
            assert await operations.append(session, await operations.head(session), entries)
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
            admin = await asyncpg.connect(running.database_url.replace("+asyncpg", ""))
            await admin.execute("SELECT pg_terminate_backend($1)", pid)
            await admin.close()

    with pytest.raises(DBAPIError):
        await die_before_the_commit()
    assert await entries(running) == []
    assert await running.take_in("needs", batch) == 10
    await running.signed(10)
    assert (await running.verify())[0] == 0


async def test_connections_killed_at_any_moment_lose_nothing_and_repeat_nothing(running):
    admin = await asyncpg.connect(running.database_url.replace("+asyncpg", ""))
    chance = random.Random(7)
    batches = [events("needs", begin, 20) for begin in range(1, 401, 20)]

    async def follow():
        for batch in batches:
            while True:
                try:
                    await running.take_in("needs", batch)
                    break
                except (*STORAGE_ERRORS, domain.LogRefused):
                    await asyncio.sleep(0.05)

    following = asyncio.create_task(follow())
    for _ in range(40):
        await asyncio.sleep(chance.random() * 0.03)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        if following.done():
            break
    await asyncio.wait_for(following, 60)
    await admin.close()
    await running.signed(400)
    assert [row["seq"] for row in await entries(running)] == list(range(1, 401))
    status, summary = await running.verify()
    assert (status, summary["size"]) == (0, 400), summary


async def test_an_answer_lost_after_the_commit_appends_nothing_twice(running):
    batch = events("needs", 1, 10)
    await running.take_in("needs", batch)  # committed; whoever did it died and does not know
    assert await running.take_in("needs", batch) == 0
    assert len(await entries(running)) == 10


# ---------------------------------------------------------------- alarms


async def test_a_gap_is_an_alarm_and_the_entry_is_logged(running):
    await running.take_in("needs", [an_event("needs", 1), an_event("needs", 3)])
    assert [row["seq"] for row in await entries(running)] == [1, 3]
    (raised,) = await alarms(running)
    assert (raised["alarm"], raised["seq"], raised["seq_due"]) == ("sequence_gap", 3, 2)
    await running.signed(2)
    status, summary = await running.verify()
    assert (status, summary["first_bad_index"]) == (1, 1)


async def test_a_number_told_again_with_other_content_is_an_alarm_and_changes_nothing(running):
    first = an_event("needs", 1)
    await running.take_in("needs", [first])
    await running.take_in("needs", [an_event("needs", 1), an_event("needs", 2)])
    await running.take_in("needs", [first.model_copy(update={"actor": "another"})])
    rows = await entries(running)
    assert [row["seq"] for row in rows] == [1, 2]
    assert rows[0]["key"] == first.id
    assert [each["alarm"] for each in await alarms(running)] == ["content_repeated"] * 2


async def test_an_alarm_in_the_log_makes_the_verifier_name_the_disputed_entry(start):
    async with start(own_feed=True) as running:
        await running.signed(1)  # log_started
        await running.take_in("needs", events("needs", 1, 3))
        await running.take_in("needs", [an_event("needs", 2)])
        await running.signed(5)
        status, summary = await running.verify()
        disputed = [r["index"] for r in await entries(running) if r["seq"] == 2]
        assert (status, summary["first_bad_index"]) == (1, disputed[0])
        await asyncio.sleep(0.3)
        assert len(await alarms(running)) == 1  # and it does not feed on itself


# ---------------------------------------------------------------- insert only


@pytest.mark.parametrize("table", ["entry", "node", "checkpoint"])
async def test_the_database_refuses_to_change_what_is_logged(running, table):
    await running.fill(256)
    admin = await asyncpg.connect(running.database_url.replace("+asyncpg", ""))
    column = {"entry": "actor", "node": "hash", "checkpoint": "note"}[table]
    for statement in (
        f"UPDATE {table} SET {column} = {column}",
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await admin.execute(statement)
    await admin.close()
