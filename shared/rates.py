"""How often one caller may ask: a window of a minute for each token or address, told in headers.

SPEC: draft-ietf-httpapi-ratelimit-headers (RateLimit-Policy, RateLimit). In memory, so the limit
holds per process; a gateway in front of several replicas sets its own.
"""

import hashlib

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import TooManyRequests, problem


class RateMiddleware:
    """Pure ASGI; health checks are not counted."""

    def __init__(self, app: ASGIApp, per_minute_max: int) -> None:
        self.app = app
        self.item = RateLimitItemPerMinute(per_minute_max)
        self.limiter = FixedWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in {"/healthz", "/readyz"}:
            await self.app(scope, receive, send)
            return
        who = _who(scope)
        allowed = self.limiter.hit(self.item, who)
        window = self.limiter.get_window_stats(self.item, who)
        headers = {
            "RateLimit-Policy": f'"default";q={self.item.amount};w=60',
            "RateLimit": f'"default";r={window.remaining}',
        }

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(k.lower().encode(), v.encode()) for k, v in headers.items()]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        if allowed:
            await self.app(scope, receive, send_with_limits)
            return
        answer = problem(
            TooManyRequests.status,
            TooManyRequests.title,
            TooManyRequests.code,
            "Too many requests in this minute; wait and go on.",
            headers={"Retry-After": "10"},
        )
        await answer(scope, receive, send_with_limits)


def _who(scope: Scope) -> str:
    for name, value in scope["headers"]:
        # Any other scheme makes no caller (shared.callers), so it makes no count of its own either.
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            # A digest: the token itself must not lie about in memory as a key.
            return hashlib.sha256(value).hexdigest()
    client = scope.get("client")
    return client[0] if client else "unknown"
