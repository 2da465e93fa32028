"""A producer's feed taken in: needs service, audit service and PostgreSQL, each its own process.

The feed is full before the audit service starts. Counted from its first entries to its last.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from deploy.postgres import Postgres, free_port
from shared.events import CloudEvent
from shared.issuer import Issuer
from tests.benchmarks.log_rows import an_event, new_database, with_driver

EVENTS = 60_000
WANTED = 5_000
NOWHERE = "http://127.0.0.1:9"


@contextlib.asynccontextmanager
async def service(
    name: str, url: str, folder: Path, issuer: Issuer, **settings: str
) -> AsyncIterator[str]:
    """A service as in production: one process, on 127.0.0.1; its address."""
    state = folder / f"{name}-{url.rpartition('/')[2]}"
    state.mkdir(exist_ok=True)
    token = state / "token"
    token.write_text(issuer.mint(role="service", subject=name))
    port = free_port()
    environment = {
        "DATABASE_URL": with_driver(url),
        "KEY_SET": str(issuer.key_set_path),
        "SERVICE_TOKEN_FILE": str(token),
        "STATE_DIR": str(state),
        "LOG_LEVEL": "ERROR",
        "RATE_PER_MINUTE_MAX": "10000000",
        **settings,
    }
    process = await asyncio.to_thread(
        subprocess.Popen,
        [
            *(sys.executable, "-m", "uvicorn", "--factory", f"services.{name}.app:create_app"),
            *("--port", str(port), "--no-access-log", "--log-level", "critical"),
        ],
        env=os.environ | {f"{name.upper()}_{key}": value for key, value in environment.items()},
    )
    try:
        address = f"http://127.0.0.1:{port}"
        await _answers(address, process)
        yield address
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def _answers(address: str, process: subprocess.Popen[bytes]) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(1_200):
            with contextlib.suppress(httpx.TransportError):
                await client.get(f"{address}/healthz")
                return
            if process.poll() is not None:
                break
            await asyncio.sleep(0.05)
    raise RuntimeError(f"no answer: {address}")


async def measure(server: Postgres, folder: Path, *, events: int = EVENTS) -> dict[str, float]:
    producers, log = (
        await new_database(server, "producer", "needs"),
        await new_database(server, "log"),
    )
    await fill_feed(producers, events)
    issuer = Issuer(folder / "issuer")
    async with (
        service("needs", producers, folder, issuer) as needs,
        service("audit", log, folder, issuer, **followed(needs_url=needs)),
    ):
        rate = await _rate(log, events)
    print(f"feed of {events:,} events over HTTP")
    print(f"  {'taken in':<28}{rate:>10,.0f} events/s   (wanted: {WANTED:,})")
    return {"ingestion_per_s": round(rate)}


def followed(needs_url: str) -> dict[str, str]:
    """Settings of an audit service that follows one producer."""
    return {
        "NEEDS_URL": needs_url,
        **{f"{name}_URL": NOWHERE for name in ("DONORS", "MATCHING", "AUDIT")},
    }


async def fill_feed(url: str, count: int) -> None:
    chance = random.Random(1)
    connection = await asyncpg.connect(url)
    columns = [
        *("seq", "id", "type", "subject", "time", "actor", "actorrole", "division"),
        *("traceparent", "data"),
    ]
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda told: b"\x01" + told.encode(),  # jsonb's version of its binary form
        decoder=bytes,
    )
    rows = [_row(an_event(seq, chance)) for seq in range(1, count + 1)]
    await connection.copy_records_to_table("event", records=rows, columns=columns)
    await connection.execute("UPDATE feed_head SET seq = $1", count)
    await connection.close()


def _row(event: CloudEvent) -> tuple[Any, ...]:
    return (
        *(event.seq, event.id, event.type, event.subject, event.time, event.actor),
        *(event.actorrole, event.division, event.traceparent),
        event.model_dump_json(include={"data"})[len('{"data":') : -1],
    )


async def _rate(url: str, count: int) -> float:
    connection = await asyncpg.connect(url)
    first: tuple[float, int] | None = None
    while True:
        size = await connection.fetchval(
            "SELECT coalesce(max(seq), 0) FROM feed_cursor WHERE source = 'needs'"
        )
        if first is None and size:
            first = time.perf_counter(), size
        if first is not None and size >= count:
            await connection.close()
            return float((count - first[1]) / (time.perf_counter() - first[0]))
        await asyncio.sleep(0.02)
