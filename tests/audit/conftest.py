"""The audit service on a database and a state directory of its own, served over real HTTP."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import text

from deploy.postgres import free_port
from services.audit import domain, operations, verifier
from services.audit.app import Settings, create_app
from services.audit.contract import Producer
from shared.client import certificates
from shared.events import CloudEvent
from shared.tlog.merkle import Frontier, extend

NOWHERE = "http://127.0.0.1:9"  # nobody listens: these tests bring the events themselves
ORIGIN = "log.test"
SIZE = 300  # entries: one full tile and a partial one
BEGAN = datetime(2026, 11, 1, 8, 0, tzinfo=UTC)
TOWNSHIP = "430224101000"


def an_event(producer: str, seq: int, **changes: Any) -> CloudEvent:
    """A plausible event; `changes` are attributes, `data` among them."""
    need = UUID(int=seq % 10 + 1)
    attributes = {
        "id": uuid4(),
        "source": producer,
        "type": f"{producer}.need_verified",
        "time": BEGAN + timedelta(seconds=seq),
        "subject": f"need/{need}",
        "sequence": str(seq),
        "actor": f"officer-{seq % 3}",
        "actorrole": "township_officer",
        "division": TOWNSHIP,
        "data": {"need_id": str(need), "level": "township", "policy": "test"},
    }
    return CloudEvent.model_validate(attributes | changes)


def events(producer: str, first: int, count: int) -> list[CloudEvent]:
    return [an_event(producer, seq) for seq in range(first, first + count)]


_BULK = """
    INSERT INTO entry (index, body, key, producer, seq, type, subject, actor, actor_role, time,
                       mentions)
    SELECT seq - 1,
           convert_to('needs    ' || lpad(seq::text, 20, '0') || chr(10) || format(
             '{{"actor":"a","actorrole":"r","data":{{}},"id":"%s","sequence":"%s","source":"needs",'
             '"subject":"need/1","time":"2026-11-01T08:00:00.000000Z","type":"needs.x"}}',
             id, seq), 'UTF8'),
           id, 'needs', seq, 'needs.x', 'need/1', 'a', 'r', '2026-11-01T08:00:00Z', '{{}}'
    FROM (SELECT seq, gen_random_uuid() AS id FROM generate_series(1, {count}) AS seq) AS made
