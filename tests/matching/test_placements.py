"""Placements: what came since the last round, at the prices it left."""

import pytest
from sqlalchemy import text, update

from services.matching import domain
from services.matching.operations import rounds
from services.matching.planning import unpack
from services.matching.tables import NeedView, Round, RoundSnapshot
from shared.db import now
from tests.matching.frozen import (
    a_line_row,
    a_need_row,
    computed,
    fill,
    sessions_of,
    somebody,
    start,
)


@pytest.fixture
async def sessions(database):
    async with sessions_of(database("matching")) as made:
        yield made


async def cursors(sessions, needs, donors):
    """As if the feeds were followed so far."""
    async with sessions.begin() as session:
        for source, seq in (("needs", needs), ("donors", donors)):
            await session.execute(
                text(
                    "INSERT INTO feed_cursor VALUES (:source, :seq)"
                    " ON CONFLICT (source) DO UPDATE SET seq = :seq"
                ),
                {"source": source, "seq": seq},
            )


async def frozen(sessions, found):
    async with sessions() as session:
        stored = await session.get_one(RoundSnapshot, found.id)
    return unpack(stored.packed, found.snapshot_sha256)


@pytest.fixture
async def base(sessions):
    """A computed round of four needs, of which one line meets three."""
    await fill(
        sessions,
        [a_need_row(n, poverty_permille=200 * n) for n in range(1, 5)],
        [a_line_row(1, available=300)],
    )
    await cursors(sessions, 4, 1)
    return await computed(sessions)


async def test_a_placement_considers_only_needs_published_since_the_last_round(sessions, base):
    await fill(sessions, [a_need_row(5), a_need_row(6, item_class="grain")], [])
    await cursors(sessions, 6, 1)
    found = await computed(sessions, kind="placement")
    assert (found.kind, found.start_from, found.frozen_by) == ("placement", base.id, found.id)
    data = await frozen(sessions, found)
    assert [need.need_id.int for need in data.needs] == [5, 6]
    # Judged by the prices of the round, and by what was asked for in the days before.
    assert data.start_prices == (await start_prices(sessions, base))
    assert {need.need_id.int for need in data.earlier} == {1, 2, 3, 4}
    assert found.totals["kind"] == "placement"


async def start_prices(sessions, of):
    async with sessions() as session:
        rows = await session.execute(
            text("SELECT line_id, price FROM round_price WHERE round_id = :id"), {"id": of.id}
        )
        return {str(row.line_id): row.price for row in rows}


async def test_lines_opened_since_bring_back_the_unmet_needs_of_their_class(sessions, base):
    await fill(sessions, [], [a_line_row(2, available=1000)])
    await cursors(sessions, 4, 2)
    data = await frozen(sessions, await computed(sessions, kind="placement"))
    assert [need.need_id.int for need in data.needs] == [1, 2, 3, 4]
    assert len(data.lines) == 2


async def test_the_most_urgent_is_placed_and_the_placement_can_be_approved(sessions, base):
    async with sessions.begin() as session:
        await session.execute(update(NeedView).values(remaining=0))
    await fill(sessions, [a_need_row(7, urgency="life_threatening")], [])
    await cursors(sessions, 7, 1)
    found = await computed(sessions, kind="placement")
    assert found.totals["proposals"] == 1
    async with sessions.begin() as session:
        approved = await rounds.approve(session, somebody(), found.id, now())
    assert approved.state == "approved"
    told = await data_of_event(sessions, "matching.round_approved")
    assert told["kind"] == "placement"


async def data_of_event(sessions, kind):
    async with sessions() as session:
        return await session.scalar(
            text("SELECT data FROM outbox WHERE type = :kind"), {"kind": kind}
        )


async def test_a_placement_is_computed_again_as_a_placement_only(sessions, base):
    await fill(sessions, [a_need_row(8)], [])
    await cursors(sessions, 8, 1)
    found = await computed(sessions, kind="placement")
    again = await computed(
        sessions, kind="placement", snapshot_of=found.id, policy="example-utilitarian-1"
    )
    assert (await frozen(sessions, again)).start_prices == (
        await frozen(sessions, found)
    ).start_prices
    for body in (
        {"snapshot_of": found.id},
        {"kind": "dry_run", "snapshot_of": found.id},
        {"kind": "placement", "snapshot_of": base.id},
        {"kind": "placement", "start_from": found.id},
    ):
        with pytest.raises(domain.RoundUnknown):
            await start(sessions, **body)


async def test_a_cancelled_or_discarded_round_is_none_to_add_to(sessions, base):
    async with sessions.begin() as session:
        await rounds.discard(session, somebody(), base.id, "no", now())
    with pytest.raises(domain.RoundUnknown):
        await start(sessions, kind="placement")
    async with sessions() as session:
        assert (await session.get_one(Round, base.id)).state == "discarded"
