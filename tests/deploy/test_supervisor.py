"""Processes that die, hang, never get ready, or lose their launcher."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.postgres import free_port
from deploy.state import ROOT, AlreadyRunning, State
from deploy.supervisor import Program, ProgramDied, StartFailed, Supervisor, check_ports

SERVER = """
import http.server, signal, sys
port, behaviour = int(sys.argv[1]), sys.argv[2]
if behaviour == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if behaviour == "fails":
    sys.exit("no such table: needs")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if behaviour == "unready" else 200)
        self.end_headers()
        self.wfile.write(b"the feed of donors does not answer")
    def log_message(self, *_): pass
print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def program(folder):
    def make(name: str, behaviour: str = "well") -> Program:
        port = free_port()
        return Program(
            name=name,
            arguments=[sys.executable, "-c", SERVER, str(port), behaviour],
            environment=dict(os.environ),
            port=port,
            port_variable=f"{name.upper()}_PORT",
            log=folder / f"{name}.log",
        )

    return make


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    return True


async def test_all_are_ready_inside_and_gone_after(program):
    programs = [program("needs"), program("donors")]
    async with Supervisor(programs, ROOT) as supervisor:
        pids = [supervisor.pid(p.name) for p in programs]
        assert all(is_running(pid) for pid in pids)
    assert not any(is_running(pid) for pid in pids)


async def test_a_process_that_died_is_named_with_the_end_of_its_log(program):
    programs = [program("needs"), program("donors")]
    async with Supervisor(programs, ROOT) as supervisor:
        other = supervisor.pid("needs")
        supervisor.raise_if_died()
        os.kill(supervisor.pid("donors"), signal.SIGKILL)
        while is_running(supervisor.pid("donors")):  # noqa: ASYNC110 - processes tell nobody
            await asyncio.sleep(0.02)
        with pytest.raises(ProgramDied, match=r"donors ended \(SIGKILL\)[\s\S]*listening"):
            supervisor.raise_if_died()
    assert not is_running(other)


async def test_a_process_that_fails_at_its_start_is_named(program):
    with pytest.raises(ProgramDied, match=r"matching ended \(status 1\)[\s\S]*no such table"):
        async with Supervisor([program("needs"), program("matching", "fails")], ROOT):
            pass


async def test_a_process_that_never_gets_ready_is_named_with_its_reason(program, monkeypatch):
    said = ""
    for timeout_s in (1, 3, 9, 27):  # on a busy machine it may not even answer so soon
        if "the feed of donors" not in said:
            monkeypatch.setattr("deploy.supervisor.READY_TIMEOUT_S", timeout_s)
            with pytest.raises(StartFailed) as failure:
                async with Supervisor([program("audit", "unready")], ROOT):
                    pass
            said = str(failure.value)
    assert re.search(r"audit is not ready[\s\S]*feed of donors", said)


async def test_a_process_that_will_not_stop_is_killed_after_the_grace_period(program):
    async with Supervisor([program("needs", "stubborn")], ROOT, grace_s=0.3) as supervisor:
        pid = supervisor.pid("needs")
    assert not is_running(pid)


async def test_a_taken_port_is_named_with_the_variable_that_changes_it(program):
    donors = program("donors")
    with socket.socket() as other:
        other.bind(("127.0.0.1", donors.port))
        other.listen()
        with pytest.raises(StartFailed, match=f"Port {donors.port}.*DONORS_PORT"):
            await check_ports([program("needs"), donors], patience_s=0)


async def test_the_processes_of_a_killed_launcher_are_waited_for(program):
    needs = program("needs")
    other = socket.socket()
    other.bind(("127.0.0.1", needs.port))
    other.listen()
    asyncio.get_running_loop().call_later(0.3, other.close)
    await check_ports([needs], patience_s=60)


LAUNCHER = """
import asyncio, os, sys
from pathlib import Path
from deploy.state import ROOT
from deploy.supervisor import Program, Supervisor
async def main():
    program = Program("needs", [sys.executable, "-c", sys.argv[1], sys.argv[2], "well"],
                      dict(os.environ), int(sys.argv[2]), "NEEDS_PORT", Path(sys.argv[3]))
    async with Supervisor([program], ROOT) as supervisor:
        print(supervisor.pid("needs"), flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="death signals are a thing of Linux")
def test_a_killed_launcher_leaves_no_service(folder):
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, SERVER, str(free_port()), str(folder / "needs.log")],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert launcher.stdout is not None
    with launcher.stdout:
        service = int(launcher.stdout.readline())
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 60
    while is_running(service) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(service)


def test_a_second_launcher_is_told_where_the_first_runs(folder):
    first = State(folder / "state").take()
    first.announce({"needs": "http://127.0.0.1:8101"})
    with pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()}, since .*127\.0\.0\.1:8101"):
        State(folder / "state").take()
    assert State(folder / "state").running() == {"needs": "http://127.0.0.1:8101"}
    first.release()
    assert State(folder / "state").running() is None
    State(folder / "state").take().release()
