"""Every route of every service, with the scopes it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from fastapi.routing import APIRoute

from deploy.openapi import SERVICES, application


@dataclass(frozen=True)
class Route:
    """`scopes` is empty for a public route; one of them is enough otherwise."""

    service: str
    method: str
    path: str
    scopes: frozenset[str]

    def __str__(self) -> str:
        return f"{self.service} {self.method} {self.path}"


@cache
def all_routes() -> tuple[Route, ...]:
    return tuple(route for service in SERVICES for route in _routes(service))


def _routes(service: str) -> Iterator[Route]:
    for route in _walk(application(service).router):
        calls: list[Any] = [d.call for d in route.dependant.dependencies]
        declared = [call.scopes for call in calls if hasattr(call, "scopes")]
        assert declared, f"{route.path} does not say who may call it"
        scopes = frozenset(scope for each in declared for scope in each)
        for method in sorted(route.methods or ()):
            yield Route(service, method, route.path_format, scopes)


def _walk(container: Any) -> Iterator[APIRoute]:
    for route in container.routes:
        if isinstance(route, APIRoute):
            yield route
        # FastAPI 0.137 and later keep an included router as one nested route.
        nested = getattr(route, "original_router", None) or getattr(route, "router", None)
        if nested is not None:
            yield from _walk(nested)
