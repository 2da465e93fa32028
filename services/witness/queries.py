"""What monitors read: the last checkpoint cosigned of a log."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.witness.domain import NothingCosigned

# A witness knows few logs, so that their rows are all looked at.
_LAST = text(
    "SELECT note FROM cosigned"
    " WHERE encode(sha256(convert_to(origin, 'UTF8')), 'hex') = :origin_sha256"
)


async def last_checkpoint(session: AsyncSession, origin_sha256: str) -> str:
    """The note with the log's signatures and ours; raises NothingCosigned."""
    note = await session.scalar(_LAST, {"origin_sha256": origin_sha256})
    if note is None:
        raise NothingCosigned
    return str(note)
