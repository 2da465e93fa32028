"""Rounds on a real database: kinds, comparison, cancellation, kills, and what may not be."""

import asyncio
import hashlib
import json
import os
import signal
import sys
import zlib
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError

from services.matching import domain, worker
from services.matching.operations import keeping, rounds
from services.matching.planning import unpack
from services.matching.queries import comparison, results
from services.matching.queries import rounds as queries
from services.matching.tables import (
    NeedView,
    Outcome,
    Proposal,
    Round,
    RoundPart,
    RoundPrice,
    RoundSnapshot,
)
from shared.db import now
from tests.matching.frozen import (
    CITY,
    a_line_row,
    a_need_row,
    computed,
    fill,
    many,
    scalar,
    sessions_of,
    somebody,
    start,
    the_round,
)

UTILITARIAN = "example-utilitarian-1"
# Looked after often, so that a test catches a computation in its middle.
OFTEN_S = 0.01
UNTIL_S = 60


@pytest.fixture
async def sessions(database):
    async with sessions_of(database("matching")) as made:
        yield made


async def until(sessions, statement):
    async with asyncio.timeout(UNTIL_S):
        # Only the database knows: what is waited for may be another process's doing.
        while not await scalar(sessions, statement):  # noqa: ASYNC110
            await asyncio.sleep(OFTEN_S)


def parts_of(round_id):
    return select(func.count()).select_from(RoundPart).where(RoundPart.round_id == round_id)


# ------------------------------------------------------------- same, again


async def test_a_round_on_the_same_frozen_data_comes_out_the_same_and_prices_are_kept(sessions):
    await fill(sessions, *many(120, 40))
    first = await computed(sessions)
    again = await computed(sessions, kind="dry_run", snapshot_of=first.id)
    assert first.proposals_sha256 == again.proposals_sha256
    assert again.frozen_by == first.id == first.frozen_by
    assert again.taken_at == first.taken_at
    assert first.ranking == again.ranking == "reasoned-1"
    assert await scalar(
        sessions, select(func.count()).where(RoundPrice.round_id == first.id, RoundPrice.price > 0)
    )
    begun = await computed(sessions, start_from=first.id, snapshot_of=first.id)
    async with sessions() as session:
        stored = await session.get_one(RoundSnapshot, begun.id)
    prices = unpack(stored.packed, begun.snapshot_sha256).start_prices
    assert prices
    # All classes are small enough to be solved exactly: where the search begins decides nothing.
    assert begun.totals["welfare"] == first.totals["welfare"]
    assert begun.start_from == first.id


async def test_every_need_is_met_or_has_its_reason(sessions):
    needs, lines = many(150, 40)
    await fill(sessions, needs, lines)
    found = await computed(sessions)
    given: dict[UUID, int] = {}
    async with sessions() as session:
        for row in await session.scalars(select(Proposal)):
            assert (row.policy, row.ranking) == ("example-1", "reasoned-1")
            assert row.explanation["compared"] >= 1
            given[row.need_id] = given.get(row.need_id, 0) + row.quantity
        reasons = {row.need_id: row for row in await session.scalars(select(Outcome))}
        rows, _ = await results.list_outcomes(session, found.id, None, None, 200, None), None
        read = [results.outcome_read(row) for row in rows]
        overview = await results.overview_read(session, found)
    for need in needs:
        full = given.get(need["need_id"], 0) == need["required"]
        assert full != (need["need_id"] in reasons)
        if not full:
            assert reasons[need["need_id"]].given == given.get(need["need_id"], 0)
    assert all(one.text_zh and one.text_en for one in read)
    assert overview.samples
    assert sum(one.needs for one in overview.outcomes) == len(reasons)
    assert overview.text_zh.endswith("。")


# ------------------------------------------------------------- kinds, compared


