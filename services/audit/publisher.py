"""Checks the log against what was signed, signs what is new, and publishes it.

The publisher goes on from its own last state, never from the database's word: the frontier under
the last checkpoint is rebuilt from stored rows and must have the signed root; new leaves are added
to it, and the result must be what the database's head says. So a tampered database can stop the
log, and cannot make it sign a second history.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit import hashes, operations
from services.audit.contract import LogStarted
from services.audit.domain import EntriesMissing, LogRefused, contiguous
from services.audit.state import StateDirectory
from shared.db import Sessions, now, try_lock
from shared.events import emit
from shared.logs import begin_trace
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import Frontier, extend
from shared.tlog.notes import Signer

log = logging.getLogger(__name__)

LEAVES_CHUNK = 65_536  # 2 MiB in memory, whatever was appended since
IDLE_S = 1.0  # other replicas' entries are seen at the latest after this
REFUSED_RETRY_S = 2.0
CHECKED_WAIT_S_MAX = 20.0  # below the statements' and the transaction's own timeouts

_LEAVES = text("SELECT index, leaf FROM entry WHERE index >= :lo AND index < :hi ORDER BY index")
# One statement, so that both are of one moment: others go on appending.
_EDGE = text("SELECT size, (SELECT max(index) FROM entry) AS index_max FROM head")
_PUBLISH = text(
    "INSERT INTO checkpoint (size, root, note, at) VALUES (:size, :root, :note, :at)"
    " ON CONFLICT (size) DO NOTHING"
)
_PUBLISHED = text("SELECT root FROM checkpoint WHERE size = :size")
_ANY_PUBLISHED = text("SELECT EXISTS (SELECT FROM checkpoint)")
_SIZE_PUBLISHED = text("SELECT max(size) FROM checkpoint")


class Publisher:
    """One per process; of several replicas, the one holding the advisory lock signs.

    interval_s  shortest time between two checkpoints
    """

    def __init__(self, state: StateDirectory, interval_s: float) -> None:
        self._state = state
        self._interval_s = interval_s
        self._signer: Signer | None = None
        self._frontier: Frontier | None = None  # under the last checkpoint; None: check all
        self._published_size = -1
        self._refusal: str | None = "the log has not been checked yet"
        self._checked = asyncio.Event()
        self._appended = asyncio.Event()
        self._news = asyncio.Event()
        self._started = False

    # ------------------------------------------------------------ what others ask

    def not_ready(self) -> str | None:
        return None if self._refusal is None else f"log: {self._refusal}"

    async def may_write(self) -> int:
        """Wait for the first check; return the size signed. Raises LogRefused."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CHECKED_WAIT_S_MAX):
                await self._checked.wait()
        if self._refusal is not None:
            raise LogRefused(self._refusal)
        return 0 if self._frontier is None else self._frontier.size

    def appended(self) -> None:
        """Say that entries have been committed."""
        self._appended.set()

    async def news(self, timeout_s: float) -> None:
        """Wait until something was published here, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()

    def vkey(self) -> str:
        """The log's public key. Blocks; raises LogRefused before there is one."""
        return str(self._state.vkey()) + "\n"

    # ------------------------------------------------------------ the task

    async def run(self, app: FastAPI) -> None:
        while True:
            begin_trace()
            try:
                published = await self._tick(app.state.sessions)
            except (LogRefused, EntriesMissing) as error:
                self._refuse(error.detail)
                await asyncio.sleep(REFUSED_RETRY_S)
                continue
            except (OSError, DBAPIError) as error:
                # The database or the state directory cannot be reached: nothing may be appended
                # that could not be signed.
                self._refuse(f"not checked, {type(error).__name__}")
                await asyncio.sleep(REFUSED_RETRY_S)
                continue
            if published:
                self._news.set()
                self._news = asyncio.Event()
                await asyncio.sleep(self._interval_s)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_S):
                        await self._appended.wait()

    def _refuse(self, reason: str) -> None:
        if reason != self._refusal:
            log.error("log refused", extra={"reason": reason})
        self._refusal = reason
        self._checked.set()

    async def _tick(self, sessions: Sessions) -> bool:
        """One turn; True when a checkpoint was published. Raises LogRefused, EntriesMissing."""
        self._appended.clear()
        try:
            async with sessions.begin() as session:
                if not await try_lock(session, "checkpoint"):
                    return False
                published = await self._step(session)
        except BaseException:
            # What was not committed must not be believed: the next turn checks everything again.
            self._frontier, self._published_size = None, -1
            raise
        self._refusal, self._started = None, True
        self._checked.set()
        return published

    async def _step(self, session: AsyncSession) -> bool:
        head = await operations.head(session)
        if self._signer is None:
            signed_before = bool(await session.scalar(_ANY_PUBLISHED))
            self._signer = await asyncio.to_thread(self._state.signer, may_create=not signed_before)
        copy = await asyncio.to_thread(self._state.signed, self._signer.key)
        last = None if copy is None else copy[0]
        if self._frontier is None or last is None or self._frontier.size != last.size:
            self._frontier = await self._check(session, head, last)
        published = False
        if copy is not None and self._published_size != copy[0].size:
            published = await self._publish(session, *copy)
        if last is None or head.size > last.size:
            published = await self._sign(session, self._signer, self._frontier, head)
        elif head.size < last.size:
            raise LogRefused(
                f"The log has {head.size} entries where {last.size} have been signed: its tail is "
                "missing. Restore the newest backup; never let a shorter log grow again."
            )
        elif head != self._frontier:
            raise LogRefused("The stored head is not that of the signed entries.")
        if not self._started:
            await self._say_started(session, self._signer, head.size)
        return published

    async def _check(
        self, session: AsyncSession, head: Frontier, last: Checkpoint | None
    ) -> Frontier:
        """The frontier under the last checkpoint, found right. Raises LogRefused."""
        if last is None:
            if await session.scalar(_ANY_PUBLISHED):
                raise LogRefused(
                    "The log has been signed, but AUDIT_STATE_DIR holds no checkpoint: restore "
                    "that directory."
                )
            last_frontier = Frontier()
        elif head.size < last.size:
            raise LogRefused(
                f"The log has {head.size} entries where {last.size} have been signed: its tail is "
                "missing. Restore the newest backup; never let a shorter log grow again."
            )
        else:
            # What is signed is on disk before it is published, so the copy is never behind.
            published = await session.scalar(_SIZE_PUBLISHED)
            if published is not None and published > last.size:
                raise LogRefused(
                    f"A checkpoint of size {published} is published; AUDIT_STATE_DIR, from a backup"
                    f", ends at {last.size}. Restore its newest state."
                )
            last_frontier = await hashes.frontier_at(session, last.size)
            if last_frontier.root != last.root:
                raise LogRefused(
                    f"The first {last.size} entries are not those that were signed: verify."
                )
        # The right edge: the head must be what the stored rows add up to, with none beyond.
        size, index_max = (await session.execute(_EDGE)).one()
        if (-1 if index_max is None else index_max) != size - 1:
            raise LogRefused(f"The head says {size} entries; the last index is {index_max}.")
        if await hashes.frontier_at(session, head.size) != head:
            raise LogRefused("The stored head is not that of the stored entries.")
        await self._complete_leaves(session, last_frontier.size)
        return last_frontier

    async def _complete_leaves(self, session: AsyncSession, size: int) -> None:
        held = await asyncio.to_thread(self._state.leaves_held)
        if held < size:
            log.warning("leaf hashes are written again", extra={"first": held, "size": size})
            async for first, leaves in self._leaves(session, held, size):
                await asyncio.to_thread(self._state.keep_leaves, first, leaves)

    async def _leaves(
        self, session: AsyncSession, lo: int, hi: int
    ) -> AsyncIterator[tuple[int, list[bytes]]]:
        for first in range(lo, hi, LEAVES_CHUNK):
            until = min(first + LEAVES_CHUNK, hi)
            rows = (await session.execute(_LEAVES, {"lo": first, "hi": until})).all()
            gap = contiguous((row[0] for row in rows), first)
            if gap is not None or len(rows) != until - first:
                raise EntriesMissing(first + len(rows) if gap is None else gap)
            yield first, [row.leaf for row in rows]

    async def _sign(
        self, session: AsyncSession, signer: Signer, frontier: Frontier, head: Frontier
    ) -> bool:
        async for first, leaves in self._leaves(session, frontier.size, head.size):
            frontier, _ = extend(frontier, leaves)
            await asyncio.to_thread(self._state.keep_leaves, first, leaves)
        if frontier != head:
            raise LogRefused("The stored head is not that of the stored entries.")
        checkpoint = Checkpoint(signer.name, frontier.size, frontier.root)
        # SPEC: tlog-checkpoint: "A log MUST not sign any checkpoint inconsistent with any it
        # previously signed": `frontier` was extended from the last one, by appending only.
        note = signer.sign(str(checkpoint))
        await asyncio.to_thread(self._state.keep_checkpoint, note)
        self._frontier = frontier
        return await self._publish(session, checkpoint, note)

    async def _publish(self, session: AsyncSession, checkpoint: Checkpoint, note: str) -> bool:
        values = {"size": checkpoint.size, "root": checkpoint.root, "note": note, "at": now()}
        await session.execute(_PUBLISH, values)
        if await session.scalar(_PUBLISHED, {"size": checkpoint.size}) != checkpoint.root:
            raise LogRefused(f"Another checkpoint of size {checkpoint.size} is published.")
        self._published_size = checkpoint.size
        return True

    async def _say_started(self, session: AsyncSession, signer: Signer, size: int) -> None:
        key_id = signer.key.key_id.hex()
        await emit(
            session,
            LogStarted(origin=signer.name, key_id=key_id, size=size),
            subject=f"log/{signer.name}",
            actor="audit",
            role="service",
        )
