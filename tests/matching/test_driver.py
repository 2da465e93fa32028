"""The driver under faults: calls not done, calls done without an answer, kills at every step."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.matching import driver, following
from shared.client import Client
from shared.db import now
from shared.events import CloudEvent
from tests.breaking_off import breaking_off
from tests.matching.conftest import World, running_world

PUTS = {"donors": "/v1/reservations", "needs": "/v1/commitments"}


class Killed(BaseException):
    """The process ends here: no handler runs, as none would."""


class Faulty(httpx.AsyncBaseTransport):
    """The network between matching and one ledger."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self.inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.fault == "not done":
            raise httpx.ConnectError("not done")
        answer = await self.inner.handle_async_request(request)
        if self.fault is not None:
            await answer.aread()
            if self.fault == "killed":
                raise Killed
            raise httpx.ReadTimeout("done, but nobody heard")
        return answer

    async def aclose(self) -> None:
        await self.inner.aclose()


class Driven:
    """A world in which the test is the driver."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.network = {name: Faulty() for name in PUTS}
        self.clients = {
            name: Client(
                world.urls[name],
                world.settings["matching"].service_token_file,
                transport=self.network[name],
            )
            for name in PUTS
        }

    @property
    def sessions(self):
        return self.world.apps["matching"].state.sessions

    async def carry(self) -> int:
        return await driver.carry(self.sessions, self.clients["donors"], self.clients["needs"])

    async def only(self, allocation: dict[str, Any]) -> None:
        """Nothing else is due."""
        await self.world.rows(
            "matching",
            "UPDATE allocation SET try_at = CASE WHEN id = $1 THEN now()"
            " ELSE now() + interval '1 day' END",
            UUID(allocation["id"]),
        )

    async def carry_all(self, allocation: dict[str, Any] | None = None) -> None:
        """Until nothing is left, however long it was to be put off."""
        for network in self.network.values():
            network.fault = None
        for _ in range(200):
            if allocation is None:
                await self.world.rows("matching", "UPDATE allocation SET try_at = now()")
            else:
                await self.only(allocation)
            if not await self.carry():
                return
        raise AssertionError("the driver never ends")

    async def proposed(self, needs: int = 1, quantity: int = 10) -> list[dict[str, Any]]:
        """Allocations of an approved round, nothing carried."""
        await self.clear()
        await self.world.publish([{"quantity": quantity} for _ in range(needs)])
        await self.world.open_offer(lines=[{"quantity": quantity * needs}])
        rows = await self.world.approved(policy="national-1")
        assert len(rows) == needs
        return rows

    async def clear(self) -> None:
        """What other tests left is matched no more."""
        await self.world.caught_up()
        await self.world.rows("matching", "UPDATE need_view SET state = 'closed'")
        await self.world.rows("matching", "UPDATE line_view SET state = 'withdrawn'")

    async def state(self, allocation: dict[str, Any]) -> tuple[str, str | None, str | None]:
        row = await self.world.get(f"/allocations/{allocation['id']}")
        return row["state"], row["line_movement"], row["need_movement"]

    async def logged(self, allocation: dict[str, Any]) -> None:
        """As audit tells it, at once."""
        [row] = await self.world.rows(
            "matching",
            "SELECT approval_event_id FROM allocation WHERE id = $1",
            UUID(allocation["id"]),
        )
        event = CloudEvent(
            id=uuid4(),
            source="audit",
            type="audit.entry_appended",
            time=now(),
            subject="entry/7",
            sequence="1",
            actor="log",
            actorrole="service",
            data={
                "index": 7,
                "producer": "matching",
                "seq": 1,
                "event_id": str(row[0]),
                "size_signed": 8,
            },
        )
        async with self.sessions.begin() as session:
            await following.apply_audit(session, [event, event])

    async def to(self, allocation: dict[str, Any], state: str) -> None:
        """Through the API up to a state, nothing carried on the way."""
        organization = self.world.of(allocation["organization_id"])
        steps = {
            "accepted": ("acceptance", organization),
            "approved": ("approval", self.world.county),
            "dispatched": ("dispatch", organization),
            "delivered": ("delivery", organization),
        }
        for reached, (noun, who) in steps.items():
            await self.world.act(allocation, noun, who)
            if reached == "approved":
                await self.logged(allocation)
            if reached == state:
                return


@pytest.fixture(scope="module")
async def driven(module_database, issuer, token, tmp_path_factory) -> AsyncIterator[Driven]:
    folder = tmp_path_factory.mktemp("driven")
    async with running_world(module_database, issuer, token, folder, driven=False) as world:
        made = Driven(world)
        yield made
        for client in made.clients.values():
            await client.aclose()


async def with_fault(driven: Driven, side: str, fault: str) -> None:
    """One pass during which the calls to one ledger fail in one way."""
    driven.network[side].fault = fault
    try:
        if fault == "killed":
            with pytest.raises(Killed):
                await driven.carry()
        else:
            await driven.carry()
    finally:
        driven.network[side].fault = None


FAULTS = [(side, fault) for side in PUTS for fault in ("not done", "done", "killed")]


async def test_a_reservation_survives_every_fault_and_is_made_once(driven):
    rows = await driven.proposed(needs=len(FAULTS))
    for allocation, (side, fault) in zip(rows, FAULTS, strict=True):
        await driven.only(allocation)
        await with_fault(driven, side, fault)
        assert (await driven.state(allocation))[0] == "proposed", (side, fault)
        await driven.carry_all(allocation)
        assert await driven.state(allocation) == ("reserved", "reserved", "reserved")
        await driven.world.consistent()
    told = await driven.world.rows(
        "matching",
        "SELECT subject FROM (SELECT type, subject FROM event UNION ALL SELECT type, subject"
        " FROM outbox) AS e WHERE type = 'matching.allocation_reserved' AND subject = ANY($1)",
        [f"allocation/{row['id']}" for row in rows],
    )
    assert len(told) == len(rows)


async def test_a_cancelled_reservation_is_released_whatever_had_been_done(driven):
    rows = await driven.proposed(needs=len(FAULTS))
    for allocation, (side, fault) in zip(rows, FAULTS, strict=True):
        await driven.only(allocation)
        await with_fault(driven, side, fault)
        # Cancelled while nobody knows what the ledgers hold.
        await driven.world.act(
            allocation, "cancellation", driven.world.county, {"reason_code": "mistake"}
        )
        await with_fault(driven, side, fault)
        await driven.carry_all(allocation)
        assert await driven.state(allocation) == ("cancelled", "released", "released")
        await driven.world.consistent()
    [line] = await driven.world.rows(
        "donors", "SELECT * FROM offer_line WHERE id = $1", UUID(rows[0]["line_id"])
    )
    assert (line["available"], line["reserved"]) == (line["total"], 0)


async def test_delivery_and_return_are_carried_step_by_step_through_every_fault(driven):
    rows = await driven.proposed(needs=len(FAULTS))
    await driven.carry_all()
    for allocation, (side, fault) in zip(rows, FAULTS, strict=True):
        await driven.to(allocation, "delivered")
        await driven.only(allocation)
        # The ledgers hold `reserved` and must go through `dispatched`.
        await with_fault(driven, side, fault)
        await driven.world.consistent()
        await driven.carry_all(allocation)
        assert await driven.state(allocation) == ("delivered", "delivered", "delivered")
        await driven.world.act(
            allocation, "return", driven.world.county, {"reason_code": "wrong_item"}
        )
        await with_fault(driven, side, fault)
        await driven.carry_all(allocation)
        assert await driven.state(allocation) == ("returned", "returned", "returned")
        await driven.world.consistent()


async def test_what_one_ledger_refuses_is_undone_in_the_other(driven):
    [allocation] = await driven.proposed()
    await driven.world.rows(
        "needs", "UPDATE need SET state = 'suspended' WHERE id = $1", UUID(allocation["need_id"])
    )
    await driven.carry()
    state, line_movement, _ = await driven.state(allocation)
    assert (state, line_movement) == ("cancelled", "reserved")
    await driven.carry_all()
    assert await driven.state(allocation) == ("cancelled", "released", "released")
    await driven.world.consistent()


async def test_two_rounds_of_one_snapshot_never_hold_more_than_there_is(driven):
    world = driven.world
    await driven.clear()
    await world.publish([{"quantity": 10} for _ in range(4)])
    await world.open_offer(lines=[{"quantity": 20}])
    first, second = await asyncio.gather(
        world.round(policy="national-1"), world.round(policy="national-1")
    )
    await asyncio.gather(
        *(world.post(f"/rounds/{r['id']}/approval", world.coordinator) for r in (first, second))
    )
    await asyncio.gather(driven.carry(), driven.carry())
    await driven.carry_all()
    await world.consistent()
    rows = await world.rows(
        "matching",
        "SELECT need_id, sum(quantity) AS held FROM allocation"
        " WHERE round_id = ANY($1::uuid[]) AND state = 'reserved' GROUP BY need_id",
        [first["id"], second["id"]],
    )
    assert sum(row["held"] for row in rows) == 20
    assert max(row["held"] for row in rows) == 10


async def test_a_driver_killed_at_many_moments_leaves_every_allocation_whole(driven):
    rows = await driven.proposed(needs=30, quantity=3)
    with breaking_off():
        for point in range(40):
            await driven.world.rows("matching", "UPDATE allocation SET try_at = now()")
            job = asyncio.create_task(driven.carry())
            await asyncio.sleep(0.002 * point)
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
            if point % 10 == 3:
                # In between, somebody cancels some of them, in whatever state they are.
                await driven.world.post(
                    "/allocation-batches",
                    driven.world.county,
                    {
                        "action": "cancel",
                        "items": [
                            {"allocation_id": row["id"], "reason_code": "mistake"}
                            for row in rows[point // 10 :: 7]
                        ],
                    },
                )
            await driven.world.consistent()
    await driven.carry_all()
    await driven.world.consistent()
    ends = {await driven.state(row) for row in rows}
    assert ends == {("reserved", "reserved", "reserved"), ("cancelled", "released", "released")}
