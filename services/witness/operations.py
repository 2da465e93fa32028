"""Cosigning: check, sign and keep under one lock, in one transaction that precedes the answer."""

import asyncio
import logging
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.witness import domain
from services.witness.domain import Cosigned, NotConsistent, Submission
from services.witness.state import StateDirectory
from shared.db import lock
from shared.tlog.notes import Cosigner

log = logging.getLogger(__name__)

_STORED = text("SELECT note FROM cosigned WHERE origin = :origin")
# What is answered must be on disk, whatever the server's default.
_KEEP = text(
    "INSERT INTO cosigned (origin, size, root, at, note)"
    " VALUES (:origin, :size, :root, :at, :note)"
    " ON CONFLICT (origin) DO UPDATE SET size = :size, root = :root, at = :at, note = :note"
    " RETURNING set_config('synchronous_commit', 'on', true)"
)


async def add_checkpoint(
    session: AsyncSession,
    state: StateDirectory,
    cosigners: Sequence[Cosigner],
    submission: Submission,
    now: int,
) -> str:
    """Cosign the checkpoint if it goes on from the last one; return our signature lines.

    now   seconds since 1970
    Raises SizeDiffers, NotConsistent, WitnessRefused.
    """
    # SPEC: "checking the old size against the latest checkpoint and persisting the new checkpoint
    # must be performed atomically": one request at a time for a log, from here to the commit.
    last = await lock_last(session, state, submission.checkpoint.origin)
    try:
        domain.check(submission, last)
    except NotConsistent as error:
        # SPEC: the witness MAY log the request, "as it might be proof of log misbehavior".
        note = f"{submission.text}\n{submission.log_lines}"
        log.warning("not consistent", extra={"why": error.detail, "note": note})
        raise
    cosigned, lines = domain.cosign(submission, last, cosigners, now)
    # SPEC: "The witness MUST persist the new checkpoint before responding."
    await keep(session, state, cosigned)
    return lines


async def lock_last(session: AsyncSession, state: StateDirectory, origin: str) -> Cosigned | None:
    """What was cosigned last; the log is ours until the transaction ends.

    Raises WitnessRefused.
    """
    await lock(session, f"log {origin}")
    stored, last = await _memory(session, state, origin)
    if last is not None and (stored is None or stored.size < last.size):
        behind = None if stored is None else stored.size
        log.error("database behind the copy", extra={"origin": origin, "size": behind})
    return last


async def last_cosigned(
    session: AsyncSession, state: StateDirectory, origin: str
) -> Cosigned | None:
    """What was cosigned last, as far as it is on disk by now. Raises WitnessRefused."""
    return (await _memory(session, state, origin))[1]


async def _memory(
    session: AsyncSession, state: StateDirectory, origin: str
) -> tuple[Cosigned | None, Cosigned | None]:
    """What the database says, and the later of that and the copy."""
    note = await session.scalar(_STORED, {"origin": origin})
    stored = None if note is None else domain.remembered(note, origin, state.key)
    kept = await asyncio.to_thread(state.kept, origin)
    return stored, domain.newest(stored, kept)


async def keep(session: AsyncSession, state: StateDirectory, cosigned: Cosigned) -> None:
    """In the database, then in the copy: should the commit fail, the copy is ahead, and counts."""
    await session.execute(_KEEP, vars(cosigned))
    await asyncio.to_thread(state.keep, cosigned)
