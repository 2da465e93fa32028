"""Background work of matching: computing rounds off the event loop, and driving allocations.

Both go on from what is stored. Two processes doing the same harm nothing (a round is kept once, a
movement is idempotent); the driver's lock only spares the work.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

from fastapi import FastAPI
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from services.matching import driver, planning
from services.matching.domain import RoundState
from services.matching.operations import rounds
from services.matching.planning import Plan, Snapshot
from services.matching.tables import Round, RoundSnapshot
from services.matching.text import encoder
from shared.client import Client
from shared.db import Sessions, now
from shared.logs import begin_trace

log = logging.getLogger(__name__)

POLL_S = 0.2
RETRY_S = 1.0
PROGRESS_S = 0.5
_DRIVER_LOCK = "matching driver"


# -------------------------------------------------------------------- rounds


async def compute_rounds(app: FastAPI) -> None:
    """Compute what is to be computed, for ever."""
    # The first encoding imports scikit-learn, which takes seconds: before the first who waits.
    await asyncio.to_thread(encoder.encode, ["."])
    await _repeat(lambda: compute_one(app.state.sessions))


async def compute_one(sessions: Sessions) -> int:
    """Compute the oldest open round; return 1 if there was one."""
    async with sessions.begin() as session:
        found = await session.scalar(
            select(Round)
            .where(Round.state == RoundState.COMPUTING)
            .order_by(Round.id)
            .limit(1)
            .with_for_update()
        )
        if found is None:
            return 0
        if found.attempts >= rounds.ATTEMPTS_MAX:
            await rounds.give_up(session, found.id, now())
            return 1
        # Counted before it is tried: a round that ends the process is not tried for ever.
        found.attempts += 1
        packed = await session.scalar(
            select(RoundSnapshot.packed).where(RoundSnapshot.round_id == found.id)
        )
        round_id, sha256 = found.id, found.snapshot_sha256
    plan = await _compute(sessions, round_id, packed or b"", sha256)
    async with sessions.begin() as session:
        await rounds.keep(session, round_id, plan, now())
    return 1


async def _compute(sessions: Sessions, round_id: UUID, packed: bytes, sha256: str) -> Plan:
    reached = [0]

    def compute() -> Plan:
        snapshot: Snapshot = planning.unpack(packed, sha256)
        return planning.plan(snapshot, lambda permille: reached.__setitem__(0, permille))

    work = asyncio.create_task(asyncio.to_thread(compute))
    told = 0
    while not (await asyncio.wait({work}, timeout=PROGRESS_S))[0]:
        if reached[0] > told:
            told = reached[0]
            async with sessions.begin() as session:
                await session.execute(
                    update(Round)
                    .where(Round.id == round_id, Round.state == RoundState.COMPUTING)
                    .values(progress_permille=told)
                )
    return work.result()


# --------------------------------------------------------------- allocations


class Drive:
    """The driver's loop in one process; the one that holds the lock drives."""

    def __init__(self, donors: Client, needs: Client) -> None:
        self._donors, self._needs = donors, needs

    async def run(self, app: FastAPI) -> None:
        # On a connection of its own, in no transaction: the lock lives as long as the connection.
        reading = app.state.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with reading.connect() as connection:
            try:
                # Only the database knows when the driver before us is gone.
                while not await connection.scalar(  # noqa: ASYNC110 - see above
                    text("SELECT pg_try_advisory_lock(hashtextextended(:k, 0))"),
                    {"k": _DRIVER_LOCK},
                ):
                    await asyncio.sleep(RETRY_S)

                async def one_pass() -> int:
                    # Fails when the connection, and with it the lock, is gone.
                    await connection.execute(text("SELECT 1"))
                    return await driver.carry(app.state.sessions, self._donors, self._needs)

                await _repeat(one_pass)
            finally:
                # Returned to the pool it would keep the lock; closed it cannot.
                with suppress(DBAPIError, OSError):
                    await connection.invalidate()


async def _repeat(one_pass: Callable[[], Awaitable[int]]) -> None:
    """Again at once while there is something to do. What fails ends the task; it is begun again."""
    while True:
        begin_trace()
        if not await one_pass():
            await asyncio.sleep(POLL_S)
