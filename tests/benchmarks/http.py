"""Ranked offers for a stored need: over HTTP, against the same work in process and a bare route.

    python -m tests.benchmarks.http [needs] [lines]

A matching service of its own, on a throw-away PostgreSQL filled with made-up read models, and an
application of one empty route beside it, both of one process on 127.0.0.1. Medians over rounds
that alternate between the three. Prints a table and, last, one line of JSON with the ratio.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from deploy.postgres import Postgres, free_port
from services.matching import contract
from services.matching.appraisal import Judge
from services.matching.planning import Snapshot
from services.matching.policies import policies
from services.matching.queries import matches as queries
from services.matching.retrieval import Retrieval
from shared.issuer import Issuer
from shared.migrate import upgrade
from tests.benchmarks.read_models import fill
from tests.benchmarks.round import a_snapshot

ROUNDS = 12
REQUESTS = 40
LIMIT = 10
POLICY = "national-1"


def bare() -> FastAPI:
    """One route that does nothing."""
    app = FastAPI()

    @app.get("/bare")
    async def nothing() -> dict[str, bool]:
        return {"done": True}

    return app


# ------------------------------------------------------------------ servers


def served(factory: str, port: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "--factory", factory, "--host", "127.0.0.1"),
            *("--port", str(port), "--no-access-log", "--log-level", "critical"),
        ],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def settings(database: str, folder: Path) -> dict[str, str]:
    issuer = Issuer(folder / "issuer")
    token = folder / "token"
    token.write_text(issuer.mint(role="service", subject="matching"))
    nobody = f"http://127.0.0.1:{free_port()}"
    return {
        "MATCHING_DATABASE_URL": database,
        "MATCHING_KEY_SET": str(issuer.key_set_path),
        "MATCHING_SERVICE_TOKEN_FILE": str(token),
        "MATCHING_STATE_DIR": str(folder),
        "MATCHING_LOG_LEVEL": "ERROR",
        "MATCHING_RATE_PER_MINUTE_MAX": "10000000",
        "MATCHING_NEEDS_URL": nobody,
        "MATCHING_DONORS_URL": nobody,
        "MATCHING_AUDIT_URL": nobody,
    }


async def answering(client: httpx.AsyncClient, path: str) -> None:
    for _ in range(1_200):
        try:
            if (await client.get(path)).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    raise RuntimeError(f"no answer: {path}")


# ------------------------------------------------------------------ measuring


async def medians(
    works: dict[str, Callable[[Any], Awaitable[object]]], cases: list[Any]
) -> dict[str, float]:
    """Median seconds of each, over rounds that alternate between them."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(ROUNDS + 1):
        for name, work in works.items():
            for place in range(REQUESTS):
                case = cases[(turn * REQUESTS + place) % len(cases)]
                start = time.perf_counter()
                await work(case)
                if turn:  # the first round warms up
                    seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


def in_process(retrieval: Retrieval, need_id: Any) -> list[contract.ScoredOffer]:
    """Retrieve, re-rank, explain; as the route does."""
    judge = Judge(policies()[POLICY], retrieval.card, retrieval.facts, datetime.now(UTC))
    found = queries.lines_for(retrieval, retrieval.needs.docs[need_id], judge, 1)
    return [queries.offer_read(match, judge) for match in queries.after(found, None, LIMIT)[:LIMIT]]


async def measure(database: str, folder: Path, snapshot: Snapshot) -> float:
    await fill(database.replace("+asyncpg", ""), snapshot)
    retrieval = Retrieval()
    engine = create_async_engine(database)
    async with AsyncSession(engine) as session:
        await retrieval.read(session)
    await engine.dispose()
    ports = {"matching": free_port(), "bare": free_port()}
    servers = [
        served("services.matching.app:create_app", ports["matching"], settings(database, folder)),
        served("tests.benchmarks.http:bare", ports["bare"], {}),
    ]
    try:
        async with httpx.AsyncClient(timeout=60) as client:
            ours, beside = (f"http://127.0.0.1:{port}" for port in ports.values())
            needs = random.Random(2).sample(sorted(retrieval.needs.docs), 200)
            await answering(client, f"{beside}/bare")
            await answering(client, f"{ours}/v1/needs/{needs[0]}/offers")

            async def alone(need_id: Any) -> object:
                return in_process(retrieval, need_id)

            cost = await medians(
                {
                    "over HTTP": lambda n: client.get(f"{ours}/v1/needs/{n}/offers?limit={LIMIT}"),
                    "in process": alone,
                    "bare route": lambda n: client.get(f"{beside}/bare"),
                },
                needs,
            )
    finally:
        for server in servers:
            server.terminate()
            server.wait()
    ratio = cost["over HTTP"] / (cost["in process"] + cost["bare route"])
    for name, seconds in cost.items():
        print(f"{name:<14}{seconds * 1e3:>9.2f} ms")
    print(f"over HTTP is {ratio:.2f} x the sum of the others")
    return ratio


def main() -> None:
    needs, lines = [int(a) for a in sys.argv[1:]] or (20_000, 5_000)
    folder = Path(tempfile.mkdtemp(prefix="duijie-bench-"))
    server = Postgres(folder, throwaway=True).start()
    try:
        database = server.url().replace("postgresql://", "postgresql+asyncpg://", 1)
        upgrade("services.matching", database)
        ratio = asyncio.run(measure(database, folder, a_snapshot(needs, lines)))
        print(json.dumps({"http": {"offers_for_need": round(ratio, 2)}}))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
