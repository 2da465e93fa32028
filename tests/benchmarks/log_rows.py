"""Rows for the log's benchmarks, and a place to put them: a PostgreSQL that syncs to disk."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import async_sessionmaker

from deploy.housing import forget
from deploy.postgres import Postgres
from services.audit.domain import Entry, entry_of
from services.audit.intake import TIDY_S, Intake, tidy
from services.audit.keys import KeyFiles
from services.audit.publisher import Publisher
from services.audit.state import StateDirectory
from shared.db import Sessions, make_engine, uuid7
from shared.events import CloudEvent
from shared.migrate import upgrade

ORIGIN = "bench.example/log"
COLUMNS = (
    *("index", "body", "key", "producer", "seq", "type", "subject", "division", "actor"),
    *("actor_role", "time", "mentions"),
)
_BEGAN = datetime.now(UTC) - timedelta(hours=1)  # told in time
_TYPES = ("need_submitted", "need_verified", "need_noticed", "need_published", "need_renewed")


def an_event(seq: int, chance: random.Random, producer: str = "needs") -> CloudEvent:
    """Like those of the needs service: 450 to 650 bytes, two or three ids, a trace."""
    need = uuid7()
    data: dict[str, Any] = {"need_id": str(need), "policy": "national-1"}
    if chance.random() < 0.6:
        data |= {"applicant": str(uuid7()), "category": "education_training", "required": seq % 90}
    return CloudEvent.model_validate(
        {
            "id": uuid7(),
            "source": producer,
            "type": f"{producer}.{chance.choice(_TYPES)}",
            "time": _BEGAN + timedelta(milliseconds=seq),
            "subject": f"need/{need}",
            "sequence": str(seq),
            "actor": f"officer-{chance.randrange(300)}",
            "actorrole": "township_officer",
            "division": f"4302{chance.randrange(10, 90)}{chance.randrange(100, 110)}000",
            "data": data,
            "traceparent": f"00-{uuid7().hex}-{chance.getrandbits(64):016x}-01",
        }
    )


def entries(first: int, count: int) -> list[Entry]:
    chance = random.Random(first)
    return [entry_of("needs", an_event(seq, chance)) for seq in range(first, first + count)]


def record(index: int, entry: Entry) -> tuple[Any, ...]:
    """A row of a plain table."""
    return (index, *entry[:-1], list(entry.mentions))


@contextlib.contextmanager
def durable_server() -> Iterator[tuple[Postgres, Path]]:
    """A PostgreSQL of its own that syncs as in production, and a folder; both go away."""
    folder = Path(tempfile.mkdtemp(prefix="duijie-bench-"))
    server = Postgres(folder / "postgres")
    try:
        yield server.start(), folder
    finally:
        server.stop()
        forget(folder / "postgres")  # it is elsewhere if it could not enter ours
        shutil.rmtree(folder, ignore_errors=True)


async def new_database(server: Postgres, name: str, service: str = "audit") -> str:
    """The postgresql:// address of a migrated database."""
    admin = await asyncpg.connect(server.url())
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    url = server.url(name)
    await asyncio.to_thread(upgrade, f"services.{service}", with_driver(url))
    return url


def with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


@dataclass
class Appending:
    """An intake that writes, and the publisher that signs, as the audit service has them."""

    intake: Intake
    publisher: Publisher


async def _tidying(sessions: Sessions) -> None:
    while True:
        async with sessions.begin() as session:
            await tidy(session, datetime.now(UTC))
        await asyncio.sleep(TIDY_S)


@contextlib.asynccontextmanager
async def appending(url: str, state_dir: Path, *, tidies: bool = True) -> AsyncIterator[Appending]:
    """With `tidies`, the index of mentions is put in order beside it, as by the service's clock."""
    state_dir.mkdir(exist_ok=True)
    engine = make_engine(with_driver(url))
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    reading = async_sessionmaker(autocommit, expire_on_commit=False)
    app: Any = SimpleNamespace(state=SimpleNamespace(sessions=sessions, reading_sessions=reading))
    publisher = Publisher(StateDirectory(state_dir), KeyFiles(state_dir, ORIGIN), 0.2)
    intake = Intake(publisher)
    running = [publisher.run(app), intake.run(app)]
    if tidies:
        running.append(_tidying(sessions))
    tasks = [asyncio.create_task(each) for each in running]
    try:
        yield Appending(intake, publisher)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await engine.dispose()
