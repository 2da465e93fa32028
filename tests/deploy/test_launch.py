"""The real services under the real launcher: killed one by one, stopped, started again."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from deploy.launch import PORTS, launched, running_platform
from deploy.postgres import free_port
from deploy.state import ROOT, State
from deploy.supervisor import ProgramDied

linux = pytest.mark.skipif(sys.platform != "linux", reason="death signals are a thing of Linux")


@pytest.fixture
def ports(monkeypatch):
    chosen = {f"{service.upper()}_PORT": str(free_port()) for service in PORTS}
    for name, port in chosen.items():
        monkeypatch.setenv(name, port)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return chosen


@pytest.fixture
def state(folder, monkeypatch):
    monkeypatch.setenv("STATE_DIR", str(folder / "state"))
    return State()


def processes_of(state: State) -> set[int]:
    """Processes that have the state directory on their command line or in their environment."""
    found, sought = set(), str(state.folder).encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(sought in (entry / name).read_bytes() for name in ("cmdline", "environ")):
                found.add(int(entry.name))
    return found - {os.getpid()}


def silent(_: str) -> None:
    return None


@linux
async def test_when_a_service_is_killed_everything_stops_and_starts_again(state, ports):
    with pytest.raises(ProgramDied, match="needs ended"):
        await kill_and_watch(state, lambda running: running.supervisor.pid("needs"))
    assert not processes_of(state)
    with pytest.raises(ProgramDied, match="PostgreSQL ended"):
        await kill_and_watch(state, lambda running: running.server.pid)
    assert not processes_of(state)
    async with launched(state, silent, ["needs"]) as running, httpx.AsyncClient() as client:
        answer = await client.get(f"{running.platform.needs_url}/v1/needs")
        assert answer.status_code == 200
        # No service is told the administrator's address.
        told = Path(f"/proc/{running.supervisor.pid('needs')}/environ").read_bytes()
        assert b"duijie_needs:" in told
        assert b"postgres:" not in told


async def kill_and_watch(state: State, pid_of) -> None:
    async with launched(state, silent, ["needs"]) as running:
        os.kill(pid_of(running), signal.SIGKILL)
        await asyncio.wait_for(running.watch(), 60)


def up(state: State) -> subprocess.Popen[str]:
    """`make run` up to the moment when all services are ready."""
    launcher = subprocess.Popen(
        [sys.executable, "-m", "deploy.up"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert launcher.stdout is not None
    for line in launcher.stdout:
        if line.startswith("ready:"):
            return launcher
    raise AssertionError(launcher.communicate()[1])


async def statuses_of_the_running_platform() -> list[int]:
    async with running_platform() as found, httpx.AsyncClient() as client:
        urls = [*found.urls.values(), found.witness_url]
        return [(await client.get(f"{url}/readyz")).status_code for url in urls]


@linux
def test_make_run_refuses_a_second_and_stops_without_leftovers(state, ports):
    launcher = up(state)
    with launcher:
        second = subprocess.run(
            [sys.executable, "-m", "deploy.up"], capture_output=True, text=True, cwd=ROOT
        )
        assert second.returncode == 1
        assert f"already runs (pid {launcher.pid}" in second.stderr
        assert f"needs http://127.0.0.1:{ports['NEEDS_PORT']}" in second.stderr
        assert asyncio.run(statuses_of_the_running_platform()) == [200] * 5
        launcher.send_signal(signal.SIGINT)
        _, said = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, said
    assert "Stopped" in said
    assert not processes_of(state)


LAUNCHER = """
import asyncio
from deploy.launch import launched
from deploy.state import State
async def main():
    async with launched(State(), lambda _: None, ["needs"]):
        print("ready", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@linux
def test_a_killed_launcher_leaves_nothing_and_the_next_start_succeeds(state, ports):
    for _ in range(2):
        launcher = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert launcher.stdout is not None
        with launcher:
            assert launcher.stdout.readline() == b"ready\n"
            launcher.kill()
    deadline = time.monotonic() + 120
    while processes_of(state) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes_of(state)
