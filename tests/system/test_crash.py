"""Killing any service, or PostgreSQL, at any moment of a round leaves nothing half done.

One round, three in `make ordeal`; in every stage of each, one process is killed at a moment chosen
by what was seen to have happened by then, plus a seeded delay, and started again at once. Those who
play the round know nothing of it: they repeat what was not answered.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random

import pytest

from tests.system import ledger, world
from tests.system.harness import LOST, SERVICES, System, until
from tests.system.life import STAGES, Life

# Another seed is another schedule: CRASH_SEED=7 make test ARGS=tests/system/test_crash.py
SEED = int(os.environ.get("CRASH_SEED", "20201124"))
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "1"))
TOWNSHIPS = ("430224101000", "430224103000", "430224112000")[:ROUNDS]
TARGETS = (*SERVICES, "postgres", "backend")
NEEDS, OFFERS = 24, 9
DELAY_S_MAX = 0.1


@dataclass(frozen=True)
class Blow:
    """Kill `target` when `share` of a stage's usual events was seen, and `delay_s` later."""

    target: str
    share: float
    delay_s: float


def schedule(seed: int) -> list[dict[str, Blow]]:
    """One blow for each stage of each round; targets as equally often as can be, no stage twice the
    same. With six targets, eight stages and three rounds: four blows each.
    """
    chance = Random(seed)
    rounds = len(TOWNSHIPS)
    targets = list(islice(cycle(TARGETS), len(STAGES) * rounds))
    while True:
        chance.shuffle(targets)
        by_stage = [targets[n * rounds : (n + 1) * rounds] for n in range(len(STAGES))]
        if all(len(set(names)) == rounds for names in by_stage):
            break
    return [
        {
            stage: Blow(names[n], chance.random(), chance.random() * DELAY_S_MAX)
            for stage, names in zip(STAGES, by_stage, strict=True)
        }
        for n in range(rounds)
    ]


@pytest.fixture(scope="module")
async def system() -> AsyncIterator[System]:
    """A platform of its own, on a PostgreSQL that keeps what it acknowledged."""
    made = System(durable=True)
    try:
        await made.begin()
        yield made
    finally:
        await made.end()


async def strike(system: System, target: str) -> None:
    """Kill it and start it again at once; it is not waited for."""
    if target == "backend":
        await system.kill_backend()
    elif target == "postgres":
        system.kill_postgres()
        system.start_postgres()
    else:
        system.kill(target)
        system.start(target)


async def happened(system: System) -> int:
    """How much is committed: events of the three producers, and entries of the log."""
    sql = "SELECT (SELECT count(*) FROM event) + (SELECT count(*) FROM outbox)"
    counts = [await system.fetchval(service, sql) for service in SERVICES if service != "audit"]
    entries: int = await system.fetchval("audit", "SELECT size FROM head")
    return int(sum(counts)) + entries


@asynccontextmanager
async def under_attack(system: System, blow: Blow, usual: int) -> AsyncIterator[None]:
    """The blow falls while the block runs, or at its end if it was over too soon."""
    before = await _counted(system)
    over = asyncio.Event()

    async def lie_in_wait() -> None:
        while not over.is_set():
            with suppress(*LOST):
                if await happened(system) - before >= blow.share * usual:
                    break
            await asyncio.sleep(0.005)
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), blow.delay_s)
        in_the_midst.append(not over.is_set())
        await strike(system, blow.target)

    waiting = asyncio.create_task(lie_in_wait())
    try:
        yield
    finally:
        over.set()
        await waiting


async def _counted(system: System) -> int:
    """As `happened`, also while PostgreSQL is coming back from the last blow."""

    async def counted() -> list[int]:
        return [await happened(system)]

    found: list[int] = await until(counted, "events counted")
    return found[0]


in_the_midst: list[bool] = []


ATTACKED = [
    pytest.param(township, blows, id=f"township-{township[6:9]}")
    for township, blows in zip(TOWNSHIPS, schedule(SEED), strict=True)
]


@pytest.mark.parametrize(("township", "blows"), ATTACKED)
async def test_a_round_under_attack_ends_with_everything_complete_or_undone(
    system, township, blows
):
    chance = Random(f"{SEED} {township}")
    people = await world.seed(system, township, needs=NEEDS, offers=OFFERS, chance=chance)
    life = Life(people, chance)
    for stage in STAGES:
        # The computation is one event and one transaction; the other stages are many.
        usual = 1 if stage == "compute" else life.size
        async with under_attack(system, blows[stage], usual):
            await life.go_through(stage)
    await system.all_ready()
    await ledger.settled(system)
    assert await ledger.broken(system) == []
    assert await life.broken() == []


async def test_the_blows_fell_where_they_hurt(system):
    """Guards the test above: had it been slow to strike, it would have proved nothing."""
    struck = {target: system.kills.count(target) for target in TARGETS}
    assert sum(struck.values()) >= len(STAGES) * ROUNDS - 2
    assert all(struck.values()), struck
    assert sum(in_the_midst) >= len(in_the_midst) * 2 // 3, in_the_midst


async def test_all_at_once_between_approval_and_reservation(system):
    """Four services and PostgreSQL together, the moment a round's approval is answered."""
    township = "430224113000"
    chance = Random(SEED)
    people = await world.seed(system, township, needs=12, offers=5, chance=chance)
    life = Life(people, chance)
    await life.go_through("compute")
    await life.approve_round()
    for target in (*SERVICES, "postgres"):
        await strike(system, target)
    for stage in STAGES[1:]:
        await life.go_through(stage)
    await system.all_ready()
    await ledger.settled(system)
    assert await ledger.broken(system) == []
