"""What makes an application out of a service's routers: wiring, background tasks, readiness."""

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic_settings import BaseSettings
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from shared.callers import KeySet, Public
from shared.db import STORAGE_ERRORS, Pool, Sessions, is_passing, now, try_lock
from shared.errors import COMMON_RESPONSES, Problem, add_error_handlers
from shared.events.consumer import Consumer
from shared.events.outbox import EMITTED
from shared.events.sequencer import Sequencer
from shared.logs import TraceMiddleware, begin_trace, set_up_logs
from shared.rates import RateMiddleware

log = logging.getLogger(__name__)

BODY_BYTES_MAX = 4 * 1024 * 1024
IDEMPOTENCY_KEPT = timedelta(days=7)
# Twice as many at need. Five services, with as many as 20 for requests and one that numbers events,
# stay below the 200 of our own server (deploy/postgres.py).
OWN_POOL_SIZE = 5


class AloneSettings(BaseSettings):
    """Settings of a service that stands alone: it knows no tokens, and has no feed and no tables of
    shared.events. Each adds its own prefix. No default for a secret."""

    database_url: str
    state_dir: Path
    log_level: str = "INFO"
    pool_size: int = 10
    rate_per_minute_max: int = 6_000


class ServiceSettings(AloneSettings):
    """Settings of every service of the platform."""

    key_set: str
    service_token_file: Path
    issuer: str = "duijie-dev"


@dataclass(frozen=True)
class Clock:
    """What falls due becomes an ordinary operation: run under an advisory lock, catching up.

    run  (session, now) -> how many were handled; called again at once while it is not 0
    """

    name: str
    every_s: float
    run: Callable[[AsyncSession, datetime], Awaitable[int]]


@dataclass(frozen=True)
class Task:
    """A background task of a service that is neither a clock nor a consumer; restarted if it ends.

    not_ready  says why the service is not ready on account of this task, or None
    """

    name: str
    run: Callable[[FastAPI], Awaitable[None]]
    not_ready: Callable[[], str | None] = lambda: None


class Closing(Protocol):
    """A client, closed when the service ends."""

    async def aclose(self) -> None: ...


def create_service(
    name: str,
    settings: AloneSettings,
    routers: Sequence[APIRouter],
    *,
    description: str,
    consumers: Sequence[Consumer] = (),
    clocks: Sequence[Clock] = (),
    tasks: Sequence[Task] = (),
    clients: Sequence[Closing] = (),
    body_bytes_max: int = BODY_BYTES_MAX,
) -> FastAPI:
    """The application of one service.

    `app.state` holds: settings, sequencer, key_set, issuer, stopping (asyncio.Event), consumers;
    callers (the Pool of requests); engine, sessions, reading_sessions (of the platform's own Pool:
    background work and the feeds that its services follow, which slow readers must not hold up).
    """
    set_up_logs(name, settings.log_level)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _background(app, settings, consumers, clocks, tasks, clients):
            yield

    app = FastAPI(
        title=f"Duijie {name}",
        description=description,
        version="0.1.0",
        lifespan=lifespan,
        responses=COMMON_RESPONSES,
        max_body_size=body_bytes_max,
        telemetry=None,
    )
    app.state.settings = settings
    tokens_of = settings if isinstance(settings, ServiceSettings) else None
    app.state.key_set = KeySet(tokens_of.key_set if tokens_of else None)
    app.state.issuer = tokens_of.issuer if tokens_of else None
    app.state.consumers = consumers
    app.include_router(_health_router(name, consumers, tasks))
    for router in routers:
        app.include_router(router)
    add_error_handlers(app)
    app.add_middleware(RateMiddleware, per_minute_max=settings.rate_per_minute_max)
    app.add_middleware(TraceMiddleware)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


