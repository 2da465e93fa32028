"""The steps of a played emergency, through the public API."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

from deploy.api import Api, ApiProblem
from deploy.emergency.plan import Cast, Emergency
from deploy.platform import Platform
from deploy.proofs import check_approval
from shared.vocabulary import divisions

Json = dict[str, Any]
Say = Callable[[str], None]

BATCH = 200
POLL_S = 0.3
COMPUTED_S_MAX = 300.0
# An allocation has to be reserved on both sides, logged, carried on both sides: seconds each.
DRIVEN_S_MAX = 600.0
ENDS = frozenset({"closed", "declined", "expired", "cancelled", "returned"})


class NotDone(Exception):
    """The played emergency did not come to its end; the message says what to look at."""


class Play:
    """The steps of the emergency, in their order; each does only what is still to be done."""

    def __init__(self, platform: Platform, emergency: Emergency, say: Say) -> None:
        self._emergency, self._say = emergency, say
        self._cast = Cast(platform)
        self._needs = Api(platform.needs_url)
        self._donors = Api(platform.donors_url)
        self._matching = Api(platform.matching_url)
        self._audit = Api(platform.audit_url)

    async def run(self) -> int:
        """Return the number of allocations of the emergency, all proved to be in the log."""
        try:
            await self._activate_policy()
            await self._approve_organizations()
            await self._state_quantities()
            await self._approve_offers()
            await self._verify_needs()
            await self._match()
            await self._drive()
            return await self._check_proofs()
        finally:
            for api in (self._needs, self._donors, self._matching, self._audit):
                await api.aclose()

    async def _activate_policy(self) -> None:
        emergency = self._emergency
        async for activation in self._needs.pages(
            "/v1/policy-activations", params={"division": emergency.division}
        ):
            known = (activation["division_code"], activation["policy"], activation["valid_until"])
            if known == (emergency.division, emergency.policy, None):
                self._say(f"The policy {emergency.policy} is in force for {_place(emergency)}.")
                return
        await self._needs.post(
            "/v1/policy-activations",
            {
                "policy": emergency.policy,
                "division_code": emergency.division,
                "reason": emergency.reason,
            },
            self._cast.coordinator,
            key=str(uuid4()),
        )
        self._say(
            f"As the coordinator: put the policy {emergency.policy} into force for "
            f"{_place(emergency)}: needs are published first and verified afterwards."
        )

    async def _offers(self, state: str) -> list[Json]:
        """Offers in that state which serve the whole place of the emergency."""
        parameters = {"state": state, "serves": self._emergency.division, "limit": 200}
        return [
            o async for o in self._donors.pages("/v1/offers", self._cast.coordinator, parameters)
        ]

    async def _approve_organizations(self) -> None:
        offering = {
            offer["organization_id"]
            for state in ("draft", "submitted", "approved")
            for offer in await self._offers(state)
        }
        waiting = [
            organization["id"]
            async for organization in self._donors.pages(
                "/v1/organizations", self._cast.coordinator, {"state": "registered", "limit": 200}
            )
            if organization["id"] in offering
        ]
        reason = f"{self._emergency.reason} USCC 未核验，保持未核实标记。USCC not checked."
        done = await self._in_batches(
            self._donors,
            "/v1/organization-approval-batches",
            "approvals",
            [{"organization_id": id_, "reason": reason} for id_ in waiting],
            self._cast.coordinator,
        )
        self._say(f"As the coordinator: approved {done['approved']} organizations with a reason; "
                  "those without a checked USCC stay marked unverified.")  # fmt: skip

    async def _state_quantities(self) -> None:
        """Rate x days becomes the quantity: the policy says for how many days it is taken."""
        stated = 0
        for offer in await self._offers("draft"):
            lines = [line for line in offer["lines"] if line["quantity"] is None]
            if not lines or any(line["daily_quantity"] is None for line in lines):
                continue
            organization = self._cast.organization(offer["organization_id"])
            for line in lines:
                path = f"/v1/offers/{offer['id']}"
                await self._donors.patch(
                    f"{path}/lines/{line['id']}",
                    {"quantity": line["daily_quantity"] * self._emergency.days},
                    organization,
                    etag=await self._donors.etag(path, organization),
                )
            await self._donors.post(f"/v1/offers/{offer['id']}/submission", None, organization)
            stated += 1
        self._say(
            f"As the organizations: {stated} offers that state a daily rate now offer "
            f"{self._emergency.days} days of it, by the policy {self._emergency.policy}."
        )

    async def _approve_offers(self) -> None:
        waiting = [offer["id"] for offer in await self._offers("submitted")]
        done = await self._in_batches(
            self._donors,
            "/v1/offer-approval-batches",
            "approvals",
            [{"offer_id": id_, "reason": self._emergency.reason} for id_ in waiting],
            self._cast.coordinator,
        )
        drafts = len(await self._offers("draft"))
        self._say(f"As the coordinator: approved {done['approved']} offers; {drafts} offers that "
                  "state neither quantity nor rate stay drafts.")  # fmt: skip

    async def _verify_needs(self) -> None:
        """Each need by an officer of its own place, the levels one after the other."""
        verified: Counter[str] = Counter()
        for division in sorted({need["division_code"] async for need in self._published()}):
            token = self._cast.officer(division)
            waiting = [
                need["id"]
                async for need in self._needs.pages(
                    "/v1/work/needs", token, {"mine": "true", "limit": 200}
                )
                if need["division_code"] == division and need["publish_first"]
            ]
            verified += await self._in_batches(
                self._needs,
                "/v1/decision-batches",
                "decisions",
                [{"need_id": id_, "outcome": "passed"} for id_ in waiting],
                token,
            )
        self._say(f"As the officers of each place: verified {verified['decided']} needs that had "
                  f"been published first; {verified['refused']} refused.")  # fmt: skip

    def _published(self) -> AsyncIterator[Json]:
        parameters = {"division": self._emergency.division, "limit": 200}
        return self._needs.pages("/v1/needs", None, parameters)

    async def _match(self) -> None:
        await self._until_matching_follows()
        started = await self._matching.post(
            "/v1/rounds",
            {"division_code": self._emergency.division, "policy": self._emergency.policy},
            self._cast.coordinator,
            key=str(uuid4()),
        )
        path = f"/v1/rounds/{started['id']}"

        async def computed() -> Json | None:
            found = await self._matching.get(path, self._cast.coordinator)
            return found if found["state"] != "computing" else None

        found = await _wait(computed, COMPUTED_S_MAX, "the round is not computed")
        if found["state"] == "computed":
            await self._matching.post(f"{path}/approval", None, self._cast.coordinator)
        totals = found["totals"] or {}
        self._say(
            f"As the coordinator: ran a round over {found['snapshot']['needs']} needs and "
            f"{found['snapshot']['lines']} offer lines and approved its "
            f"{totals.get('proposals', 0)} proposals."
        )

    async def _until_matching_follows(self) -> None:
        """The newest published need and every open offer are known to matching."""
        paths = [f"/v1/offers/{offer['id']}/needs" for offer in await self._offers("open")]
        async for need in self._published():
            paths.append(f"/v1/needs/{need['id']}/offers")
            break

        async def known() -> bool | None:
            try:
                for path in paths:
                    await self._matching.get(path, self._cast.coordinator)
            except ApiProblem as problem:
                if problem.status == 404:
                    return None
                raise
            return True

        await _wait(known, COMPUTED_S_MAX, "matching does not follow the needs and offers")

    async def _allocations(self) -> list[Json]:
        parameters = {"within": self._emergency.division, "limit": 200}
        return [
            allocation
            async for allocation in self._matching.pages(
                "/v1/allocations", self._cast.coordinator, parameters
            )
            if allocation["policy"] == self._emergency.policy
        ]

    async def _drive(self) -> None:
        """Everybody does what is theirs, until every allocation has come to an end."""
        done: Counter[str] = Counter()

        async def ended() -> list[Json] | None:
            allocations = await self._allocations()
            if all(allocation["state"] in ENDS for allocation in allocations):
                return allocations
            done.update(await self._act(allocations))
            return None

        allocations = await _wait(ended, DRIVEN_S_MAX, "some allocations are under way still")
        for action, words in _WORDS.items():
            if done[action]:
                self._say(f"{words}: {done[action]} allocations.")
        states = Counter(allocation["state"] for allocation in allocations)
        self._say("Allocations: " + (", ".join(f"{n} {s}" for s, n in states.items()) or "none"))

    async def _act(self, allocations: list[Json]) -> Counter[str]:
        """One action on each allocation whose turn it is, by whom it falls to."""
        turns: dict[tuple[str, str], list[str]] = {}
        for allocation in allocations:
            turn = self._whose_turn(allocation)
            if turn is not None:
                turns.setdefault(turn, []).append(allocation["id"])
        done: Counter[str] = Counter()
        for (action, token), ids in turns.items():
            for start in range(0, len(ids), BATCH):
                items = [{"allocation_id": id_} for id_ in ids[start : start + BATCH]]
                answer = await self._matching.post(
                    "/v1/allocation-batches", {"action": action, "items": items}, token
                )
                for result in answer["results"]:
                    if result["outcome"] == "refused":
                        raise NotDone(f"{action} was refused: {result['code']}, {result['detail']}")
                    done[action] += result["outcome"] == "done"
        return done

    def _whose_turn(self, allocation: Json) -> tuple[str, str] | None:
        """(action, token) of what comes next; None while the platform itself is at work."""
        organization = self._cast.organization(allocation["organization_id"])
        match allocation["state"]:
            case "reserved":
                return "accept", organization
            case "accepted":
                return "approve", self._cast.approver
            case "approved" if allocation["approval_log_index"] is not None:
                return "dispatch", organization
            case "dispatched":
                return "deliver", organization
            case "delivered":
                return "confirm", self._cast.representative(allocation["division_code"])
        return None

    async def _check_proofs(self) -> int:
        """Check the receipt of each approval with the stand-alone verifier's functions."""
        key = await self._audit.text("/v1/key")
        logged = [a for a in await self._allocations() if a["approval_log_index"] is not None]
        for allocation in logged:
            await check_approval(self._audit, key, allocation)
        self._say(f"Checked: the approvals of {len(logged)} allocations are in the log, each with "
                  "a proof that holds under the signed checkpoint.")  # fmt: skip
        return len(logged)

    async def _in_batches(
        self, api: Api, path: str, field: str, items: list[Json], token: str
    ) -> Counter[str]:
        """Post the items; return how many had which outcome."""
        outcomes: Counter[str] = Counter()
        for start in range(0, len(items), BATCH):
            body = {field: items[start : start + BATCH]}
            answer = await api.post(path, body, token, key=str(uuid4()))
            for result in answer["results"]:
                outcomes[result["outcome"]] += 1
                if result["outcome"] == "refused":
                    self._say(f"  refused: {result['code']}: {result['detail']}")
        return outcomes


_WORDS = {
    "accept": "As the organizations: accepted",
    "approve": "As a second coordinator: approved",
    "dispatch": "As the organizations, the approval standing in the log: dispatched",
    "deliver": "As the organizations: delivered",
    "confirm": "As the institutions' representatives: confirmed",
}


def _place(emergency: Emergency) -> str:
    found = divisions.get(emergency.division)
    return f"{found.name_zh} {found.name_en}"


async def _wait(ask: Callable[[], Any], seconds_max: float, otherwise: str) -> Any:
    """Ask until the answer is not None; raise NotDone after `seconds_max`."""
    try:
        async with asyncio.timeout(seconds_max):
            # Others' services are asked: there is no event to wait for.
            while (answer := await ask()) is None:  # noqa: ASYNC110 - as said
                await asyncio.sleep(POLL_S)
            return answer
    except TimeoutError:
        raise NotDone(f"After {seconds_max:.0f} s {otherwise}; see the services' logs.") from None
