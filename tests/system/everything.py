"""Every kind of event once, by the routes that lead to it; what only time brings is hurried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from tests.system import ledger, world
from tests.system.harness import System, until
from tests.system.life import Life
from tests.system.world import CITY, COUNTY, POLICY, Person, World

TOWNSHIP = "430224109000"


async def everything(system: System) -> World:
    """Live through all of it in one township; returns who and what there is."""
    chance = Random(20_201_126)
    people = await world.seed(system, TOWNSHIP, needs=24, offers=10, chance=chance)
    life = Life(people, chance)
    await life.all()
    await _needs(people)
    await _offers(people)
    await _rounds(people, chance)
    await _time(people, chance)
    await _readers(people)
    await ledger.settled(system)
    return people


async def _needs(people: World) -> None:
    clerk, committee = people.clerk, people.committee
    ids = [await _normal_need(people, n, submit=n != 0) for n in range(5)]
    draft, returned, rejected, objected, recused = ids
    work = await clerk.ask("GET", "needs", f"/v1/work/needs/{draft}")
    await clerk.do(
        "PATCH",
        "needs",
        f"/v1/needs/{draft}",
        {"title": "改过的标题"},
        headers={"If-Match": work.headers["ETag"]},
    )
    await clerk.post("needs", f"/v1/needs/{draft}/submission")
    await clerk.post("needs", f"/v1/needs/{draft}/withdrawal")
    for need, outcome in ((returned, "returned"), (rejected, "rejected")):
        body = {"outcome": outcome, "reason": "材料不全"}
        await committee.post("needs", f"/v1/needs/{need}/decisions", body)
    for officer in (committee, people.township_officer, people.county_officer):
        await officer.post("needs", f"/v1/needs/{objected}/decisions", {"outcome": "passed"})
    for outcome in ("dismissed", "upheld"):
        outsider = Person(people.system, "county_officer", f"outsider-{outcome}", COUNTY)
        found = await people.system.http.post(
            f"{people.system.urls['needs']}/v1/needs/{objected}/objections",
            json={"reason": "公示内容与实际情况不符"},
            headers={"Idempotency-Key": outcome},
        )
        await outsider.post(
            "needs",
            f"/v1/objections/{found.raise_for_status().json()['id']}/decision",
            {"outcome": outcome, "reason": "经核实作出此决定"},
        )
    # Last: it holds for all needs of the applicant.
    await committee.post(
        "needs", f"/v1/needs/{recused}/recusals", {"reason_code": "relative_of_applicant"}
    )


async def _normal_need(people: World, number: int, *, submit: bool) -> str:
    """Entered for a household that asks for something else than before."""
    body = {
        "applicant_id": str(people.applicants[0]),
        "category": "living_materials",
        "item_class": "grain",
        "title": f"过冬口粮第{number}份",
        "item": "大米",
        "quantity": 50 + number,
        "unit": "kilograms",
        "cause": "disability",
        "submit": submit,
    }
    created = await people.clerk.post("needs", "/v1/needs", body)
    return str(created["id"])


async def _offers(people: World) -> None:
    clerk, coordinator = people.clerk, people.coordinator
    organization = await clerk.post(
        "donors",
        "/v1/organizations",
        {"name": "无证互助小组", "kind": "ngo", "division_code": COUNTY},
    )
    await coordinator.post(
        "donors",
        f"/v1/organizations/{organization['id']}/approval",
        {"reason": "紧急情况，先行核准"},
    )
    made = []
    for n in range(3):
        body = world.offer(organization["id"], "bedding", 10 + n, COUNTY, submit=False)
        made.append((await clerk.post("donors", "/v1/offers", body))["id"])
        await clerk.post("donors", f"/v1/offers/{made[-1]}/submission")
    for offer in made[1:]:
        await coordinator.post("donors", f"/v1/offers/{offer}/approval", {})
    await clerk.post("donors", f"/v1/offers/{made[1]}/withdrawal")
    await coordinator.post("donors", f"/v1/offers/{made[2]}/blocking", {"reason": "资料有误"})
    await _exhaust_and_replenish(people, organization["id"])
    await coordinator.post(
        "donors", f"/v1/organizations/{organization['id']}/blocking", {"reason": "资质存疑"}
    )


async def _exhaust_and_replenish(people: World, organization: str) -> None:
    body = world.offer(organization, "bedding", 7, COUNTY)
    offer = await people.clerk.post("donors", "/v1/offers", body)
    await people.coordinator.post("donors", f"/v1/offers/{offer['id']}/approval", {})
    service = Person(people.system, "service", "matching")
    line = offer["lines"][0]["id"]
    allocation = "0197f000-0000-7000-8000-000000000001"
    path = f"/v1/offer-lines/{line}/reservations/{allocation}"
    for state in ("reserved", "released"):
        await service.do("PUT", "donors", path, {"quantity": 7, "state": state})


async def _rounds(people: World, chance: Random) -> None:
    life = Life(people, chance)
    await life.go_through("compute")
    await people.coordinator.post(
        "matching", f"/v1/rounds/{life.round}/discard", {"reason": "重新计算"}
    )

    async def cancelled() -> bool:
        """Only a round that is still being computed can be cancelled, and it may be quick."""
        started = await people.coordinator.post(
            "matching", "/v1/rounds", {"division_code": people.township, "policy": POLICY}
        )
        path = f"/v1/rounds/{started['id']}/cancellation"
        answer = await people.coordinator.ask("POST", "matching", path, {"reason": "数据有误"})
        return answer.is_success

    await until(cancelled, "a round cancelled")


async def _time(people: World, chance: Random) -> None:
    """What months bring: their dates are moved behind the services' backs."""
    system = people.system
    later = await world.seed(system, "430224213000", needs=12, offers=5, chance=chance)
    people.personal += later.personal
    life = Life(later, chance)
    await life.go_through("compute")
    await life.go_through("reserve")
    [expiring, renewed, overdue, *_] = later.needs
    await later.clerk.post("needs", f"/v1/needs/{renewed}/renewal")
    past = "now() - interval '1 second'"
    for database, sql in (
        ("matching", f"UPDATE allocation SET due_at = {past} WHERE state = 'reserved'"),
        ("needs", f"UPDATE need SET expires_at = {past} WHERE id = '{expiring}'"),
        (
            "needs",
            f"UPDATE need SET review_due_at = {past}, publish_first = true,"
            f" next_level = 'county' WHERE id = '{overdue}'",
        ),
        (
            "donors",
            f"UPDATE offer SET valid_from = now() - interval '2 hours', valid_until = {past}"
            f" WHERE id = '{later.offers[0]}'",
        ),
    ):
        await system.execute(database, sql)

    async def told() -> bool:
        seen = await types_told(system)
        return {
            "matching.allocation_expired",
            "needs.need_expired",
            "needs.need_suspended",
            "donors.offer_expired",
        } <= seen

    await until(told, "what falls due", every_s=0.2)


