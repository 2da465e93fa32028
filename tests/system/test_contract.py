"""What the running services answer is what their OpenAPI documents say they answer."""

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from deploy.openapi import SERVICES, application
from shared.callers import ROLES
from tests.system.routes import all_routes
from tests.system.world import CITY

# What is asked of every answer. That a body which the document allows is accepted is not: rules of
# the domain say no more often than a schema can.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "5"))


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_answers_as_documented(system, lived, service):
    schema = schemathesis.openapi.from_dict(application(service).openapi())
    wrong: dict[str, str] = {}
    tried = 0
    operations: Any = schema.get_all_operations()
    for operation in (found.ok() for found in operations):
        token = _token(system, service, operation.method.upper(), operation.path)
        try:
            _try(operation, system.urls[service], token)
        except (FailureGroup, AssertionError) as failure:
            wrong[operation.label] = str(failure)[:1500]
        tried += 1
    assert tried > 3
    assert not wrong, "\n\n".join(f"{label}\n{said}" for label, said in wrong.items())


def _try(operation: Any, url: str, token: str | None) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def answers_as_documented(case: Any) -> None:
        # A long poll is not waited for.
        if case.query:
            case.query.pop("wait", None)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        case.call_and_validate(base_url=url, headers=headers, checks=CHECKS)

    answers_as_documented()


def _token(system: Any, service: str, method: str, path: str) -> str | None:
    """Of somebody with rights in the whole city, by a role that may call the route."""
    if service == "witness":  # it knows nobody's tokens
        return None
    scopes = next(
        route.scopes
        for route in all_routes()
        if (route.service, route.method, route.path) == (service, method, path)
    )
    role = next(r for r in ROLES if not scopes or not scopes.isdisjoint(ROLES[r]))
    token: str = system.token(role, f"contract-{role}", division=CITY)
    return token
