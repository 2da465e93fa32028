"""Entries in bulk for a verifier that reads all of them, with hashes of what else is stored.

The database computes them over what it has stored, some rows at a time: at a million entries, the
columns themselves would cost more than everything the verifier does with them.
"""

import struct

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.domain import EntriesMissing, TileNotFound, TooManyBytes

ROWS_MAX = 4_096
ROWS_AT_ONCE = 1_024  # read before their bytes are counted
GROUP = 64  # rows under one hash; aggregates of more bytes cost more than the further hashes
BODY_BYTES_SUM_MAX = 16 * 1024 * 1024  # of one answer; 256 entries of the longest kind fit

_SIZE = text("SELECT max(size) FROM checkpoint")
# What is null leaves its line out (||): then there is no hash to agree with. So it is with what
# would read like something else: an empty division, and years BC, which to_char writes as AD.
_GROUPS = text(
    """
    SELECT part.* FROM generate_series(CAST(:lo AS bigint), CAST(:hi AS bigint) - 1, :step) AS lo,
    LATERAL (
      SELECT count(*) AS rows, string_agg(body, '\\x00'::bytea) AS bodies,
             sha256(string_agg(leaf, ''::bytea)) AS leaves,
             CASE WHEN count(line) = count(*)
                  THEN sha256(convert_to(string_agg(line, chr(30)), 'UTF8')) END AS columns
      FROM (
        SELECT body, leaf,
               producer || u || seq || u || actor || u || actor_role || u
               || CAST(mentions AS text) || u
               || CASE WHEN division IS NULL THEN '' WHEN division <> '' THEN division END || u
               || key || u || subject || u
               || CASE WHEN time >= '0001-01-01'
                  THEN to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') END || u
               || type AS line
        FROM entry, (SELECT chr(31) AS u) AS separator
        WHERE index >= lo AND index < least(lo + :step, :hi) ORDER BY index
      ) AS row
    ) AS part
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
    """Groups of rows: hash of their columns, hash of their leaf hashes, length, bodies.

    Raises TileNotFound beyond what is signed, EntriesMissing, TooManyBytes.
    """
    end = first + limit
    if end > (await session.scalar(_SIZE) or 0):
        raise TileNotFound
    answer: list[bytes] = []
    bytes_sum = 0
    for lo in range(first, end, ROWS_AT_ONCE):
        hi = min(lo + ROWS_AT_ONCE, end)
        groups = (await session.execute(_GROUPS, {"lo": lo, "hi": hi, "step": GROUP})).all()
        if sum(group.rows for group in groups) != hi - lo:
            raise EntriesMissing(lo)
        bytes_sum += sum(len(group.bodies) for group in groups)
        if bytes_sum > BODY_BYTES_SUM_MAX:
            raise TooManyBytes(BODY_BYTES_SUM_MAX)
        for group in groups:
            length = struct.pack(">I", len(group.bodies))
            answer += (group.columns or bytes(32), group.leaves or bytes(32), length, group.bodies)
    return b"".join(answer)


async def checkpoints(session: AsyncSession, after: int, limit: int) -> str:
    """Those of more than `after` entries, as the JSON of a list; times in the session's zone."""
    return str(await session.scalar(_CHECKPOINTS, {"after": after, "limit": limit}))
