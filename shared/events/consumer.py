"""A consumer of another service's feed: the cursor moves in the transaction of the effects.

So each event has its effect exactly once, whatever is killed when. An event that cannot be applied
stops the consumer there: readiness names it, and the consumer goes on when that is mended. So does
a feed that was set back to a backup: the cursor has the id of the event applied last, each question
names it, and a feed that has another event there refuses, however far it has grown since.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.client import Client, RemoteFailure, RemoteProblem
from shared.db import STORAGE_ERRORS, Sessions, now, try_lock
from shared.errors import Unavailable
from shared.events.feed import FeedBehind
from shared.events.model import CloudEvent
from shared.logs import begin_trace

log = logging.getLogger(__name__)

BATCH_SIZE = 500
WAIT_S = 20.0
RETRY_S_MIN = 0.2
RETRY_S_MAX = 10.0

Apply = Callable[[AsyncSession, list[CloudEvent]], Awaitable[None]]
HandOver = Callable[[int, list[CloudEvent]], Awaitable[None]]
IsKnown = Callable[[CloudEvent], Awaitable[bool]]
_batch = TypeAdapter(list[CloudEvent])

_PLACE = text(
    "SELECT seq, CASE WHEN event_seq = seq THEN event_id END FROM feed_cursor"
    " WHERE source = :source"
)
_MOVE_CURSOR = text(
    "INSERT INTO feed_cursor (source, seq, event_id, event_seq)"
    " VALUES (:source, :seq, :event_id, :seq) ON CONFLICT (source) DO UPDATE"
    " SET seq = excluded.seq, event_id = excluded.event_id, event_seq = excluded.event_seq"
)


class FeedBroken(Exception):
    """The feed does not go on where the cursor stands: a gap, a repeat, or not a batch."""


class CursorMoved(Exception):
    """Another replica has applied this batch already."""


class Place(NamedTuple):
    """How far a feed was applied: the last event's number, and its id if that was kept."""

    seq: int
    id: UUID | None = None


