"""Tiles, proofs and columns."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit import hashes
from services.audit.domain import (
    CheckpointNotFound,
    EntriesMissing,
    EntryNotFound,
    EntryNotSigned,
    LogRefused,
    SizesOutOfRange,
    TileNotFound,
    contiguous,
)
from services.audit.queries.rows import COLUMNS
from services.audit.tiles import TileSpan, is_published
from shared.tlog.merkle import consistency_ranges, inclusion_ranges

_LAST_CHECKPOINT = text("SELECT size, root, note, at FROM checkpoint ORDER BY size DESC LIMIT 1")
_LEAVES = text("SELECT index, leaf FROM entry WHERE index >= :lo AND index < :hi ORDER BY index")
_SIZE = text("SELECT max(size) FROM checkpoint")
_BODIES = text("SELECT index, body FROM entry WHERE index >= :lo AND index < :hi ORDER BY index")
_NODES = text(
    "SELECT index, hash FROM node WHERE level = :level AND index >= :lo AND index < :hi"
    " ORDER BY index"
)
# Rendered by the database: a verifier asks for every row there is.
_COLUMNS_FROM = text(
    "SELECT CAST(coalesce(json_agg(row), '[]') AS text) FROM ("  # noqa: S608 - our own list of columns
    f"SELECT {COLUMNS}, mentions FROM entry WHERE index >= :first ORDER BY index LIMIT :limit"
    ") AS row"
)
_HEAD = text(
    "SELECT size, frontier, (SELECT min(index) FROM entry) AS index_min,"
    " (SELECT max(index) FROM entry) AS index_max FROM head"
)
# An entry is told with the first checkpoint that covers it, so that the listing never changes.
_APPENDED = text(
    "SELECT e.index, e.producer, e.seq, e.key, c.size, c.at FROM entry e"
    " CROSS JOIN LATERAL (SELECT size, at FROM checkpoint WHERE size > e.index"
    " ORDER BY size LIMIT 1) c WHERE e.index >= :after ORDER BY e.index LIMIT :limit"
)


async def last_checkpoint(session: AsyncSession) -> Row[Any]:
    """Its size, root, note and time; raises CheckpointNotFound before the first."""
    row = (await session.execute(_LAST_CHECKPOINT)).one_or_none()
    if row is None:
        raise CheckpointNotFound
    return row


async def hash_tile(session: AsyncSession, level: int, span: TileSpan) -> bytes:
    """The hashes of a tile, 32 bytes each. Raises TileNotFound, EntriesMissing."""
    await _require_published(session, level, span)
    bounds = {"lo": span.first, "hi": span.first + span.width}
    if level == 0:
        rows = (await session.execute(_LEAVES, bounds)).all()
    else:
        rows = (await session.execute(_NODES, {"level": 8 * level, **bounds})).all()
    _require_all(rows, span, 8 * level)
    return b"".join(row[1] for row in rows)


async def entry_bundle(session: AsyncSession, span: TileSpan) -> bytes:
    """The bodies of a tile's entries, each after its length. Raises TileNotFound, EntriesMissing.

    SPEC: tlog-tiles: a bundle is a sequence of big-endian uint16 length-prefixed entries.
    """
    await _require_published(session, 0, span)
    bounds = {"lo": span.first, "hi": span.first + span.width}
    rows = (await session.execute(_BODIES, bounds)).all()
    _require_all(rows, span, 0)
    return b"".join(struct.pack(">H", len(row.body)) + row.body for row in rows)


async def _require_published(session: AsyncSession, level: int, span: TileSpan) -> None:
    if not is_published(level, span, await session.scalar(_SIZE) or 0):
        raise TileNotFound


def _require_all(rows: Sequence[Row[Any]], span: TileSpan, height: int) -> None:
    missing = contiguous((row[0] for row in rows), span.first)
    if missing is None and len(rows) != span.width:
        missing = span.first + len(rows)
    if missing is not None:
        raise EntriesMissing(missing << height)


async def index_of(session: AsyncSession, event_id: UUID) -> int:
    index = await session.scalar(text("SELECT index FROM entry WHERE key = :k"), {"k": event_id})
    if index is None:
        raise EntryNotFound
    return int(index)


@dataclass(frozen=True)
class Proof:
    """An inclusion proof with what it leads from and to."""

    index: int
    size: int
    leaf: bytes
    hashes: list[bytes]
    note: str


async def inclusion(session: AsyncSession, index: int) -> Proof:
    """The proof of an entry under the last checkpoint. Raises EntryNotFound, EntryNotSigned."""
    checkpoint = await last_checkpoint(session)
    leaf = await session.scalar(text("SELECT leaf FROM entry WHERE index = :i"), {"i": index})
    if leaf is None:
        raise EntryNotFound
    if index >= checkpoint.size:
        raise EntryNotSigned
    path = await hashes.roots(session, inclusion_ranges(index, checkpoint.size))
    return Proof(index, checkpoint.size, leaf, path, checkpoint.note)


async def consistency(session: AsyncSession, first: int, second: int) -> list[bytes]:
    """That the tree of `first` is a prefix of that of `second`. Raises SizesOutOfRange."""
    size = (await last_checkpoint(session)).size
    if not 0 < first <= second <= size:
        raise SizesOutOfRange(size)
    return await hashes.roots(session, consistency_ranges(first, second))


async def columns(session: AsyncSession, first: int, limit: int) -> str:
    """The rows from index `first` on, as the JSON of a list."""
    return str(await session.scalar(_COLUMNS_FROM, {"first": first, "limit": limit}))


async def head(session: AsyncSession) -> Row[Any]:
    """The head as stored, with the lowest and highest index. Raises LogRefused when it is gone."""
    row = (await session.execute(_HEAD)).one_or_none()
    if row is None:
        raise LogRefused("The stored head of the log is missing.")
    return row


async def appended(session: AsyncSession, after: int, limit: int) -> Sequence[Row[Any]]:
    """Signed entries from index `after` on, in order; never past one that is missing."""
    rows = (await session.execute(_APPENDED, {"after": after, "limit": limit})).all()
    whole = contiguous((row[0] for row in rows), after)
    return rows if whole is None else rows[: whole - after]
