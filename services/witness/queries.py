"""What monitors read: the last checkpoint cosigned of a log."""

import hashlib

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.witness import operations
from services.witness.domain import Logs, NothingCosigned
from services.witness.state import StateDirectory

# A witness knows few logs, so that their rows are all looked at.
_ORIGIN = text(
    "SELECT origin FROM cosigned"
    " WHERE encode(sha256(convert_to(origin, 'UTF8')), 'hex') = :origin_sha256"
)


async def last_checkpoint(
    session: AsyncSession, state: StateDirectory, logs: Logs, origin_sha256: str
) -> str:
    """The note with the log's signatures and ours, also of a log that is trusted no longer.

    Raises NothingCosigned, WitnessRefused.
    """
    trusted = {hashlib.sha256(origin.encode()).hexdigest(): origin for origin in logs}
    origin = trusted.get(origin_sha256) or await session.scalar(
        _ORIGIN, {"origin_sha256": origin_sha256}
    )
    last = None if origin is None else await operations.last_cosigned(session, state, origin)
    if last is None:
        raise NothingCosigned
    return last.note
