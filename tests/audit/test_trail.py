"""Asking the trail: by what, in which order, at what cost, and whose it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.event import listen

from services.audit.domain import division_bounds
from services.audit.queries import trail as queries
from services.audit.queries.trail import TrailFilter
from tests.audit.conftest import BEGAN, SIZE, events


@pytest.fixture
def supervisor(token):
    return token("supervisor", subject="supervisor-1")


async def ask(running, headers, **query):
    answer = await running.client.get("/v1/entries", params=query, headers=headers)
    return answer.raise_for_status().json()


async def walk(running, headers, **query):
    page, found = await ask(running, headers, **query), []
    while True:
        found += [row["index"] for row in page["data"]]
        if page["links"]["next"] is None:
            return found
        answer = await running.client.get(page["links"]["next"], headers=headers)
        page = answer.raise_for_status().json()


async def test_the_trail_is_asked_by_subject_and_by_a_range_of_time(log, supervisor):
    rows = (await log.client.get("/v1/columns", params={"limit": 1_000})).json()["data"]
    subject = f"need/{UUID(int=4)}"
    assert await walk(log, supervisor, subject=subject) == [
        row["index"] for row in rows if row["subject"] == subject
    ]
    since, before = BEGAN + timedelta(seconds=30), BEGAN + timedelta(seconds=60)
    asked = {"since": since.isoformat(), "before": before.isoformat(), "limit": 7}
    within = [
        row["index"]
        for row in rows
        if since <= datetime.fromisoformat(row["time"]).astimezone(UTC) < before
    ]
    assert await walk(log, supervisor, **asked) == within
    assert await walk(log, supervisor, order="newest", **asked) == within[::-1]
    assert len(within) == 60  # of two producers


@pytest.mark.parametrize("query", [{}, {"since": "2026-11-01T00:00:00Z"}])
async def test_pages_neither_repeat_nor_skip_while_the_log_grows(running, supervisor, query):
    await running.fill(60)
    for order, expected in (("oldest", list(range(60))), ("newest", list(range(59, -1, -1)))):
        page = await ask(running, supervisor, order=order, limit=25, **query)
        found = [row["index"] for row in page["data"]]
        seq = 1 if order == "oldest" else 6
        await running.take_in("matching", events("matching", seq, 5))
        while page["links"]["next"]:
            answer = await running.client.get(page["links"]["next"], headers=supervisor)
            page = answer.json()
            found += [row["index"] for row in page["data"]]
        before = len(expected) + (5 if order == "newest" else 0)
        assert found[:60] == expected[:60] if order == "oldest" else found[5:] == expected
        assert len(found) == before + (5 if order == "oldest" else 0)
        assert len(set(found)) == len(found)


async def test_a_page_costs_the_same_statements_whatever_is_asked(log):
    everything = TrailFilter(officer="officer-1", event_type="needs.need_verified", since=BEGAN)
    for wanted, limit in ((TrailFilter(), 1), (TrailFilter(), 201), (everything, 201)):
        async with log.app.state.sessions() as session:
            statements = await listened(session)
            await queries.told(session, wanted)
            await queries.trail(session, wanted, newest=False, after=None, limit=limit)
        assert len(statements) == 2, wanted


async def listened(session) -> list[tuple[str, Any]]:
    """Statements of this session from now on, with their values; the service's own are others."""
    statements: list[tuple[str, Any]] = []
    connection = await session.connection()
    listen(
        connection.sync_connection,
        "before_cursor_execute",
        lambda *said: statements.append((said[2], said[3])),
    )
    return statements


async def test_the_trail_is_the_whole_country_s_whatever_the_caller_s_division(log, token):
    """VOCABULARY: a supervisor reads the whole audit trail. What the log holds is public."""
    elsewhere = token("supervisor", division="110101000000")
    assert len(await walk(log, elsewhere, limit=200)) == SIZE
    assert len(await walk(log, elsewhere, division="430000000000", limit=200)) == SIZE
    assert await walk(log, elsewhere, division="110000000000") == []


def test_what_a_division_covers():
    assert division_bounds("000000000000") == ("000000000000", "999999999999")
    assert division_bounds("500000000000") == ("500000000000", "509999999999")
    assert division_bounds("430224000000") == ("430224000000", "430224999999")
    assert division_bounds("430224101001") == ("430224101001", "430224101001")


async def test_the_root_covers_every_division(log, supervisor):
    assert len(await walk(log, supervisor, division="0" * 12, limit=200)) == SIZE


ASKED = {
    "ix_entry_subject_index": TrailFilter(subject=f"need/{UUID(int=77)}"),
    "ix_entry_mentions": TrailFilter(allocation=UUID(int=77)),
    "ix_entry_actor_index": TrailFilter(officer="rare"),
    "ix_entry_type_index": TrailFilter(event_type="rare"),
    "ix_entry_division_index": TrailFilter(division="110101000000"),
    "ix_entry_time_index": TrailFilter(since=BEGAN + timedelta(seconds=19_900)),
    "pk_entry": TrailFilter(),
}


async def test_each_question_is_answered_from_an_index(running):
    """A log of 20,000 entries: what is asked for is rare, and at its end."""
    await running.tamper(
        """
        INSERT INTO entry (index, body, key, producer, seq, type, subject, division, actor,
                           actor_role, time, mentions)
        SELECT n, '', gen_random_uuid(), 'needs', n + 1,
               CASE WHEN n % 5000 = 0 THEN 'rare' ELSE 'needs.x' || n % 7 END,
               'need/' || lpad(to_hex(n), 32, '0')::uuid,
               CASE WHEN n % 5000 = 0 THEN '110101000000' ELSE '430224101000' END,
               CASE WHEN n % 5000 = 0 THEN 'rare' ELSE 'officer-' || n % 9 END,
               'r', timestamptz '2026-11-01T08:00:00Z' + n * interval '1 second',
               ARRAY[lpad(to_hex(n), 32, '0')::uuid]
        FROM generate_series(0, 19999) AS n
        """,
        "ANALYZE entry",
    )
    for index, wanted in ASKED.items():
        for newest in (False, True):
            plan = await explained(running, wanted, newest)
            assert index in plan, f"{wanted}: {plan}"
            assert "Seq Scan on entry" not in plan, f"{wanted}: {plan}"


async def explained(running, wanted, newest):
    """The plan of the statement that lists them, as PostgreSQL tells it."""
    async with running.app.state.sessions() as session:
        statements = await listened(session)
        await queries.trail(session, wanted, newest=newest, after=None, limit=51)
        [(statement, values)] = statements
        connection = await session.connection()
        plan = await connection.exec_driver_sql(f"EXPLAIN {statement}", values)
        return "\n".join(row[0] for row in plan)
