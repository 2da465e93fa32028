"""Several processes of the service at once, or one after the other: nothing is given up for it."""

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest
from sqlalchemy import insert, text, update

from services.matching import domain, trainer, worker
from services.matching.operations import keeping, rounds
from services.matching.tables import Ranking, Round
from shared.db import now
from tests.matching.decided import decide, plain
from tests.matching.frozen import (
    fill,
    many,
    scalar,
    sessions_of,
    start,
    the_round,
)

REPLICAS = 5


@pytest.fixture
async def apps(database):
    """As many processes as there are, as far as the tasks look."""
    url = database("matching")
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(REPLICAS):
            sessions = await stack.enter_async_context(sessions_of(url))
            state = SimpleNamespace(sessions=sessions, engine=sessions.kw["bind"])
            made.append(SimpleNamespace(state=state))
        yield made


@pytest.fixture
def sessions(apps):
    return apps[0].state.sessions


async def run_in_all(apps, task, until):
    running = [asyncio.create_task(task(app)) for app in apps]
    try:
        async with asyncio.timeout(60):
            while not await until():  # noqa: ASYNC110 - only the database knows
                await asyncio.sleep(0.05)
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_one_of_many_processes_computes_a_round(apps, sessions):
    await fill(sessions, *many(300, 100))
    round_id = await start(sessions)

    async def done():
        return (await the_round(sessions, round_id)).state != "computing"

    await run_in_all(apps, worker.compute_rounds, done)
    found = await the_round(sessions, round_id)
    assert (found.state, found.attempts) == ("computed", 1)


async def test_one_of_many_processes_trains_a_ranking(apps, sessions):
    await decide(apps[0], 3_000)
    async with sessions.begin() as session:
        await session.execute(
            insert(Ranking),
            [
                plain(
                    Ranking,
                    name="learned-1",
                    state="training",
                    previous="reasoned-1",
                    attempts=0,
                    proposed_at=now(),
                )
            ],
        )

    async def done():
        async with sessions() as session:
            return (await session.get_one(Ranking, "learned-1")).state != "training"

    await run_in_all(apps, trainer.train_rankings, done)
    async with sessions() as session:
        row = await session.get_one(Ranking, "learned-1")
        assert (row.state, row.problem, row.attempts) == ("proposed", None, 1)


async def test_another_process_goes_on_when_the_one_that_computes_ends(apps, sessions):
    first, second = (asyncio.create_task(worker.compute_rounds(app)) for app in apps[:2])
    held = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    try:
        async with asyncio.timeout(30):
            while not await scalar(sessions, held):  # noqa: ASYNC110 - only the database knows
                await asyncio.sleep(0.02)
            await fill(sessions, *many(20, 10))
            first.cancel()
            round_id = await start(sessions)
            while (await the_round(sessions, round_id)).state == "computing":  # noqa: ASYNC110 - so
                await asyncio.sleep(0.05)
    finally:
        for one in (first, second):
            one.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


# ------------------------------------------------------------------- attempts


async def test_what_gets_further_each_time_is_not_given_up(sessions):
    """Ten deployments in one long computation: each attempt solved something."""
    await fill(sessions, *many(20, 10))
    round_id = await start(sessions)
    async with sessions.begin() as session:
        await session.execute(update(Round).values(attempts=rounds.ATTEMPTS_MAX - 1))
    part = ("class_00", b"as it was solved", "0" * 64)
    for parts, attempts in (([], rounds.ATTEMPTS_MAX - 1), ([part], 1)):
        async with sessions.begin() as session:
            assert await keeping.keep_up(session, round_id, domain.Stage.SOLVING, 300, parts)
        assert (await the_round(sessions, round_id)).attempts == attempts


async def test_a_round_that_gets_no_further_is_given_up(sessions):
    round_id = await start(sessions)
    async with sessions.begin() as session:
        await session.execute(update(Round).values(attempts=rounds.ATTEMPTS_MAX))
    assert await worker.compute_one(sessions) == 1
    found = await the_round(sessions, round_id)
    assert (found.state, found.discard_reason) == ("discarded", "computation_failed")


async def test_what_is_solved_is_stored_before_the_whole_is(sessions):
    """A process that ends while it stores the result leaves nothing to be solved again."""
    await fill(sessions, *many(40, 20))
    round_id = await start(sessions)
    async with sessions.begin() as holder:
        # Names of organizations are the first thing the result waits for.
        await holder.execute(text("LOCK TABLE line_view IN ACCESS EXCLUSIVE MODE"))
        work = asyncio.create_task(worker.compute_one(sessions))
        async with asyncio.timeout(30):
            while (found := await the_round(sessions, round_id)).stage != "storing":  # noqa: ASYNC110 - so
                await asyncio.sleep(0.02)
        assert (found.state, found.progress_permille) == ("computing", worker.STORING_PERMILLE)
        parts = await scalar(sessions, text("SELECT count(*) FROM round_part"))
        classes = await scalar(sessions, text("SELECT count(DISTINCT item_class) FROM need_view"))
        assert parts == classes > 1
    await work
    found = await the_round(sessions, round_id)
    assert (found.state, found.stage, found.progress_permille) == ("computed", "done", 1000)
    assert await scalar(sessions, text("SELECT count(*) FROM round_part")) == 0
