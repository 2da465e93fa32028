"""Every read of what is not public of a person is itself an event; no route is forgotten."""

import pytest
from fastapi.routing import APIRoute

from deploy.openapi import SERVICES
from shared.db import _reading, _transaction
from tests.architecture.test_rules import routes

# Each of these tells of itself in the transaction in which it reads: tests/needs/test_readings.py,
# test_privacy.py and test_disclosures.py, tests/audit/test_trail.py, test_chain.py, test_export.py.
LOGGED = {
    ("needs", "/v1/work/needs"),
    ("needs", "/v1/work/needs/{need_id}"),
    ("needs", "/v1/work/objections"),
    ("needs", "/v1/applicants/{applicant_id}"),
    ("needs", "/v1/applicants/{applicant_id}/personal"),
    ("needs", "/v1/applicants/{applicant_id}/disclosures"),
    ("needs", "/v1/needs/{need_id}/disclosures"),
    ("audit", "/v1/entries"),
    ("audit", "/v1/allocations/{allocation_id}/chain"),
    ("audit", "/v1/export"),
}
_FEED = "the events that the public log holds, for services"
_LEDGER = "ids of allocations and quantities, which events tell in public, for services"
_ROUND = (
    "what is computed from published needs and open offers; of a need what its event"
    " needs.need_published tells in public"
)
NOTHING_OF_A_PERSON = {
    ("needs", "/events"): _FEED,
    ("donors", "/events"): _FEED,
    ("matching", "/events"): _FEED,
    ("audit", "/events"): _FEED,
    ("audit", "/appended"): _FEED,
    ("needs", "/v1/needs/{need_id}/commitments"): _LEDGER,
    ("donors", "/v1/offer-lines/{line_id}/reservations"): _LEDGER,
    ("matching", "/v1/rounds"): _ROUND,
    ("matching", "/v1/rounds/{round_id}"): _ROUND,
    ("matching", "/v1/rounds/{round_id}/proposals"): _ROUND,
    ("matching", "/v1/rounds/{round_id}/overview"): _ROUND,
    ("matching", "/v1/rounds/{round_id}/outcomes"): _ROUND,
    ("matching", "/v1/rounds/{round_id}/comparison"): _ROUND,
    ("matching", "/v1/rounds/{round_id}/comparison/needs"): _ROUND,
    ("matching", "/v1/rounds/{round_id}/snapshot"): _ROUND,
}


def not_public(service: str) -> dict[str, APIRoute]:
    """Routes that only read, and not for everybody."""
    return {
        route.path_format: route
        for route in routes(service)
        if "GET" in (route.methods or ())
        and any(getattr(d.call, "scopes", ()) for d in route.dependant.dependencies)
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_read_of_what_is_not_public_is_logged_or_says_why_not(service):
    named = {path for of, path in [*LOGGED, *NOTHING_OF_A_PERSON] if of == service}
    assert set(not_public(service)) == named


@pytest.mark.parametrize("service", SERVICES)
def test_a_logged_read_can_record_an_event(service):
    """An event needs a transaction; a session for reading has none."""
    for path, route in not_public(service).items():
        if (service, path) in LOGGED:
            calls = [dependency.call for dependency in route.dependant.dependencies]
            assert _transaction in calls, path
            assert _reading not in calls, path
