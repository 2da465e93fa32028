"""Calls of the story: as whom, repeated when they are lost, a few at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel

from deploy.api import Api, ApiProblem
from deploy.platform import Platform

# As many as two cores can use; more would only wait inside the services.
AT_ONCE_MAX = 6
POLL_S = 0.2
WAIT_S_MAX = 180.0
PAGE = 200

Say = Callable[[str], None]
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


class StoryFailed(Exception):
    """A service refused what the story cannot go on without, or did not answer."""


class Calls:
    """The four services, and the people who call them."""

    def __init__(self, platform: Platform, say: Say) -> None:
        self.platform, self.say = platform, say
        self._apis = {service: Api(url) for service, url in platform.urls.items()}
        self._tokens: dict[tuple[object, ...], str] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE_MAX)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for api in self._apis.values():
            await api.aclose()

    def person(
        self, role: str, subject: str, division: str | None = None, org: UUID | str | None = None
    ) -> str:
        """The token of somebody; one subject is one person."""
        key = (role, subject, division, org)
        if key not in self._tokens:
            self._tokens[key] = self.platform.token(role, subject, division, org)
        return self._tokens[key]

    async def get(self, service: str, path: str, who: str | None = None, **params: Any) -> Any:
        # Empty parameters would take away those that the path carries.
        return await self._done(lambda: self._apis[service].get(path, who, params or None))

    async def is_there(self, service: str, path: str, **params: Any) -> bool:
        """Whether a public thing is found; any other refusal than "not found" fails."""
        try:
            async with self._at_once:
                await self._apis[service].get(path, None, params)
        except ApiProblem as problem:
            if problem.status != 404:
                raise StoryFailed(str(problem)) from problem
            return False
        return True

    async def post(
        self,
        service: str,
        path: str,
        who: str | None,
        body: BaseModel | None = None,
        *,
        unless: str | None = None,
    ) -> Any:
        """The answer's JSON; a call that got none is repeated with the same Idempotency-Key.

        unless  code of a refusal that is no failure: then the answer is None
        """
        sent = None if body is None else body.model_dump(mode="json")
        key = str(uuid4())
        return await self._done(
            lambda: self._apis[service].post(path, sent, who, key=key), unless=unless
        )

    async def _done(self, call: Callable[[], Awaitable[Any]], unless: str | None = None) -> Any:
        try:
            async with self._at_once:
                return await call()
        except ApiProblem as problem:
            if unless is not None and problem.code == unless:
                return None
            raise StoryFailed(str(problem)) from problem

    async def pages(
        self, service: str, path: str, who: str | None = None, **params: Any
    ) -> list[dict[str, Any]]:
        """All rows of a list."""
        rows: list[dict[str, Any]] = []
        following: str | None = path
        params["limit"] = PAGE
        while following is not None:
            page = await self.get(service, following, who, **params)
            rows += page["data"]
            # The link carries the parameters.
            following, params = page["links"]["next"], {}
        return rows

    async def wait_until(self, what: str, done: Callable[[], Awaitable[bool]]) -> None:
        """Ask until it is so; StoryFailed when it never comes."""
        end = time.monotonic() + WAIT_S_MAX
        while not await done():
            if time.monotonic() > end:
                raise StoryFailed(f"Waited {WAIT_S_MAX:.0f} s in vain: {what}.")
            await asyncio.sleep(POLL_S)


def parts(items: list[T], size: int) -> list[list[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def grouped(items: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    """Groups in the order of their keys."""
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return dict(sorted(groups.items()))


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do it side by side (Calls bounds how many at once); the first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as failed:
        # What failed first; the others were ended because of it.
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]


async def both(one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """As `all_of`, for two different things."""
    work: list[Coroutine[Any, Any, Any]] = [one, other]
    first, second = await all_of(work)
    return first, second
