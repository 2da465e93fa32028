"""Logs as JSON lines, each with the trace id of the request it belongs to; never personal data.

SPEC: W3C Trace Context: a trace begins here, and is handed on to other services by `shared.client`;
a caller's `traceparent` is taken over once `shared.callers` knows it for a service of ours. Traces
stand in events, and so in the log for ever: nobody else is to choose what 32 digits say there.
"""

import logging
import re
import secrets
import sys
import time
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.json import JsonFormatter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What paths of ours are made of: words, short numbers, ids. Anything else a caller made up.
_SEGMENT = re.compile(
    r"[A-Za-z_.\-]*[0-9]{0,5}[A-Za-z_.\-]*|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
_DETAIL = re.compile(r"DETAIL: .*?(?=\n\[SQL|\n\nThe above exception|\n\nDuring handling|\Z)", re.S)
_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$")
_traceparent: ContextVar[str] = ContextVar("traceparent", default="")
access_log = logging.getLogger("access")


def new_traceparent(parent: str | None = None) -> str:
    """A traceparent of our own: the parent's trace where it is valid, a new trace where not."""
    match = _TRACEPARENT.match(parent or "")
    valid = match and match[1] != "0" * 32 and match[2] != "0" * 16
    trace_id = match[1] if match and valid else secrets.token_hex(16)
    return f"00-{trace_id}-{secrets.token_hex(8)}-01"


def current_traceparent() -> str:
    """The traceparent of the request at hand; a new one outside any request."""
    return _traceparent.get() or new_traceparent()


def current_trace_id() -> str:
    return current_traceparent().split("-")[1]


def begin_trace(parent: str | None = None) -> None:
    """Begin a trace for background work, or go on with that of another service."""
    _traceparent.set(new_traceparent(parent))


class _Formatter(JsonFormatter):
    def __init__(self, service: str) -> None:
        super().__init__(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger"},
            static_fields={"service": service},
            timestamp="time",
            json_ensure_ascii=False,
        )

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        # PostgreSQL's DETAIL repeats the row or key that was refused.
        return _DETAIL.sub("DETAIL:  (not logged)", str(super().formatException(ei)))

    def format(self, record: logging.LogRecord) -> str:
        record.trace_id = _traceparent.get().split("-")[1] if _traceparent.get() else None
        return super().format(record)


def set_up_logs(service: str, level: str = "INFO") -> None:
    """JSON lines on standard error, for our loggers and the server's."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"  # our access line has the trace id
    # httpx logs every request with its address at INFO: noise, and queries can hold search words.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def logged_path(path: str) -> str:
    """The path without what may be personal: somebody's number in the place of an id."""
    return "/".join(s if _SEGMENT.fullmatch(s) else "*" for s in path[:500].split("/"))


class TraceMiddleware:
    """Pure ASGI (a BaseHTTPMiddleware costs 60 % of the requests a second, RUNTIME 4.1)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        token = _traceparent.set(new_traceparent())
        began = time.perf_counter()
        status = 500

        async def send_with_trace(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                trace_id = (b"x-trace-id", current_trace_id().encode())
                message["headers"] = [*message["headers"], trace_id]
            await send(message)

        try:
            await self.app(scope, receive, send_with_trace)
        finally:
            access_log.info(
                "request",
                extra={
                    "method": scope["method"],
                    # No query string: it can hold what somebody searched for.
                    "path": logged_path(scope["path"]),
                    "status": status,
                    "ms": round((time.perf_counter() - began) * 1000, 1),
                },
            )
            _traceparent.reset(token)
