"""Group commit: whoever wants something appended hands it in here, and one writer takes all of it.

One transaction, and so one wait for the disk and one swap of the head, for all that waits; while
it commits, the next group gathers. Replicas have an intake each: the swap keeps them apart.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit import operations
from services.audit.domain import AppendUnknown, Batch, IntakeFull
from services.audit.operations import Indexes
from shared.db import Sessions
from shared.errors import ServiceError
from shared.events.consumer import CursorMoved, is_of_an_event

log = logging.getLogger(__name__)

# A group ends with the batch that reaches one of these: it is one statement of some 10 MB.
GROUP_ENTRIES_MAX = 8_000
GROUP_BYTES_MAX = 8 * 1024 * 1024
WAITING_MAX = 10_000  # batches

# The index of mentions takes what is new in the order it comes, and until that is put in its place
# every search reads through it. This has it done beside the appending, instead of by an appender.
TIDY_S = 1.0
_TIDY = text("SELECT tidy_mentions()")


async def tidy(session: AsyncSession, _: datetime) -> int:
    """One turn of the clock."""
    await session.execute(_TIDY)
    return 0


class Log(Protocol):
    """What the intake asks of the publisher."""

    async def may_write(self) -> int: ...

    def appended(self) -> None: ...


@dataclass(slots=True)
class _Waiting:
    batch: Batch
    answer: asyncio.Future[Indexes]

    def fail(self, error: Exception) -> None:
        if not self.answer.done():  # its caller may have left
            self.answer.set_exception(error)


class Intake:
    """One per process."""

    def __init__(self, publisher: Log) -> None:
        self._log = publisher
        self._appender = operations.Appender()
        self._waiting: deque[_Waiting] = deque()
        self._handed_in = asyncio.Event()

    async def hand_in(self, batch: Batch) -> Indexes:
        """Append what is new of the batch; return, once it is on disk, where each entry stands.

        Raises CursorMoved, LogRefused; AppendUnknown: hand it in again, what is in the log already
        is not appended twice.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise IntakeFull
        waiting = _Waiting(batch, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._handed_in.set()
        return await waiting.answer

    async def run(self, app: FastAPI) -> None:
        """The writer."""
        while True:
            await self._handed_in.wait()
            self._handed_in.clear()
            # Held as long as there is work: taking a connection costs a question to it.
            async with app.state.reading_sessions() as reading:
                while group := self._next_group():
                    try:
                        await self._write(reading, app.state.sessions, group)
                    except BaseException:  # those not answered, when the writer is ended
                        for each in group:
                            each.fail(AppendUnknown("the writer was ended"))
                        self._handed_in.set()  # others may wait, for the next writer
                        raise
                    await asyncio.sleep(0)  # those answered hand in what they have next

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        entries = size = 0
        while self._waiting and entries < GROUP_ENTRIES_MAX and size < GROUP_BYTES_MAX:
            first = self._waiting.popleft()
            if first.answer.done():
                continue  # its caller has left
            group.append(first)
            for entry in first.batch.entries:
                entries += 1
                size += len(entry.body)
        return group

    async def _write(
        self, reading: AsyncSession, sessions: Sessions, group: list[_Waiting]
    ) -> None:
        batches = [each.batch for each in group]
        try:
            size_signed = await self._log.may_write()
            answers = await self._appender.take_in(
                reading, sessions, batches, size_signed=size_signed
            )
        except Exception as error:
            await reading.close()  # it is as good as new then, on another connection if need be
            # One batch that cannot be appended must not fail the others: each by itself then.
            if is_of_an_event(error) and len(group) > 1:
                for each in group:
                    await self._write(reading, sessions, [each])
                return
            if not is_of_an_event(error) and not isinstance(error, ServiceError):
                log.warning("entries not appended", exc_info=True)
                error = AppendUnknown(type(error).__name__)
            for each in group:
                each.fail(error)
            return
        self._log.appended()
        for each, indexes in zip(group, answers, strict=True):
            if indexes is None:
                each.fail(CursorMoved())
            elif not each.answer.done():
                each.answer.set_result(indexes)
