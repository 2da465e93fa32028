"""One running platform for the tests of this folder that break nothing."""

from collections.abc import AsyncIterator
from random import Random

import pytest

from tests.system import ledger, world
from tests.system.harness import System
from tests.system.life import Life

SEED = 20_201_125


@pytest.fixture(scope="session")
async def system() -> AsyncIterator[System]:
    """All services ready; ended by pid, whatever happened."""
    made = System(durable=False)
    try:
        await made.begin()
        yield made
    finally:
        await made.end()


@pytest.fixture(scope="session")
async def lived(system: System) -> Life:
    """A round that went through all its stages: something to look at, something in the log."""
    chance = Random(SEED)
    people = await world.seed(system, "430224105000", needs=30, offers=10, chance=chance)
    life = Life(people, chance)
    await life.all()
    await ledger.settled(system)
    return life
