"""No personal value that was entered is seen by anybody who is not entitled to it, anywhere."""

import importlib
import json
import re
import struct
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from itertools import product
from random import Random

import httpx
import pytest

from deploy.witnessing import ORIGIN
from services.needs.disclosures import disclosure
from shared.callers import ROLES
from shared.events import Event
from tests.system.everything import everything, types_told
from tests.system.harness import SERVICES, System
from tests.system.personal import Value, Watch
from tests.system.routes import Route, all_routes
from tests.system.world import COUNTY, Person, World

# A household's health and what made it poor; the published vocabulary and texts know the words.
HEALTH = [Value("health", word) for word in ("disability", "illness", "因残", "因病")]
ELSEWHERE = "440300000000"
# Each parameter of a path is tried with so many known ids.
IDS_MAX = 12
# Nothing leads to these here: the first is never logged as an event, then come alarms, their ends
# and changed keys, and a ranking is learned from hundreds of decisions (test_rankings.py).
NOT_TOLD = {
    "audit.entry_appended",
    "audit.alarm_raised",
    "audit.quorum_met",
    "audit.producer_heard",
    "audit.key_announced",
    "audit.key_taken_up",
    "audit.key_retired",
    "matching.ranking_proposed",
    "matching.ranking_activated",
}


@pytest.fixture(scope="module")
async def people(system) -> World:
    return await everything(system)


@pytest.fixture(scope="module")
def watch(people) -> Watch:
    return Watch(people.personal)


@pytest.fixture(scope="module")
def public_watch(people) -> Watch:
    return Watch([*people.personal, *HEALTH])


async def test_every_kind_of_event_was_told(system, people):
    """Guards the walks below: a kind that never happened was never looked at."""
    kinds = {
        kind.type
        for service in SERVICES
        for kind in vars(importlib.import_module(f"services.{service}.contract")).values()
        if isinstance(kind, type) and issubclass(kind, Event) and "type" in vars(kind)
    }
    assert kinds - NOT_TOLD <= await types_told(system)


# ---------------------------------------------------------------- the check itself


@pytest.mark.parametrize(
    "planted",
    [
        "{name}",
        "户主{name}家",
        "{id_number}",
        "{phone_dashed}",
        "＋86 {phone_wide}",
        "{account_spaced}",
        "{escaped}",
        "{encoded}",
        "{address}",
        "{hashed}",
        "{hashed_64}",
        "{bytes}",
        "{disclosed}",
    ],
)
def test_a_planted_value_is_found_in_any_form(people, watch, planted):
    by_kind = {value.kind: value.text for value in people.personal}
    phone, account = by_kind["phone"], by_kind["bank_account"]
    text = planted.format(
        **by_kind,
        phone_dashed="-".join([phone[:3], phone[3:7], phone[7:]]),
        phone_wide="".join(chr(ord(digit) + 0xFEE0) for digit in phone),
        account_spaced=" ".join(re.findall(".{1,4}", account)),
        escaped=json.dumps({"x": by_kind["name"]}),
        encoded=str(httpx.QueryParams({"q": by_kind["name"]})),
        hashed=sha256(by_kind["id_number"].encode()).hexdigest().upper(),
        hashed_64=b64encode(sha256(phone.encode()).digest()).decode(),
        bytes=by_kind["address"].encode().hex(),
        disclosed=disclosure("c2FsdA", "name", by_kind["name"]),
    )
    assert watch.seen(text)


def test_what_is_public_is_not_taken_for_personal(watch):
    assert not watch.seen('{"applicant": "禤**", "division_code": "430224109201", "total": 17}')


async def test_those_entitled_do_see_it(system, people, watch):
    """Guards the walks: the values are there, and are shown where they may be."""
    path = f"/v1/applicants/{people.applicants[0]}/personal"
    shown = await people.village_officer.get("needs", path, purpose="home_visit")
    kinds = {value.kind for value in watch.seen(json.dumps(shown, ensure_ascii=False))}
    assert kinds >= {"name", "id_number", "phone", "bank_account", "address"}


# ---------------------------------------------------------------- what is served


async def test_no_route_shows_a_personal_value_to_the_public(system, people, public_watch):
    asked = 0
    async for route, answer in _walk(system, None):
        asked += answer.status_code == 200
        if "vocabulary" not in route.path and route.path not in {"/v1/policies", "/v1/verifier"}:
            assert not public_watch.seen(_text(answer)), (route, answer.url)
    assert asked > 100


@pytest.mark.parametrize("role", ROLES)
async def test_no_route_shows_a_personal_value_to_any_role(system, people, watch, role):
    """Not even in their own division: full values are shown for a stated purpose only."""
    token = system.token(role, f"reader-{role}", division=COUNTY)
    async for route, answer in _walk(system, token):
        if not route.path.endswith(_FOR_A_PURPOSE):
            assert not watch.seen(_text(answer)), (role, route, answer.url)


