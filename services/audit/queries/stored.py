"""Entries in bulk for a verifier that reads all of them, with what else is stored of each.

Some rows at a time: the fewer values there are, the less everybody has to do.
"""

import struct

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.domain import EntriesMissing, TileNotFound, TooManyBytes
from shared.db import driver_of

ROWS_MAX = 8_192
ROWS_AT_ONCE = 2_048  # read before their bytes are counted
GROUP = 64  # rows told together, a bit each; larger aggregates cost more than further groups
BYTES_SUM_MAX = 16 * 1024 * 1024  # of one answer; who is refused even 256 entries reads tiles

# What is null, or reads like something else (an empty division), stands as a backslash: no value
# that the verifier compares in bulk has one. `concat_ws` leaves out what is null, so that one value
# could tell two columns: of a row with a null that is no text all ten are told as backslashes.
# Functions by their schema: one of somebody else's with these very types would be taken instead.
_COLUMNS = r"""
    CASE WHEN pg_catalog.num_nulls(seq, mentions, key, time) = 0 THEN
    pg_catalog.concat_ws(E'\x1f', coalesce(producer, '\'), seq,
      coalesce(actor, '\'), coalesce(actor_role, '\'), mentions,
      CASE division WHEN '' THEN '\' ELSE coalesce(division, '') END, key,
      coalesce(subject, '\'), time, coalesce(type, '\'))
    ELSE repeat(E'\\\x1f', 9) || '\' END
"""
# With a limit they are read in order from the index; else PostgreSQL collects and sorts each group.
# One more than a group has shows an index that stands twice; `there`, a bit each, one that lacks.
# Nothing is left out for being null or none: a leaf hash is missed in `rows`, a body brings a 0.
_GROUPS = rf"""
    SELECT (SELECT max(size) FROM checkpoint) AS signed, part.*
    FROM generate_series($1::bigint, $2::bigint - 1, {GROUP}) AS lo, LATERAL (
      SELECT count(*) FILTER (WHERE octet_length(leaf) = 32) AS rows,
             bit_or(CAST(1 AS bigint) << CAST(index - lo AS int)) AS there,
             pg_catalog.convert_to(string_agg({_COLUMNS}, E'\x1f'), 'UTF8') AS columns,
             string_agg(leaf, ''::bytea) AS leaves,
             string_agg(coalesce(body, '\x00'), '\x00'::bytea) AS bodies
      FROM (
        SELECT * FROM entry WHERE index >= lo AND index < least(lo + {GROUP}, $2)
        ORDER BY index LIMIT {GROUP} + 1
      ) AS row
    ) AS part
"""  # noqa: S608 - of our own constants

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
    """Groups of rows, three blocks each: columns, leaf hashes, bodies; each after its length.

    Raises TileNotFound beyond what is signed, EntriesMissing, TooManyBytes.
    """
    end = first + limit
    answer: list[bytes] = []
    bytes_sum = 0
    async with driver_of(session) as driver:
        for lo in range(first, end, ROWS_AT_ONCE):
            hi = min(lo + ROWS_AT_ONCE, end)
            groups = await driver.fetch(_GROUPS, lo, hi)
            if end > (groups[0]["signed"] or 0):
                raise TileNotFound
            for first_of, group in zip(range(lo, hi, GROUP), groups, strict=True):
                _, rows, there, *blocks = group
                count = min(GROUP, hi - first_of)
                if rows != count or there % 2**64 != 2**count - 1:
                    raise EntriesMissing(first_of)
                for block in blocks:
                    answer += (struct.pack(">I", len(block)), block)
                    bytes_sum += len(block)
            if bytes_sum > BYTES_SUM_MAX:
                raise TooManyBytes(BYTES_SUM_MAX)
    return b"".join(answer)


async def checkpoints(session: AsyncSession, after: int, limit: int) -> str:
    """Those of more than `after` entries, as the JSON of a list; times in the session's zone."""
    return str(await session.scalar(_CHECKPOINTS, {"after": after, "limit": limit}))
