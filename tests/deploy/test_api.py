"""Calls by those who are played: pages, retries of what got no answer, refusals with their code."""

import httpx
import pytest

from deploy.api import Api, ApiProblem


def answering(*answers: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[str]]:
    """A service that answers what it is told, in this order; and the addresses it was asked."""
    waiting, asked = list(answers), []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        answer = waiting.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.MockTransport(handle), asked


def a_page(rows: list[int], following: str | None) -> httpx.Response:
    return httpx.Response(
        200, json={"data": [{"n": n} for n in rows], "links": {"next": following}}
    )


async def test_pages_follow_their_links_and_send_the_parameters_once():
    transport, asked = answering(a_page([1, 2], "/v1/things?limit=2&cursor=abc"), a_page([3], None))
    async with Api("http://test", transport) as api:
        rows = [row["n"] async for row in api.pages("/v1/things", None, {"limit": 2})]
    assert rows == [1, 2, 3]
    assert asked == ["http://test/v1/things?limit=2", "http://test/v1/things?limit=2&cursor=abc"]


async def test_what_got_no_answer_is_asked_again():
    transport, asked = answering(
        httpx.ConnectError("refused"), httpx.Response(503), httpx.Response(200, json={"ok": 1})
    )
    async with Api("http://test", transport) as api:
        assert await api.get("/v1/thing") == {"ok": 1}
    assert len(asked) == 3


async def test_a_refusal_is_told_with_its_code_and_not_repeated():
    problem = {"code": "took_part", "detail": "Duties are apart.", "status": 403}
    transport, asked = answering(httpx.Response(403, json=problem))
    async with Api("http://test", transport) as api:
        with pytest.raises(ApiProblem, match="403 took_part: Duties are apart") as refused:
            await api.post("/v1/thing", {}, "token")
    assert refused.value.status == 403
    assert len(asked) == 1


async def test_an_answer_that_never_comes_ends_after_some_attempts(monkeypatch):
    monkeypatch.setattr("deploy.api.ATTEMPTS_MAX", 2)
    transport, asked = answering(*(httpx.ConnectError("refused") for _ in range(2)))
    async with Api("http://test", transport) as api:
        with pytest.raises(ApiProblem, match="no answer"):
            await api.get("/v1/thing")
    assert len(asked) == 2
