"""People with tokens, and the small world they make: needs published, offers open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import httpx

from deploy.example import people as example_people
from deploy.example.organizations import uscc
from shared.vocabulary import divisions
from tests.system.harness import System, until
from tests.system.personal import Value

CITY = "430200000000"
COUNTY = "430224000000"
POLICY = "example-1"
PATIENCE_S = 600.0  # a guard against waiting for ever, nothing else
_AGAIN_S = 0.1
BATCH_MAX = 200

# item class -> (category, offer kind, unit, what is written)
ITEMS = {
    "bedding": ("living_materials", "goods", "sets", "过冬棉被"),
    "school_supplies": ("education_training", "goods", "sets", "学习用品"),
    "skills_training": ("education_training", "training_seats", "seats", "家政技能培训"),
    "job_transfer": ("education_training", "jobs", "jobs", "车间务工岗位"),
    "mask_surgical": ("medical_care", "goods", "pieces", "一次性医用外科口罩"),
}
# Fairly rare, so that no other text holds them by chance.
_NAMES = ("禤砚澍", "逄霁霈", "亓澹筠", "訾岫翎", "郗翊珩", "笪皓翮", "蔺鹭沄", "爨泠漪")


class Person:
    """Somebody with a token, who repeats a call until it is answered."""

    def __init__(
        self,
        system: System,
        role: str,
        subject: str,
        division: str | None = None,
        org: UUID | str | None = None,
    ) -> None:
        self.system, self.role, self.subject = system, role, subject
        self.token = system.token(role, subject, division=division, org=org)

    async def ask(
        self,
        method: str,
        service: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        **more: Any,
    ) -> httpx.Response:
        """One call, answered or not."""
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        if method == "POST":
            headers["Idempotency-Key"] = key or uuid4().hex
        return await self.system.http.request(
            method, self.system.urls[service] + path, json=body, headers=headers, **more
        )

    async def do(self, method: str, service: str, path: str, body: Any = None, **more: Any) -> Any:
        """Repeat the same call, under one key, until the service says yes; return its answer."""
        more.setdefault("key", uuid4().hex)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = await self.ask(method, service, path, body, **more)
            except httpx.TransportError as error:
                said = f"{type(error).__name__}"
            else:
                if answer.is_success:
                    return answer.json()
                said = f"{answer.status_code} {answer.text[:500]}"
                in_flight = answer.status_code == 409 and "request_in_flight" in answer.text
                if answer.status_code < 500 and not in_flight:
                    raise AssertionError(f"{self.subject} {method} {service}{path}: {said}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.subject} {method} {service}{path}: still {said}")
            await asyncio.sleep(_AGAIN_S)

    async def get(self, service: str, path: str, **params: Any) -> Any:
        return await self.do("GET", service, path, params=params)

    async def post(self, service: str, path: str, body: Any = None, **more: Any) -> Any:
        return await self.do("POST", service, path, body, **more)

    async def every(self, service: str, path: str, **params: Any) -> list[dict[str, Any]]:
        """All pages of a listing."""
        found: list[dict[str, Any]] = []
        page = await self.get(service, path, limit=200, **params)
        while True:
            found += page["data"]
            if not page["meta"]["has_more"]:
                return found
            page = await self.get(service, page["links"]["next"])


@dataclass
class World:
    """What was entered, and who there is; `township` holds all of it."""

    system: System
    township: str
    clerk: Person
    committee: Person
    township_officer: Person
    county_officer: Person
    coordinator: Person
    second_coordinator: Person
    approver: Person
    village_officer: Person
    applicants: list[UUID] = field(default_factory=list)
    needs: list[UUID] = field(default_factory=list)
    organizations: list[str] = field(default_factory=list)
    offers: list[UUID] = field(default_factory=list)
    personal: list[Value] = field(default_factory=list)


def inhabited(system: System, township: str) -> World:
    """The officers of one township; nobody there has two duties."""

    def person(role: str, division: str, label: str = "") -> Person:
        return Person(system, role, f"{label or role}-{township[:9]}", division)

    return World(
        system,
        township,
        clerk=person("entry_clerk", COUNTY),
        committee=person("village_committee", township),
        township_officer=person("township_officer", township),
        county_officer=person("county_officer", COUNTY),
        coordinator=person("alliance_coordinator", CITY),
        second_coordinator=person("alliance_coordinator", CITY, "second-coordinator"),
        approver=person("city_officer", CITY, "approver"),
        village_officer=person("village_officer", township),
    )


async def seed(
    system: System, township: str, *, needs: int = 60, offers: int = 15, chance: Random
) -> World:
    """Enter and verify needs, enter and approve offers; all are public when it returns."""
    world = inhabited(system, township)
    await world.coordinator.post(
        "needs",
        "/v1/policy-activations",
        {"policy": POLICY, "division_code": COUNTY, "reason": "测试专用策略"},
    )
    await _enter_needs(world, needs, chance)
    await _enter_offers(world, offers, chance)
    await verify(world, world.needs)
    await all_public(world)
    return world


async def all_public(world: World) -> None:
    """Wait until every need is published, every offer open, and matching knows of them."""

    async def public() -> bool:
        published = await world.system.fetchval(
            "matching", "SELECT count(*) FROM need_view WHERE need_id = any($1)", world.needs
        )
        opened = await world.system.fetchval(
            "matching",
            "SELECT count(DISTINCT offer_id) FROM line_view WHERE offer_id = any($1)",
            world.offers,
        )
        return bool(published == len(world.needs) and opened == len(world.offers))

    await until(public, "needs published and offers open, as matching sees it")


# ------------------------------------------------------------------- needs


def villages_of(township: str) -> list[str]:
    return [d.code for d in divisions.children(township)]


def household(number: int, village: str, chance: Random) -> tuple[dict[str, Any], list[Value]]:
    """A household's body, and the personal values in it, each unlike any other."""
    born = example_people.birth_date(chance)
    id_number = example_people.id_number(chance, village, born, female=bool(number % 2))
    personal = {
        "name": _NAMES[number % len(_NAMES)],
        "id_number": id_number,
        "disability_card": example_people.disability_card(chance, id_number),
        "phone": example_people.phone(chance.randrange(10**6)),
        "bank_account": example_people.bank_account(chance),
        "address": f"石壁冲组{100 + number}号老槐树旁",
    }
    body = {
        "external_key": f"household-{village}-{number}",
        "kind": "household",
        "division_code": village,
        "household": {
            "household_class": chance.choice(["general", "subsistence_allowance"]),
            "main_cause": "disability",
            "other_causes": ["illness"],
            "members": chance.randint(1, 6),
            "deprivations": ["basic_medical_care"],
        },
        "personal": personal,
    }
    return body, [Value(kind, text) for kind, text in personal.items()]


