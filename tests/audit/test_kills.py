"""Killed at any moment of appending, the log loses nothing it showed, and shows no second history.

KILL_COUNT=200 kills so often (`make ordeal`), KILL_SEED at other moments.
"""

import asyncio
import os
from collections import Counter
from random import Random

import pytest

from shared.tlog.merkle import Frontier, extend
from tests.audit.ill_treated import WAIT_S, IllTreated
from tests.audit.producers import event_of

COUNT = int(os.environ.get("KILL_COUNT", "3"))
SEED = int(os.environ.get("KILL_SEED", "20261128"))
TARGETS = ("the service", "PostgreSQL", "both", "a backend")
DELAY_S_MAX = 0.6
EVENTS_A_TURN = 60


@pytest.fixture
async def treated():
    made = IllTreated()
    try:
        await made.begin()
        yield made
    finally:
        await made.end()


async def told_on_and_on(treated):
    """All three producers tell something every few milliseconds."""
    while True:
        for producer in treated.producers.told:
            treated.producers.told[producer] += 1
        await asyncio.sleep(0.004)


async def watched(treated, over):
    """Somebody outside keeps every checkpoint that is shown."""
    while not over.is_set():
        await treated.checkpoint()
        await asyncio.sleep(0.01)


async def strike(treated, target):
    if target == "a backend":
        await treated.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type ="
            " 'client backend' AND pid <> pg_backend_pid() AND state = 'active' LIMIT 1"
        )
        return
    if target != "PostgreSQL":
        treated.kill()
    if target != "the service":
        treated.kill_postgres()
        treated.server.start()
    if target != "PostgreSQL":
        treated.start()


async def theirs(treated):
    """How many entries the producers have; the log's own come on top."""
    [row] = await treated.rows("SELECT count(*) FROM entry WHERE producer <> 'audit'")
    return row["count"]


async def size_of(treated):
    [row] = await treated.rows("SELECT size FROM head")
    return row["size"]


async def test_nothing_shown_is_lost_and_nothing_is_there_twice(treated):
    chance = Random(SEED)
    await treated.grown_to(0)
    telling = asyncio.create_task(told_on_and_on(treated))
    over = asyncio.Event()
    watching = asyncio.create_task(watched(treated, over))
    struck: Counter[str] = Counter()
    for turn in range(COUNT):
        size = max(treated.seen, default=0)
        await treated.grown_to(size + EVENTS_A_TURN)
        await asyncio.sleep(chance.random() * DELAY_S_MAX)
        target = TARGETS[turn % len(TARGETS)]
        await strike(treated, target)
        struck[target] += 1
    telling.cancel()
    await asyncio.wait({telling})
    told = dict(treated.producers.told)
    for _ in range(int(WAIT_S / 0.1)):
        if await theirs(treated) == sum(told.values()):
            break
        await asyncio.sleep(0.1)
    await treated.grown_to(await size_of(treated))
    over.set()
    await watching

    rows = await treated.rows("SELECT index, key, producer, seq, leaf FROM entry ORDER BY index")
    assert [row["index"] for row in rows] == list(range(len(rows)))
    for producer, count in told.items():
        mine = [(row["seq"], row["key"]) for row in rows if row["producer"] == producer]
        assert mine == [(seq, event_of(producer, seq).id) for seq in range(1, count + 1)]
    frontier = Frontier()
    roots = {0: frontier.root}
    for row in rows:
        frontier, _ = extend(frontier, [row["leaf"]])
        if frontier.size in treated.seen:
            roots[frontier.size] = frontier.root
    assert {size: roots.get(size) for size in treated.seen} == treated.seen
    done = await treated.verified()
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"{struck.total()} kills {dict(struck)}, {len(rows)} entries, {len(treated.seen)} seen")
