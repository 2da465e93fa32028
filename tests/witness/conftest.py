"""A witness on a database and a state directory of its own, started and started again."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from services.witness.app import Settings, create_app
from services.witness.domain import Submission, submission_of
from services.witness.keeper import Keeper
from services.witness.state import StateDirectory
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.notes import Note, VerifierKey, open_note
from tests.witness.builders import Log

NAME = "witness.test"


@dataclass
class Witness:
    """One process's worth of the witness."""

    app: FastAPI
    http: httpx.AsyncClient
    database_url: str

    @property
    def keeper(self) -> Keeper:
        made: Keeper = self.app.state.keeper
        return made

    @property
    def state(self) -> StateDirectory:
        return self.keeper.state

    async def add(self, body: str | bytes) -> httpx.Response:
        return await self.http.post("/add-checkpoint", content=body)

    async def size(self, log: Log) -> int | None:
        """Of the last checkpoint cosigned, as monitors see it."""
        answer = await self.http.get(monitored(log.origin))
        return Checkpoint.parse(answer.text).size if answer.status_code == 200 else None

    async def keys(self) -> list[VerifierKey]:
        answer = await self.http.get("/v1/key")
        return [VerifierKey.parse(line) for line in answer.text.splitlines()]

    async def opened(self, checkpoint: str, lines: str) -> Note:
        """The checkpoint with what we answered, checked with the witness's own keys."""
        return open_note(checkpoint + lines, await self.keys())

    async def not_ready(self) -> list[str]:
        return list((await self.http.get("/readyz")).json()["reasons"])

    def submission(self, body: str) -> Submission:
        return submission_of(body.encode(), self.keeper.logs)

    async def execute(self, *statements: str) -> None:
        """As the database's superuser, with the triggers off."""
        connection = await asyncpg.connect(self.database_url.replace("+asyncpg", ""))
        try:
            await connection.execute("SET session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        connection = await asyncpg.connect(self.database_url.replace("+asyncpg", ""))
        try:
            return await connection.fetchval(sql, *arguments)
        finally:
            await connection.close()


def monitored(origin: str) -> str:
    return f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"


Start = Callable[..., AbstractAsyncContextManager[Witness]]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def start(database, tmp_path, log) -> Start:
    """`async with start() as witness:`; again is a restart.

    logs   lines of the file of trusted logs
    """
    url: list[str] = []

    @contextlib.asynccontextmanager
    async def started(
        *,
        name: str = NAME,
        logs: str | None = None,
        post_quantum: bool = False,
        state: str = "state",
        **settings: Any,
    ):
        if not url:
            url.append(database("witness"))
        trusted = tmp_path / "logs"
        trusted.write_text(logs or f"{log.key}\n")
        app = create_app(
            Settings(
                database_url=url[0],
                state_dir=tmp_path / state,
                name=name,
                logs=trusted,
                post_quantum=post_quantum,
                log_level="CRITICAL",
                rate_per_minute_max=1_000_000,
                **settings,
            )
        )
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://witness") as client,
        ):
            while "not been opened" in (app.state.keeper.not_ready() or ""):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            yield Witness(app, client, url[0])

    return started


@pytest.fixture
async def witness(start):
    async with start() as made:
        yield made


@pytest.fixture
def state_dir(tmp_path) -> Path:
    """Of the witness that `start` starts."""
    return Path(tmp_path / "state")
