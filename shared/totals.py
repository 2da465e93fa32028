"""Daily totals: what a service's own ledger adds up to, told in its feed and so in the log.

A log proves that nothing told was altered; totals show that nothing that happened was left untold.
They are summed out of the ledger's tables, never out of events, and say after which event of the
feed (`as_of_seq`) they hold: whoever has the feed adds up the movements told until then and must
come to the same. The audit service does (docs/log.md, "Completeness").

How the place in the feed is known without stopping the service: the outbox is locked for the
instant in which a snapshot is taken. Nobody is then between recording an event and committing it,
so what the snapshot shows of the feed is whole and has a number; the ledger is summed afterwards,
on the snapshot, while the service goes on.
"""

import asyncio
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import Field
from sqlalchemy import BigInteger, Column, Date, DateTime, Index, MetaData, Row, Table, Text, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bodies import ReadBody
from shared.callers import Caller, require
from shared.db import STORAGE_ERRORS, Sessions, now, try_lock
from shared.errors import Conflict, Unavailable, responses
from shared.events.model import Emission, Event
from shared.events.outbox import emit_all
from shared.logs import begin_trace

log = logging.getLogger(__name__)

# The whole country keeps one time, without summer time; the day of a total is a day of it.
CHINA = timezone(timedelta(hours=8))
# With the rest of the event well under the outbox's bound of 32,768 bytes.
ROWS_BYTES_MAX = 28_000
PART_ROWS_MAX = 1_000
# Whoever records an event waits while the lock is waited for: so not for long, but longer than it
# takes an automatic vacuum to give way (`deadlock_timeout`).
LOCK_WAIT_MS = 2_500
SUMMING_S_MAX = 600
ASKED_EVERY_S_MIN = 5
LOOK_EVERY_S = 5.0

Occasion = Literal["day_end", "asked"]


class TotalsRow(NamedTuple):
    """What stands in one state, written as an array in this order.

    book           `allocations`: one record for each allocation; `lines`: the columns of needs or
                   offer lines, over the whole nation, with allocations 0
    division_code  county of the need; None when it is not known, and in `lines`
    quantity       base units, as decimal digits: a sum may be more than JSON's numbers hold
    """

    book: str
    division_code: str | None
    item_class: str
    unit: str
    state: str
    quantity: str
    allocations: int


class TotalsTold(Event):
    """One part of what the ledger adds up to; zero rows are left out.

    day        of China time: the one that ended, or (`asked`) the one that runs
    as_of_seq  the rows are the standing after this event of the feed
    """

    day: date
    occasion: Occasion
    as_of_seq: int
    part: int = Field(ge=1)
    parts: int = Field(ge=1)
    rows: list[TotalsRow] = Field(max_length=PART_ROWS_MAX)


def add_totals_table(metadata: MetaData) -> None:
    """Add `totals_told`: which totals this service has told, each day's end once."""
    Table(
        "totals_told",
        metadata,
        Column("day", Date, primary_key=True),
        Column("as_of_seq", BigInteger, primary_key=True, autoincrement=False),
        Column("occasion", Text, nullable=False),
        Column("parts", BigInteger, nullable=False),
        Column("told_at", DateTime(timezone=True), nullable=False),
        Index(
            "uq_totals_told_day_end",
            "day",
            unique=True,
            postgresql_where=text("occasion = 'day_end'"),
        ),
    )


class TotalsRead(ReadBody):
    """Which totals were told; their rows are in the feed and in the log."""

    day: date
    occasion: Occasion
    as_of_seq: int
    parts: int


class LedgerBusy(Unavailable):
    code = "ledger_busy"

    def __init__(self) -> None:
        super().__init__("A long change is being recorded; ask again in some seconds.")


class TotalsJustTold(Conflict):
    code = "totals_just_told"

    def __init__(self) -> None:
        super().__init__("Totals were told, or are being told, just now; ask again in a while.")


