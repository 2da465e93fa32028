"""The private server: started, shared, killed, interrupted, moved."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from deploy.housing import Account, PostgresUnavailable, forget, may_enter
from deploy.postgres import Postgres, find_binaries
from deploy.state import ROOT

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another")


async def answer(server: Postgres, sql: str) -> object:
    connection = await asyncpg.connect(server.url())
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def pids_of(folder: Path) -> set[int]:
    """Processes that were started with this folder on their command line."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in entry.read_bytes():
                found.add(int(entry.parent.name))
    return found - {os.getpid()}


def wait_until(happened, timeout_s: float = 120.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if happened():
            return True
        time.sleep(0.05)
    return bool(happened())


async def test_data_outlives_a_stop(folder):
    with Postgres(folder / "pg", throwaway=True) as server:
        await answer(server, "CREATE TABLE kept AS SELECT 7 AS n")
    with Postgres(folder / "pg", throwaway=True) as server:
        assert await answer(server, "SELECT n FROM kept") == 7


async def test_a_password_is_needed(folder):
    with Postgres(folder / "pg", throwaway=True) as server:
        wrong = server.url().replace(server._password.read_text(), "wrong")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(wrong)
        assert server._password.stat().st_mode & 0o777 == 0o600


async def test_a_second_process_attaches_and_does_not_stop_it(folder):
    with Postgres(folder / "pg", throwaway=True) as owner:
        with Postgres(folder / "pg", throwaway=True) as second:
            assert second.port == owner.port
            assert await answer(second, "SELECT 1") == 1
        assert await answer(owner, "SELECT 1") == 1


async def test_a_killed_server_comes_back_with_what_was_committed(folder):
    with Postgres(folder / "pg") as server:
        await answer(server, "CREATE TABLE kept AS SELECT 7 AS n")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert wait_until(lambda: server.pid is None)
    with Postgres(folder / "pg") as server:
        assert await answer(server, "SELECT n FROM kept") == 7


@pytest.mark.skipif(sys.platform != "linux", reason="death signals are a thing of Linux")
def test_a_killed_launcher_leaves_no_server(folder):
    program = (
        "import sys, time; from pathlib import Path; from deploy.postgres import Postgres\n"
        "Postgres(Path(sys.argv[1]), throwaway=True).start(); print('up', flush=True)\n"
        "time.sleep(60)"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", program, str(folder / "pg")], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert launcher.stdout is not None
    with launcher.stdout:
        assert launcher.stdout.readline() == b"up\n"
    launcher.kill()
    launcher.wait()
    assert wait_until(lambda: not pids_of(folder))


async def test_an_interrupted_first_start_is_repaired(folder):
    half = folder / "pg" / "data.making"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with Postgres(folder / "pg", throwaway=True) as server:
        assert await answer(server, "SELECT 1") == 1
    assert not half.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_a_process_that_took_over_the_pid_is_left_alone(folder):
    with Postgres(folder / "pg", throwaway=True) as server:
        pid_file = server.folder / "data" / "postmaster.pid"
        stale = pid_file.read_text().splitlines()
    innocent = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220 - returns at once
    try:
        pid_file.write_text("\n".join([str(innocent.pid), *stale[1:]]) + "\n")
        with Postgres(folder / "pg", throwaway=True) as server:
            assert await answer(server, "SELECT 1") == 1
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


@as_root
async def test_a_closed_folder_is_not_opened_but_left(folder, elsewhere):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with Postgres(closed / "pg", throwaway=True) as server:
        assert await answer(server, "SELECT 1") == 1
        assert server.folder.parent == elsewhere
        place = server.folder
    assert closed.stat().st_mode & 0o777 == 0o700
    with Postgres(closed / "pg", throwaway=True) as server:
        assert server.folder == place
        with pytest.raises(PostgresUnavailable, match="is running"):
            forget(closed / "pg")
    forget(closed / "pg")
    assert not place.exists()


@as_root
async def test_binaries_in_a_closed_folder_are_copied(folder, elsewhere, monkeypatch):
    package = find_binaries().parent.parent
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for part in (package, package.parent / f"{package.name}.libs"):
        (closed / part.name).symlink_to(part)
    closed_binaries = closed / package.name / find_binaries().relative_to(package)
    # Links lead out of the closed folder, so the check is told not to follow them.
    monkeypatch.setattr("deploy.housing.may_enter", lambda path, _: closed not in path.parents)
    monkeypatch.setenv("PG_BINDIR", str(closed_binaries))
    with Postgres(folder / "pg", throwaway=True) as server:
        assert await answer(server, "SELECT 1") == 1
        assert elsewhere in server._binaries.parents


def test_who_may_enter_a_folder_follows_its_bits(folder):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    owner, stranger = Account(os.getuid(), os.getgid()), Account(64999, 64999)
    assert may_enter(closed / "not-there-yet", owner)
    assert may_enter(folder, stranger)
    assert not may_enter(closed / "not-there-yet", stranger)


def test_a_wrong_bindir_is_named(monkeypatch, folder):
    monkeypatch.setenv("PG_BINDIR", str(folder))
    with pytest.raises(PostgresUnavailable, match="PG_BINDIR"):
        find_binaries()