def _applicants(world: World, count: int, chance: Random) -> list[dict[str, Any]]:
    villages = villages_of(world.township)
    made = []
    for number in range(count):
        village = villages[number % len(villages)]
        if number % 6 == 4:
            made.append(
                {"kind": "village", "division_code": village, "name": f"第{number}村民委员会"}
            )
        elif number % 6 == 5:
            made.append(
                {"kind": "institution", "division_code": world.township, "name": f"第{number}小学"}
            )
        else:
            body, values = household(number, village, chance)
            world.personal += values
            made.append(body)
    return made


async def _enter_needs(world: World, count: int, chance: Random) -> None:
    if not count:
        return
    answer = await world.clerk.post(
        "needs", "/v1/applicant-batches", {"applicants": _applicants(world, count, chance)}
    )
    world.applicants += _ids(answer)
    classes = list(ITEMS)
    bodies = []
    for number, applicant in enumerate(world.applicants):
        item_class = classes[number % len(classes)]
        category, _, unit, item = ITEMS[item_class]
        bodies.append(
            {
                "applicant_id": str(applicant),
                "category": category,
                "item_class": item_class,
                "title": f"{item}（第{number}号需求）",
                "item": item,
                "quantity": chance.randint(5, 40),
                "unit": unit,
                "cause": "disability",
                "urgency": ("life_threatening", "urgent", "normal")[number % 3],
                "needed_by": str(date.today() + timedelta(days=30)),  # noqa: DTZ011 - any day later
                "submit": True,
            }
        )
    world.needs += _ids(await world.clerk.post("needs", "/v1/need-batches", {"needs": bodies}))


async def verify(world: World, need_ids: Sequence[UUID]) -> None:
    """Each level passes what it is asked to decide, in its order."""
    for officer, level in (
        (world.committee, "village"),
        (world.township_officer, "township"),
        (world.county_officer, "county"),
    ):
        rows = await world.system.fetch(
            "needs",
            "SELECT id FROM need WHERE id = any($1) AND next_level = $2 ORDER BY id",
            need_ids,
            level,
        )
        decisions = [{"need_id": str(row["id"]), "outcome": "passed"} for row in rows]
        if not decisions:
            continue
        answer = await officer.post("needs", "/v1/decision-batches", {"decisions": decisions})
        refused = [item for item in answer["results"] if item["outcome"] == "refused"]
        assert not refused, refused[:3]


# ------------------------------------------------------------------- offers


async def _enter_offers(world: World, count: int, chance: Random) -> None:
    if not count:
        return
    number = int(world.township[6:9]) * 100
    bodies = [
        {
            "name": f"同心互助会第{number + n}分会",
            "kind": "ngo",
            "uscc": uscc("51", COUNTY, number + n),
            "division_code": COUNTY,
        }
        for n in range(min(count, 5))
    ]
    answer = await world.clerk.post("donors", "/v1/organization-batches", {"organizations": bodies})
    world.organizations += map(str, _ids(answer))
    approvals = [{"organization_id": o} for o in world.organizations]
    await _approve(world, "organization-approval-batches", approvals)
    classes, organizations = list(ITEMS), world.organizations
    bodies = [
        offer(
            organizations[n % len(organizations)],
            classes[n % len(classes)],
            chance.randint(50, 90),
            world.township,
        )
        for n in range(count)
    ]
    world.offers += _ids(await world.clerk.post("donors", "/v1/offer-batches", {"offers": bodies}))
    await _approve(world, "offer-approval-batches", [{"offer_id": str(o)} for o in world.offers])


def offer(
    organization: str, item_class: str, quantity: int, served: str, **more: Any
) -> dict[str, Any]:
    """The body of an offer with one line."""
    category, kind, unit, item = ITEMS[item_class]
    now = datetime.now(UTC)
    return {
        "organization_id": organization,
        "kind": kind,
        "category": category,
        "title": f"捐助{item}",
        "served_division_codes": [served],
        "valid_from": (now - timedelta(hours=1)).isoformat(),
        "valid_until": (now + timedelta(days=90)).isoformat(),
        "lines": [{"item_class": item_class, "item": item, "quantity": quantity, "unit": unit}],
        "submit": True,
        **more,
    }


async def _approve(world: World, path: str, approvals: list[dict[str, Any]]) -> None:
    answer = await world.coordinator.post("donors", f"/v1/{path}", {"approvals": approvals})
    refused = [item for item in answer["results"] if item["outcome"] == "refused"]
    assert not refused, refused[:3]


def _ids(answer: dict[str, Any]) -> Iterable[UUID]:
    refused = [item for item in answer["results"] if item["outcome"] != "created"]
    assert not refused, refused[:3]
    return [UUID(item["id"]) for item in answer["results"]]
