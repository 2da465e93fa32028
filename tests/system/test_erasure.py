"""A person's values: shown genuine by the log while the key lives, and gone with it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from deploy.state import ROOT
from services.needs.disclosures import digest
from services.needs.privacy import (
    KeyStore,
    KeyStoreDamaged,
    open_disclosures,
    open_sealed,
)
from shared.callers import ROLES
from shared.tlog import merkle
from tests.system import world
from tests.system.harness import System, until
from tests.system.personal import Value, Watch
from tests.system.world import COUNTY, Person

VILLAGE = "430224107201"


@dataclass
class Somebody:
    """A household that was entered, with a need, and what was entered of it."""

    applicant: UUID
    need: UUID
    body: dict[str, Any]
    values: list[Value]


async def entered(system: System, number: int) -> Somebody:
    clerk = Person(system, "entry_clerk", "clerk-of-erasure", COUNTY)
    body, values = world.household(number, VILLAGE, Random(f"erased {number}"))
    body["household"]["deprivations"] = ["drinking_water", "road"]
    body["external_key"] = f"erasure-{number}"
    made = await clerk.post("needs", "/v1/applicants", body)
    need = {
        "applicant_id": made["id"],
        "category": "living_materials",
        "item_class": "bedding",
        "title": "过冬棉被",
        "text": f"第{number}户缺棉被",
        "item": "棉被",
        "quantity": 2,
        "unit": "sets",
        "headcount": 2,
    }
    asked = await clerk.post("needs", "/v1/needs", need)
    return Somebody(UUID(made["id"]), UUID(asked["id"]), body, values)


@pytest.fixture(scope="module")
async def forgotten(system) -> Somebody:
    return await entered(system, 1)


@pytest.fixture(scope="module")
async def remembered(system) -> Somebody:
    return await entered(system, 2)


@pytest.fixture(scope="module")
def supervisor(system) -> Person:
    return Person(system, "supervisor", "supervisor-of-erasure", COUNTY)


async def shown(supervisor: Person, path: str) -> list[dict[str, Any]]:
    """What a supervisor is shown, once all of its events have their numbers."""

    async def numbered() -> list[dict[str, Any]] | None:
        page = await supervisor.get("needs", f"{path}/disclosures", purpose="audit")
        whole = all(event["seq"] is not None for event in page["data"])
        return list(page["data"]) if whole else None

    found: list[dict[str, Any]] = await until(numbered, "events numbered")
    return found


async def entry_of(system: System, event_id: str) -> bytes:
    """The entry of the event, after its inclusion under a checkpoint was checked."""

    async def proved() -> Any:
        answer = await system.http.get(
            f"{system.urls['audit']}/v1/proofs/inclusion", params={"event_id": event_id}
        )
        return answer.json() if answer.is_success else None

    proof = await until(proved, "the event under a checkpoint")
    _, size, root = proof["checkpoint"].split("\n")[:3]
    body = await _body(system, proof["index"], int(size))
    merkle.verify_inclusion(
        proof["index"],
        int(size),
        merkle.leaf_hash(body),
        [base64.b64decode(each) for each in proof["hashes"]],
        base64.b64decode(root),
    )
    return body


async def _body(system: System, index: int, size: int) -> bytes:
    tile = index // 256
    width = min(256, size - tile * 256)
    partial = "" if width == 256 else f".p/{width}"
    address = f"{system.urls['audit']}/tile/entries/{tile:03d}{partial}"
    bundle = io.BytesIO((await system.http.get(address)).raise_for_status().content)
    bodies = []
    for _ in range(width):
        (length,) = struct.unpack(">H", bundle.read(2))
        bodies.append(bundle.read(length))
    return bodies[index % 256]


async def test_the_log_shows_the_values_genuine(system, supervisor, remembered):
    events = await shown(supervisor, f"/v1/applicants/{remembered.applicant}")
    said: dict[str, Any] = {}
    for event in events:
        prefix, _, content = (await entry_of(system, event["event_id"])).partition(b"\n")
        entry = json.loads(content)
        assert prefix.split() == [b"needs", b"%020d" % event["seq"]]
        assert entry["id"] == event["event_id"]
        for row in event["disclosures"]:
            assert digest(row["disclosure"]) in entry["data"]["digests"]
            text = row["disclosure"]
            _, name, said[name] = json.loads(
                base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            )
    record = remembered.body["household"] | remembered.body["personal"]
    assert said.items() >= record.items()
    assert said["division_code"] == VILLAGE
    assert (said["deprivation_score_permille"], said["text"]) == (150, "第2户缺棉被")


async def test_a_value_that_was_changed_afterwards_is_not_shown_genuine(
    system, supervisor, remembered
):
    [registered, *_] = await shown(supervisor, f"/v1/applicants/{remembered.applicant}")
    _, _, content = (await entry_of(system, registered["event_id"])).partition(b"\n")
    digests = json.loads(content)["data"]["digests"]
    phone = next(row for row in registered["disclosures"] if row["name"] == "phone")
    salt, name, _ = json.loads(base64.urlsafe_b64decode(phone["disclosure"] + "=="))
    other = base64.urlsafe_b64encode(json.dumps([salt, name, "13800000000"]).encode())
    assert digest(phone["disclosure"]) in digests
    assert digest(other.decode().rstrip("=")) not in digests


async def test_the_verifier_takes_what_was_served_and_finds_what_was_changed(
    system, supervisor, remembered, tmp_path
):
    path = f"/v1/needs/{remembered.need}/disclosures"
    [event] = await shown(supervisor, path.removesuffix("/disclosures"))
    await entry_of(system, event["event_id"])
    page = await supervisor.get("needs", path, purpose="audit")
    served = tmp_path / "served.json"
    served.write_text(json.dumps(page))
    assert await _verifier(system, served) == 0
    page["data"][0]["disclosures"][0]["value"] = "430224107202"
    served.write_text(json.dumps(page))
    assert await _verifier(system, served) == 1


async def _verifier(system: System, served: Path) -> int:
    """The status of the shipped verifier, asked about the whole log and these disclosures."""
    command: list[str | Path] = [sys.executable, ROOT / "services/audit/verifier.py"]
    command += ["--log", system.urls["audit"], "--key", system.state.of("audit") / "log.vkey"]
    command += ["--disclosures", served]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    return await process.wait()


async def dump(system: System) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table of needs, as pg_dump would copy them."""
    tables = await system.fetch(
        "needs", "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )
    return {
        table: [dict(row) for row in await system.fetch("needs", f'SELECT * FROM "{table}"')]
        for (table,) in tables
    }


def opened(copy: dict[str, list[dict[str, Any]]], keys: list[bytes], applicant: UUID) -> str:
    """All that whoever has the copy and the keys reads of the applicant."""
    found: list[Any] = []
    for row in copy["personal_data"]:
        for key in keys if row["applicant_id"] == applicant else ():
            try:
                found.append(open_sealed(key, applicant, row["fields"], row["sealed"]))
            except KeyStoreDamaged:
                continue
    for row in copy["event_disclosures"]:
        for key in keys if row["applicant_id"] == applicant else ():
            try:
                found.append(open_disclosures(key, applicant, row["event_id"], row["sealed"]))
            except KeyStoreDamaged:
                continue
    return json.dumps(found, ensure_ascii=False)


def keys_in(folder: Path) -> list[bytes]:
    """Every key that a copy of the key store still gives."""
    store = KeyStore(folder)
    records = (folder / "persons").read_bytes()
    people = [UUID(bytes=records[at : at + 16]) for at in range(0, len(records), 76)]
    return [key for person in people if (key := store.get(person)) is not None]


async def test_after_erasure_nobody_reads_them_again(
    system, supervisor, forgotten, remembered, tmp_path
):
    """Not by a route, and not from a dump from before with the key store from afterwards."""
    watch = Watch(forgotten.values)
    paths = [
        f"/v1/applicants/{forgotten.applicant}/personal",
        f"/v1/applicants/{forgotten.applicant}/disclosures",
        f"/v1/needs/{forgotten.need}/disclosures",
        f"/v1/applicants/{forgotten.applicant}",
        f"/v1/work/needs/{forgotten.need}",
    ]
    before = [await supervisor.get("needs", path, purpose="audit") for path in paths[:3]]
    assert watch.seen(json.dumps(before, ensure_ascii=False))
    event_id = before[1]["data"][0]["event_id"]
    entry = await entry_of(system, event_id)
    copy = await dump(system)

    for _ in range(2):
        answer = await supervisor.ask(
            "DELETE", "needs", f"/v1/applicants/{forgotten.applicant}/personal"
        )
        assert answer.status_code == 204

    for role in ROLES:
        reader = Person(system, role, f"reader-after-{role}", COUNTY)
        for path in paths:
            answer = await reader.ask("GET", "needs", path, params={"purpose": "audit"})
            assert not watch.seen(answer.text), (role, path)
            assert "drinking_water" not in answer.text, (role, path)
            if path in paths[:3]:
                assert answer.status_code in {403, 404}, (role, path)

    folder = tmp_path / "keys"
    shutil.copytree(system.state.of("needs") / "keys", folder)
    keys = keys_in(folder)
    assert "drinking_water" in opened(copy, keys, remembered.applicant)  # so is it looked for
    assert opened(copy, keys, forgotten.applicant) == "[]"
    in_the_clear = str(copy)
    assert str(forgotten.applicant) in in_the_clear
    assert not watch.seen(in_the_clear)
    assert "drinking_water" not in in_the_clear

    # What was proved is proved.
    assert await entry_of(system, event_id) == entry
    rows = await system.fetch(
        "needs", "SELECT count(*) FROM event WHERE type = 'needs.personal_data_erased'"
    )
    assert rows[0][0] >= 1
