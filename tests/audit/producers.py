"""Three producers' feeds, made of numbers: what a log is fed with while it is ill-treated."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import UUID, uuid5

import uvicorn
from fastapi import FastAPI, Query
from fastapi.responses import Response
from pydantic import TypeAdapter

from deploy.postgres import free_port
from shared.events import CloudEvent
from tests.audit.conftest import an_event

_IDS = UUID("0b5e3a2e-6c1f-4a53-8f3f-5f1d2f3b7a11")
_BATCH = TypeAdapter(list[CloudEvent])


def event_of(producer: str, seq: int) -> CloudEvent:
    """The same event whenever it is asked for."""
    return an_event(producer, seq, id=uuid5(_IDS, f"{producer} {seq}"))


class Producers:
    """Feeds on 127.0.0.1 under /<producer>/events; `told` is how many events each has.

    lost   producer and number of events that the feed has not, though it counted them
    other  events that stand where others stood before, by producer and number
    away   the feed answers that it cannot; `refused` is how often each did
    """

    def __init__(self) -> None:
        self.lost: set[tuple[str, int]] = set()
        self.other: dict[tuple[str, int], CloudEvent] = {}
        self.away, self.refused = False, Counter[str]()
        self.told = {"needs": 0, "donors": 0, "matching": 0}
        self.port = free_port()
        app = FastAPI()
        app.add_api_route("/{producer}/events", self._events)
        config = uvicorn.Config(app, port=self.port, log_config=None, access_log=False)
        self._server = uvicorn.Server(config)

    def url(self, producer: str) -> str:
        return f"http://127.0.0.1:{self.port}/{producer}"

    async def _events(
        self,
        producer: str,
        after: int,
        after_id: UUID | None = None,
        limit: int = 500,
        wait: float = Query(0),
    ) -> Response:
        if self.away:
            self.refused[producer] += 1
            return Response(status_code=503)
        if self.told[producer] <= after and wait:
            await asyncio.sleep(min(wait, 0.05))
        if after_id not in (None, self._event(producer, after).id):
            return Response('{"code": "feed_behind", "detail": "another"}', status_code=409)
        last = min(self.told[producer], after + limit)
        batch = [
            self._event(producer, seq)
            for seq in range(after + 1, last + 1)
            if (producer, seq) not in self.lost
        ]
        content = _BATCH.dump_json(batch, exclude_none=True)
        return Response(content, media_type="application/cloudevents-batch+json")

    def _event(self, producer: str, seq: int) -> CloudEvent:
        return self.other.get((producer, seq)) or event_of(producer, seq)

    async def serve(self) -> asyncio.Task[None]:
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        return serving

    async def end(self, serving: asyncio.Task[None]) -> None:
        self._server.should_exit = True
        await serving
