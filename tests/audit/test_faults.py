"""A disk that is full, or refuses to sync, ends in refusal and never in a second history.

Some need rights or a tool that not every machine gives (mounting, strace): they say so. Refused
syncs take a minute and are for `make ordeal`.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.audit.ill_treated import IllTreated

DISK_MIB = 160


async def more(treated, count=50):
    """Something new to log."""
    for producer in treated.producers.told:
        treated.producers.told[producer] += count


@pytest.fixture
async def treated():
    made = IllTreated()
    try:
        await made.begin()
        await more(made)
        await made.grown_to(150)
        yield made
    finally:
        await made.end()


async def goes_on(treated):
    """All that was told is logged and signed, beside what was shown before."""
    await more(treated)
    told = sum(treated.producers.told.values())
    await treated.grown_to(told)
    await treated.recovered()
    done = await treated.verified()
    assert done.returncode == 0, done.stdout + done.stderr


async def test_a_full_disk_under_the_state_directory_is_refused_until_there_is_room(treated):
    history = treated.state_dir / "checkpoints"
    size = max(treated.seen)
    history.rename(treated.state_dir / "aside")
    history.symlink_to("/dev/full")  # every write ends in ENOSPC
    await more(treated)
    assert any("log: " in each and "OSError" in each for each in await treated.refused())
    shown = await treated.checkpoint()
    assert shown is not None
    # What was committed before may be signed; what could not be kept outside is not published.
    assert shown.size == size
    history.unlink()
    (treated.state_dir / "aside").rename(history)
    await goes_on(treated)


def _strace(pid: int, calls: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            f"inject={calls}:error=EIO",
            "-p",
            str(pid),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    victim = subprocess.Popen(["sleep", "60"])
    try:
        tracer = _strace(victim.pid, "fsync")
        with contextlib.suppress(subprocess.TimeoutExpired):
            tracer.wait(1)
        able = tracer.poll() is None
        tracer.kill()
        tracer.wait()
        return able
    finally:
        victim.kill()
        victim.wait()


@pytest.mark.parametrize("whose", ["the service", "PostgreSQL"])
async def test_a_refused_fsync_is_refused(treated, whose):
    if not os.environ.get("ORDEAL"):
        pytest.skip("takes a minute: make ordeal")
    if not _can_trace():
        pytest.skip("strace is missing, or may not trace here")
    service = treated.process.pid
    pid = service if whose == "the service" else treated.server.pid
    tracer = _strace(pid, "fsync,fdatasync")
    try:
        await asyncio.sleep(0.5)  # until it is attached
        await more(treated)
        assert await treated.refused()
    finally:
        tracer.send_signal(signal.SIGINT)
        await asyncio.to_thread(tracer.wait)
    if whose == "PostgreSQL":
        # It gave up, as it must (an fsync is not tried twice), and does not come back by itself.
        _start_again(treated)
    await goes_on(treated)


def _start_again(treated):
    if treated.server.pid is not None:
        treated.kill_postgres()
    treated.server.stop()
    treated.server.start()


@contextlib.contextmanager
def _small_disk(folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0711", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        shutil.rmtree(folder.parent)  # could not be deleted while this was in use


async def test_a_full_disk_under_postgresql_is_refused_until_there_is_room():
    made = IllTreated()
    with _small_disk(made.folder / "postgres"):
        # The server's folder was made before: again, on the small disk.
        made = IllTreated(folder=made.folder)
        try:
            await made.begin()
            await more(made)
            await made.grown_to(150)
            filler = made.folder / "postgres" / "filler"
            with contextlib.suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            refusing = asyncio.create_task(made.refused())
            while not refusing.done():
                await more(made, 200)
                await asyncio.sleep(0.2)
            assert await refusing
            os.truncate(filler, 0)
            _start_again(made)
            await goes_on(made)
        finally:
            await made.end()
