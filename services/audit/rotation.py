"""Changes of the log's keys: each is told in the log before it is done.

A successor is announced; when the announcement stands under a checkpoint of the old key alone, both
keys sign. The old key is retired in the same way. Whoever knows only the old key can so follow to
the new one, and whoever knows only the new one can open every checkpoint since.
"""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.contract import KeyAnnounced, KeyRetired, KeyTakenUp
from services.audit.keys import KeyFiles, LogKeys
from shared.events import Event, emit
from shared.tlog.notes import VerifierKey

_LOGGED = text("SELECT min(index) FROM entry WHERE type = :type AND subject = :subject")
# Told, and not in the log yet: waiting to be numbered, or among the last events numbered.
_ON_ITS_WAY = text(
    "SELECT EXISTS (SELECT FROM outbox WHERE type = :type AND subject = :subject)"
    " OR EXISTS (SELECT FROM (SELECT type, subject FROM event ORDER BY seq DESC LIMIT 1000) AS late"
    " WHERE type = :type AND subject = :subject)"
)


async def carry_out(
    session: AsyncSession, files: KeyFiles, keys: LogKeys, size_signed: int
) -> LogKeys:
    """Go on with what was asked for; the keys to sign the next checkpoint with.

    size_signed  size of the last checkpoint signed
    """
    if keys.successor is not None:
        key = keys.successor.key
        told = KeyAnnounced(key=str(key), signs_already=str(keys.current))
        if await _stands(session, told, key, size_signed):
            await asyncio.to_thread(files.take_up, key, size_signed + 1)
    await _follow_setting(files, keys, size_signed)
    keys = await asyncio.to_thread(files.load, may_create=False)
    for each in keys.listed:
        # Again after a crash: nothing is signed with it yet.
        if each.signs and each.first > size_signed:
            taken_up = KeyTakenUp(key=str(each.key), size_first=each.first)
            await _stands(session, taken_up, each.key, size_signed)
    if keys.retiring:
        await _retire(session, files, keys, size_signed)
        keys = await asyncio.to_thread(files.load, may_create=False)
    return keys


async def _follow_setting(files: KeyFiles, keys: LogKeys, size_signed: int) -> None:
    """AUDIT_POST_QUANTUM was switched on or off since the last checkpoint."""
    signing = [each.key for each in keys.listed if each.signs and each.key.cosigns]
    wanted = [] if keys.post_quantum is None else [keys.post_quantum.key]
    if signing != wanted:
        if signing:
            await asyncio.to_thread(files.retire, signing, size_signed)
        for key in wanted:
            await asyncio.to_thread(files.take_up, key, size_signed + 1)


async def _retire(session: AsyncSession, files: KeyFiles, keys: LogKeys, size_signed: int) -> None:
    old = [signer.key for signer in keys.signers[1:]]
    if any(each.first > size_signed for each in keys.listed):
        return  # nothing is signed with both yet
    told = [await _stands(session, KeyRetired(key=str(key)), key, size_signed) for key in old]
    if all(told):
        await asyncio.to_thread(files.retire, old, size_signed)
        await asyncio.to_thread(files.forget_retired)


async def _stands(session: AsyncSession, event: Event, key: VerifierKey, size_signed: int) -> bool:
    """Whether the event is under a checkpoint; tells it if it was not told yet."""
    subject = f"key/{key.key_id.hex()}"
    wanted = {"type": event.type, "subject": subject}
    index = await session.scalar(_LOGGED, wanted)
    if index is None and not await session.scalar(_ON_ITS_WAY, wanted):
        await emit(session, event, subject=subject, actor="audit", role="service")
    return index is not None and index < size_signed
