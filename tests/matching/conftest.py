"""All four services, real, on databases of their own and real sockets, in the loop of the tests."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from deploy.postgres import free_port
from services.audit import app as audit
from services.donors import app as donors
from services.matching import app as matching
from services.needs import app as needs
from shared.client import certificates
from shared.issuer import Issuer
from tests.donors.builders import a_line, an_offer, an_organization
from tests.needs.builders import CITY, COUNTY, TOWNSHIP, a_household, a_need, once

SERVICES = ("needs", "donors", "matching", "audit")
UNTIL_S = 30.0
NewDatabase = Callable[[str], str]
MakeToken = Callable[..., dict[str, str]]


class World:
    """The running services, and the people who use them."""

    def __init__(self, token: MakeToken) -> None:
        self.token = token
        self.urls = {name: f"http://127.0.0.1:{free_port()}" for name in SERVICES}
        self.apps: dict[str, FastAPI] = {}
        self.settings: dict[str, Any] = {}
        # The servers close what was idle for five seconds: never reuse what may be closing.
        limits = httpx.Limits(keepalive_expiry=1.0)
        self.client = httpx.AsyncClient(timeout=60, verify=certificates(), limits=limits)
        self._idle: defaultdict[str, list[Any]] = defaultdict(list)
        self._stops: dict[str, Callable[[], Awaitable[None]]] = {}
        self.clerk = token("entry_clerk", subject="clerk", division=CITY)
        self.coordinator = token("alliance_coordinator", subject="coordinator", division=CITY)
        self.county = token("county_officer", subject="county-approver", division=COUNTY)
        self.village = token("village_officer", subject="village-officer", division=TOWNSHIP)

    # ------------------------------------------------------------ running

    async def start(self, name: str) -> None:
        module = {"needs": needs, "donors": donors, "matching": matching, "audit": audit}[name]
        self.apps[name] = module.create_app(self.settings[name])
        port = int(self.urls[name].rsplit(":", 1)[1])
        config = uvicorn.Config(
            self.apps[name],
            host="127.0.0.1",
            port=port,
            log_config=None,
            log_level="critical",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        # Without uvicorn's signal handlers: they are pytest's.
        job = asyncio.create_task(server._serve())
        while not server.started:
            await asyncio.sleep(0.01)
            if job.done():
                job.result()

        async def stop() -> None:
            # Ends the long polls of the others, which a graceful stop would wait for.
            self.apps[name].state.stopping.set()
            server.should_exit = True
            await job

        self._stops[name] = stop

    async def stop(self, name: str) -> None:
        await self._stops.pop(name)()

    async def close(self) -> None:
        for name in list(self._stops):
            await self.stop(name)
        await self.client.aclose()
        for connection in chain.from_iterable(self._idle.values()):
            await connection.close()

    # ------------------------------------------------------------ calling

    async def call(
        self,
        method: str,
        service: str,
        path: str,
        who: dict[str, str] | None = None,
        body: Any = None,
        *,
        status: int | None = None,
    ) -> Any:
        headers = (who or {}) | (once() if method == "POST" else {})
        answer = await self.client.request(
            method, f"{self.urls[service]}/v1{path}", json=body, headers=headers
        )
        assert answer.status_code == status if status else answer.is_success, answer.text
        return answer.json()

    async def get(self, path: str, who: dict[str, str] | None = None, **more: Any) -> Any:
        return await self.call("GET", "matching", path, who, **more)

    async def post(self, path: str, who: dict[str, str], body: Any = None, **more: Any) -> Any:
        return await self.call("POST", "matching", path, who, body, **more)

    async def all_of(self, path: str, who: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """Every page of a list of matching."""
        rows: list[dict[str, Any]] = []
        following: str | None = f"/v1{path}"
        while following:
            answer = await self.client.get(self.urls["matching"] + following, headers=who or {})
            assert answer.status_code == 200, answer.text
            rows += answer.json()["data"]
            following = answer.json()["links"]["next"]
        return rows

    async def until(
        self, what: Callable[[], Awaitable[Any]], because: str, timeout_s: float = UNTIL_S
    ) -> Any:
        """Ask again until the answer is truthy."""
        end = time.monotonic() + timeout_s
        while not (answer := await what()):
            assert time.monotonic() < end, f"not in {timeout_s} s: {because}"
            await asyncio.sleep(0.05)
        return answer

    async def rows(self, service: str, statement: str, *values: Any) -> list[Any]:
        """Behind the service's back; connections are kept, since tests ask a great deal."""
        url = self.settings[service].database_url.replace("+asyncpg", "")
        idle = self._idle[service]
        connection = idle.pop() if idle else await asyncpg.connect(url)
        try:
            found = list(await connection.fetch(statement, *values))
        except BaseException:
            connection.terminate()
            raise
        idle.append(connection)
        return found

    # --------------------------------------------------- needs and offers

    async def publish(self, changes: Iterable[dict[str, Any]], applicant: Any = None) -> list[str]:
        """Needs of a household each, unless told; published first, as life is threatened."""
        bodies = list(changes)
        applicants = [applicant or await self.household() for _ in bodies]
        answer = await self.call(
            "POST",
            "needs",
            "/need-batches",
            self.clerk,
            {
                "needs": [
                    a_need(who, **({"submit": True, "urgency": "life_threatening"} | change))
                    for who, change in zip(applicants, bodies, strict=True)
                ]
            },
        )
        assert {r["outcome"] for r in answer["results"]} == {"created"}, answer
        return [r["id"] for r in answer["results"]]

    async def household(self, **changes: Any) -> str:
        made = await self.call(
            "POST", "needs", "/applicants", self.clerk, a_household(**changes), status=201
        )
        return str(made["id"])

    async def open_offer(self, **changes: Any) -> dict[str, Any]:
        """An approved offer of masks for the city, of a new organization unless told."""
        if "organization_id" not in changes:
            made = await self.call(
                "POST", "donors", "/organizations", self.clerk, an_organization(), status=201
            )
            await self.call(
                "POST",
                "donors",
                f"/organizations/{made['id']}/approval",
                self.coordinator,
                {"reason": "known"},
            )
            changes["organization_id"] = made["id"]
        lines = changes.pop("lines", [{}])
        body = an_offer(
            **{"category": "medical_care", "title": "捐赠口罩", "served_division_codes": [CITY]}
            | changes
            | {"lines": [a_mask_line(**line) for line in lines]}
        )
        made = await self.call("POST", "donors", "/offers", self.clerk, body, status=201)
        await self.call("POST", "donors", f"/offers/{made['id']}/approval", self.coordinator, {})
        return dict(made)

    def of(self, organization_id: str) -> dict[str, str]:
        return self.token(
            "organization", subject=f"of {organization_id}", org=UUID(organization_id)
        )

    async def caught_up(self) -> None:
        """matching has applied all that needs and donors have recorded."""

        async def behind() -> bool:
            for name in ("needs", "donors"):
                [waiting] = await self.rows(name, "SELECT count(*) FROM outbox")
                [head] = await self.rows(name, "SELECT seq FROM feed_head")
                cursor = await self.rows(
                    "matching", "SELECT seq FROM feed_cursor WHERE source = $1", name
                )
                if waiting[0] or head[0] != (cursor[0][0] if cursor else 0):
                    return False
            return True

        await self.until(behind, "matching follows its feeds")

    # -------------------------------------------------------------- rounds

    async def round(
        self, policy: str = "example-1", division: str = CITY, **more: Any
    ) -> dict[str, Any]:
        """A computed round."""
        await self.caught_up()
        body = {"division_code": division, "policy": policy} | more
        started = await self.post("/rounds", self.coordinator, body, status=201)

        async def computed() -> Any:
            found = await self.get(f"/rounds/{started['id']}", self.coordinator)
            return found if found["state"] != "computing" else None

        return dict(await self.until(computed, "the round is computed"))

    async def approved(self, **more: Any) -> list[dict[str, Any]]:
        """The allocations of a round that was computed and approved."""
        found = await self.round(**more)
        await self.post(f"/rounds/{found['id']}/approval", self.coordinator)
        return await self.all_of(f"/allocations?round_id={found['id']}&limit=200")

    async def reached(self, round_id: str, state: str) -> list[dict[str, Any]]:
        """All allocations of the round, once each is in the state."""

        async def all_there() -> Any:
            rows = await self.all_of(f"/allocations?round_id={round_id}&limit=200")
            return rows if {row["state"] for row in rows} == {state} else None

        return list(await self.until(all_there, f"all allocations {state}"))

    async def act(
        self,
        allocation: dict[str, Any],
        noun: str,
        who: dict[str, str],
        body: Any = None,
        **more: Any,
    ) -> Any:
        return await self.post(f"/allocations/{allocation['id']}/{noun}", who, body, **more)

    async def consistent(self) -> None:
        """Both ledgers add up, and agree with matching on every allocation that is carried."""
        for row in await self.rows("donors", "SELECT * FROM offer_line WHERE total IS NOT NULL"):
            parts = [
                row[c] for c in ("available", "reserved", "in_transit", "delivered", "written_off")
            ]
            assert min(parts) >= 0
            assert sum(parts) == row["total"]
        for row in await self.rows("needs", "SELECT * FROM need WHERE base_quantity IS NOT NULL"):
            assert row["reserved"] + row["in_transit"] + row["delivered"] <= row["base_quantity"]
        ours = await self.rows("matching", "SELECT * FROM allocation")
        held = {
            name: {
                r["allocation_id"]: (r["state"], r["quantity"])
                for r in await self.rows(name, f"SELECT * FROM {table}")
            }
            for name, table in (("donors", "reservation"), ("needs", "commitment"))
        }
        for row in ours:
            if row["line_movement"] == row["need_movement"] == row["target"]:
                expected = (row["target"], row["quantity"])
                assert held["donors"].get(row["id"], ("released", row["quantity"])) == expected
                assert held["needs"].get(row["id"], ("released", row["quantity"])) == expected


