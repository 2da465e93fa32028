"""The sequencer: gives committed events their contiguous numbers, one leader per service.

Measured in RUNTIME 5.1: the only scheme without lost events and without inversions per key.
"""

import asyncio
import logging

import asyncpg

from shared.db import DRIVER_ERRORS, is_passing

log = logging.getLogger(__name__)

BATCH_SIZE = 2_000
POLL_S = 0.05
RETRY_S = 1.0
CHANNEL = "feed_moved"
_LEADER_KEY = 0x_D0_1E_FEED

_MOVE = """
WITH moved AS (
    DELETE FROM outbox WHERE position IN (SELECT position FROM outbox ORDER BY position LIMIT $1)
    RETURNING *
), head AS (
    UPDATE feed_head SET seq = seq + (SELECT count(*) FROM moved)
    WHERE (SELECT count(*) FROM moved) > 0 RETURNING seq
), numbered AS (
    INSERT INTO event
        (seq, id, type, subject, time, actor, actorrole, division, traceparent, data)
    SELECT head.seq - (SELECT count(*) FROM moved) + row_number() OVER (ORDER BY moved.position),
        moved.id, moved.type, moved.subject, moved.time, moved.actor, moved.actorrole,
        moved.division, moved.traceparent, moved.data
    FROM moved, head RETURNING 1
)
SELECT count(*) FROM numbered
"""

# What a connection may raise that is lost, or never was.
LOST = (OSError, *DRIVER_ERRORS)


class Sequencer:
    """Runs in every replica of a service; the one that holds the advisory lock moves events."""

    def __init__(self, dsn: str) -> None:
        # Why events are not numbered, if not for want of a server.
        self.stopped_by: str | None = None
        self._dsn = dsn
        self._wake = asyncio.Event()
        self._readers = asyncio.Condition()

    def wake(self) -> None:
        """Say that a transaction with events has committed."""
        self._wake.set()

    async def moved(self, timeout_s: float) -> None:
        """Wait until events were numbered, here or in another replica, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s), self._readers:
                await self._readers.wait()
        except TimeoutError:
            return

    async def run(self) -> None:
        while True:
            try:
                connection = await asyncpg.connect(self._dsn, timeout=10, command_timeout=30)
            except LOST as error:
                log.warning("sequencer cannot connect", extra={"error": type(error).__name__})
                await asyncio.sleep(RETRY_S)
                continue
            try:
                await connection.add_listener(CHANNEL, self._notified)
                await self._lead(connection)
            except LOST as error:
                self.stopped_by = None if is_passing(error) else type(error).__name__
                log.warning(
                    "sequencer stopped",
                    extra={"error": type(error).__name__},
                    exc_info=self.stopped_by is not None,
                )
                await asyncio.sleep(RETRY_S)
            finally:
                connection.terminate()

    async def _lead(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        # Only the database knows when the leader is gone.
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LEADER_KEY):  # noqa: ASYNC110 - see above
            await asyncio.sleep(RETRY_S)
        while True:
            self._wake.clear()
            count = await connection.fetchval(_MOVE, BATCH_SIZE)
            self.stopped_by = None
            if count:
                # By the sequencer alone: a NOTIFY in every writer costs four fifths of the writes.
                await connection.execute(f"NOTIFY {CHANNEL}")
            if count < BATCH_SIZE:
                try:
                    async with asyncio.timeout(POLL_S):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    def _notified(self, *_: object) -> None:
        self._announcing = asyncio.ensure_future(self._announce())

    async def _announce(self) -> None:
        async with self._readers:
            self._readers.notify_all()