# Routes that show full values, each reading recorded.
_FOR_A_PURPOSE = ("/personal", "/disclosures")


@pytest.mark.parametrize("role", [role for role in ROLES if role != "supervisor"])
async def test_disclosures_are_refused_to_whoever_is_no_supervisor(system, people, watch, role):
    person = Person(system, role, f"curious-{role}", COUNTY)
    for path in (f"/v1/applicants/{people.applicants[0]}", f"/v1/needs/{people.needs[0]}"):
        answer = await person.ask(
            "GET", "needs", f"{path}/disclosures", params={"purpose": "curiosity"}
        )
        assert answer.status_code == 403, (role, answer.text)
        assert not watch.seen(answer.text)


@pytest.mark.parametrize("role", [role for role in ROLES if role != "supervisor"])
async def test_personal_data_is_refused_to_whom_it_does_not_concern(system, people, watch, role):
    """Without the scope anywhere; with it, in another division; a supervisor may everywhere."""
    entitled = "needs:read" in ROLES[role]
    division = ELSEWHERE if entitled else COUNTY
    person = Person(system, role, f"stranger-{role}", division)
    for applicant in people.applicants[:6]:
        path = f"/v1/applicants/{applicant}/personal"
        answer = await person.ask("GET", "needs", path, params={"purpose": "curiosity"})
        assert answer.status_code == 403, (role, answer.text)
        assert not watch.seen(answer.text)


async def test_no_event_of_any_feed_holds_a_personal_value(system, people, public_watch):
    service = Person(system, "service", "auditor-of-feeds")
    for producer in SERVICES:
        after, seen = 0, 0
        while True:
            answer = await service.ask(
                "GET", producer, "/events", params={"after": after, "limit": 500}
            )
            events = answer.json()
            if not events:
                break
            for event in events:
                found = public_watch.seen(json.dumps(event, ensure_ascii=False))
                assert not found, (found, event["type"])
            after, seen = int(events[-1]["sequence"]), seen + len(events)
        assert seen > 0, producer


