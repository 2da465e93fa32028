"""The donors service on a database of its own, and the people who use it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from services.donors.app import Settings, create_app
from shared.issuer import Issuer
from tests.donors.builders import ZHUZHOU, a_line, an_offer, an_organization, once


@pytest.fixture(scope="module")
async def app(
    module_database: Callable[[str], str], issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FastAPI]:
    folder: Path = tmp_path_factory.mktemp("donors")
    made = create_app(
        Settings(
            database_url=module_database("donors"),
            key_set=str(issuer.key_set_path),
            service_token_file=folder / "token",
            state_dir=folder,
            rate_per_minute_max=1_000_000,
            pool_size=40,
            clock_s=3600,  # tests run the clock themselves
        )
    )
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


class People:
    """Calls as this or that person; every answer that is not expected fails the test."""

    def __init__(self, client: httpx.AsyncClient, token: Callable[..., dict[str, str]]) -> None:
        self.client, self.token = client, token
        self.clerk_subject = f"clerk-{uuid4().hex[:6]}"
        self.clerk = token("entry_clerk", subject=self.clerk_subject, division=ZHUZHOU)
        self.coordinator = token("alliance_coordinator", subject="coordinator", division=ZHUZHOU)
        self.matching = token("service", subject="matching")

    def of(self, organization_id: str) -> dict[str, str]:
        return self.token(
            "organization", subject=f"person of {organization_id}", org=UUID(organization_id)
        )

    async def post(
        self, path: str, who: dict[str, str], body: Any = None, expect: int | None = None
    ) -> Any:
        answer = await self.client.post(f"/v1{path}", json=body, headers=who | once())
        assert answer.status_code == expect if expect else answer.is_success, answer.text
        return answer.json()

    async def organization(self, *, approved: bool = True, **changes: Any) -> dict[str, Any]:
        made = await self.post("/organizations", self.clerk, an_organization(**changes), 201)
        if approved:
            made = await self.post(
                f"/organizations/{made['id']}/approval", self.coordinator, {"reason": "known"}
            )
        return dict(made)

    async def offer(self, *, approved: bool = True, **changes: Any) -> dict[str, Any]:
        """An open offer of a new organization, unless `approved` is False."""
        if "organization_id" not in changes:
            changes["organization_id"] = (await self.organization())["id"]
        made = await self.post("/offers", self.clerk, an_offer(**changes), 201)
        if approved:
            made = await self.post(f"/offers/{made['id']}/approval", self.coordinator, {})
        return dict(made)

    async def line(self, **changes: Any) -> str:
        """The line of an open offer."""
        return str((await self.offer(lines=[a_line(**changes)]))["lines"][0]["id"])

    async def move(
        self, line: str, allocation: Any, quantity: int, state: str = "reserved"
    ) -> httpx.Response:
        return await self.client.put(
            f"/v1/offer-lines/{line}/reservations/{allocation}",
            json={"quantity": quantity, "state": state},
            headers=self.matching,
        )

    async def read(self, offer_id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/v1/offers/{offer_id}", headers=self.coordinator)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def events(self, after: int = 0) -> list[dict[str, Any]]:
        """All events above a number, once nothing waits to be numbered."""
        answer = await self.client.get(
            "/events", params={"after": after, "limit": 2000, "wait": 0.3}, headers=self.matching
        )
        assert answer.status_code == 200, answer.text
        return list(answer.json())


@pytest.fixture
def people(client: httpx.AsyncClient, token: Callable[..., dict[str, str]]) -> People:
    return People(client, token)
