"""Calls of the story: as whom, repeated when they are lost, a few at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import httpx
from pydantic import BaseModel
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from deploy.platform import Platform

TIMEOUT_S = 60.0
ATTEMPTS_MAX = 6
# As many as two cores can use; more would only wait inside the services.
AT_ONCE_MAX = 6
POLL_S = 0.2
WAIT_S_MAX = 180.0
PAGE = 200

Say = Callable[[str], None]
T = TypeVar("T")


class StoryFailed(Exception):
    """A service refused what the story cannot go on without, or did not answer."""


class _TryAgain(Exception):
    """No answer, or one that means: the same call again."""


class Calls:
    """The four services, and the people who call them."""

    def __init__(self, platform: Platform, say: Say) -> None:
        self.platform, self.say = platform, say
        self._http = httpx.AsyncClient(timeout=TIMEOUT_S)
        self._tokens: dict[tuple[object, ...], dict[str, str]] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE_MAX)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def person(
        self, role: str, subject: str, division: str | None = None, org: UUID | str | None = None
    ) -> dict[str, str]:
        """The headers of somebody; one subject is one person."""
        key = (role, subject, division, org)
        if key not in self._tokens:
            token = self.platform.token(role, subject, division, org)
            self._tokens[key] = {"Authorization": f"Bearer {token}"}
        return self._tokens[key]

    async def get(
        self, service: str, path: str, who: dict[str, str] | None = None, **params: Any
    ) -> Any:
        # Empty parameters would take away those that the path carries.
        answer = await self._send("GET", service, path, headers=who or {}, params=params or None)
        return answer.json()

    async def is_there(self, service: str, path: str, **params: Any) -> bool:
        """Whether a public thing is found; any other refusal than "not found" fails."""
        answer = await self._send("GET", service, path, params=params, may_refuse=True)
        if answer.is_error and answer.status_code != 404:
            raise StoryFailed(f"GET {path}: {_problem(answer)}")
        return answer.is_success

    async def post(
        self, service: str, path: str, who: dict[str, str], body: BaseModel | None = None
    ) -> Any:
        """The answer's JSON; a repeated call carries the same Idempotency-Key."""
        answer = await self.try_post(service, path, who, body)
        if answer.is_error:
            raise StoryFailed(f"POST {path}: {_problem(answer)}")
        return answer.json()

    async def try_post(
        self, service: str, path: str, who: dict[str, str], body: BaseModel | None = None
    ) -> httpx.Response:
        """The answer, which may be a refusal."""
        headers = {**who, "Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
        content = b"" if body is None else body.model_dump_json().encode()
        return await self._send(
            "POST", service, path, headers=headers, content=content, may_refuse=True
        )

    async def _send(
        self, method: str, service: str, path: str, *, may_refuse: bool = False, **arguments: Any
    ) -> httpx.Response:
        url = self.platform.url(service) + path
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_TryAgain),
                stop=stop_after_attempt(ATTEMPTS_MAX),
                wait=wait_exponential_jitter(multiplier=0.2, max=5.0),
                reraise=True,
            ):
                with attempt:
                    answer = await self._once(method, url, **arguments)
                    if answer.is_error and not may_refuse:
                        raise StoryFailed(f"{method} {path}: {_problem(answer)}")
                    return answer
        except _TryAgain as error:
            raise StoryFailed(f"{service}: {method} {path}: {error}") from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _once(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        async with self._at_once:
            try:
                answer = await self._http.request(method, url, **arguments)
            except httpx.TransportError as error:
                raise _TryAgain(f"no answer ({type(error).__name__})") from error
        if answer.status_code >= 500 or answer.status_code == 429:
            raise _TryAgain(f"answered {_problem(answer)}")
        return answer

    async def pages(
        self, service: str, path: str, who: dict[str, str] | None = None, **params: Any
    ) -> list[dict[str, Any]]:
        """All rows of a list."""
        rows: list[dict[str, Any]] = []
        following = str(httpx.URL(path, params={**params, "limit": PAGE}))
        while following:
            page = await self.get(service, following, who)
            rows += page["data"]
            following = page["links"]["next"] or ""
        return rows

    async def wait_until(self, what: str, done: Callable[[], Awaitable[bool]]) -> None:
        """Ask until it is so; StoryFailed when it never comes."""
        end = time.monotonic() + WAIT_S_MAX
        while not await done():
            if time.monotonic() > end:
                raise StoryFailed(f"Waited {WAIT_S_MAX:.0f} s in vain: {what}.")
            await asyncio.sleep(POLL_S)


def _problem(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        return f"{answer.status_code} {problem['code']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return str(answer.status_code)


def parts(items: list[T], size: int) -> list[list[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def grouped(items: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    """Groups in the order of their keys."""
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return dict(sorted(groups.items()))


async def all_of(work: Iterable[Awaitable[T]]) -> list[T]:
    """Do it side by side (Calls bounds how many at once); the first failure ends the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_awaited(each)) for each in work]
    return [task.result() for task in tasks]


async def _awaited(work: Awaitable[T]) -> T:
    return await work
