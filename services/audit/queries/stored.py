"""Entries, leaf hashes and query columns in bulk, for a verifier that reads all of them.

Put together by the database: at a million entries, a row at a time through Python would cost more
than everything the verifier does with them.
"""

import struct

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.domain import EntriesMissing, TileNotFound, TooManyBytes

ROWS_MAX = 4_096
BODY_BYTES_SUM_MAX = 16 * 1024 * 1024  # of one answer; 256 entries of the longest kind fit

_SIZES = text(
    "SELECT (SELECT max(size) FROM checkpoint) AS size, count(*) AS rows,"
    " coalesce(sum(octet_length(body)), 0) AS bytes FROM entry WHERE index >= :lo AND index < :hi"
)
# A column that is null leaves its row out (||): the verifier counts, and asks for that row by
# itself. Separators inside a value are found by the same counting.
_ROWS = text(
    """
    SELECT string_agg(substring(int4send(octet_length(body)) FROM 3) || body, ''::bytea) AS bodies,
           string_agg(leaf, ''::bytea) AS leaves,
           convert_to(coalesce(string_agg(
             key || u || producer || u || seq || u || type || u || subject || u
             || coalesce('=' || division, '') || u || actor || u || actor_role || u
             || time || u || CAST(mentions AS text) || r, ''), ''), 'UTF8') AS columns
    FROM (
      SELECT body, leaf, key, producer, seq, type, subject, division, actor, actor_role, time,
             mentions, chr(31) AS u, chr(30) AS r
      FROM entry WHERE index >= :lo AND index < :hi ORDER BY index
    ) AS row
    """
)

_CHECKPOINTS = text(
    """
    SELECT CAST(coalesce(json_agg(json_build_object(
      'size', c.size, 'root', encode(c.root, 'base64'), 'note', c.note, 'at', c.at,
      'cosignatures', (
        SELECT coalesce(json_agg(json_build_object(
          'name', s.name, 'key_id', encode(s.key_id, 'hex'), 'line', s.line, 'at', s.at)
          ORDER BY s.name, s.key_id), '[]') FROM cosignature s WHERE s.size = c.size),
      'quorum_at', (SELECT coalesce(json_agg(q.at ORDER BY q.at), '[]')
                    FROM quorum q WHERE q.size = c.size)
    ) ORDER BY c.size), '[]') AS text)
    FROM (SELECT * FROM checkpoint WHERE size > :after ORDER BY size LIMIT :limit) AS c
    """
)


async def rows(session: AsyncSession, first: int, limit: int) -> bytes:
    """Three blocks, each after its length: bundle, leaf hashes, columns.

    Raises TileNotFound beyond what is signed, EntriesMissing, TooManyBytes.
    """
    bounds = {"lo": first, "hi": first + limit}
    there = (await session.execute(_SIZES, bounds)).one()
    if first + limit > (there.size or 0):
        raise TileNotFound
    if there.rows != limit:
        raise EntriesMissing(first)
    if there.bytes > BODY_BYTES_SUM_MAX:
        raise TooManyBytes(BODY_BYTES_SUM_MAX)
    row = (await session.execute(_ROWS, bounds)).one()
    return b"".join(
        struct.pack(">I", len(block)) + block for block in (row.bodies, row.leaves, row.columns)
    )


async def checkpoints(session: AsyncSession, after: int, limit: int) -> str:
    """Those of more than `after` entries, as the JSON of a list; times in the session's zone."""
    return str(await session.scalar(_CHECKPOINTS, {"after": after, "limit": limit}))
