"""Errors, callers, idempotency, paging, limits: what every service's HTTP surface does."""

import asyncio
import base64
import json
import time
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import jwt
import pytest

from shared.callers import KeySet
from shared.issuer import Issuer
from shared.logs import logged_path, set_up_logs
from shared.paging import InvalidCursor, decode_cursor
from tests.shared.sample import make_app


def a_thing(name: str = "坐垫", pieces: int = 3) -> dict[str, Any]:
    return {"name": name, "pieces": pieces}


async def count(client: httpx.AsyncClient) -> int:
    return len((await client.get("/v1/things")).json()["data"])


async def test_creating_answers_after_the_commit(client, maker):
    answer = await client.post(
        "/v1/things", json=a_thing(), headers={**maker, "Idempotency-Key": "1"}
    )
    assert answer.status_code == 201
    assert await count(client) == 1


async def test_a_commit_that_fails_is_not_answered_with_success(client, maker):
    """With the default dependency scope FastAPI has sent 201 before the commit fails."""
    answer = await client.post(
        "/v1/things", json=a_thing("fails at commit"), headers={**maker, "Idempotency-Key": "1"}
    )
    assert answer.status_code == 500
    assert await count(client) == 0


async def test_a_refusal_is_a_problem_and_undoes_everything(client, maker):
    answer = await client.post(
        "/v1/things", json=a_thing("refuse"), headers={**maker, "Idempotency-Key": "1"}
    )
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["code"], body["status"]) == ("thing_refused", 409)
    assert body["trace_id"] == answer.headers["x-trace-id"]
    assert await count(client) == 0


async def test_a_bug_says_nothing_of_itself(client, maker):
    answer = await client.post(
        "/v1/things", json=a_thing("bug"), headers={**maker, "Idempotency-Key": "1"}
    )
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "body", [{"name": "x"}, {**a_thing(), "extra": 1}, a_thing("a\x00b"), a_thing(pieces=2**31)]
)
async def test_invalid_content_names_the_place_and_repeats_nothing(client, maker, body):
    answer = await client.post("/v1/things", json=body, headers={**maker, "Idempotency-Key": "1"})
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "invalid_content"
    assert all(set(place) == {"loc", "msg", "type"} for place in problem["errors"])


async def test_an_unknown_field_is_named_only_if_its_name_can_be_one(client, maker):
    body = {**a_thing(), "extra": 1, "430224194804039577": 1, "张三丰": 1}
    answer = await client.post("/v1/things", json=body, headers={**maker, "Idempotency-Key": "1"})
    named = [place["loc"] for place in answer.json()["errors"]]
    assert named == [["body", "extra"], ["body", "(unknown)"], ["body", "(unknown)"]]


async def test_a_body_over_the_limit_is_refused(client, maker):
    answer = await client.post(
        "/v1/things",
        content=b'{"name": "' + b"x" * 5_000_000 + b'"}',
        headers={**maker, "Idempotency-Key": "1", "Content-Type": "application/json"},
    )
    assert answer.status_code == 413


async def test_unknown_path_and_method_are_problems_too(client):
    missing = await client.get("/v1/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "route_not_found")
    wrong = await client.delete("/v1/things")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("role", "path", "ours"),
    [
        ("service", "/v1/things", True),
        ("service", "/events", True),
        ("entry_clerk", "/v1/things", False),
        (None, "/v1/things", False),
        (None, "/events", False),
    ],
)
async def test_the_trace_of_a_service_is_taken_over_and_nobody_elses(
    client, token, capfd, role, path, ours
):
    set_up_logs("sample")
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"} | (token(role) if role else {})
    answer = await client.get(path, headers=headers)
    assert (answer.headers["x-trace-id"] == trace_id) is ours
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["trace_id"] for line in lines] == [answer.headers["x-trace-id"]]


# ------------------------------------------------------------- idempotency


async def test_a_post_without_a_key_is_refused(client, maker):
    answer = await client.post("/v1/things", json=a_thing(), headers=maker)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_missing")