async def test_two_policies_are_compared_on_the_same_data_and_one_of_the_rounds_is_approved(
    sessions,
):
    # Of one organization's money one township would take all by fit alone.
    needs = [
        a_need_row(n, division_code=f"43022410{1 + n % 2}000", poverty_permille=900 - 700 * (n % 2))
        for n in range(1, 41)
    ]
    await fill(sessions, needs, [a_line_row(1, available=2000)])
    fair = await computed(sessions, kind="dry_run")
    plain = await computed(sessions, kind="dry_run", policy=UTILITARIAN, snapshot_of=fair.id)
    async with sessions() as session:
        first, second = await comparison.compared(session, somebody(), fair.id, plain.id)
        read = await comparison.comparison(session, first, second)
        pair = comparison.Pair(first.id, second.id)
        gaining = await comparison.compared_needs(session, pair, "gains", 200, None)
        losing = await comparison.compared_needs(session, pair, "loses", 2, None)
    assert read.gains == len(gaining) > 0
    assert read.loses > 0
    assert {row.first_quantity < row.second_quantity for row in gaining} == {True}
    assert {row.first_quantity > row.second_quantity for row in losing} == {True}
    assert plain.totals["welfare"] >= fair.totals["welfare"]
    assert UTILITARIAN in read.text_en
    async with sessions.begin() as session:
        with pytest.raises(domain.DryRunNotApproved):
            await rounds.approve(session, somebody(), fair.id, now())
    real = await computed(sessions, snapshot_of=fair.id)
    other = await computed(sessions, snapshot_of=fair.id, policy=UTILITARIAN)
    async with sessions.begin() as session:
        await rounds.approve(session, somebody(), real.id, now())
    async with sessions() as session:
        with pytest.raises(domain.SnapshotUsed):
            await rounds.approve(session, somebody(), other.id, now())
        await session.rollback()
    apart = await computed(sessions)
    async with sessions() as session:
        with pytest.raises(domain.NotComparable):
            await comparison.compared(session, somebody(), fair.id, apart.id)


async def test_the_database_too_refuses_to_approve_a_dry_run(sessions):
    await fill(sessions, [a_need_row(1)], [a_line_row(1)])
    dry = await computed(sessions, kind="dry_run")
    with pytest.raises(IntegrityError, match="dry_run_not_approved"):
        async with sessions.begin() as session:
            await session.execute(
                update(Round).where(Round.id == dry.id).values(state="approved", decided_at=now())
            )


async def test_a_dry_run_holds_no_stock(sessions):
    await fill(sessions, [a_need_row(1)], [a_line_row(1)])
    dry = await computed(sessions, kind="dry_run")
    real = await computed(sessions)
    assert dry.totals["proposals"] == real.totals["proposals"] == 1
    assert await scalar(sessions, text("SELECT count(*) FROM allocation")) == 0


@pytest.mark.parametrize(
    "body",
    [
        {"snapshot_of": "00000000-0000-0000-0000-000000000009"},
        {"start_from": "00000000-0000-0000-0000-000000000009"},
        {"kind": "placement"},
    ],
)
async def test_a_round_that_builds_on_nothing_is_refused(sessions, body):
    with pytest.raises(domain.RoundUnknown):
        await start(sessions, **body)


async def test_a_need_learns_in_words_what_the_approved_round_means_for_it(sessions):
    needs = [a_need_row(1, urgency="urgent"), a_need_row(2), a_need_row(3, item_class="grain")]
    await fill(sessions, needs, [a_line_row(1, available=150)])
    found = await computed(sessions)
    async with sessions() as session:
        with pytest.raises(domain.NotConsidered):
            await results.need_outcome(session, needs[0]["need_id"])
    async with sessions.begin() as session:
        await rounds.approve(session, somebody(), found.id, now())
    async with sessions() as session:
        met, partly, none = [await results.need_outcome(session, need["need_id"]) for need in needs]
        with pytest.raises(domain.NeedNotFound):
            await results.need_outcome(session, a_need_row(99)["need_id"])
    assert (met.given, met.outcome) == (100, None)
    assert partly.outcome
    assert (partly.given, partly.outcome.code) == (50, "gone_to_more_urgent")
    assert none.outcome
    assert (none.given, none.outcome.code) == (0, "no_offer_of_class")
    said = partly.model_dump_json()
    assert not any(str(need["need_id"]) in said for need in (needs[0], needs[2]))
    assert "p1" not in said


