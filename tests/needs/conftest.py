"""The needs service on a database of its own, and the people who use it."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from services.needs.app import Settings, create_app
from services.needs.operations.publication import expire_due, publish_due, suspend_overdue
from shared.db import now
from shared.issuer import Issuer
from tests.needs.builders import (
    CITY,
    COUNTY,
    TOWNSHIP,
    VILLAGE,
    a_hospital,
    a_household,
    a_need,
    once,
)

MakeToken = Callable[..., dict[str, str]]
Row = dict[str, Any]


def settings_of(database_url: str, issuer: Issuer, folder: Path) -> Settings:
    return Settings(
        database_url=database_url,
        key_set=str(issuer.key_set_path),
        service_token_file=folder / "token",
        state_dir=folder,
        rate_per_minute_max=1_000_000,
        pool_size=20,
        clock_s=3600,  # tests run the clocks themselves
    )


@pytest.fixture(scope="module")
async def app(
    module_database: Callable[[str], str], issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FastAPI]:
    folder: Path = tmp_path_factory.mktemp("needs")
    made = create_app(settings_of(module_database("needs"), issuer, folder))
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


class People:
    """Calls as this or that person; every answer that is not expected fails the test."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient, token: MakeToken) -> None:
        self.app, self.client, self.token = app, client, token
        self.clerk_subject = f"clerk-{uuid4().hex[:6]}"
        self.clerk = token("village_officer", subject=self.clerk_subject, division=CITY)
        self.village = token("village_committee", subject="committee", division=VILLAGE)
        self.township = token("township_officer", subject="township", division=TOWNSHIP)
        self.county = token("county_officer", subject="county", division=COUNTY)
        self.city = token("city_officer", subject="city", division=CITY)
        self.supervisor = token("supervisor", subject="supervisor", division=COUNTY)
        self.coordinator = token("alliance_coordinator", subject="coordinator", division=CITY)
        self.matching = token("service", subject="matching")

    async def call(
        self,
        method: str,
        path: str,
        who: dict[str, str] | None = None,
        body: Any = None,
        expect: int | None = None,
        **more: Any,
    ) -> Any:
        headers = (who or {}) | (once() if method == "POST" else {}) | more.pop("headers", {})
        answer = await self.client.request(method, f"/v1{path}", json=body, headers=headers, **more)
        assert answer.status_code == expect if expect else answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def get(self, path: str, who: dict[str, str] | None = None, **more: Any) -> Any:
        return await self.call("GET", path, who, **more)

    async def post(
        self,
        path: str,
        who: dict[str, str] | None = None,
        body: Any = None,
        expect: int | None = None,
    ) -> Any:
        return await self.call("POST", path, who, body, expect)

    async def household(self, **changes: Any) -> str:
        return str((await self.post("/applicants", self.clerk, a_household(**changes), 201))["id"])

    async def hospital(self, **changes: Any) -> str:
        return str((await self.post("/applicants", self.clerk, a_hospital(**changes), 201))["id"])

    async def need(self, applicant: str | None = None, **changes: Any) -> dict[str, Any]:
        """A submitted need of a household, unless changed."""
        applicant = applicant or await self.household()
        body = a_need(applicant, **({"submit": True} | changes))
        return dict(await self.post("/needs", self.clerk, body, 201))

    async def decide(
        self,
        need_id: str,
        who: dict[str, str],
        outcome: str = "passed",
        reason: str | None = None,
        expect: int = 201,
    ) -> dict[str, Any]:
        body = {"outcome": outcome, "reason": reason}
        return dict(await self.post(f"/needs/{need_id}/decisions", who, body, expect))

    async def pass_all(self, need_id: str) -> None:
        for officer in (self.village, self.township, self.county):
            await self.decide(need_id, officer)

    async def published(self, **changes: Any) -> dict[str, Any]:
        """A need that has passed all levels and its notice."""
        need = await self.need(**changes)
        if need["state"] != "published":
            await self.pass_all(need["id"])
            await self.end_notice(need["id"])
            await self.publish_due()
        return dict(await self.get(f"/needs/{need['id']}"))

    async def detail(self, need_id: str) -> dict[str, Any]:
        return dict(await self.get(f"/work/needs/{need_id}", self.county))

    async def put(
        self,
        need_id: str,
        allocation_id: Any,
        quantity: int,
        state: str = "reserved",
        expect: int = 200,
    ) -> dict[str, Any]:
        body = {"quantity": quantity, "state": state}
        path = f"/needs/{need_id}/commitments/{allocation_id}"
        return dict(await self.call("PUT", path, self.matching, body, expect))

    # -------------------------------------------------- time, as an argument of the clocks

    async def publish_due(self, at: datetime | None = None) -> int:
        async with self.app.state.sessions.begin() as session:
            return await publish_due(session, self.app.state.privacy, at or now())

    async def suspend_overdue(self, at: datetime) -> int:
        async with self.app.state.sessions.begin() as session:
            return await suspend_overdue(session, at)

    async def expire_due(self, at: datetime) -> int:
        async with self.app.state.sessions.begin() as session:
            return await expire_due(session, at)

    async def sql(self, statement: str, **values: Any) -> list[Any]:
        async with self.app.state.sessions.begin() as session:
            result = await session.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    async def end_notice(self, need_id: str) -> None:
        await self.sql("UPDATE need SET notice_ends_at = now() WHERE id = :id", id=need_id)

    async def events_of(self, need_id: str) -> list[tuple[str, dict[str, Any]]]:
        """(type, data) of what happened to the need, numbered or not yet, in order; no reads."""
        rows = await self.sql(
            "SELECT type, data FROM (SELECT 0 AS turn, seq AS at, type, data, subject FROM event"
            " UNION ALL SELECT 1, position, type, data, subject FROM outbox) AS told"
            " WHERE subject = :subject AND type <> 'needs.records_read' ORDER BY turn, at",
            subject=f"need/{need_id}",
        )
        return [(row.type.removeprefix("needs."), row.data) for row in rows]

    async def types_of(self, need_id: str) -> list[str]:
        return [kind for kind, _ in await self.events_of(need_id)]


@pytest.fixture
def people(app: FastAPI, client: httpx.AsyncClient, token: MakeToken) -> People:
    return People(app, client, token)
