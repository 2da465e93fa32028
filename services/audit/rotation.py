"""Changes of the log's keys: each is told in the log before it is done.

A successor is announced; when the announcement stands under a checkpoint of the old key alone, both
keys sign. The old key is retired in the same way. Whoever knows only the old key can so follow to
the new one, and whoever knows only the new one can open every checkpoint since.
"""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.contract import KeyAnnounced, KeyRetired, KeyTakenUp
from services.audit.domain import event_in
from services.audit.keys import KeyFiles, LogKeys
from shared.events import Event, emit
from shared.tlog.notes import VerifierKey

_LOGGED = text(
    "SELECT index, body FROM entry WHERE type = :type AND subject = :subject ORDER BY index"
)
# Told, and not in the log yet: waiting to be numbered, or among the last events numbered.
_ON_ITS_WAY = text(
    "SELECT data FROM outbox WHERE type = :type AND subject = :subject"
    " UNION ALL"
    " SELECT data FROM (SELECT * FROM event ORDER BY seq DESC LIMIT 1000) AS late"
    " WHERE type = :type AND subject = :subject"
)


async def carry_out(
    session: AsyncSession, files: KeyFiles, keys: LogKeys, size_signed: int, after: str
) -> tuple[LogKeys, bool]:
    """Go on with what was asked for; the keys to sign the next checkpoint with, and whether
    nothing may be signed with them yet: their taking up is told in this transaction.

    size_signed  size of the last checkpoint signed
    after        its note
    Raises LogRefused when another process has signed meanwhile.
    """
    if keys.successor is not None:
        key = keys.successor.key
        told = KeyAnnounced(key=str(key), signs_already=str(keys.current))
        if await _stands(session, told, key, size_signed):
            await asyncio.to_thread(files.take_up, key, size_signed + 1, after=after)
    await _follow_setting(files, keys, size_signed, after)
    keys = await asyncio.to_thread(files.load, may_create=False)
    telling = False
    for each in keys.listed:
        # Again after a crash: nothing is signed with it yet.
        if each.signs and each.first > size_signed:
            taken_up = KeyTakenUp(key=str(each.key), size_first=each.first)
            telling |= await _tell(session, taken_up, each.key)
    if keys.retiring:
        await _retire(session, files, keys, size_signed, after)
        keys = await asyncio.to_thread(files.load, may_create=False)
    return keys, telling


async def _follow_setting(files: KeyFiles, keys: LogKeys, size_signed: int, after: str) -> None:
    """AUDIT_POST_QUANTUM was switched on or off since the last checkpoint."""
    signing = [each.key for each in keys.listed if each.signs and each.key.cosigns]
    wanted = [] if keys.post_quantum is None else [keys.post_quantum.key]
    if signing != wanted:
        if signing:
            await asyncio.to_thread(files.retire, signing, size_signed, after=after)
        for key in wanted:
            await asyncio.to_thread(files.take_up, key, size_signed + 1, after=after)


async def _retire(
    session: AsyncSession, files: KeyFiles, keys: LogKeys, size_signed: int, after: str
) -> None:
    old = [signer.key for signer in keys.signers[1:]]
    if any(each.first > size_signed for each in keys.listed):
        return  # nothing is signed with both yet
    told = [await _stands(session, KeyRetired(key=str(key)), key, size_signed) for key in old]
    if all(told):
        await asyncio.to_thread(files.retire, old, size_signed, after=after)
        await asyncio.to_thread(files.forget_retired, after=after)


async def _stands(session: AsyncSession, event: Event, key: VerifierKey, size_signed: int) -> bool:
    """Whether the event is under a checkpoint; tells it if it was not told yet."""
    await _tell(session, event, key)
    index = await _logged(session, event, key)
    return index is not None and index < size_signed


async def _tell(session: AsyncSession, event: Event, key: VerifierKey) -> bool:
    """Tell of the key, unless the very same was told already; whether it is told now."""
    if await _logged(session, event, key) is not None:
        return False
    if event.model_dump(mode="json") in await session.scalars(_ON_ITS_WAY, _wanted(event, key)):
        return False
    await emit(session, event, subject=_subject(key), actor="audit", role="service")
    return True


async def _logged(session: AsyncSession, event: Event, key: VerifierKey) -> int | None:
    """Index of the entry that says the very same: a key is taken up more than once."""
    said = event.model_dump(mode="json")
    for index, body in await session.execute(_LOGGED, _wanted(event, key)):
        entry = event_in(body)
        if entry is not None and entry.get("data") == said:
            return int(index)
    return None


def _wanted(event: Event, key: VerifierKey) -> dict[str, str]:
    return {"type": event.type, "subject": _subject(key)}


def _subject(key: VerifierKey) -> str:
    return f"key/{key.key_id.hex()}"
