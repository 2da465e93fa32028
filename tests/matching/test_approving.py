"""What an approval makes of a round's proposals, and what is told of them afterwards."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from services.matching import domain
from services.matching.operations import freezing, keeping, rounds
from services.matching.planning import plan, unpack
from services.matching.queries import results
from services.matching.tables import Allocation, NeedView, Outcome, Proposal, Round, RoundSnapshot
from shared import db
from shared.db import now
from tests.matching.frozen import (
    a_line_row,
    a_need_row,
    computed,
    fill,
    scalar,
    sessions_of,
    somebody,
    start,
    the_round,
)


@pytest.fixture
async def sessions(database):
    async with sessions_of(database("matching")) as made:
        yield made


async def approve(sessions, round_id):
    async with sessions.begin() as session:
        await rounds.approve(session, somebody(), round_id, now())


async def told(sessions, need):
    async with sessions() as session:
        return await results.need_outcome(session, need["need_id"])


async def test_a_need_left_out_at_the_approval_is_told_so_and_not_that_it_is_met(sessions):
    one, other = (
        a_need_row(1, applicant="same", state="suspended"),
        a_need_row(2, applicant="same"),
    )
    await fill(sessions, [one, other], [a_line_row(1, available=500)])
    second = await computed(sessions)
    async with sessions.begin() as session:
        await session.execute(
            update(NeedView).where(NeedView.need_id == one["need_id"]).values(state="published")
        )
        await session.execute(
            update(NeedView).where(NeedView.need_id == other["need_id"]).values(state="suspended")
        )
    first = await computed(sessions)
    async with sessions.begin() as session:
        await session.execute(update(NeedView).values(state="published"))
    assert [r.totals["proposals"] for r in (first, second)] == [1, 1]
    await approve(sessions, first.id)
    await approve(sessions, second.id)
    assert await scalar(sessions, select(func.count()).select_from(Allocation)) == 1
    assert (await told(sessions, one)).text_en == "Met in full: 100 yuan."
    left_out = await told(sessions, other)
    assert left_out.given == 0
    assert left_out.outcome is not None
    assert (left_out.outcome.code, left_out.outcome.lacking) == ("one_aid_in_period", 100)
    assert "期限内已得过同类帮扶" in left_out.text_zh
    assert "same kind of aid" in left_out.text_en


async def test_a_need_partly_met_and_left_out_at_the_approval_gets_nothing(sessions):
    one, other = a_need_row(1, applicant="same"), a_need_row(2, applicant="same", required=300)
    await fill(sessions, [other], [a_line_row(1, available=200)])
    second = await computed(sessions)
    await fill(sessions, [one], [a_line_row(2)])
    async with sessions.begin() as session:
        await session.execute(
            update(NeedView).where(NeedView.need_id == other["need_id"]).values(state="suspended")
        )
    first = await computed(sessions)
    async with sessions.begin() as session:
        await session.execute(update(NeedView).values(state="published"))
    await approve(sessions, first.id)
    await approve(sessions, second.id)
    found = await told(sessions, other)
    assert found.outcome is not None
    assert (found.given, found.outcome.given, found.outcome.lacking) == (0, 0, 300)
    assert found.outcome.code == "one_aid_in_period"


async def test_what_fell_through_after_the_approval_is_not_told_as_met(sessions):
    need = a_need_row(1)
    await fill(sessions, [need], [a_line_row(1, available=60), a_line_row(2, available=40)])
    found = await computed(sessions)
    await approve(sessions, found.id)
    assert (await told(sessions, need)).given == 100
    async with sessions.begin() as session:
        await session.execute(
            update(Allocation).where(Allocation.quantity == 40).values(state="declined")
        )
    now_told = await told(sessions, need)
    assert (now_told.given, now_told.outcome) == (60, None)
    assert now_told.text_zh == "本轮分给 100 元，其中 40 元后来没有落实。"
    assert now_told.text_en == "Given 100 yuan, of which 40 yuan fell through afterwards."


async def test_what_is_told_of_a_need_is_found_by_an_index(sessions):
    """Outcomes, proposals and allocations are kept for ever, and anybody may ask."""
    async with sessions.begin() as session:
        await session.execute(text("SET LOCAL enable_seqscan = off"))
        query = results.last_considered(a_need_row(1)["need_id"])
        compiled = query.compile(
            dialect=session.get_bind().dialect, compile_kwargs={"literal_binds": True}
        )
        plan = (await session.scalars(text(f"EXPLAIN {compiled}"))).all()
    assert not [row for row in plan if "Seq Scan" in row], plan
    assert not [row for row in plan if "Index" in row and "_pair" in row], plan


async def test_a_snapshot_is_taken_before_an_approval_or_after_it(sessions):
    """Not in its middle, where needs would be counted as promised and lines not, or neither."""
    await fill(sessions, [a_need_row(1)], [a_line_row(1, available=500)])
    found = await computed(sessions)
    async with sessions.begin() as approving:
        await rounds.approve(approving, somebody(), found.id, now())
        freezing = asyncio.create_task(start(sessions))
        done, _ = await asyncio.wait({freezing}, timeout=0.5)
        assert not done
    again = await freezing
    async with sessions() as session:
        assert await session.get(RoundSnapshot, again)
    assert (await scalar(sessions, select(func.count()).select_from(Outcome))) == 0
    assert (await scalar(sessions, text("SELECT min(needs) FROM matching_round"))) == 0


async def test_a_round_is_approved_while_another_begins_with_its_prices(sessions):
    """Both want the first one's row and the lock of approvals: in the same order."""
    await fill(sessions, [a_need_row(1)], [a_line_row(1)])
    found = await computed(sessions)
    async with sessions.begin() as holder:
        await db.lock(holder, freezing.APPROVAL_LOCK)
        starting = asyncio.create_task(start(sessions, start_from=found.id))
        approving = asyncio.create_task(approve(sessions, found.id))
        waiting = text(
            "SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        )
        async with asyncio.timeout(10):
            while not await scalar(sessions, waiting):  # noqa: ASYNC110 - only the database knows
                await asyncio.sleep(0.01)
    await asyncio.gather(starting, approving)


async def test_of_an_approval_and_a_discard_at_once_one_holds(sessions):
    await fill(sessions, [a_need_row(1)], [a_line_row(1)])
    found = await computed(sessions)

    async def discard():
        async with sessions.begin() as session:
            await rounds.discard(session, somebody(), found.id, "not this", now())

    ended = await asyncio.gather(
        approve(sessions, found.id), discard(), approve(sessions, found.id), return_exceptions=True
    )
    assert [type(one) for one in ended].count(domain.RoundNotThere) == 2
    approved = (await the_round(sessions, found.id)).state == "approved"
    count = await scalar(sessions, select(func.count()).select_from(Allocation))
    told = await scalar(
        sessions, text("SELECT count(*) FROM outbox WHERE type ~ 'round_(approved|discarded)'")
    )
    assert (count, told) == (int(approved), 1)


async def test_of_a_result_and_a_cancellation_at_once_one_holds(sessions):
    await fill(sessions, [a_need_row(1)], [a_line_row(1)])
    for _ in range(5):
        round_id = await start(sessions, kind="dry_run")

        async def cancel(round_id=round_id):
            async with sessions.begin() as session:
                await rounds.cancel(session, somebody(), round_id, "late", now())

        async def keep(round_id=round_id):
            async with sessions.begin() as session:
                frozen = await session.get_one(RoundSnapshot, round_id)
                sha256 = (await session.get_one(Round, round_id)).snapshot_sha256
                return await keeping.keep(
                    session, round_id, plan(unpack(frozen.packed, sha256)), now()
                )

        ended: tuple[Any, Any] = await asyncio.gather(keep(), cancel(), return_exceptions=True)
        kept, cancelled = ended
        found = await the_round(sessions, round_id)
        count = await scalar(
            sessions,
            select(func.count()).select_from(Proposal).where(Proposal.round_id == round_id),
        )
        if isinstance(cancelled, domain.RoundNotThere):
            assert (kept, found.state, count) == (True, "computed", 1)
        else:
            assert (kept, cancelled, found.state, count) == (False, None, "cancelled", 0)