async def _readers(people: World) -> None:
    """Those entitled read personal data, and the trail; a supervisor has one person forgotten."""
    supervisor = Person(people.system, "supervisor", "supervisor", CITY)
    for applicant in people.applicants[:2]:
        path = f"/v1/applicants/{applicant}/personal"
        await people.village_officer.get("needs", path, purpose="home_visit")
    for path in (f"/v1/applicants/{people.applicants[0]}", f"/v1/needs/{people.needs[0]}"):
        shown = await supervisor.get("needs", f"{path}/disclosures", purpose="audit")
        assert shown["data"], path
    answer = await supervisor.ask(
        "DELETE", "needs", f"/v1/applicants/{people.applicants[1]}/personal"
    )
    assert answer.status_code == 204, answer.text
    await supervisor.get("audit", "/v1/entries", division=COUNTY)
    await supervisor.ask("GET", "audit", "/v1/export?limit=1")
    await _chain(people, supervisor)
    await _totals(people.system, supervisor)
    await people.coordinator.post(
        "needs",
        "/v1/policy-activations",
        {
            "policy": POLICY,
            "division_code": TOWNSHIP,
            "valid_until": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
            "reason": "测试专用策略",
        },
    )


async def _chain(people: World, supervisor: Person) -> None:
    """Of what was closed nothing is missing, by the rules the log reads from the events alone."""
    closed = "SELECT id FROM allocation WHERE state = 'closed' ORDER BY id LIMIT 1"
    [row] = await people.system.fetch("matching", closed)
    found: list[Any] = []

    async def nothing_awaited() -> bool:
        chain = await supervisor.get("audit", f"/v1/allocations/{row['id']}/chain")
        found[:] = chain["missing"]
        return all(each["step"] == "needs.need_reviewed" for each in found)

    await until(nothing_awaited, lambda: f"a chain that lacks nothing: {found}", timeout_s=60)


async def _totals(system: System, supervisor: Person) -> None:
    """Each ledger is what its movements in the log add up to, after all that was done here."""
    for service in ("needs", "donors", "matching"):

        async def asked(service: str = service) -> bool:
            """Not while the ledger moves."""
            return (await supervisor.ask("POST", service, "/v1/totals")).is_success

        await until(asked, f"totals of {service}")

    async def compared() -> bool:
        rows = (await supervisor.get("audit", "/v1/tellings"))["data"]
        found = {row["producer"]: row["differences"] for row in rows if row["compared_at"]}
        assert set(found.values()) <= {0}, rows
        return len(found) == 3

    await until(compared, "totals are compared with the log", every_s=0.2)


async def types_told(system: System) -> set[str]:
    """The types of all events there are."""
    found: set[str] = set()
    for service in ("needs", "donors", "matching", "audit"):
        rows: list[Any] = await system.fetch(service, "SELECT DISTINCT type FROM event")
        found |= {row["type"] for row in rows}
    return found
