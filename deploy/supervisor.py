"""Starts the services' processes, waits until they are ready, and ends them all together.

None of the known supervisors waits for readiness or leaves nothing behind when it is killed; see
docs/decisions/0002-own-supervisor.md. The processes write to log files, not to the terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from deploy.postgres import dies_with_parent
from shared.client import certificates

POLL_S = 0.1
READY_TIMEOUT_S = 90.0
LOG_LINES_SHOWN = 15


class StartFailed(Exception):
    """The platform cannot start; the message says what to do."""


class ProgramDied(Exception):
    """A process ended by itself; the message ends with its last log lines."""


@dataclass(frozen=True)
class Program:
    """One process that listens on one port of 127.0.0.1.

    ready_path      answers 200 when the process can do its work
    port_variable   the environment variable that changes its port
    """

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    port: int
    port_variable: str
    log: Path
    ready_path: str = "/readyz"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Supervisor:
    """Runs programs while its block runs; start it from the main thread."""

    def __init__(self, programs: list[Program], folder: Path, *, grace_s: float = 8.0) -> None:
        self._programs = programs
        self._folder = folder
        self._grace_s = grace_s
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    async def __aenter__(self) -> Self:
        """Start all and wait until all are ready; raises StartFailed or ProgramDied."""
        try:
            for program in self._programs:
                self._running[program.name] = self._spawn(program)
            await self._wait_until_ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def raise_if_died(self) -> None:
        """Raise ProgramDied when a process has ended."""
        for program in self._programs:
            process = self._running.get(program.name)
            if process is not None and (status := process.poll()) is not None:
                how = signal.Signals(-status).name if status < 0 else f"status {status}"
                raise ProgramDied(f"{program.name} ended ({how}).\n{last_lines(program.log)}")

    async def stop(self) -> None:
        """End all processes: politely, and after the grace period by force."""
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s
        try:
            while self._alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - processes tell nobody
                await asyncio.sleep(0.02)
        finally:  # also when somebody has no patience
            self.kill()
            for process in self._running.values():
                process.wait()

    def kill(self) -> None:
        self._signal_all(signal.SIGKILL)

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        if program.log.exists():
            program.log.replace(program.log.with_suffix(".log.old"))
        with program.log.open("wb") as log, warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads; ours only sets a flag before the exec.
            warnings.simplefilter("ignore", DeprecationWarning)
            return subprocess.Popen(
                program.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env={**program.environment, "PYTHONUNBUFFERED": "1"},
                process_group=0,  # Ctrl-C reaches only us, and we decide the order
                preexec_fn=dies_with_parent(signal.SIGTERM),
            )

    async def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        waiting = list(self._programs)
        async with httpx.AsyncClient(timeout=2.0, trust_env=False, verify=certificates()) as client:
            while waiting:
                self.raise_if_died()
                if time.monotonic() > deadline:
                    slow = waiting[0]
                    raise StartFailed(
                        f"{slow.name} is not ready after {READY_TIMEOUT_S:.0f} s: "
                        f"{await _said(client, slow)}\n{last_lines(slow.log)}"
                    )
                ready = await asyncio.gather(*(_is_ready(client, p) for p in waiting))
                waiting = [p for p, done in zip(waiting, ready, strict=True) if not done]
                await asyncio.sleep(POLL_S if waiting else 0)
        # A process that lost its port to another would leave us an answer from that one.
        self.raise_if_died()

    def _alive(self) -> bool:
        return any(process.poll() is None for process in self._running.values())

    def _signal_all(self, sent: signal.Signals) -> None:
        for process in self._running.values():
            if process.poll() is None:
                # Not yet reaped, so the group still is the one we made; it may be empty by now.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, sent)


async def _is_ready(client: httpx.AsyncClient, program: Program) -> bool:
    try:
        return (await client.get(f"{program.url}{program.ready_path}")).status_code == 200
    except httpx.TransportError:
        return False


async def _said(client: httpx.AsyncClient, program: Program) -> str:
    try:
        return (await client.get(f"{program.url}{program.ready_path}")).text[:500]
    except httpx.TransportError as error:
        return f"it does not answer ({error})"


def last_lines(log: Path) -> str:
    """The end of a log file, to be shown to people."""
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    return "\n".join([f"The last lines of {log}:", *(f"  {line[:500]}" for line in lines)])


async def check_ports(programs: list[Program], patience_s: float) -> None:
    """Raise StartFailed when a port is taken, naming the variable that changes it.

    patience_s  how long to wait for the processes of a launcher that was killed a moment ago
    """
    deadline = time.monotonic() + patience_s
    for program in programs:
        while _is_taken(program.port):
            if time.monotonic() >= deadline:
                raise StartFailed(
                    f"Port {program.port}, wanted for {program.name}, is taken by another program. "
                    f"Stop that, or choose another: make run {program.port_variable}=<port>"
                )
            await asyncio.sleep(POLL_S)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself will
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise StartFailed(f"Port {port} cannot be used: {error.strerror}.") from error
    return False
