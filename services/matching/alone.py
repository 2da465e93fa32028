"""Background work that one process of the service does at a time, whatever their number.

The lock only spares the work: who loses it in the middle does no harm, since rounds and rankings
are kept once and movements are idempotent. Without it every process would compute the same round,
and each would count as an attempt of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fastapi import FastAPI
from sqlalchemy import text

from shared.db import STORAGE_ERRORS
from shared.logs import begin_trace

RETRY_S = 1.0


async def repeat_alone(
    app: FastAPI, key: str, one_pass: Callable[[], Awaitable[int]], pause_s: float
) -> None:
    """Once no other process holds the lock: again at once while a pass finds something to do.

    What fails ends the task, and with it the lock; the task is begun again.
    """
    # On a connection of its own, in no transaction: the lock lives as long as the connection.
    reading = app.state.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with reading.connect() as connection:
        try:
            # Only the database knows when the one before us is gone.
            while not await connection.scalar(  # noqa: ASYNC110 - see above
                text("SELECT pg_try_advisory_lock(hashtextextended(:k, 0))"), {"k": key}
            ):
                await asyncio.sleep(RETRY_S)
            while True:
                begin_trace()
                # Fails when the connection, and with it the lock, is gone.
                await connection.execute(text("SELECT 1"))
                if not await one_pass():
                    await asyncio.sleep(pause_s)
        finally:
            # Returned to the pool it would keep the lock; closed it cannot.
            with suppress(*STORAGE_ERRORS):
                await connection.invalidate()
