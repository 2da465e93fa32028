"""Days that nobody told, and allocations on which the sides disagree for too long."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any, cast

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.contract import Producer, SideSaid, TotalsAlarm
from services.audit.reckoning.comparing import raise_alarms
from services.audit.reckoning.movements import PRODUCERS
from shared.totals import CHINA

# One turn's worth; the rest comes in the next.
SIDES_MAX = 100

_TOLD_UNTIL = text(
    "SELECT max(day) FROM telling WHERE producer = :producer AND occasion = 'day_end'"
    # A day to come, of a clock that is far ahead, says nothing of those before it.
    " AND parts_told >= parts AND day <= :day"
)
_BEGUN = text("SELECT time FROM entry WHERE producer = :producer ORDER BY seq LIMIT 1")
_NOTE_OVERDUE = text(
    "INSERT INTO totals_overdue (producer, day) VALUES (:producer, :day)"
    " ON CONFLICT DO NOTHING RETURNING day"
)
_DISAGREEING = text(
    "UPDATE side SET alarmed = true WHERE allocation_id IN ("
    " SELECT allocation_id FROM side WHERE differs_since < :before AND NOT alarmed"
    " ORDER BY differs_since LIMIT :limit) RETURNING *"
)


async def look_for_days(session: AsyncSession, moment: datetime, due_s: float) -> None:
    """Raise an alarm, once, for the last day that each producer should have told and has not."""
    late = moment - timedelta(seconds=due_s)
    day = late.astimezone(CHINA).date() - timedelta(days=1)
    for producer in PRODUCERS:
        told = await session.scalar(_TOLD_UNTIL, {"producer": producer, "day": day})
        begun = await session.scalar(_BEGUN, {"producer": producer})
        if not is_overdue(day, told, begun):
            continue
        if await session.scalar(_NOTE_OVERDUE, {"producer": producer, "day": day}):
            alarm = TotalsAlarm(kind="day_missing", day=day, count=1)
            await raise_alarms(session, [alarm], producer=cast(Producer, producer))


def is_overdue(day: date, told: date | None, begun: datetime | None) -> bool:
    """told   the last day told, `day` at most;  begun  when the producer's first event was"""
    if begun is None or begun.astimezone(CHINA).date() > day:
        return False
    return told is None or told < day


async def look_for_sides(session: AsyncSession, moment: datetime, differ_s: float) -> int:
    """Raise an alarm for each allocation on which the sides have disagreed for `differ_s`."""
    values = {"before": moment - timedelta(seconds=differ_s), "limit": SIDES_MAX}
    rows = (await session.execute(_DISAGREEING, values)).all()
    await raise_alarms(session, [_sides(row) for row in rows])
    return len(rows)


def _sides(row: Row[Any]) -> TotalsAlarm:
    return TotalsAlarm(
        kind="sides",
        allocation_id=row.allocation_id,
        differs_since=row.differs_since,
        sides=list(_said(row._mapping)),
    )


def _said(row: Any) -> Iterable[SideSaid]:
    for producer in PRODUCERS:
        quantity = row[f"{producer}_quantity"]
        yield SideSaid(
            producer=cast(Producer, producer),
            state=row[f"{producer}_state"],
            quantity=None if quantity is None else str(quantity),
        )
