"""The feed: `GET /events?after=<seq>&limit=&wait=<s>`, a CloudEvents batch, long-polled.

A reader that names its last event by `after_id`, too, is refused when the feed has another there.
"""

import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import text

from shared.bodies import render_moment
from shared.callers import Caller, require
from shared.errors import Conflict, responses
from shared.events.model import CloudEvent

BATCH_MEDIA_TYPE = "application/cloudevents-batch+json"
WAIT_S_MAX = 25.0
LIMIT_MAX = 2_000
BATCH_BYTES_MAX = 8 * 1024 * 1024
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

After = Annotated[int, Query(ge=0, le=2**62, description="The last sequence number you have.")]
AfterId = Annotated[
    UUID | None, Query(description="The id of that event: refused if another stands there now.")
]
FeedLimit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Events a batch.")]
Wait = Annotated[float, Query(ge=0, le=WAIT_S_MAX, description="Seconds to wait for news.")]


class FeedBehind(Conflict):
    code = "feed_behind"

    def __init__(self) -> None:
        super().__init__(
            "The feed ends before that number, or has another event there: the reader has seen"
            " another history."
        )


# The data go into the answer as the database writes them, not through Python and back.
_SELECT = text(
    "SELECT seq, CAST(id AS text), type, subject, time, actor, actorrole, division, traceparent,"
    " CAST(data AS text) FROM event WHERE seq > :after ORDER BY seq LIMIT :limit"
)
_HEAD = text("SELECT seq FROM feed_head")


def feed_router(source: str) -> APIRouter:
    """The feed of the service `source`."""
    router = APIRouter(tags=["events"])

    @router.get(
        "/events",
        response_model=list[CloudEvent],
        responses={
            **responses(FeedBehind),
            200: {"content": {BATCH_MEDIA_TYPE: {}}, "description": "CloudEvents batch"},
        },
    )
    async def read_events(
        request: Request,
        caller: Annotated[Caller, Depends(require("events:read"))],
        after: After = 0,
        after_id: AfterId = None,
        limit: FeedLimit = 500,
        wait: Wait = 0,
    ) -> Response:
        """Events numbered above `after`, in order and without gaps; waits when there is none."""
        looks_back = after_id is not None
        until, head_known = time.monotonic() + wait, after == 0 or looks_back
        while True:
            # No connection is held while waiting.
            async with request.app.state.reading_sessions() as session:
                asked = {"after": after - looks_back, "limit": limit + looks_back}
                rows = (await session.execute(_SELECT, asked)).all()
                if looks_back:
                    # Read with what follows, at every turn: a backup may be restored meanwhile.
                    if not rows or rows[0][:2] != (after, str(after_id)):
                        raise FeedBehind
                    rows = rows[1:]
                if not rows and not head_known:
                    # After a restored backup, new events would be taken for some seen already.
                    if int(await session.scalar(_HEAD) or 0) < after:
                        raise FeedBehind
                    head_known = True
            left_s = until - time.monotonic()
            if rows or left_s <= 0 or request.app.state.stopping.is_set():
                break
            # Short turns: a notice may come between the read and the wait, and so may the end.
            await request.app.state.sequencer.moved(min(left_s, 0.5))
        return Response(_batch(source, rows), media_type=BATCH_MEDIA_TYPE)

    return router


def _batch(source: str, rows: Sequence[Any]) -> bytes:
    """As many of the rows as fit into one answer; the first in any case."""
    events: list[bytes] = []
    size = 0
    for row in rows:
        event = _render(source, *row)
        size += len(event) + 1
        if events and size > BATCH_BYTES_MAX:
            break
        events.append(event)
    return b"[" + b",".join(events) + b"]"


def _render(
    source: str,
    seq: int,
    event_id: str,
    event_type: str,
    subject: str,
    time: datetime,
    actor: str,
    actorrole: str,
    division: str | None,
    traceparent: str | None,
    data: str,
) -> bytes:
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": event_type,
        "time": render_moment(time),
        "subject": subject,
        "datacontenttype": "application/json",
        "sequence": str(seq),
        "actor": actor,
        "actorrole": actorrole,
    }
    if division is not None:
        event["division"] = division
    if traceparent is not None:
        event["traceparent"] = traceparent
    return f'{_encode(event)[:-1]},"data":{data}}}'.encode()
