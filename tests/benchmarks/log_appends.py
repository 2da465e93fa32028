"""Durable appends, against a plain table of the same columns, with the same rows in the same run.

One by one: `callers` at once, each handing in one entry and waiting until it is on disk, against
one INSERT a call over a pool of 16 connections. In batches of 1,000: against the better of COPY and
INSERT of many rows. Both into a table without an index and into one with the log's; and once more
where neither has the indexes that only the trail's searches need.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from deploy.postgres import Postgres
from services.audit.domain import Batch, Entry
from tests.benchmarks.log_rows import COLUMNS, Appending, appending, entries, new_database, record

ROUNDS = 9
CALLERS = (32, 128)
SINGLES = 3_000  # a round
BATCH = 1_000
BATCHES = 6  # a round
CONNECTIONS = 16

# One table a way: with its own rows in it, as a log has them.
PLAIN = ("plain_single", "plain_copy", "plain_insert")
INDEXED = ("indexed_single", "indexed_copy", "indexed_insert")

_TYPES = (
    *("bigint", "bytea", "uuid", "text", "bigint", "text", "text", "text", "text"),
    *("text", "timestamptz", "text"),
)
_TRAIL = (
    *("ix_entry_actor_index", "ix_entry_type_index", "ix_entry_division_index"),
    *("ix_entry_time_index", "ix_entry_subject_index", "ix_entry_mentions"),
)
_ONE = f"INSERT INTO {{}} VALUES ({', '.join(f'${n}' for n in range(1, 13))})"


def _many(table: str) -> str:
    names = [f"c{n}" for n in range(12)]
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_TYPES, start=1))
    return (
        f"INSERT INTO {table} ({', '.join(COLUMNS)})"
        f" SELECT {', '.join(names[:-1])}, {names[-1]}::uuid[]"
        f" FROM unnest({arrays}) AS row({', '.join(names)})"
    )


class Rows:
    """The rows of one round after the other; nobody gets one twice."""

    def __init__(self) -> None:
        self._next = 1

    def take(self, count: int) -> list[Entry]:
        first, self._next = self._next, self._next + count
        return entries(first, count)


async def measure(server: Postgres, folder: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for trail in (True, False):
        name = "appends" if trail else "appends_no_trail"
        print("the log as it is" if trail else "no trail: the log with its unique indexes only")
        url = await new_database(server, name)
        await _set_up(url, trail=trail)
        figures = await _measure(url, folder / name, trail=trail)
        found |= {f"{each}{'' if trail else '_no_trail'}": value for each, value in figures.items()}
    return found


async def _set_up(url: str, *, trail: bool) -> None:
    setting = await asyncpg.connect(url)
    durable = await setting.fetchval(
        "SELECT current_setting('fsync') || current_setting('synchronous_commit')"
    )
    assert durable == "onon", "appends are measured on disk"
    if not trail:
        await setting.execute(f"DROP INDEX {', '.join(_TRAIL)}")
    columns = ", ".join(COLUMNS)
    for table in PLAIN:
        await setting.execute(f"CREATE TABLE {table} AS SELECT {columns} FROM entry LIMIT 0")
    for table in INDEXED:
        await setting.execute(f"CREATE TABLE {table} (LIKE entry INCLUDING INDEXES)")
        await setting.execute(f"ALTER TABLE {table} DROP COLUMN leaf")
    await setting.close()


async def _measure(url: str, state_dir: Path, *, trail: bool) -> dict[str, float]:
    rows = Rows()
    found: dict[str, float] = {}
    async with (
        appending(url, state_dir, tidies=trail) as log,
        asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool,
    ):
        await log.publisher.may_write()
        for callers in CALLERS:
            found |= await _singles(log, pool, rows, callers)
        found |= await _batches(log, pool, rows)
    return found


async def _singles(log: Appending, pool: Any, rows: Rows, callers: int) -> dict[str, float]:
    async def insert(table: str, entry: Entry) -> None:
        await pool.execute(_ONE.format(table), *record(entry.seq, entry))

    async def hand_in(entry: Entry) -> None:
        await log.intake.hand_in(Batch("needs", [entry]))

    ways: dict[str, Callable[[Entry], Awaitable[None]]] = {
        "INSERT, no index": partial(insert, "plain_single"),
        "INSERT, the same indexes": partial(insert, "indexed_single"),
        "log": hand_in,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    waits: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        given = rows.take(SINGLES if turn else 1_000)
        for name, one in ways.items():
            began = time.perf_counter()
            waited = await _by_callers(callers, iter(given), one)
            if turn:  # the first round warms up
                rates[name].append(len(given) / (time.perf_counter() - began))
                waits[name] += waited
    rate = {name: statistics.median(each) for name, each in rates.items()}
    bare, like, ours = rates.values()
    print(f"one by one, {callers} callers at once")
    for name, each in waits.items():
        p99 = sorted(each)[int(len(each) * 0.99)] * 1e3
        print(f"  {name:<28}{rate[name]:>10,.0f} rows/s   p99 {p99:>7.1f} ms")
    found = {
        f"singles_{callers}": round(_ratio(ours, bare), 2),
        f"singles_{callers}_indexed": round(_ratio(ours, like), 2),
    }
    for what, ratio in zip(("no index", "same indexes"), found.values(), strict=True):
        print(f"  {'log / INSERT, ' + what:<28}{ratio:>10.2f}   (wanted: 3)")
    return found


def _ratio(ours: list[float], *others: list[float]) -> float:
    """Median over the rounds: what else the machine does is alike within a round."""
    best = map(max, zip(*others, strict=True))
    return float(statistics.median(a / b for a, b in zip(ours, best, strict=True)))


async def _by_callers(
    callers: int, given: Iterator[Entry], one: Callable[[Entry], Awaitable[None]]
) -> list[float]:
    """Seconds each call took."""
    waited: list[float] = []

    async def caller() -> None:
        for entry in given:
            began = time.perf_counter()
            await one(entry)
            waited.append(time.perf_counter() - began)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return waited


async def _batches(log: Appending, pool: Any, rows: Rows) -> dict[str, float]:
    async def by_copy(connection: Any, table: str, batch: list[Entry], first: int) -> None:
        records = [record(first + place, entry) for place, entry in enumerate(batch)]
        await connection.copy_records_to_table(table, records=records, columns=COLUMNS)

    async def by_insert(connection: Any, table: str, batch: list[Entry], first: int) -> None:
        columns = [list(range(first, first + len(batch))), *map(list, zip(*batch, strict=True))]
        columns[-1] = ["{" + ",".join(entry.mentions) + "}" for entry in batch]
        await connection.execute(_many(table), *columns)

    async def by_log(_: Any, __: str, batch: list[Entry], ___: int) -> None:
        await log.intake.hand_in(Batch("needs", batch))

    ways = {
        "COPY, no index": (by_copy, "plain_copy"),
        "INSERT, no index": (by_insert, "plain_insert"),
        "COPY, the same indexes": (by_copy, "indexed_copy"),
        "INSERT, the same indexes": (by_insert, "indexed_insert"),
        "log": (by_log, ""),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    async with pool.acquire() as connection:
        for turn in range(ROUNDS + 1):
            given = rows.take(BATCHES * BATCH)
            for name, (way, table) in ways.items():
                began = time.perf_counter()
                for at in range(0, len(given), BATCH):
                    await way(connection, table, given[at : at + BATCH], given[at].seq)
                if turn:  # the first round warms up
                    rates[name].append(len(given) / (time.perf_counter() - began))
    rate = {name: statistics.median(each) for name, each in rates.items()}
    print(f"batches of {BATCH:,}")
    for name, each in rate.items():
        print(f"  {name:<28}{each:>10,.0f} rows/s")
    ours = rates.pop("log")
    copy, insert, copy_indexed, insert_indexed = rates.values()
    bare, like = _ratio(ours, copy, insert), _ratio(ours, copy_indexed, insert_indexed)
    print(f"  {'log / best, same indexes':<28}{like:>10.2f}   (wanted: 0.6)")
    print(f"  {'log / best, no index':<28}{bare:>10.2f}")
    return {"batches": round(like, 2), "batches_no_index": round(bare, 2)}