@contextlib.asynccontextmanager
async def _background(
    app: FastAPI,
    settings: AloneSettings,
    consumers: Sequence[Consumer],
    clocks: Sequence[Clock],
    tasks: Sequence[Task],
    clients: Sequence[Closing],
) -> AsyncIterator[None]:
    # A class of its own, so that a commit wakes this service's sequencer and no other's.
    own_session = type("ServiceSession", (Session,), {})
    own = Pool(settings.database_url, OWN_POOL_SIZE, own_session)
    callers = Pool(settings.database_url, settings.pool_size, own_session)
    sequencer = Sequencer(settings.database_url.replace("postgresql+asyncpg", "postgresql", 1))
    app.state.engine = own.engine
    app.state.sessions, app.state.reading_sessions = own.sessions, own.reading_sessions
    app.state.callers = callers
    app.state.sequencer = sequencer
    app.state.stopping = asyncio.Event()
    restore = _hear_the_end(app.state.stopping)

    def wake(session: Session) -> None:
        if session.info.pop(EMITTED, False):
            sequencer.wake()

    event.listen(own_session, "after_commit", wake)
    coroutines: dict[str, Callable[[], Awaitable[None]]] = {}
    if isinstance(settings, ServiceSettings):
        coroutines["sequencer"] = sequencer.run
        clocks = (*clocks, Clock("idempotency", 3600, _forget_answers))
    for consumer in consumers:
        coroutines[f"consumer {consumer.source}"] = _bound(consumer.run, own.sessions)
    for clock in clocks:
        coroutines[f"clock {clock.name}"] = _bound(_run_clock, clock, own.sessions)
    for task in tasks:
        coroutines[task.name] = _bound(task.run, app)
    running = [asyncio.create_task(_kept_up(n, c), name=n) for n, c in coroutines.items()]
    try:
        yield
    finally:
        app.state.stopping.set()
        restore()
        for job in running:
            job.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for client in clients:
            await client.aclose()
        await own.engine.dispose()
        await callers.engine.dispose()


def _hear_the_end(stopping: asyncio.Event) -> Callable[[], None]:
    """Set `stopping` at SIGTERM already; return what puts the former handler back.

    The server ends the application only when all answers are given: a long poll that does not
    hear of the end would hold it up and be cut off.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    former = signal.getsignal(signal.SIGTERM)

    def hear(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)
        if callable(former):
            former(number, frame)
        else:
            signal.signal(number, former)
            signal.raise_signal(number)

    def restore() -> None:
        if signal.getsignal(signal.SIGTERM) is hear:
            signal.signal(signal.SIGTERM, former)

    signal.signal(signal.SIGTERM, hear)
    return restore


def _bound(function: Callable[..., Awaitable[None]], *arguments: Any) -> Any:
    return lambda: function(*arguments)


async def _kept_up(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Start again what ended: a background task that dies silently is a service that lies."""
    while True:
        try:
            await run()
        except Exception:
            # As broad as that on purpose: whatever a task raises, nobody above could mend it, so it
            # is logged and tried again. A cancellation is no Exception, and ends it.
            log.exception("background task failed", extra={"task": name})
        await asyncio.sleep(1.0)


async def _run_clock(clock: Clock, sessions: Sessions) -> None:
    while True:
        begin_trace()
        try:
            handled = await _tick(clock, sessions, now())
        except STORAGE_ERRORS as error:
            log.warning("clock not run", extra={"clock": clock.name, "error": str(type(error))})
            handled = 0
        if not handled:
            await asyncio.sleep(clock.every_s)


async def _tick(clock: Clock, sessions: Sessions, moment: datetime) -> int:
    async with sessions.begin() as session:
        if not await try_lock(session, f"clock {clock.name}"):
            return 0
        handled = await clock.run(session, moment)
    if handled:
        log.info("clock", extra={"clock": clock.name, "handled": handled})
    return handled


async def _forget_answers(session: AsyncSession, moment: datetime) -> int:
    await session.execute(
        text("DELETE FROM idempotency WHERE at < :before"), {"before": moment - IDEMPOTENCY_KEPT}
    )
    return 0


def _health_router(name: str, consumers: Sequence[Consumer], tasks: Sequence[Task]) -> APIRouter:
    router = APIRouter(tags=["health"])
    started = time.monotonic()

    @router.get("/healthz")
    async def healthz(caller: Public) -> dict[str, Any]:
        """The process answers."""
        return {"service": name, "uptime_s": round(time.monotonic() - started)}

    @router.get("/readyz", responses={503: {"description": "Not ready, with the reasons"}})
    async def readyz(caller: Public, request: Request, response: Response) -> dict[str, Any]:
        """The database answers, every feed was reached and no consumer or task has stopped."""
        reasons = [f"feed {c.source} not reached yet" for c in consumers if not c.reached]
        reasons += [c.stopped_at for c in consumers if c.stopped_at]
        reasons += [reason for task in tasks if (reason := task.not_ready())]
        if (stopped_by := request.app.state.sequencer.stopped_by) is not None:
            reasons.append(f"events are not numbered: {stopped_by}")
        try:
            async with request.app.state.callers.reading_sessions() as session:
                await session.execute(text("SELECT 1"))
        except Exception as error:
            if not is_passing(error):
                raise
            reasons.append("database not reached")
        if reasons:
            response.status_code = 503
        return {"ready": not reasons, "reasons": reasons}

    return router


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        app.openapi_schema = schema
    return app.openapi_schema
