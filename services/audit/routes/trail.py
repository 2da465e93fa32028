"""The trail for supervisors, and the log in the shape of a feed for services."""

import json
import time
from typing import Annotated, Any, Literal
from uuid import UUID, uuid5

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy import Row

from services.audit.contract import EntryAppended, TrailEntry, TrailRead
from services.audit.domain import event_in
from services.audit.queries import log, trail
from services.audit.routes.asked import Asked, Supervisor, in_public
from shared.callers import Caller, require
from shared.db import Transaction
from shared.errors import responses
from shared.events import CloudEvent, emit
from shared.events.feed import BATCH_MEDIA_TYPE, After, AfterId, FeedBehind, FeedLimit, Wait
from shared.paging import (
    Cursor,
    InvalidCursor,
    Limit,
    Page,
    decode_cursor,
    encode_cursor,
    page,
)

# Names the ids of the listing's events; any fixed UUID would do.
_APPENDED_IDS = UUID("6b0f3c52-5d0e-4a43-9d53-0c2f2a7c3e11")
router = APIRouter(tags=["trail"])


@router.get("/v1/entries", responses=responses(InvalidCursor))
async def read_trail(
    request: Request,
    response: Response,
    session: Transaction,
    caller: Supervisor,
    wanted: Asked,
    order: Literal["oldest", "newest"] = "oldest",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[TrailEntry]:
    """The trail of an allocation, need, organization or officer; the reading is logged too."""
    after = decode_cursor(cursor, int)[0] if cursor else None
    fact = TrailRead(**await in_public(session, wanted))
    await emit(
        session,
        fact,
        subject="trail",
        actor=caller.subject,
        role=caller.role,
        division=wanted.division,
    )
    rows = await trail.trail(
        session, wanted, newest=order == "newest", after=after, limit=limit + 1
    )
    return page(
        request,
        response,
        rows,
        limit,
        cursor_of=lambda row: encode_cursor(row[0]),
        render=lambda row: TrailEntry(**row._mapping, event=event_in(row.body)),
    )


@router.get(
    "/appended",
    response_model=list[CloudEvent],
    responses={
        **responses(FeedBehind),
        200: {"content": {BATCH_MEDIA_TYPE: {}}, "description": "CloudEvents batch"},
    },
)
async def read_appended(
    request: Request,
    caller: Annotated[Caller, Depends(require("events:read"))],
    after: After = 0,
    after_id: AfterId = None,
    limit: FeedLimit = 500,
    wait: Wait = 0,
) -> Response:
    """Entries under a signed checkpoint, as a feed: `sequence` is the entry's index plus one."""
    until, looks_back = time.monotonic() + wait, after_id is not None
    while True:
        # No connection is held while waiting.
        async with request.app.state.reading_sessions() as session:
            rows = await log.appended(session, after - looks_back, limit + looks_back)
        if looks_back:
            if not rows or _id_of(rows[0]) != after_id:
                raise FeedBehind
            rows = rows[1:]
        left_s = until - time.monotonic()
        if rows or left_s <= 0 or request.app.state.stopping.is_set():
            break
        # Another replica's checkpoint wakes nobody here: the short turn sees it.
        await request.app.state.log.news(min(left_s, 0.5))
    events = [_appended_event(row) for row in rows]
    return Response(json.dumps(events).encode(), media_type=BATCH_MEDIA_TYPE)


def _id_of(row: Row[Any]) -> UUID:
    """Of another log, the same place has another id."""
    return uuid5(_APPENDED_IDS, f"{row[0]} {row.key}")


def _appended_event(row: Row[Any]) -> dict[str, object]:
    data = EntryAppended(
        index=row[0], producer=row.producer, seq=row.seq, event_id=row.key, size_signed=row.size
    )
    event = CloudEvent(
        id=_id_of(row),
        source="audit",
        type=EntryAppended.type,
        time=row.at,
        subject=f"entry/{row[0]}",
        data=data.model_dump(mode="json"),
        sequence=str(row[0] + 1),
        actor="audit",
        actorrole="service",
    )
    return event.model_dump(mode="json", exclude_none=True)
