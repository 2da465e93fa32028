"""PostgreSQL, the four services and a witness as real processes, killed and started singly."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from deploy import databases, launch, witnessing
from deploy.postgres import Postgres, dies_with_parent, free_port
from deploy.state import ROOT, State
from deploy.supervisor import Program
from shared.events import sequencer
from shared.issuer import Issuer

SERVICES = databases.PLATFORM
PROGRAMS = databases.SERVICES  # the witness too
# Guards against waiting for ever, and nothing else: a busy machine takes its time.
WAIT_S = 600.0
LINES_SHOWN = 8
POLL_S = 0.02

# What a client that lost its database or its server may raise for a while.
LOST = (*sequencer.LOST, httpx.TransportError)


async def until(
    condition: Callable[[], Awaitable[Any]],
    what: str | Callable[[], str],
    *,
    timeout_s: float = WAIT_S,
    every_s: float = POLL_S,
) -> Any:
    """Ask until the answer is true and return it; a lost connection is an answer of no."""
    deadline = time.monotonic() + timeout_s
    while True:
        lost: Exception | None = None
        try:
            if found := await condition():
                return found
        except LOST as error:
            lost = error
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout_s:.0f} s: {said}") from lost
        await asyncio.sleep(every_s)


class System:
    """The platform as `make run` starts it, on ports and in a folder of its own.

    durable  PostgreSQL keeps what it acknowledged even when it is killed
    """

    def __init__(self, *, durable: bool) -> None:
        # Not pytest's own folder: as root the server's account could not enter it.
        self.folder = Path(tempfile.mkdtemp(prefix="duijie-system-"))
        self.folder.chmod(0o711)
        self.state = State(self.folder / "state")
        # The same port each time it is started.
        self.server = Postgres(self.folder / "postgres", port=free_port(), throwaway=not durable)
        self.ports = {program: free_port() for program in PROGRAMS}
        self.urls = launch.urls_of(self.ports)
        # The servers close what was idle for five seconds: never reuse what may be closing.
        limits = httpx.Limits(keepalive_expiry=1.0)
        self.http = httpx.AsyncClient(timeout=120.0, trust_env=False, limits=limits)
        self.kills: list[str] = []
        self._programs: dict[str, Program] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._connections: dict[str, asyncpg.Connection] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def begin(self) -> None:
        """Start everything; all services are ready afterwards."""
        self.state.take()
        self.issuer = Issuer(self.state.issuer)
        self.server.start()
        addresses = await asyncio.to_thread(
            databases.set_up, self.server.url(), self.state.folder, private=True
        )
        launch.renew_service_tokens(self.state, self.issuer)
        witnessing.introduce(self.state, self.urls)
        for service in PROGRAMS:
            program = launch.program_of(self.state, service, self.ports, "/readyz")
            self._programs[service] = launch.with_settings(
                program, addresses[service], self.issuer, self.state, self.ports
            )
            self.start(service)
        await self.all_ready()
        self.state.announce(self.urls)

    async def end(self) -> None:
        """End every process, whatever state it is in, and delete the folder."""
        try:
            await self.http.aclose()
            for connection in self._connections.values():
                connection.terminate()
        finally:
            # By force: how they stop in order is the launcher's test.
            for process in self._running.values():
                process.kill()
                process.wait()
            self.server.stop()
            self.state.release()
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---------------------------------------------------------------- services

    def start(self, service: str, **settings: str) -> None:
        """Start the service's process; it is ready some seconds later.

        settings  in capitals and without the service's prefix, instead of the usual ones
        """
        program = self._programs[service]
        assert service not in self._running, f"{service} runs already"
        mine = {f"{service.upper()}_{name}": value for name, value in settings.items()}
        with program.log.open("ab") as log, warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads; ours only sets a flag before the exec.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._running[service] = subprocess.Popen(
                program.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={
                    **program.environment,
                    f"{service.upper()}_RATE_PER_MINUTE_MAX": "1000000",
                    **mine,
                    "PYTHONUNBUFFERED": "1",
                },
                preexec_fn=dies_with_parent(signal.SIGKILL),
            )

    def kill(self, service: str) -> None:
        """SIGKILL: the process has no chance to finish anything."""
        process = self._running.pop(service)
        assert process.poll() is None, f"{service} had ended by itself:\n{self.said(service)}"
        process.kill()
        process.wait()
        self.kills.append(service)

    async def stop(self, service: str) -> None:
        """Ask the process to end in order, and wait for it."""
        process = self._running.pop(service)
        process.terminate()
        await asyncio.to_thread(process.wait, WAIT_S)

    async def ready(self, service: str) -> bool:
        process = self._running.get(service)
        assert process is None or process.poll() is None, f"{service} ended:\n{self.said(service)}"
        with suppress(httpx.TransportError):
            answer = await self.http.get(f"{self.urls[service]}/readyz")
            return answer.status_code == 200
        return False

    async def all_ready(self) -> None:
        for service in PROGRAMS:
            await until(
                partial(self.ready, service), partial(self._not_ready, service), every_s=0.1
            )

    def _not_ready(self, service: str) -> str:
        return f"{service} ready\n{self.said(service)}"

    def ended(self) -> str:
        """The services that ended by themselves, with their last words."""
        return "\n".join(
            self.said(service) for service, p in self._running.items() if p.poll() is not None
        )

    def said(self, service: str) -> str:
        """What the service's log says besides requests, for a failing test's message."""
        lines = self.log_lines(service)
        telling = [line[:600] for line in lines if '"logger": "access"' not in line]
        return "\n".join([f"{service} said:", *telling[-LINES_SHOWN:]])

    def log_lines(self, service: str) -> list[str]:
        return self.state.log(service).read_text(errors="replace").splitlines()

    # -------------------------------------------------------------- PostgreSQL

    def kill_postgres(self) -> None:
        """SIGKILL to the server; its children end when they notice."""
        pid = self.server.pid
        assert pid is not None, "PostgreSQL had ended by itself"
        os.kill(pid, signal.SIGKILL)
        self.server.stop()  # reaps the process and gives its lock back
        self.kills.append("postgres")

    def start_postgres(self) -> None:
        """On the same port; the server recovers from its write-ahead log first."""
        # On this thread: Linux ties a child's death signal to the thread that made it.
        self.server.start()

    async def kill_backend(self) -> None:
        """SIGKILL to one connection's process: PostgreSQL cuts off everybody and recovers."""
        pid = await self.fetchval(
            "postgres",
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid() ORDER BY state = 'active' DESC, xact_start LIMIT 1",
        )
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills.append("backend")

    @asynccontextmanager
    async def _connected(self, database: str) -> AsyncIterator[asyncpg.Connection]:
        """A superuser's connection; one task at a time, and not again after a failure."""
        async with self._locks[database]:
            connection = self._connections.pop(database, None)
            if connection is None or connection.is_closed():
                name = database if database == "postgres" else f"duijie_{database}"
                connection = await asyncpg.connect(
                    self.server.url(name), timeout=30, command_timeout=120
                )
            try:
                yield connection
            except BaseException:
                connection.terminate()
                raise
            self._connections[database] = connection

    async def fetch(self, database: str, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """As the superuser, behind the service's back."""
        async with self._connected(database) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
            return rows

    async def fetchval(self, database: str, sql: str, *arguments: Any) -> Any:
        async with self._connected(database) as connection:
            return await connection.fetchval(sql, *arguments)

    async def execute(self, database: str, *statements: str) -> None:
        """All of them or none."""
        async with self._connected(database) as connection, connection.transaction():
            for sql in statements:
                await connection.execute(sql)

    # ----------------------------------------------------------------- callers

    def token(
        self,
        role: str,
        subject: str,
        division: str | None = None,
        org: UUID | str | None = None,
    ) -> str:
        return self.issuer.mint(role=role, subject=subject, division=division, org=org)

    # ---------------------------------------------------------------- the log

    async def verified(self) -> subprocess.CompletedProcess[str]:
        """What the shipped verifier says of the log, as `make verify` runs it."""
        return await asyncio.to_thread(self._verify)

    def _verify(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.verify"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, "STATE_DIR": str(self.state.folder)},
            timeout=WAIT_S,
        )