"""


@dataclass
class Running:
    """One process's worth of the audit service."""

    app: FastAPI
    url: str
    database_url: str
    state_dir: Path
    client: httpx.AsyncClient

    async def take_in(self, producer: Producer, batch: Sequence[CloudEvent]) -> int:
        """Through the intake, as the consumer of `producer` does it; how many are new."""
        async with self.app.state.sessions() as session:
            size_before = (await operations.head(session)).size
        entries = [domain.entry_of(producer, event) for event in batch]
        indexes = await self.app.state.intake.hand_in(domain.Batch(producer, entries))
        return sum(index is not None and index >= size_before for index in indexes)

    async def fill(self, count: int) -> None:
        """Entries 0..count-1: two producers by turns, in batches, all signed."""
        seqs: dict[Producer, int] = {"needs": 1, "donors": 1}
        left, turn = count, 0
        while left:
            producer: Producer = "donors" if turn % 2 else "needs"
            size = min(left, 7 if turn < 6 else 50)
            await self.take_in(producer, events(producer, seqs[producer], size))
            seqs[producer] += size
            left, turn = left - size, turn + 1
        await self.signed(count)

    async def fill_at_once(self, count: int) -> None:
        """As many entries, made by the database itself: for sizes that would take too long."""
        await self.signed(0)
        await self.tamper(_BULK.format(count=count))
        async with self.app.state.sessions.begin() as session:
            leaves = await session.scalars(text("SELECT leaf FROM entry ORDER BY index"))
            frontier, nodes = extend(Frontier(), leaves)
            await session.execute(
                text("INSERT INTO node (level, index, hash) VALUES (:level, :index, :hash)"),
                [{"level": n.level, "index": n.index, "hash": h} for n, h in nodes.items()],
            )
            await session.execute(
                text("UPDATE head SET size = :size, frontier = :frontier"),
                {"size": frontier.size, "frontier": frontier.to_bytes()},
            )
        self.app.state.log.appended()
        await self.signed(count)

    async def signed(self, size: int) -> str:
        """Wait for the checkpoint of `size` or more; its note."""
        return await self._reached("/v1/checkpoints/signed", size)

    async def published(self, size: int) -> str:
        """As `signed`, for the one that has a quorum."""
        return await self._reached("/checkpoint", size)

    async def _reached(self, path: str, size: int) -> str:
        note = ""
        for _ in range(2_000):
            answer = await self.client.get(path)
            note = answer.text
            if answer.status_code == 200 and int(note.split("\n")[1]) >= size:
                return note
            await asyncio.sleep(0.05)
        raise AssertionError(f"{path}: {note}")

    async def ready(self) -> dict[str, Any]:
        return dict((await self.client.get("/readyz")).json())

    async def refused(self) -> str:
        """Wait until the log refuses; the reason."""
        for _ in range(2_000):
            said = [each for each in (await self.ready())["reasons"] if each.startswith("log: ")]
            if said and "has not been checked" not in said[0]:
                return str(said[0])
            await asyncio.sleep(0.05)
        raise AssertionError("the log does not refuse")

    async def verify(self, *arguments: str, copy: bool = True) -> tuple[int, dict[str, Any]]:
        """The verifier's status and summary."""
        words = [*self.to_verify(copy), "--catch-up-s", "1", *arguments]
        parsed = verifier._arguments(words)
        status, _, summary = await asyncio.to_thread(verifier.check, parsed)
        return status, summary

    def to_verify(self, copy: bool = True) -> list[str]:
        words = ["--log", self.url, "--key", str(self.state_dir / "log.vkey")]
        return [*words, "--checkpoint-copy", str(self.state_dir / "checkpoint")] if copy else words

    async def tamper(self, *statements: str) -> None:
        """As the database's superuser, with the triggers off."""
        connection = await asyncpg.connect(self.database_url.replace("+asyncpg", ""))
        try:
            await connection.execute("SET session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


Start = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def start(database, issuer, tmp_path) -> Start:
    """`async with start() as running:`; again with the same arguments is a restart."""
    return _starter(database, issuer, tmp_path)


@pytest.fixture
async def running(start):
    async with start() as made:
        yield made


@pytest.fixture
async def filled(running):
    """A log of its own, of one full tile and a partial one."""
    await running.fill(SIZE)
    return running


@pytest.fixture(scope="module")
async def log(module_database, issuer, tmp_path_factory):
    """The same log for all tests of a module that only read it."""
    async with _starter(module_database, issuer, tmp_path_factory.mktemp("log"))() as made:
        await made.fill(SIZE)
        yield made


def _starter(database, issuer, tmp_path) -> Start:
    made: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def started(
        name: str = "audit", *, own_feed: bool = False, state: str | None = None, **settings: Any
    ):
        if name not in made:
            made[name] = database("audit")
        state_dir = tmp_path / (state or name)
        state_dir.mkdir(exist_ok=True)
        token_file = tmp_path / "token"
        token_file.write_text(issuer.mint(role="service", subject="audit"))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        app = create_app(
            Settings(
                database_url=made[name],
                key_set=str(issuer.key_set_path),
                service_token_file=token_file,
                state_dir=state_dir,
                audit_url=url if own_feed else NOWHERE,
                origin=ORIGIN,
                checkpoint_interval_s=0.02,
                rate_per_minute_max=1_000_000,
                log_level="ERROR",
                **{f"{name}_url": NOWHERE for name in ("needs", "donors", "matching")}
                | {"pool_size": 5}
                | settings,
            )
        )
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                port=port,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,  # its own feed's reader would be waited for
                timeout_keep_alive=600,  # a client must never find it closing a connection
            )
        )
        serving = asyncio.create_task(server.serve())
        while not server.started:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.01)
        try:
            async with httpx.AsyncClient(
                base_url=url, timeout=120, verify=certificates()
            ) as client:
                yield Running(app, url, made[name], state_dir, client)
        finally:
            server.should_exit = True
            await serving

    return started
