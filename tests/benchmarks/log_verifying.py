"""The whole log verified over HTTP, against the time Python needs to hash the same bytes.

The log is filled through the intake and signed, the audit service serves it, and the verifier is a
process of its own, as anybody runs it. The baseline hashes every leaf and every node, nothing else;
it is taken before and after the verifier, since the machine may have other work.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg

from deploy.postgres import Postgres
from services.audit import verifier
from services.audit.domain import Batch
from shared.issuer import Issuer
from tests.benchmarks.log_ingestion import NOWHERE, followed, service
from tests.benchmarks.log_rows import ORIGIN, appending, entries, new_database

ENTRIES = 1_000_000
WANTED = 4.0
BATCH = 2_000
_AND_SAY_WHAT_IT_TOOK = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:])
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


async def measure(server: Postgres, folder: Path, *, count: int = ENTRIES) -> dict[str, float]:
    url = await new_database(server, "verified")
    state = folder / "audit-verified"  # where the service looks for it, too
    await _fill(url, state, count)
    settings = followed(NOWHERE) | {"ORIGIN": ORIGIN}
    async with service("audit", url, folder, Issuer(folder / "issuer"), **settings) as address:
        await _at_rest(url, count)
        before = await _hashing(url)
        seconds, peak_mb, summary = await _verified(address, state)
        after = await _hashing(url)
    if not summary["ok"] or summary["size"] < count:
        raise RuntimeError(f"the log was not found good: {summary}")
    hashing = statistics.mean((before, after))
    ratio = seconds / hashing
    print(f"{count:,} entries verified")
    print(f"  {'hashing alone':<28}{hashing:>10.2f} s")
    print(f"  {'verifier':<28}{seconds:>10.2f} s   peak {peak_mb:,.0f} MB")
    print(f"  {'verifier / hashing':<28}{ratio:>10.2f}     (wanted: at most {WANTED:.0f})")
    return {"verify": round(ratio, 2), "verify_peak_mb": round(peak_mb)}


async def _fill(url: str, state: Path, count: int) -> None:
    async with appending(url, state) as log:
        for first in range(1, count + 1, BATCH):
            batch = entries(first, min(BATCH, count + 1 - first))
            await log.intake.hand_in(Batch("needs", batch))
        while await log.publisher.may_write() < count:  # noqa: ASYNC110 - it says how far it is
            await asyncio.sleep(0.1)


async def _at_rest(url: str, count: int) -> None:
    """Wait until the service has reckoned what is in the log: the verifier is to be alone."""
    connection = await asyncpg.connect(url)
    told = "SELECT seq FROM feed_cursor WHERE source = 'totals'"
    while (await connection.fetchval(told) or 0) < count:  # noqa: ASYNC110 - it is in a database
        await asyncio.sleep(0.1)
    await connection.close()


async def _hashing(url: str) -> float:
    """Seconds to hash all leaves and nodes of the tree (RFC 6962), reading not counted."""
    connection = await asyncpg.connect(url)
    level: list[bytes] = []
    seconds = 0.0
    async with connection.transaction():
        async for rows in _pages(connection):
            began = time.perf_counter()
            level += [hashlib.sha256(b"\x00" + row["body"]).digest() for row in rows]
            seconds += time.perf_counter() - began
    await connection.close()
    began = time.perf_counter()
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs] + odd
    return seconds + time.perf_counter() - began


async def _pages(connection: Any) -> AsyncIterator[list[Any]]:
    cursor = await connection.cursor("SELECT body FROM entry ORDER BY index")
    while rows := await cursor.fetch(10_000):
        yield rows


async def _verified(address: str, state: Path) -> tuple[float, float, dict[str, Any]]:
    """Seconds, highest memory of one of its processes in MB, and what it said last."""
    command = [
        *(sys.executable, verifier.__file__, "--log", address, "--key", str(state / "log.vkey")),
        *("--checkpoint-copy", str(state / "checkpoint")),
    ]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _AND_SAY_WHAT_IT_TOOK, *command), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    *_, summary, took = said.decode().splitlines()
    seconds, kilobytes = map(float, took.split())
    return seconds, kilobytes / 1024, json.loads(summary)
