"""How long after an event was committed there is a receipt that all of three witnesses back.

Needs service, audit service and three witnesses, each its own process and database, on one
PostgreSQL. Events are recorded at a steady pace; some of them are watched: their receipt is asked
for every 50 ms until it has three cosignatures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from pathlib import Path
from uuid import UUID

import httpx
from sqlalchemy.ext.asyncio import async_sessionmaker

from deploy.postgres import Postgres
from services.audit.keys import KeyFiles
from services.needs import contract
from services.witness.state import StateDirectory as WitnessState
from shared.db import make_engine, uuid7
from shared.events import Emission, emit_all
from shared.issuer import Issuer
from tests.benchmarks.log_ingestion import NOWHERE, followed, service
from tests.benchmarks.log_rows import ORIGIN, new_database, with_driver

EVENTS_PER_S = 500
SECONDS = 30
WARM_UP_S = 5
A_TURN = 10  # events committed together
WATCHED_OF = 100  # one of so many events: more would have the asking slow down what is measured
POLL_S = 0.05
PACE_KEPT = 0.98  # below this the figures say what else the machine does
WITNESSES = 3
WANTED_S = 1.0


async def measure(server: Postgres, folder: Path) -> dict[str, float]:
    issuer = Issuer(folder / "issuer")
    producer = await new_database(server, "producing", "needs")
    log = await new_database(server, "witnessed")
    async with contextlib.AsyncExitStack() as running:
        needs = await running.enter_async_context(service("needs", producer, folder, issuer))
        state = folder / "audit-witnessed"
        state.mkdir()
        (key,) = [each.key for each in KeyFiles(state, ORIGIN).load(may_create=True).signers]
        logs = folder / "logs"
        logs.write_text(f"log {key} {NOWHERE}\n")
        policy = [f"log {key} {NOWHERE}"]
        for number in range(WITNESSES):
            name, database = f"bench.example/w{number}", f"witness{number}"
            kept = folder / f"witness-{database}"
            kept.mkdir()
            (cosigner,) = WitnessState(kept, name, post_quantum=False).cosigners(may_create=True)
            url = await new_database(server, database, "witness")
            settings = {"NAME": name, "LOGS": str(logs)}
            address = await running.enter_async_context(
                service("witness", url, folder, issuer, **settings)
            )
            policy.append(f"witness w{number} {cosigner.key} {address}")
        members = " ".join(f"w{number}" for number in range(WITNESSES))
        (folder / "policy").write_text(
            "\n".join([*policy, f"group everyone all {members}", "quorum everyone", ""])
        )
        settings = followed(needs) | {"ORIGIN": ORIGIN, "WITNESS_POLICY": str(folder / "policy")}
        audit = await running.enter_async_context(service("audit", log, folder, issuer, **settings))
        waited, rate = await _told_and_watched(producer, audit)
    p50, p99 = (sorted(waited)[int(len(waited) * part)] for part in (0.5, 0.99))
    print(f"receipts with {WITNESSES} cosignatures, {rate:,.0f} events/s, {len(waited)} watched")
    if rate < PACE_KEPT * EVENTS_PER_S:
        print(f"  not valid: the producer did not reach {EVENTS_PER_S} events/s: a busy machine?")
    print(f"  {'p50':<28}{p50:>10.2f} s")
    print(f"  {'p99':<28}{p99:>10.2f} s    (wanted: below {WANTED_S:.0f})")
    return {"receipt_p50_s": round(p50, 3), "receipt_p99_s": round(p99, 3)}


async def _told_and_watched(producer: str, audit: str) -> tuple[list[float], float]:
    """Seconds from commit to receipt, one for each event watched; events a second as told."""
    engine = make_engine(with_driver(producer))
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    watching: list[asyncio.Task[float]] = []
    told, began = 0, time.perf_counter()
    chance = random.Random(1)
    async with httpx.AsyncClient(base_url=audit, timeout=60) as client:
        while told < EVENTS_PER_S * (SECONDS + WARM_UP_S):
            async with sessions.begin() as session:
                ids = await emit_all(session, [_emission(chance) for _ in range(A_TURN)])
            committed = time.perf_counter()
            if told % WATCHED_OF == 0 and told >= EVENTS_PER_S * WARM_UP_S:
                watching.append(asyncio.create_task(_receipt(client, ids[0], committed)))
            told += A_TURN
            ahead_s = told / EVENTS_PER_S - (time.perf_counter() - began)
            await asyncio.sleep(max(ahead_s, 0))
        rate = told / (time.perf_counter() - began)
        waited = await asyncio.gather(*watching)
    await engine.dispose()
    return waited, rate


def _emission(chance: random.Random) -> Emission:
    need_id = uuid7()
    event = contract.NeedWithdrawn(need_id=need_id)
    officer = f"officer-{chance.randrange(300)}"
    return Emission(event, f"need/{need_id}", officer, "township_officer", "430224101000")


async def _receipt(client: httpx.AsyncClient, event_id: UUID, since: float) -> float:
    while True:
        answer = await client.get(f"/v1/receipts/{event_id}")
        # One line of the log, and one of each witness.
        if answer.status_code == 200 and answer.text.count("\n\u2014 ") > WITNESSES:
            return time.perf_counter() - since
        if answer.status_code not in (200, 404, 409):
            raise RuntimeError(f"{answer.status_code}: {json.dumps(answer.text[:200])}")
        await asyncio.sleep(POLL_S)
