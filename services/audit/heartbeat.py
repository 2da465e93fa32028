"""A producer whose feed does not answer is an alarm in the log: silence hides as much as a gap.

Every answer counts, one without events too. What was heard is written down, so that a silence is
told once, whichever replica sees it and however often they start again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit import domain
from services.audit.contract import AlarmRaised, Producer, ProducerHeard
from shared.events import Consumer, Event, emit

LOOKS = 10  # within the time after which a producer is silent
LOOKS_MISSED_MAX = 3  # after more of them we or our database were away, and asked nobody

_HEAR = text(
    "INSERT INTO heartbeat (producer, heard_at)"
    " VALUES (:producer, coalesce(CAST(:heard_at AS timestamptz), :now))"
    # `greatest` passes over NULL: another replica may have heard what we have not.
    " ON CONFLICT (producer) DO UPDATE"
    " SET heard_at = greatest(heartbeat.heard_at, CAST(:heard_at AS timestamptz))"
    " RETURNING heard_at, silent_since"
)
_SILENT = text("UPDATE heartbeat SET silent_since = :since WHERE producer = :producer")


class Heartbeat:
    """One per process; the clock that runs it keeps replicas from looking at the same time."""

    def __init__(self, consumers: Sequence[tuple[Producer, Consumer]], heartbeat_s: float) -> None:
        self._consumers = consumers
        self._heartbeat = timedelta(seconds=heartbeat_s)
        self._asks_since = self._looked_at = datetime.min.replace(tzinfo=UTC)

    async def look(self, session: AsyncSession, now: datetime) -> int:
        """Write down what was heard; raise alarms, and end them."""
        pause_max = self._heartbeat / LOOKS * LOOKS_MISSED_MAX
        if now - self._looked_at > pause_max:
            self._asks_since = now
        self._looked_at = now
        for producer, consumer in self._consumers:
            values = {"producer": producer, "heard_at": consumer.heard_at, "now": now}
            row = (await session.execute(_HEAR, values)).one()
            event: Event
            since: datetime | None = None
            match domain.hearing(
                heard_at=row.heard_at,
                silent_since=row.silent_since,
                asks_since=self._asks_since,
                now=now,
                heartbeat=self._heartbeat,
            ):
                case "silent":
                    since = row.heard_at
                    event = AlarmRaised(alarm="producer_silent", producer=producer, since=since)
                case "heard":
                    event = ProducerHeard(producer=producer)
                case None:
                    continue
            await session.execute(_SILENT, {"producer": producer, "since": since})
            await emit(
                session, event, subject=f"producer/{producer}", actor="audit", role="service"
            )
        return 0
