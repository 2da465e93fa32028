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
from shared.tlog.notes import VerifierKey

# With a line of every witness that has cosigned it by now.
_NOTE = (
    "c.note || coalesce((SELECT string_agg(s.line, '' ORDER BY s.name, s.key_id)"
    " FROM cosignature s WHERE s.size = c.size), '') AS note"
)
_CHECKPOINT = "SELECT c.size, c.root, {note}, c.at FROM checkpoint c WHERE c.size = ({which})"
_SIGNED_CHECKPOINT = text(_CHECKPOINT.format(note=_NOTE, which="SELECT max(size) FROM checkpoint"))
_PUBLISHED_CHECKPOINT = text(
    _CHECKPOINT.format(note=_NOTE, which="SELECT max(size) FROM quorum WHERE policy = :policy")
)
# An entry, and the checkpoint its proof leads to: the newest with a quorum, if that covers it.
_TO_PROVE = (
    "SELECT e.index, e.leaf, c.size, {note} FROM entry e LEFT JOIN checkpoint c ON c.size ="
    " coalesce((SELECT max(size) FROM quorum WHERE policy = CAST(:policy AS bytea)"
    " HAVING max(size) > e.index),"
    " (SELECT max(size) FROM checkpoint HAVING max(size) > e.index))"
    " WHERE e.{column} = :value"
)
_TO_PROVE_BY_KEY = text(_TO_PROVE.format(note=_NOTE, column="key"))
_TO_PROVE_BY_INDEX = text(_TO_PROVE.format(note=_NOTE, column="index"))
_WITNESSED = text(
    "SELECT (SELECT coalesce(max(size), 0) FROM checkpoint) AS size_signed,"
    " (SELECT max(size) FROM quorum WHERE policy = CAST(:policy AS bytea)) AS size_published,"
    " (SELECT missing_since FROM witnessing) AS missing_since,"
    " w.name, w.key_id, last.size, last.at"
    " FROM (SELECT 1) AS one"
    " LEFT JOIN unnest(CAST(:names AS text[]), CAST(:key_ids AS bytea[]))"
    " AS w(name, key_id) ON true"
    " LEFT JOIN LATERAL (SELECT size, at FROM cosignature s WHERE s.name = w.name"
    " AND s.key_id = w.key_id ORDER BY size DESC LIMIT 1) AS last ON true"
)
# What is null, or no hash, is missing.
_LEAVES = text(
    "SELECT index, leaf FROM entry WHERE index >= :lo AND index < :hi AND octet_length(leaf) = 32"
    " ORDER BY index"
)
_SIZE = text("SELECT max(size) FROM checkpoint")
_BODIES = text(
    "SELECT index, body FROM entry WHERE index >= :lo AND index < :hi AND body IS NOT NULL"
    " ORDER BY index"
)
_NODES = text(
    "SELECT index, hash FROM node WHERE level = :level AND index >= :lo AND index < :hi"
    " AND octet_length(hash) = 32 ORDER BY index"
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


async def signed_checkpoint(session: AsyncSession) -> Row[Any]:
    """Size, root, note and time of the newest; raises CheckpointNotFound before the first."""
    return _found((await session.execute(_SIGNED_CHECKPOINT)).one_or_none())


async def published_checkpoint(session: AsyncSession, policy: bytes | None) -> Row[Any]:
    """The newest that has a quorum under the policy, or the newest, if none is asked for.

    Raises CheckpointNotFound before the first.
    """
    if policy is None:
        return await signed_checkpoint(session)
    return _found((await session.execute(_PUBLISHED_CHECKPOINT, {"policy": policy})).one_or_none())


def _found(row: Row[Any] | None) -> Row[Any]:
    if row is None:
        raise CheckpointNotFound
    return row


async def witnessed(
    session: AsyncSession, policy: bytes | None, keys: Sequence[VerifierKey]
) -> Sequence[Row[Any]]:
    """A row a key with what it cosigned last; each has how far the log is. At least one row."""
    wanted = {
        "policy": policy,
        "names": [key.name for key in keys],
        "key_ids": [key.key_id for key in keys],
    }
    return (await session.execute(_WITNESSED, wanted)).all()


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


@dataclass(frozen=True)
class Proof:
    """An inclusion proof with what it leads from and to."""

    index: int
    size: int
    leaf: bytes
    hashes: list[bytes]
    note: str


async def inclusion(
    session: AsyncSession, entry: int | UUID, *, policy: bytes | None = None
) -> Proof:
    """The proof of an entry, by index or event id, under the newest checkpoint.

    With a policy, under the newest that has a quorum, as soon as there is one that covers it.
    Raises EntryNotFound, EntryNotSigned.
    """
    statement = _TO_PROVE_BY_KEY if isinstance(entry, UUID) else _TO_PROVE_BY_INDEX
    wanted = {"policy": policy, "value": entry}
    row = (await session.execute(statement, wanted)).one_or_none()
    if row is None:
        raise EntryNotFound
    index, leaf, size, note = row
    if size is None:
        raise EntryNotSigned
    path = await hashes.roots(session, inclusion_ranges(index, size))
    return Proof(index, size, leaf, path, note)


async def consistency(session: AsyncSession, first: int, second: int) -> list[bytes]:
    """That the tree of `first` is a prefix of that of `second`. Raises SizesOutOfRange."""
    size = (await signed_checkpoint(session)).size
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
