"""The feed: `GET /events?after=<seq>&limit=&wait=<s>`, a CloudEvents batch, long-polled."""

import json
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import text

from shared.callers import Caller, require
from shared.errors import Conflict, responses
from shared.events.model import CloudEvent

BATCH_MEDIA_TYPE = "application/cloudevents-batch+json"
WAIT_S_MAX = 25.0
LIMIT_MAX = 2_000

After = Annotated[int, Query(ge=0, le=2**62, description="The last sequence number you have.")]
FeedLimit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Events a batch.")]
Wait = Annotated[float, Query(ge=0, le=WAIT_S_MAX, description="Seconds to wait for news.")]


class FeedBehind(Conflict):
    code = "feed_behind"

    def __init__(self) -> None:
        super().__init__("The feed ends before that number: the reader has seen another history.")


_SELECT = text(
    "SELECT seq, id, type, subject, time, actor, actorrole, division, traceparent, data"
    " FROM event WHERE seq > :after ORDER BY seq LIMIT :limit"
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
        limit: FeedLimit = 500,
        wait: Wait = 0,
    ) -> Response:
        """Events numbered above `after`, in order and without gaps; waits when there is none."""
        until, head_known = time.monotonic() + wait, after == 0
        while True:
            # No connection is held while waiting.
            async with request.app.state.reading_sessions() as session:
                rows = (await session.execute(_SELECT, {"after": after, "limit": limit})).all()
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
        return Response(
            b"[" + b",".join(_render(source, row) for row in rows) + b"]",
            media_type=BATCH_MEDIA_TYPE,
        )

    return router


def _render(source: str, row: Any) -> bytes:
    event = {
        "specversion": "1.0",
        "id": str(row.id),
        "source": source,
        "type": row.type,
        "time": row.time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "subject": row.subject,
        "datacontenttype": "application/json",
        "sequence": str(row.seq),
        "actor": row.actor,
        "actorrole": row.actorrole,
        "data": row.data,
    }
    if row.division is not None:
        event["division"] = row.division
    if row.traceparent is not None:
        event["traceparent"] = row.traceparent
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