async def test_no_entry_of_the_log_holds_a_personal_value(system, people, public_watch):
    size = int((await system.http.get(f"{system.urls['audit']}/checkpoint")).text.split("\n")[1])
    assert size > 500
    for tile in range(0, size, 256):
        for body in await _bundle(system, tile // 256, min(256, size - tile)):
            assert not public_watch.seen(body.decode()), body


async def _bundle(system: System, tile: int, width: int) -> list[bytes]:
    partial = "" if width == 256 else f".p/{width}"
    address = f"{system.urls['audit']}/tile/entries/{tile:03d}{partial}"
    content = (await system.http.get(address)).raise_for_status().content
    found = []
    while content:
        (length,) = struct.unpack_from(">H", content)
        found.append(content[2 : 2 + length])
        content = content[2 + length :]
    assert len(found) == width
    return found


# ------------------------------------------------------------------ what is kept


async def test_nothing_personal_is_stored_in_the_clear(system, people, watch):
    """Every row of every table, as a thief of the databases would read it."""
    rows_read = 0
    for service in SERVICES:
        tables = await system.fetch(
            service, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        for (table,) in tables:
            for row in await system.fetch(service, f'SELECT t::text AS line FROM "{table}" t'):
                rows_read += 1
                found = watch.seen(row["line"])
                assert not found, (service, table, found)
    assert rows_read > 1000


async def test_others_know_the_band_of_a_score_and_no_health(system, people, public_watch):
    known = await system.fetch("matching", "SELECT DISTINCT poverty_permille FROM need_view")
    assert {row[0] for row in known} == {None, 100}  # it is 150
    for table in ("need_view", "allocation"):
        for row in await system.fetch("matching", f"SELECT t::text AS line FROM {table} t"):
            assert not public_watch.seen(row["line"]), table


@pytest.mark.parametrize("way", ["key", "value", "text", "broken", "query", "path", "header"])
async def test_no_refusal_repeats_what_was_sent(system, people, watch, way):
    """Malformed requests that hold personal values, by somebody who may call the route."""
    refused, chance = 0, Random(way)
    routes = all_routes()
    for route in chance.sample(routes, len(routes) // 2):  # each is tried in some three ways
        token = _token_for(system, route)
        for value in chance.sample(_one_of_each(people.personal), 1):
            answer = await _malformed(system, route, token, way, value.text)
            found = watch.seen(answer.text + str(dict(answer.headers)))
            assert not found, (route, way, answer.status_code, answer.text)
            refused += 400 <= answer.status_code < 500
            assert answer.status_code < 500, (route, way, answer.text)
    assert refused > 25


async def test_no_line_of_any_log_file_holds_a_personal_value(system, people, public_watch):
    """After all that: the services' logs, and PostgreSQL's own."""
    if any(len(system.log_lines(service)) <= 50 for service in SERVICES):  # it runs by itself
        watch = Watch(people.personal)
        await test_no_refusal_repeats_what_was_sent(system, people, watch, "path")
    for service in SERVICES:
        lines = system.log_lines(service)
        assert len(lines) > 50
        for line in lines:
            assert not public_watch.seen(line), (service, line)
    for line in system.server.log.read_text(errors="replace").splitlines():
        assert not public_watch.seen(line), line


# ---------------------------------------------------------------------- walking


async def _walk(system: System, token: str | None) -> AsyncIterator[tuple[Route, httpx.Response]]:
    """Every GET route that may be asked for, with every combination of known ids."""
    known = await _known_ids(system, IDS_MAX if token is None else 3)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for route in all_routes():
        if route.method != "GET" or (token is None and route.scopes):
            continue
        names = re.findall(r"\{([^}:]+)[^}]*\}", route.path)
        for values in product(*(known[name] for name in names)):
            path = route.path
            for name, value in zip(names, values, strict=True):
                path = re.sub(rf"\{{{name}[^}}]*\}}", value, path)
            params = {"purpose": "curiosity"} if path.endswith(_FOR_A_PURPOSE) else {}
            if not names:
                params["limit"] = "200"
            answer = await system.http.get(
                system.urls[route.service] + path, headers=headers, params=params
            )
            if answer.status_code == 422:  # a route without a limit of that kind
                answer = await system.http.get(system.urls[route.service] + path, headers=headers)
            yield route, answer


async def _known_ids(system: System, ids_max: int) -> dict[str, list[str]]:
    known = {
        "path": ["000"],
        "origin_sha256": [sha256(ORIGIN.encode()).hexdigest()],
        "level": ["0"],
        "name": ["reasoned-1", "national-1"],
        "list_name": ["causes", "categories", "units", "item_classes", "applicant_kinds"],
    }
    for name, service, sql in (
        ("need_id", "needs", "SELECT id FROM need"),
        ("applicant_id", "needs", "SELECT id FROM applicant"),
        ("objection_id", "needs", "SELECT id FROM objection"),
        ("organization_id", "donors", "SELECT id FROM organization"),
        ("offer_id", "donors", "SELECT id FROM offer"),
        ("line_id", "donors", "SELECT id FROM offer_line"),
        ("round_id", "matching", "SELECT id FROM matching_round"),
        ("allocation_id", "matching", "SELECT id FROM allocation"),
        ("event_id", "audit", "SELECT key FROM entry"),
    ):
        rows = await system.fetch(service, f"{sql} ORDER BY 1 DESC LIMIT {ids_max}")
        known[name] = [str(row[0]) for row in rows]
        assert known[name], name
    return known


def _text(answer: httpx.Response) -> str:
    return answer.content.decode(errors="replace") + str(dict(answer.headers))


def _token_for(system: System, route: Route) -> str | None:
    for role, scopes in ROLES.items():
        if not route.scopes.isdisjoint(scopes):
            return system.token(role, f"clumsy-{role}", division=COUNTY)
    return None


def _one_of_each(values: list[Value]) -> list[Value]:
    return list({value.kind: value for value in values}.values())


async def _malformed(
    system: System, route: Route, token: str | None, way: str, value: str
) -> httpx.Response:
    path = re.sub(r"\{[^}]+\}", value if way == "path" else "0" * 8, route.path)
    headers = {"Idempotency-Key": "k", "If-Match": '"1"', "Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if way == "header":
        headers |= dict.fromkeys(("If-Match", "Idempotency-Key", "traceparent"), json.dumps(value))
    content = {
        "key": json.dumps({value: value, "personal": {value: value}}),
        "value": json.dumps(dict.fromkeys(_FIELDS, value)),
        "text": json.dumps(dict.fromkeys(_FIELDS, f"请联系{value}")),
        "broken": '{"name": "' + value + '", ',
    }.get(way, "{}")
    params = dict.fromkeys(_PARAMETERS, value) if way == "query" else {}
    return await system.http.request(
        route.method,
        system.urls[route.service] + path,
        params=params,
        headers=headers,
        content=content.encode() if route.method != "GET" else None,
    )


_FIELDS = (
    "name kind division_code external_key personal household title text item unit quantity reason"
    " reason_code category item_class applicant_id organization_id policy note code outcome needs"
    " offers applicants decisions approvals lines valid_from valid_until items action uscc"
).split()
_PARAMETERS = (
    "q division category item_class urgency met state round_id need_id line_id organization_id"
    " within limit cursor after wait officer producer type since before order index event_id first"
    " second purpose level mine name kind organization offer division_code parent"
).split()
