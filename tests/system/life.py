"""The life of a round, stage by stage: its people repeat whatever was not answered."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from random import Random
from typing import Any

from tests.system.harness import until
from tests.system.ledger import COMPLETE, UNDONE
from tests.system.world import POLICY, Person, World

STAGES = ("compute", "reserve", "accept", "approve", "dispatch", "deliver", "confirm", "close")
# Items of one call: many calls a stage, so that a blow has moments to fall between.
CALL_ITEMS = 6
ENDED = frozenset(COMPLETE) | frozenset(UNDONE)
Ids = list[str]


class Life:
    """One round of one township; some of it is declined, cancelled or returned on the way."""

    def __init__(self, world: World, chance: Random) -> None:
        self.world, self.chance = world, chance
        self.system = world.system
        self.round: str | None = None
        self.size = len(world.needs)
        self._slips: dict[str, str] = {}

    async def go_through(self, stage: str) -> None:
        """Do what people do in this stage, and wait until every allocation is through it."""
        await getattr(self, f"_{stage}")()

    async def all(self) -> None:
        for stage in STAGES:
            await self.go_through(stage)

    # ------------------------------------------------------------------ stages

    async def _compute(self) -> None:
        started = await self.world.coordinator.post(
            "matching", "/v1/rounds", {"division_code": self.world.township, "policy": POLICY}
        )
        self.round = started["id"]

        async def computed() -> bool:
            found = await self.world.coordinator.get("matching", f"/v1/rounds/{self.round}")
            return bool(found["state"] == "computed")

        await until(computed, lambda: self._stuck("round computed"), every_s=0.1)

    async def approve_round(self) -> None:
        """Repeated after a lost answer it is a conflict, which says that it was done."""
        coordinator, path = self.world.second_coordinator, f"/v1/rounds/{self.round}/approval"

        async def approved() -> bool:
            answer = await coordinator.ask("POST", "matching", path)
            return answer.is_success or answer.json().get("code") == "round_state"

        await until(approved, "round approved")

    async def _reserve(self) -> None:
        await self.approve_round()
        await self.nothing_in("proposed")
        self.size = len(await self._allocations())
        assert self.size > len(self.world.needs) // 3, f"only {self.size} allocations"

    async def _accept(self) -> None:
        declined = await self._some_of("reserved", one_in=15)
        await self._act_by_organization("decline", declined, reason_code="stock_damaged")
        declined = await self._some_of("reserved", one_in=15)
        await self._act(self.world.village_officer, "decline", declined, reason_code="not_needed")
        await self._act_by_organization("accept", await self._in_state("reserved"))
        await self.nothing_in("reserved")

    async def _approve(self) -> None:
        cancelled = await self._some_of("accepted", one_in=15)
        await self._act(self.world.approver, "cancel", cancelled, reason_code="no_longer_needed")
        await self._act(self.world.approver, "approve", await self._in_state("accepted"))
        await self.nothing_in("accepted")

    async def _dispatch(self) -> None:
        """Refused until the approval is in the log: asked again until it is."""
        while waiting := await self._in_state("approved"):
            await self._act_by_organization("dispatch", waiting, may_refuse={"approval_not_in_log"})
            await asyncio.sleep(0.1)

    async def _deliver(self) -> None:
        lost = await self._some_of("dispatched", one_in=15)
        await self._act_by_organization("return", lost, reason_code="nobody_there")
        await self._act_by_organization("deliver", await self._in_state("dispatched"))
        await self.nothing_in("dispatched")

    async def _confirm(self) -> None:
        """Half with the code of a paper slip, half before the village officer."""
        delivered = await self._in_state("delivered")
        await self._issue_slips(delivered[::2])
        await self._act(self.world.village_officer, "confirm", delivered, codes=self._slips)
        await self.nothing_in("delivered")

    async def _close(self) -> None:
        """Nobody has to do anything: it closes by itself when it is confirmed."""

        async def ended() -> bool:
            return ENDED.issuperset(await self.states())

        await until(ended, lambda: self._stuck("all allocations at an end"))

    # ------------------------------------------------------------------- deeds

    async def _act(
        self,
        person: Person,
        action: str,
        ids: Ids,
        *,
        reason_code: str | None = None,
        codes: dict[str, str] | None = None,
        may_refuse: Collection[str] = (),
    ) -> None:
        for begin in range(0, len(ids), CALL_ITEMS):
            items = [
                {
                    "allocation_id": each,
                    "reason_code": reason_code,
                    "code": (codes or {}).get(each),
                }
                for each in ids[begin : begin + CALL_ITEMS]
            ]
            answer = await person.post(
                "matching", "/v1/allocation-batches", {"action": action, "items": items}
            )
            refused = [
                item
                for item in answer["results"]
                if item["outcome"] == "refused" and item["code"] not in may_refuse
            ]
            assert not refused, (action, refused[:3])

    async def _act_by_organization(self, action: str, ids: Ids, **more: Any) -> None:
        rows = await self._allocations()
        owner = {str(row["id"]): str(row["organization_id"]) for row in rows}
        for organization in sorted(set(owner.values())):
            person = Person(self.system, "organization", "sender", org=organization)
            mine = [each for each in ids if owner[each] == organization]
            await self._act(person, action, mine, **more)

    async def _issue_slips(self, ids: Ids) -> None:
        if not ids:
            return
        answer = await self.world.township_officer.post(
            "matching", "/v1/slip-batches", {"allocation_ids": ids}
        )
        refused = [item for item in answer["results"] if item["outcome"] == "refused"]
        assert not refused, refused[:3]
        self._slips = {item["allocation_id"]: item["slip"] for item in answer["results"]}

    # ----------------------------------------------------------------- looking

    async def _allocations(self) -> list[Any]:
        assert self.round is not None

        async def rows() -> list[Any]:
            return await self.system.fetch(
                "matching", "SELECT * FROM allocation WHERE round_id = $1 ORDER BY id", self.round
            )

        found: list[Any] = await until(rows, "allocations of the round")
        return found

    async def _in_state(self, *states: str) -> Ids:
        return [str(row["id"]) for row in await self._allocations() if row["state"] in states]

    async def _some_of(self, state: str, *, one_in: int) -> Ids:
        ids = await self._in_state(state)
        return sorted(self.chance.sample(ids, -(-len(ids) // one_in)))

    async def states(self) -> list[str]:
        return [row["state"] for row in await self._allocations()]

    async def nothing_in(self, state: str) -> None:
        async def none() -> bool:
            return not await self._in_state(state)

        await until(none, lambda: self._stuck(f"no allocation {state}"))

    def _stuck(self, what: str) -> str:
        ended = self.system.ended()
        return f"{what} (round {self.round})\nended: {ended}\n{self.system.said('matching')}"

    async def broken(self) -> list[str]:
        """What the APIs say that the databases do not, and whether help arrived at all."""
        found: list[str] = []
        rows = {str(row["id"]): row for row in await self._allocations()}
        for row in await self.world.coordinator.every(
            "matching", "/v1/allocations", round_id=self.round
        ):
            stored = rows.pop(row["id"])
            if row["state"] != stored["state"] or row["quantity"] != stored["quantity"]:
                found.append(f"the API says {row}, stored is {dict(stored)}")
        found += [f"allocation {each} is not in the listing" for each in rows]
        states = await self.states()
        if states.count("closed") < len(states) * 2 // 3:
            found.append(f"few came to a good end: {sorted(states)}")
        return found