@dataclass
class Consumer:
    """Follows `<client>/<path>` and applies each batch.

    source      name of the cursor, and of the producer
    apply       the effects of a batch, inside the transaction that moves the cursor
    hand_over   instead of `apply`: (after, batch) -> has applied it and moved the cursor from
                `after`, both in one transaction; raises CursorMoved when it stands elsewhere.
                It is also given what comes after a gap
    is_known    for who keeps no id with the cursor: whether the event that was applied last is
                this one; asked whenever the cursor is read
    on_applied  called after the commit, for what lives in memory; must not fail
    heard_at    when the feed answered last, if only to say that there is nothing new
    """

    source: str
    client: Client
    apply: Apply | None = None
    hand_over: HandOver | None = None
    is_known: IsKnown | None = None
    path: str = "/events"
    batch_size: int = BATCH_SIZE
    on_applied: Callable[[list[CloudEvent]], None] | None = None
    stopped_at: str | None = field(default=None, init=False)
    reached: bool = field(default=False, init=False)
    heard_at: datetime | None = field(default=None, init=False)
    _after: Place | None = field(default=None, init=False)  # None: the database is to be asked
    _refuted: UUID | None = field(default=None, init=False)
    _ahead: "tuple[Place, asyncio.Task[list[CloudEvent]]] | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        if (self.apply is None) == (self.hand_over is None):
            raise ValueError("a consumer has either `apply` or `hand_over`")

    async def run(self, sessions: Sessions) -> None:
        try:
            await self._follow(sessions)
        finally:
            if self._ahead is not None:
                await _given_up(self._ahead[1])

    async def _follow(self, sessions: Sessions) -> None:
        pause_s = RETRY_S_MIN
        while True:
            begin_trace()
            try:
                await self._step(sessions)
                self.stopped_at, pause_s = None, RETRY_S_MIN
                continue
            except CursorMoved:
                log.info("feed applied by another replica", extra={"source": self.source})
            except RemoteFailure as error:
                log.warning("feed not reached", extra={"source": self.source, "error": str(error)})
            except STORAGE_ERRORS as error:
                self.stopped_at = self.stopped_at or f"{self.source}: {type(error).__name__}"
                log.warning(
                    "feed not applied",
                    extra={"source": self.source, "error": type(error).__name__},
                    exc_info=not isinstance(error, OSError),
                )
            except Unavailable as error:
                self.stopped_at = f"{self.source}: {error.code}"
                log.warning(
                    "feed not applied", extra={"source": self.source, "error": error.detail}
                )
            except Exception as error:
                # Whatever a handler raises stops this feed here; it is tried again, not skipped.
                self.stopped_at = self.stopped_at or f"{self.source}: {type(error).__name__}"
                log.exception("event not applied", extra={"source": self.source})
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_S_MAX)

    async def _step(self, sessions: Sessions) -> None:
        # Where the last batch ended, if it was applied: whether the cursor stands there still is
        # found out when the next one is.
        after, self._after = self._after, None
        if after is None:
            async with sessions() as session:
                after = await place(session, self.source)
            if self.is_known is not None and after.seq:
                await self._look_back(self.is_known, after.seq)
        events = await self._next(after)
        self.reached = True
        if not events:
            self._after = after
            return
        if len(events) == self.batch_size:
            # There is more, which comes over the wire while this is applied.
            end = _end_of(events)
            self._ahead = end, asyncio.create_task(self._fetch(end, wait_s=0))
        try:
            await self._apply(sessions, after, events)
        except Exception as error:
            if not is_of_an_event(error):
                raise
            if len(events) == 1:
                self.stopped_at = f"{self.source}: event {events[0].id} ({events[0].type})"
                raise
            # Apply what can be applied, so that the one event that cannot is named.
            log.exception("batch not applied, going one by one", extra={"source": self.source})
            for event in events:
                self.stopped_at = f"{self.source}: event {event.id} ({event.type})"
                await self._apply(sessions, after, [event])
                after = _end_of([event])
        self._after = _end_of(events)

    async def _look_back(self, is_known: IsKnown, after: int) -> None:
        """Raises FeedBroken if the feed has another event now where we stand."""
        for event in await self._fetch(Place(after - 1), wait_s=0, limit=1):
            # Asked once for each such event: `is_known` may tell the world of it.
            if event.seq == after and (event.id == self._refuted or not await is_known(event)):
                self._refuted = event.id
                self.stopped_at = f"{self.source}: {after} is another event than it was"
                raise FeedBroken(self.stopped_at)

    async def _next(self, after: Place) -> list[CloudEvent]:
        """What follows `after`: fetched ahead, or now."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            if ahead[0] == after:
                return await ahead[1]
            await _given_up(ahead[1])
        # The first question, also after a failure, is answered at once: a quiet feed must not delay
        # readiness.
        wait_s = WAIT_S if self.reached and self.stopped_at is None else 0
        return await self._fetch(after, wait_s)

    async def _fetch(
        self, after: Place, wait_s: float, limit: int | None = None
    ) -> list[CloudEvent]:
        wanted: dict[str, object] = {
            "after": after.seq,
            "limit": limit or self.batch_size,
            "wait": wait_s,
        }
        if after.id is not None:
            wanted["after_id"] = str(after.id)
        try:
            answer = await self.client.get(self.path, params=wanted, timeout_s=WAIT_S + 10)
        except RemoteProblem as refusal:
            if refusal.code == FeedBehind.code:
                self.stopped_at = f"{self.source}: {refusal.code} {after.seq}"
                raise FeedBroken(self.stopped_at) from refusal
            raise
        try:
            events = _batch.validate_json(answer.content)
        except ValidationError as error:
            raise FeedBroken(f"{self.source}: not a batch of events") from error
        last = after.seq
        for event in events:
            # What is handed over is looked at there: a gap is told, and what follows is not lost.
            if event.seq <= last or (self.hand_over is None and event.seq != last + 1):
                raise FeedBroken(f"{self.source}: {event.seq} where {last + 1} is due")
            last = event.seq
        self.heard_at = now()
        return events

    async def _apply(self, sessions: Sessions, after: Place, events: list[CloudEvent]) -> None:
        if self.hand_over is not None:
            await self.hand_over(after.seq, events)
        elif self.apply is not None:
            async with sessions.begin() as session:
                if not await try_lock(session, f"consumer {self.source}"):
                    raise CursorMoved
                if await place(session, self.source) != after:
                    raise CursorMoved
                await self.apply(session, events)
                seq, event_id = _end_of(events)
                moved = {"source": self.source, "seq": seq, "event_id": event_id}
                await session.execute(_MOVE_CURSOR, moved)
        if self.on_applied is not None:
            self.on_applied(events)


def _end_of(events: list[CloudEvent]) -> Place:
    return Place(events[-1].seq, events[-1].id)


async def _given_up(task: "asyncio.Task[list[CloudEvent]]") -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # looked at, so that nobody reports it


def is_of_an_event(error: Exception) -> bool:
    """Whether what an event says was refused.

    Not so: the database was lost, another replica was faster, the service takes nothing now.
    """
    if isinstance(error, DBAPIError):
        # SQLSTATE class 22: data exceptions, which not every driver makes a DataError.
        state = getattr(error.orig, "sqlstate", None) or ""
        return isinstance(error, (IntegrityError, DataError)) or state.startswith("22")
    return not isinstance(error, (CursorMoved, Unavailable, *STORAGE_ERRORS))


async def cursor(session: AsyncSession, source: str) -> int:
    """The last sequence number of `source` that has been applied; 0 before the first."""
    return (await place(session, source)).seq


async def place(session: AsyncSession, source: str) -> Place:
    row = (await session.execute(_PLACE, {"source": source})).one_or_none()
    return Place(0) if row is None else Place(*row)
