"""Calls to the platform's public API by those who are played: any token, any route.

`shared.client` is for a service with one token of its own; people come with many.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import httpx
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from shared.client import certificates

TIMEOUT_S = 60.0
ATTEMPTS_MAX = 5


class ApiProblem(Exception):
    """A call was refused, or never answered (status 0, no code)."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _NoAnswer(Exception):
    """No answer, or one that means: the same call again."""


class Api:
    """One service.

    transport  another way to it than the network, for one in the same process
    """

    def __init__(self, base_url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = httpx.AsyncClient(
            base_url=base_url, timeout=TIMEOUT_S, transport=transport, verify=certificates()
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def get(
        self, path: str, token: str | None = None, params: Mapping[str, Any] | None = None
    ) -> Any:
        return (await self._send("GET", path, token, params=params)).json()

    async def text(self, path: str) -> str:
        return (await self._send("GET", path, None)).text

    async def octets(self, path: str, token: str | None = None) -> bytes:
        return (await self._send("GET", path, token)).content

    async def etag(self, path: str, token: str) -> str:
        return (await self._send("GET", path, token)).headers["ETag"]

    async def pages(
        self, path: str, token: str | None = None, params: Mapping[str, Any] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the rows of a list, page after page."""
        following: str | None = path
        while following is not None:
            page = await self.get(following, token, params)
            for row in page["data"]:
                yield row
            # The link carries the parameters.
            following, params = page["links"]["next"], None

    async def post(self, path: str, body: Any, token: str | None, key: str | None = None) -> Any:
        """`key` is the Idempotency-Key, where the route creates."""
        headers = {"Idempotency-Key": key} if key else {}
        return (await self._send("POST", path, token, json=body, headers=headers)).json()

    async def patch(self, path: str, body: Any, token: str, etag: str) -> Any:
        return (
            await self._send("PATCH", path, token, json=body, headers={"If-Match": etag})
        ).json()

    async def _send(
        self,
        method: str,
        path: str,
        token: str | None,
        headers: dict[str, str] | None = None,
        **arguments: Any,
    ) -> httpx.Response:
        """Repeat what got no answer: every call here may be made twice.

        A POST without a key moves something to a state; repeated it is refused, not done twice.
        """
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_NoAnswer),
                stop=stop_after_attempt(ATTEMPTS_MAX),
                wait=wait_exponential_jitter(multiplier=0.2, max=5.0, jitter=0.2),
                reraise=True,
            ):
                with attempt:
                    return await self._once(method, path, headers=sent, **arguments)
        except _NoAnswer as error:
            raise ApiProblem(0, f"{method} {path}: {error}") from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _once(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise _NoAnswer(f"no answer ({type(error).__name__})") from error
        if answer.status_code >= 500 or answer.status_code == 429:
            raise _NoAnswer(f"answered {answer.status_code}")
        if answer.status_code >= 400:
            code, said = _said(answer)
            raise ApiProblem(answer.status_code, f"{method} {path}: {said}", code)
        return answer


def _said(answer: httpx.Response) -> tuple[str | None, str]:
    """(code, a line for people); no code where there are no problem details."""
    try:
        problem = answer.json()
        code = str(problem["code"])
        return code, f"{answer.status_code} {code}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return None, str(answer.status_code)
