"""No route of a running service answers anybody who has not declared who they are."""

import re
from uuid import UUID

import pytest

from deploy.openapi import SERVICES, application
from shared.callers import ROLES
from tests.system.harness import System
from tests.system.routes import Route, all_routes

NOBODYS = str(UUID(int=7))
COUNTY = "430224000000"


def address(system: System, route: Route) -> str:
    return system.urls[route.service] + re.sub(r"\{[^}]+\}", NOBODYS, route.path)


async def answer(system, route: Route, token: str | None = None):
    headers = {"Idempotency-Key": "k", "If-Match": '"1"'}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return await system.http.request(route.method, address(system, route), headers=headers)


def test_the_walk_knows_every_documented_route():
    documented = {
        (service, method.upper(), path)
        for service in SERVICES
        for path, operations in application(service).openapi()["paths"].items()
        for method in operations
    }
    assert documented <= {(r.service, r.method, r.path) for r in all_routes()}


async def test_without_a_token_every_route_that_is_not_public_answers_401(system):
    guarded = [route for route in all_routes() if route.scopes]
    # A witness knows nobody, and is open to all.
    assert {route.service for route in guarded} == set(SERVICES) - {"witness"}
    for route in guarded:
        response = await answer(system, route)
        assert response.status_code == 401, route
        assert response.headers["www-authenticate"] == "Bearer", route
        assert response.json()["code"] == "unauthenticated", route


async def test_no_role_passes_without_the_scope(system):
    refused = 0
    for role, scopes in ROLES.items():
        token = system.token(role, f"curious-{role}", division=COUNTY, org=NOBODYS)
        for route in all_routes():
            if route.scopes and route.scopes.isdisjoint(scopes):
                response = await answer(system, route, token)
                assert response.status_code == 403, (role, route, response.text)
                assert response.json()["code"] == "forbidden", (role, route)
                refused += 1
    assert refused > 200


@pytest.mark.parametrize("token", ["nonsense", "a.b.c"])
async def test_a_bad_token_is_refused_even_where_none_is_needed(system, token):
    for route in all_routes():
        response = await answer(system, route, token)
        assert response.status_code == 401, (route, response.text)


async def test_a_role_with_the_scope_is_let_in(system):
    """Guards the tests above: their refusals come from the caller, not from the request."""
    for route in all_routes():
        for role, scopes in ROLES.items():
            if not route.scopes.isdisjoint(scopes):
                token = system.token(role, f"curious-{role}", division=COUNTY)
                assert (await answer(system, route, token)).status_code != 401, (role, route)
