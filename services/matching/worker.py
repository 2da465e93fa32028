"""Background work of matching: computing rounds off the event loop, and driving allocations.

Both go on from what is stored, and are done by one process at a time (`alone`).
"""

import asyncio
import logging
import threading
from queue import SimpleQueue
from uuid import UUID

from fastapi import FastAPI
from sqlalchemy import select

from services.matching import driver, planning
from services.matching.alone import repeat_alone
from services.matching.domain import RoundState, Stage
from services.matching.operations import keeping, rounds
from services.matching.planning import Plan
from services.matching.planning.parts import pack_part, unpack_parts
from services.matching.tables import Round, RoundPart, RoundSnapshot
from services.matching.text import encoder
from shared.client import Client
from shared.db import Sessions, now

log = logging.getLogger(__name__)

POLL_S = 0.2
# How often a computation is looked after: stored so far, asked whether it is still wanted.
LOOK_EVERY_S = 0.5
STORING_PERMILLE = 980
_ROUNDS_LOCK = "matching rounds"
_DRIVER_LOCK = "matching driver"


# -------------------------------------------------------------------- rounds


async def compute_rounds(app: FastAPI) -> None:
    """Compute what is to be computed, for ever."""
    # The first encoding reads the lists of words: before the first who waits.
    await asyncio.to_thread(encoder.encode, ["."])
    await repeat_alone(app, _ROUNDS_LOCK, lambda: compute_one(app.state.sessions), POLL_S)


async def compute_one(sessions: Sessions, look_every_s: float = LOOK_EVERY_S) -> int:
    """Compute the oldest open round, or the rest of it; return 1 if there was one."""
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
        frozen = await session.get_one(RoundSnapshot, found.id)
        parts = await session.scalars(select(RoundPart).where(RoundPart.round_id == found.id))
        work = _Computation(
            found.id,
            frozen.packed,
            found.snapshot_sha256,
            [(part.packed, part.sha256) for part in parts],
        )
    plan = await work.run(sessions, look_every_s)
    if plan is not None:
        async with sessions.begin() as session:
            await keeping.keep(session, work.round_id, plan, now())
    return 1


class _Computation:
    """One round in a thread of its own, told how far it is and asked to stop from the loop.

    parts   what was solved of it before, as stored
    """

    def __init__(
        self, round_id: UUID, packed: bytes, sha256: str, parts: list[tuple[bytes, str]]
    ) -> None:
        self.round_id = round_id
        self._packed, self._sha256, self._parts = packed, sha256, parts
        self._stop = threading.Event()
        self._reached = (Stage.READING, 0)
        self._solved: SimpleQueue[keeping.PackedPart] = SimpleQueue()

    async def run(self, sessions: Sessions, look_every_s: float) -> Plan | None:
        """The plan; None when nobody waits for it any more."""
        work = asyncio.create_task(asyncio.to_thread(self._compute))
        # What it ends with is nobody's business once we have left it.
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            while not (await asyncio.wait({work}, timeout=look_every_s))[0]:
                if not await self._keep_up(sessions):
                    return None
            plan = work.result()
            self._reached = (Stage.STORING, STORING_PERMILLE)
            return plan if await self._keep_up(sessions) else None
        finally:
            # Also when this service ends: the thread would hold it up.
            self._stop.set()

    async def _keep_up(self, sessions: Sessions) -> bool:
        async with sessions.begin() as session:
            return await keeping.keep_up(
                session, self.round_id, *self._reached, self._take_solved()
            )

    def _take_solved(self) -> list[keeping.PackedPart]:
        return [self._solved.get_nowait() for _ in range(self._solved.qsize())]

    def _compute(self) -> Plan:
        snapshot = planning.unpack(self._packed, self._sha256)
        return planning.plan(
            snapshot,
            progress=self._tell,
            stop=self._stop.is_set,
            kept_parts=unpack_parts(self._parts, snapshot),
            on_part=lambda part: self._solved.put((part.item_class, *pack_part(part))),
        )

    def _tell(self, permille: int, stage: str = Stage.SOLVING) -> None:
        self._reached = (Stage(stage), permille)


# --------------------------------------------------------------- allocations


class Drive:
    """The driver's loop."""

    def __init__(self, donors: Client, needs: Client) -> None:
        self._donors, self._needs = donors, needs

    async def run(self, app: FastAPI) -> None:
        await repeat_alone(
            app,
            _DRIVER_LOCK,
            lambda: driver.carry(app.state.sessions, self._donors, self._needs),
            POLL_S,
        )