@dataclass(frozen=True)
class Teller:
    """Tells the totals of one service.

    event  its contract's own TotalsTold
    sums   one SELECT of the ledger, with the columns of TotalsRow; quantity as text
    """

    service: str
    event: type[TotalsTold]
    sums: str

    async def run(self, app: FastAPI) -> None:
        """The task: each day that has ended is told once, those missed too, in their order."""
        while True:
            begin_trace()
            try:
                told = await self.tell_due(app.state.sessions, now())
            except LedgerBusy:
                told = False
            except STORAGE_ERRORS as error:
                log.warning("totals not told", extra={"error": type(error).__name__})
                told = False
            if not told:
                await asyncio.sleep(LOOK_EVERY_S)

    async def tell_due(self, sessions: Sessions, moment: datetime) -> bool:
        """Tell the oldest day that is due; False when none is. Raises LedgerBusy."""
        async with sessions() as session:
            last, begun = (await session.execute(_LAST_TOLD)).one()
        if (day := day_due(last, begun, moment)) is None:
            return False
        actor = f"clock:{self.service}"
        return await self._tell(sessions, day, "day_end", moment, actor, "service") is not None

    async def ask(self, sessions: Sessions, moment: datetime, caller: Caller) -> TotalsRead:
        """Tell what stands now, between two days. Raises LedgerBusy, TotalsJustTold."""
        async with sessions() as session:
            before = moment - timedelta(seconds=ASKED_EVERY_S_MIN)
            if await session.scalar(_TOLD_SINCE, {"before": before}):
                raise TotalsJustTold
        day = moment.astimezone(CHINA).date()
        told = await self._tell(sessions, day, "asked", moment, caller.subject, caller.role)
        if told is None:
            raise TotalsJustTold
        return told

    async def _tell(
        self,
        sessions: Sessions,
        day: date,
        occasion: Occasion,
        moment: datetime,
        actor: str,
        role: str,
    ) -> TotalsRead | None:
        """None when another replica tells, or has told, the same."""
        try:
            async with sessions.begin() as session:
                as_of_seq = await _begin_snapshot(sessions, session)
                if not await try_lock(session, "totals"):
                    return None
                # The sums of millions of rows take longer than a request may.
                await session.execute(
                    text(f"SET LOCAL statement_timeout = {SUMMING_S_MAX * 1000:d}")
                )
                rows = (await session.execute(text(self.sums))).all()
                parts = split(rows)
                told = TotalsRead(day=day, occasion=occasion, as_of_seq=as_of_seq, parts=len(parts))
                await session.execute(_KEEP, {**told.model_dump(), "told_at": moment})
                emissions = [
                    Emission(
                        self.event(**told.model_dump(), part=number, rows=part),
                        f"totals/{day}",
                        actor,
                        role,
                    )
                    for number, part in enumerate(parts, start=1)
                ]
                await emit_all(session, emissions)
        except IntegrityError:
            return None
        log.info("totals told", extra={"day": str(day), "occasion": occasion, "rows": len(rows)})
        return told


async def _begin_snapshot(sessions: Sessions, session: AsyncSession) -> int:
    """Begin `session`'s snapshot at a place in the feed, and say which. Raises LedgerBusy."""
    # Its connection first: behind the closed gate everybody may be waiting for one.
    await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    try:
        async with sessions.begin() as gate:
            await gate.execute(text(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS:d}"))
            # Everybody who recorded an event has this table locked until the commit: when we have
            # it, no event is recorded and not committed, and none gets a lower position later.
            await gate.execute(text("LOCK TABLE outbox IN SHARE MODE"))
            # The first statement of a REPEATABLE READ transaction fixes what it sees.
            return int(await session.scalar(_AS_OF) or 0)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == "55P03":
            raise LedgerBusy from error
        raise


_AS_OF = text("SELECT (SELECT seq FROM feed_head) + (SELECT count(*) FROM outbox)")
_LAST_TOLD = text(
    "SELECT (SELECT max(day) FROM totals_told WHERE occasion = 'day_end'),"
    " (SELECT time FROM event ORDER BY seq LIMIT 1)"
)
_TOLD_SINCE = text(
    "SELECT EXISTS (SELECT FROM totals_told WHERE occasion = 'asked' AND told_at > :before)"
)
_KEEP = text(
    "INSERT INTO totals_told (day, as_of_seq, occasion, parts, told_at)"
    " VALUES (:day, :as_of_seq, :occasion, :parts, :told_at)"
)


def day_due(last: date | None, begun: datetime | None, moment: datetime) -> date | None:
    """The next day to be told, if it has ended.

    last   the last one told
    begun  when the feed's first event was: a service that has told none begins with the last day
           that has ended, if it had begun by then
    """
    ended = moment.astimezone(CHINA).date() - timedelta(days=1)
    if last is not None:
        return last + timedelta(days=1) if last < ended else None
    if begun is None or begun.astimezone(CHINA).date() > ended:
        return None
    return ended


def split(rows: Iterable[Row[Any]] | Iterable[TotalsRow]) -> list[list[TotalsRow]]:
    """The rows in parts that each fit an event; one empty part when there is none."""
    parts: list[list[TotalsRow]] = [[]]
    size = 0
    for row in rows:
        made = TotalsRow(*row)
        length = len(json.dumps(made)) + 2
        if parts[-1] and (size + length > ROWS_BYTES_MAX or len(parts[-1]) >= PART_ROWS_MAX):
            parts.append([])
            size = 0
        parts[-1].append(made)
        size += length
    return parts


def totals_router(teller: Teller) -> APIRouter:
    """`POST /v1/totals`: an unannounced stocktaking."""
    router = APIRouter(tags=["totals"])

    @router.post(
        "/v1/totals",
        status_code=201,
        response_model=TotalsRead,
        responses=responses(LedgerBusy, TotalsJustTold),
    )
    async def tell_totals(
        request: Request, caller: Annotated[Caller, Depends(require("totals:ask"))]
    ) -> TotalsRead:
        """Tell what the ledger adds up to now, unannounced; the log is compared with it."""
        return await teller.ask(request.app.state.callers.sessions, now(), caller)

    return router
