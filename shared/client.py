"""Calls to another service: bounded in time and number, authenticated, with typed failures."""

import asyncio
import functools
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from shared.logs import current_traceparent

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
ATTEMPTS_MAX = 3
CONNECTIONS_MAX = 20


@functools.cache
def certificates() -> ssl.SSLContext:
    """Whom we trust. Reading it takes a client 30 ms, so all clients of a process share it."""
    return httpx.create_ssl_context()


class RemoteFailure(Exception):
    """A call did not end in an answer that means success."""


class RemoteUnavailable(RemoteFailure):
    """No answer, a redirect, or 5xx: it may have been done or not; ask again or repeat a PUT."""


class RemoteProblem(RemoteFailure):
    """The other service refused the call: 4xx with its problem details."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code, self.detail = status, code, detail


class Client:
    """A client of one service.

    token_file  file with our own bearer token, read again when it changes (tokens expire);
                None for public routes
    """

    def __init__(
        self,
        base_url: str,
        token_file: Path | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._token_file = token_file
        self._token, self._token_mtime_ns = "", -1
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
            transport=transport,
            verify=certificates(),
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def get(
        self, path: str, *, params: Mapping[str, Any] | None = None, timeout_s: float = TIMEOUT_S
    ) -> httpx.Response:
        return await self._idempotent("GET", path, params=params, timeout=timeout_s)

    async def put(
        self, path: str, body: BaseModel, *, timeout_s: float = TIMEOUT_S
    ) -> httpx.Response:
        """A PUT is repeated when its answer is lost: it is idempotent by the contract."""
        headers = {"Content-Type": "application/json"}
        content = body.model_dump_json().encode()
        return await self._idempotent(
            "PUT", path, content=content, headers=headers, timeout=timeout_s
        )

    async def _idempotent(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(RemoteUnavailable),
            stop=stop_after_attempt(ATTEMPTS_MAX),
            wait=wait_exponential_jitter(multiplier=0.1, max=2.0),
            reraise=True,
        ):
            with attempt:
                return await self._send(method, path, **arguments)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send(
        self, method: str, path: str, headers: dict[str, str] | None = None, **arguments: Any
    ) -> httpx.Response:
        headers = {**(headers or {}), "traceparent": current_traceparent()}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {await self._bearer(self._token_file)}"
        try:
            answer = await self._http.request(method, path, headers=headers, **arguments)
        except httpx.HTTPError as error:
            raise RemoteUnavailable(f"{method} {path}: {type(error).__name__}") from error
        # A redirect is not followed, so nothing was done: a wrong address, or a proxy's answer.
        if answer.status_code >= 500 or answer.status_code == 429 or answer.is_redirect:
            raise RemoteUnavailable(f"{method} {path}: {answer.status_code}")
        if answer.status_code >= 400:
            raise _problem_of(answer)
        return answer

    async def _bearer(self, token_file: Path) -> str:
        try:
            mtime_ns = (await asyncio.to_thread(token_file.stat)).st_mtime_ns
            if mtime_ns != self._token_mtime_ns:
                self._token = (await asyncio.to_thread(token_file.read_text)).strip()
                self._token_mtime_ns = mtime_ns
        except OSError as error:
            raise RemoteUnavailable("our service token cannot be read") from error
        return self._token


def _problem_of(answer: httpx.Response) -> RemoteProblem:
    try:
        body = answer.json()
        return RemoteProblem(answer.status_code, str(body["code"]), str(body["detail"]))
    except (ValueError, KeyError, TypeError):
        return RemoteProblem(answer.status_code, "unknown", "no problem details in the answer")