def a_mask_line(**changes: Any) -> dict[str, Any]:
    return a_line(
        **({"item_class": "mask_surgical", "item": "医用外科口罩", "quantity": 1_000} | changes)
    )


@contextlib.asynccontextmanager
async def running_world(
    new_database: NewDatabase,
    issuer: Issuer,
    token: MakeToken,
    folder: Path,
    *,
    driven: bool = True,
    **matching_settings: Any,
) -> AsyncIterator[World]:
    world = World(token)
    modules = {"needs": needs, "donors": donors, "matching": matching, "audit": audit}
    for name, module in modules.items():
        state = folder / f"{name}-{uuid4().hex[:6]}"
        state.mkdir()
        (state / "token").write_text(issuer.mint(role="service", subject=name))
        more: dict[str, Any] = {}
        if name in ("matching", "audit"):
            more = {f"{other}_url": world.urls[other] for other in SERVICES if other != "matching"}
        if name == "audit":
            more["matching_url"] = world.urls["matching"]
        if name == "matching":
            more |= matching_settings
        world.settings[name] = module.Settings(
            database_url=new_database(name),
            key_set=str(issuer.key_set_path),
            service_token_file=state / "token",
            state_dir=state,
            rate_per_minute_max=1_000_000,
            log_level="WARNING",
            **more,
        )
    database = world.settings["matching"].database_url.replace("+asyncpg", "")
    holder = await asyncpg.connect(database)
    try:
        if not driven:
            # The test is the driver: the service's own never gets the lock.
            await holder.execute("SELECT pg_advisory_lock(hashtextextended('matching driver', 0))")
        for name in SERVICES:
            await world.start(name)
        await world.call(
            "POST",
            "needs",
            "/policy-activations",
            world.coordinator,
            {"policy": "example-1", "division_code": CITY, "reason": "tests"},
            status=201,
        )
        yield world
    finally:
        await world.close()
        await holder.close()


@pytest.fixture(scope="module")
async def world(
    module_database: NewDatabase,
    issuer: Issuer,
    token: MakeToken,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("world")
    async with running_world(module_database, issuer, token, folder) as made:
        yield made