async def test_data_frozen_by_a_version_of_before_are_not_built_on(sessions):
    await fill(sessions, [a_need_row(1)], [a_line_row(1)])
    found = await computed(sessions)
    body = b'{"policy":{"name":"example-1","weights":{}}}'
    async with sessions.begin() as session:
        await session.execute(update(RoundSnapshot).values(packed=zlib.compress(body)))
        await session.execute(
            update(Round).values(snapshot_sha256=hashlib.sha256(body).hexdigest())
        )
    with pytest.raises(domain.RoundUnknown, match="version of before"):
        await start(sessions, kind="dry_run", snapshot_of=found.id)


# ------------------------------------------------------- stopped, killed, resumed


async def test_a_cancelled_round_is_cancelled_first_and_then_stops(sessions):
    await fill(sessions, *many(1500, 300, classes=30))
    round_id = await start(sessions)
    work = asyncio.create_task(worker.compute_one(sessions, OFTEN_S))
    await until(sessions, parts_of(round_id))
    async with sessions.begin() as session:
        await rounds.cancel(session, somebody(), round_id, "wrong policy", now())
    async with asyncio.timeout(5):
        await work
    found = await the_round(sessions, round_id)
    assert (found.state, found.discard_reason, found.stage) == ("cancelled", "wrong policy", "done")
    assert await scalar(sessions, parts_of(round_id)) == 0
    assert await scalar(sessions, select(func.count()).select_from(Proposal)) == 0
    told = await scalar(
        sessions, text("SELECT data FROM outbox WHERE type = 'matching.round_cancelled'")
    )
    assert told["round_id"] == str(round_id)
    with pytest.raises(domain.RoundNotThere):
        async with sessions.begin() as session:
            await rounds.cancel(session, somebody(), round_id, "again", now())


async def test_a_round_broken_off_goes_on_with_what_is_left_and_comes_out_the_same(sessions):
    await fill(sessions, *many(1500, 300, classes=30))
    round_id = await start(sessions)
    work = asyncio.create_task(worker.compute_one(sessions, OFTEN_S))
    await until(sessions, parts_of(round_id))
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    left = await the_round(sessions, round_id)
    assert left.state == "computing"
    assert 0 < left.progress_permille < 1000
    kept = await scalar(sessions, parts_of(round_id))
    assert 0 < kept < 30
    assert await worker.compute_one(sessions) == 1
    done = await the_round(sessions, round_id)
    whole = await computed(sessions, kind="dry_run", snapshot_of=round_id)
    assert done.state == "computed"
    assert done.proposals_sha256 == whole.proposals_sha256
    assert done.totals | {"kind": ""} == whole.totals | {"kind": ""}
    assert await scalar(sessions, parts_of(round_id)) == 0
    assert await proposals_as_stored(sessions, done.id) == await proposals_as_stored(
        sessions, whole.id
    )


async def test_a_round_whose_process_is_killed_is_computed_by_the_next(sessions, database):
    await fill(sessions, *many(1500, 300, classes=30))
    round_id = await start(sessions)
    async with sessions() as session:
        url = (await session.connection()).engine.url.render_as_string(hide_password=False)
    # -9 in the middle: nothing is tidied up, the connection just ends.
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _COMPUTE, url)
    await until(sessions, parts_of(round_id))
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert (await the_round(sessions, round_id)).state == "computing"
    assert await worker.compute_one(sessions) == 1
    done = await the_round(sessions, round_id)
    whole = await computed(sessions, kind="dry_run", snapshot_of=round_id)
    assert done.proposals_sha256 == whole.proposals_sha256


