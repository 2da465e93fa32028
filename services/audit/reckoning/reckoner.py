"""The task that follows the log, entry by entry, and reckons."""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fastapi import FastAPI
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.contract import TotalsAlarm
from services.audit.domain import event_in
from services.audit.reckoning import comparing, overdue
from services.audit.reckoning.folding import Fold
from services.audit.reckoning.movements import (
    MOVING_TYPES,
    TOTALS_TYPES,
    Malformed,
    movement_of,
    telling_of,
)
from shared.db import STORAGE_ERRORS, Sessions, is_passing, now, try_lock
from shared.events import cursor
from shared.logs import begin_trace

log = logging.getLogger(__name__)

SOURCE = "totals"  # of its cursor, beside those of the feeds
STEP = 5_000
NEWS_S = 1.0
RETRY_S = 2.0
# After a start the feeds are caught up with first: what is missing then may be on its way.
GRACE_S = 600.0

_SIGNED = text("SELECT coalesce(max(size), 0) FROM checkpoint")
_ENTRIES = text(
    "SELECT index, producer, seq, type, body FROM entry"
    " WHERE index >= :lo AND index < :hi AND type = ANY(CAST(:types AS text[])) ORDER BY index"
)
_MOVE_CURSOR = text(
    "INSERT INTO feed_cursor (source, seq) VALUES (:source, :seq)"
    " ON CONFLICT (source) DO UPDATE SET seq = excluded.seq"
)
_TYPES = [*MOVING_TYPES, *TOTALS_TYPES]


@dataclass
class Reckoner:
    """due_s     after midnight in China, until a day's totals must have been told
    differ_s  how long an allocation may be held differently on two sides
    """

    due_s: float
    differ_s: float
    _stuck: str | None = field(default=None, init=False)

    def not_ready(self) -> str | None:
        return self._stuck

    async def run(self, app: FastAPI) -> None:
        until = time.monotonic() + min(GRACE_S, self.due_s)
        while True:
            begin_trace()
            try:
                more = await self.step(app.state.sessions, now())
                if not more and time.monotonic() >= until:
                    more = await self.look(app.state.sessions, now())
            except Exception as error:
                # What does not pass by itself is tried again too, and seen until somebody mends it.
                name = type(error).__name__
                self._stuck = None if is_passing(error) else f"totals: not reckoned: {name}"
                if not isinstance(error, STORAGE_ERRORS):
                    raise
                log.warning("totals not reckoned", extra={"error": name})
                await asyncio.sleep(RETRY_S)
                continue
            self._stuck = None
            if not more:
                await app.state.log.news(NEWS_S)

    async def step(self, sessions: Sessions, moment: datetime) -> bool:
        """Fold the next entries under a checkpoint; False when there are none, or others do it."""
        async with sessions.begin() as session:
            if not await try_lock(session, "totals"):
                return False
            lo = await cursor(session, SOURCE)
            hi = min(lo + STEP, int(await session.scalar(_SIGNED) or 0))
            if hi <= lo:
                return False
            fold = Fold(session, moment)
            rows = (await session.execute(_ENTRIES, {"lo": lo, "hi": hi, "types": _TYPES})).all()
            for row in rows:
                await self._fold(session, fold, row, moment)
            await fold.write()
            await session.execute(_MOVE_CURSOR, {"source": SOURCE, "seq": hi})
        return True

    async def _fold(
        self, session: AsyncSession, fold: Fold, row: Row[Any], moment: datetime
    ) -> None:
        # Who told it is the log's word, not the event's: nobody moves another's sums.
        event = event_in(row.body) or {}
        if row.type in MOVING_TYPES:
            movement = movement_of(event)
            if movement is not None and movement.producer == row.producer:
                fold.add(movement)
        elif TOTALS_TYPES[row.type] == row.producer:
            await fold.write()
            try:
                async with session.begin_nested():
                    await comparing.take(session, telling_of(event, row.producer, row.seq), moment)
            except Exception as error:
                if is_passing(error):
                    raise
                # Also what nobody foresaw: it would fail every time, and nothing after it be
                # reckoned. Of an unknown failure only the kind is told: its text may quote rows.
                why = str(error) if isinstance(error, Malformed) else type(error).__name__
                alarm = TotalsAlarm(kind="malformed", detail=f"event {row.seq}: {why}"[:200])
                await comparing.raise_alarms(session, [alarm], producer=row.producer)

    async def look(self, sessions: Sessions, moment: datetime) -> bool:
        """Raise what is overdue; True when there may be more at once."""
        async with sessions.begin() as session:
            if not await try_lock(session, "totals"):
                return False
            await overdue.look_for_days(session, moment, self.due_s)
            raised = await overdue.look_for_sides(session, moment, self.differ_s)
            return raised == overdue.SIDES_MAX
