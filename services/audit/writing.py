"""Who writes to AUDIT_STATE_DIR: the signers of all replicas, and the command that changes keys.

A writer may be held up for as long as it takes another replica to find its advisory lock free and
go on. So each says which checkpoint it went on from, and writes nothing when that is not the last
one any more: what is kept here never goes back.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from services.audit.domain import LogRefused


@contextlib.contextmanager
def writing_alone(folder: Path) -> Iterator[None]:
    """Nobody else writes meanwhile."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(folder: Path, *, after: str | None) -> Iterator[None]:
    """Nobody else writes meanwhile, and the note `after` is the last checkpoint signed.

    after  None before the first
    Raises LogRefused when another is the last one by now.
    """
    with writing_alone(folder):
        copy = folder / "checkpoint"
        last = copy.read_bytes() if copy.exists() else None
        if last != (None if after is None else after.encode()):
            raise LogRefused("Another process has signed meanwhile: it is gone on from there.")
        yield