_COMPUTE = """
import asyncio, sys
from services.matching.worker import compute_one
from tests.matching.frozen import sessions_of

async def main():
    async with sessions_of(sys.argv[1]) as sessions:
        await compute_one(sessions, 0.01)

asyncio.run(main())
"""


async def proposals_as_stored(sessions, round_id):
    columns = [c for c in Proposal.__table__.columns if c.name not in {"id", "round_id"}]
    async with sessions() as session:
        rows = await session.execute(
            select(*columns).where(Proposal.round_id == round_id).order_by(Proposal.id)
        )
        return [tuple(row) for row in rows]


async def test_parts_that_were_damaged_are_solved_again(sessions):
    await fill(sessions, *many(60, 20))
    whole = await computed(sessions, kind="dry_run")
    round_id = await start(sessions, snapshot_of=whole.id)
    async with sessions.begin() as session:
        lies = zlib.compress(b'{"item_class":"class_00","proposals":[]}')
        torn = b"not compressed"
        digest = hashlib.sha256(b"something else").hexdigest()
        parts = [("class_00", lies, digest), ("class_01", torn, digest)]
        assert await keeping.keep_up(session, round_id, domain.Stage.SOLVING, 300, parts)
    await worker.compute_one(sessions)
    assert (await the_round(sessions, round_id)).proposals_sha256 == whole.proposals_sha256


async def test_a_round_nobody_waits_for_is_not_kept(sessions):
    await fill(sessions, *many(20, 10))
    round_id = await start(sessions)
    async with sessions.begin() as session:
        await rounds.discard(session, somebody(), round_id, "not wanted", now())
    async with sessions.begin() as session:
        assert not await keeping.keep_up(session, round_id, domain.Stage.SOLVING, 300, [])
    assert await worker.compute_one(sessions) == 0


# ------------------------------------------------------------------ who, how


async def test_frozen_data_are_for_auditors_and_for_whose_division_it_is(sessions):
    await fill(sessions, [a_need_row(1)], [a_line_row(1)])
    found = await computed(sessions)
    async with sessions() as session:
        assert await queries.round_for(session, somebody("auditor", None), found.id)
        with pytest.raises(domain.DivisionNotYours):
            await queries.round_for(session, somebody(division="430300000000"), found.id)
        packed = await results.packed_of(session, found.id)
    body = zlib.decompress(packed)
    assert hashlib.sha256(body).hexdigest() == found.snapshot_sha256
    assert json.loads(body)["division_code"] == CITY


async def test_one_aid_in_the_period_is_told_to_the_need_by_each_policy_anew(sessions):
    first, second = (
        a_need_row(1, applicant="same", state="suspended"),
        a_need_row(2, applicant="same"),
    )
    await fill(sessions, [first, second], [a_line_row(1, available=500)])
    earlier = await computed(sessions)
    async with sessions.begin() as session:
        await rounds.approve(session, somebody(), earlier.id, now() - timedelta(days=30))
        await session.execute(update(NeedView).values(state="published"))
    found = await computed(sessions)
    assert [o["code"] for o in found.totals["outcomes"]] == ["one_aid_in_period"]
    assert found.totals["proposals"] == 0
    other = await computed(
        sessions, kind="dry_run", policy="emergency-hubei-2020", snapshot_of=found.id
    )
    assert other.totals["proposals"] == 1


async def test_rounds_are_listed_by_kind_and_division(sessions):
    await fill(sessions, [a_need_row(1)], [a_line_row(1)])
    made = await computed(sessions)
    dry = await computed(sessions, kind="dry_run")
    async with sessions() as session:
        wanted = queries.RoundFilter(kind="dry_run", division_code=CITY)
        assert [r.id for r in await queries.list_rounds(session, wanted, 10, None)] == [dry.id]
        both = await queries.list_rounds(session, queries.RoundFilter(), 10, None)
    assert [r.id for r in both] == [dry.id, made.id]
    assert queries.round_read(made).progress.text_zh == "已结束"