async def test_the_same_key_answers_the_same_and_creates_once(client, maker):
    headers = {**maker, "Idempotency-Key": "k"}
    first = await client.post("/v1/things", json=a_thing(), headers=headers)
    again = await client.post("/v1/things", json=a_thing(), headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert await count(client) == 1


async def test_the_same_key_with_another_body_is_refused(client, maker):
    headers = {**maker, "Idempotency-Key": "k"}
    await client.post("/v1/things", json=a_thing(), headers=headers)
    other = await client.post("/v1/things", json=a_thing(pieces=4), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_key_belongs_to_one_caller(client, maker, token):
    other = token("entry_clerk", subject="clerk-2", division="430224000000")
    await client.post("/v1/things", json=a_thing(), headers={**maker, "Idempotency-Key": "k"})
    await client.post("/v1/things", json=a_thing(), headers={**other, "Idempotency-Key": "k"})
    assert await count(client) == 2


async def test_two_at_once_with_one_key_create_once(client, maker):
    headers = {**maker, "Idempotency-Key": "k"}
    answers = await asyncio.gather(
        *(client.post("/v1/things", json=a_thing("slow"), headers=headers) for _ in range(2))
    )
    assert sorted(a.status_code for a in answers) == [201, 409]
    assert await count(client) == 1


async def test_a_refused_creation_can_be_tried_again_with_its_key(client, maker):
    headers = {**maker, "Idempotency-Key": "k"}
    await client.post("/v1/things", json=a_thing("refuse"), headers=headers)
    again = await client.post("/v1/things", json=a_thing("good"), headers=headers)
    assert again.status_code == 201


# ----------------------------------------------------------------- callers


def forged(issuer: Issuer, header: dict[str, Any] | None = None, **claims: Any) -> dict[str, str]:
    """A token of the right key with other claims or header fields; None leaves a claim out."""
    good = issuer.mint(role="entry_clerk", subject="x", division="430224000000")
    body = jwt.decode(good, options={"verify_signature": False}) | claims
    body = {name: value for name, value in body.items() if value is not None}
    headers = jwt.get_unverified_header(good) | (header or {})
    token = jwt.encode(body, issuer._key, algorithm="EdDSA", headers=headers)
    return {"Authorization": f"Bearer {token}", "Idempotency-Key": "1"}


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({}, {"exp": int(time.time()) - 60}),
        ({}, {"exp": None}),
        ({}, {"aud": "another"}),
        ({}, {"iss": "another"}),
        ({}, {"sub": None}),
        ({}, {"division": "999999999999"}),
        ({}, {"org": "not a uuid"}),
        ({"typ": "JWT"}, {}),
        ({"kid": "unknown"}, {}),
    ],
)
async def test_a_token_that_is_not_for_us_is_refused(client, issuer, header, claims):
    headers = forged(issuer, header, **claims)
    answer = await client.post("/v1/things", json=a_thing(), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_token_of_another_key_and_an_unsigned_one_are_refused(client, tmp_path):
    stranger = Issuer(tmp_path / "stranger").mint(role="entry_clerk", subject="x")
    claims = jwt.decode(stranger, options={"verify_signature": False})
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": "dev-1", "typ": "at+jwt"})
    for token in (stranger, unsigned, "nonsense", "a.b.c"):
        answer = await client.post(
            "/v1/things", json=a_thing(), headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 401


async def test_no_token_and_a_token_without_the_scope(client, token):
    answer = await client.post("/v1/things", json=a_thing(), headers={"Idempotency-Key": "1"})
    assert answer.status_code == 401
    headers = {**token("auditor"), "Idempotency-Key": "1"}
    answer = await client.post("/v1/things", json=a_thing(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_bad_token_is_refused_on_a_public_route_too(client):
    answer = await client.get("/v1/things", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 401


async def test_keys_that_cannot_be_read_are_our_failure(sample_url, issuer, tmp_path, maker):
    application = make_app(sample_url, tmp_path / "missing.json")
    async with application.router.lifespan_context(application):
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.get("/v1/things", headers=maker)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


# --------------------------------------------------------- lists and limits


async def test_pages_follow_each_other_without_gap_or_repeat(client, maker):
    for n in range(7):
        headers = {**maker, "Idempotency-Key": str(n)}
        await client.post("/v1/things", json=a_thing(f"thing {n}"), headers=headers)
    names, url = [], "/v1/things?limit=3"
    while url:
        answer = await client.get(url)
        body = answer.json()
        names += [row["name"] for row in body["data"]]
        url = body["links"]["next"]
        assert body["meta"] == {"limit": 3, "has_more": url is not None}
        assert ("link" in answer.headers) == (url is not None)
    assert names == [f"thing {n}" for n in range(7)]


@pytest.mark.parametrize("cursor", ["x", "bm90IGpzb24", "WyJhIl0", "W10"])
async def test_a_cursor_that_is_not_ours_is_refused(client, cursor):
    answer = await client.get(f"/v1/things?cursor={cursor}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_who_asks_too_often_waits_and_others_do_not(sample_url, issuer, maker):
    application = make_app(sample_url, issuer.key_set_path, settings={"rate_per_minute_max": 5})
    async with application.router.lifespan_context(application):
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answers = [await client.get("/v1/things") for _ in range(11)]
            assert {a.status_code for a in answers} == {200, 429}
            assert answers[0].headers["ratelimit"] == '"default";r=4'
            assert answers[-1].json()["code"] == "too_many_requests"
            assert (await client.get("/v1/things", headers=maker)).status_code == 200
            assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/v1/need-batches", "/v1/need-batches"),
        ("/tile/0/x001/067.p/8", "/tile/0/x001/067.p/8"),
        (f"/v1/things/{UUID(int=1)}/parts", f"/v1/things/{UUID(int=1)}/parts"),
        ("/v1/things/13800000000/parts", "/v1/things/*/parts"),
        ("/v1/things/张三丰", "/v1/things/*"),
        ("/v1/things/43022419480403957X", "/v1/things/*"),
    ],
)
def test_a_logged_path_keeps_ids_and_no_number_or_name(path, logged):
    assert logged_path(path) == logged


async def test_logs_are_json_with_the_trace_and_without_the_query(client, capfd):
    set_up_logs("sample")
    answer = await client.get("/v1/things?limit=7", headers={"User-Agent": "张三丰"[:0] or "t"})
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    line = next(entry for entry in lines if entry["message"] == "request")
    assert line["trace_id"] == answer.headers["x-trace-id"]
    assert (line["service"], line["path"], line["status"]) == ("sample", "/v1/things", 200)
    assert "limit=7" not in json.dumps(lines)


@pytest.mark.parametrize(
    "value", ['["9999-12-31T23:59:59-23:59"]', '["0001-01-01T00:00:00+23:59"]']
)
def test_a_moment_no_clock_can_hold_is_no_cursor(value):
    cursor = base64.urlsafe_b64encode(value.encode()).rstrip(b"=").decode()
    with pytest.raises(InvalidCursor):
        decode_cursor(cursor, datetime)


@pytest.mark.parametrize(("value", "kind"), [("[Infinity]", int), ('["\\ud800"]', str)])
def test_a_value_no_column_can_hold_is_no_cursor(value, kind):
    cursor = base64.urlsafe_b64encode(value.encode()).rstrip(b"=").decode()
    with pytest.raises(InvalidCursor):
        decode_cursor(cursor, kind)


async def test_a_path_with_nul_is_no_failure_of_ours(client, maker):
    """The key is looked up before the path's own id is judged."""
    headers = {**maker, "Idempotency-Key": "1"}
    answer = await client.post("/v1/things/%00/parts", json={}, headers=headers)
    assert answer.status_code == 422


async def test_another_scheme_of_authorization_does_not_begin_a_count_of_its_own(
    sample_url, issuer
):
    application = make_app(sample_url, issuer.key_set_path, settings={"rate_per_minute_max": 5})
    async with application.router.lifespan_context(application):
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answers = [
                await client.get("/v1/things", headers={"Authorization": f"Basic {n}"})
                for n in range(11)
            ]
            assert {a.status_code for a in answers} == {200, 429}


async def test_a_key_taken_out_of_the_set_is_not_trusted_for_long(issuer, tmp_path):
    file = tmp_path / "jwks.json"
    file.write_bytes(issuer.key_set_path.read_bytes())
    key_set = KeySet(str(file))
    assert await key_set.key("dev-1") is not None
    file.write_text('{"keys": []}')
    assert await key_set.key("dev-1") is not None
    key_set._age_s_max = 0  # they have grown old
    assert await key_set.key("dev-1") is None


async def test_keys_that_are_known_serve_on_while_the_issuer_cannot_be_reached(issuer, tmp_path):
    file = tmp_path / "jwks.json"
    file.write_bytes(issuer.key_set_path.read_bytes())
    key_set = KeySet(str(file), age_s_max=0)
    assert await key_set.key("dev-1") is not None
    file.unlink()
    assert await key_set.key("dev-1") is not None


async def test_a_row_the_database_refuses_is_not_repeated_in_the_log(client, maker, capfd):
    """PostgreSQL's DETAIL holds the whole row, and rows hold what may not be logged."""
    set_up_logs("sample")
    headers = {**maker, "Idempotency-Key": "1"}
    answer = await client.post("/v1/things", json=a_thing("breaks a rule"), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    logged = capfd.readouterr().err
    assert "ck_feed_head_one_row" in logged
    assert "Failing row" not in logged


async def test_a_database_that_cannot_be_reached_is_said_and_may_be_asked_again(issuer):
    nowhere = "postgresql+asyncpg://nobody:x@127.0.0.1:9/none"
    application = make_app(nowhere, issuer.key_set_path)
    async with application.router.lifespan_context(application):
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.get("/v1/things")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["retry-after"] == "2"


@pytest.mark.parametrize(
    "name",
    [
        "loses the database",
        "cut off",
        "cut off while it is made",
        "shut down while it is made",
    ],
)
async def test_a_transaction_whose_connection_is_ended_is_not_called_a_bug(client, maker, name):
    headers = {**maker, "Idempotency-Key": "1"}
    answer = await client.post("/v1/things", json=a_thing(name), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert await count(client) == 0
