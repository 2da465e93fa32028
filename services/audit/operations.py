"""Appending to the log what several callers hand in, in one transaction (see `intake`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit import domain
from services.audit.domain import Batch, Entry, Held, Known, Sifted
from shared.db import Sessions
from shared.events import Emission, emit_all
from shared.tlog import merkle
from shared.tlog.merkle import Frontier

# Each lost attempt means that somebody else appended; a few replicas take turns.
ATTEMPTS_MAX = 100

_HEAD = text("SELECT size, frontier FROM head")
# For those who have an alarm to record with what they append: nobody appends meanwhile.
_LOCK_HEAD = text("SELECT FROM head FOR UPDATE")
# One statement: most groups need to know no more before they are appended.
_STATE = text(
    """
    SELECT size, frontier,
      ARRAY(SELECT coalesce(c.seq, 0)
            FROM unnest(CAST(:producers AS text[])) WITH ORDINALITY AS p(producer, at)
                 LEFT JOIN feed_cursor c ON c.source = p.producer ORDER BY at) AS cursors,
      ARRAY(SELECT coalesce((SELECT max(seq) FROM entry WHERE producer = p.producer), 0)
            FROM unnest(CAST(:producers AS text[])) WITH ORDINALITY AS p(producer, at)
            ORDER BY at) AS last_seqs,
      EXISTS(SELECT FROM entry WHERE key = ANY(CAST(:keys AS uuid[]))) AS some_known
    FROM head
    """
)
_KNOWN = text(
    "SELECT index AS place, key, producer, seq, sha256(body) AS digest FROM entry"
    " WHERE key = ANY(CAST(:keys AS uuid[]))"
    " UNION ALL SELECT index, key, producer, seq, sha256(body) FROM entry"
    " JOIN unnest(CAST(:producers AS text[]), CAST(:seqs AS bigint[])) AS p(producer, seq)"
    " USING (producer, seq)"
)

# Compare and swap: the loser of two appenders waits for the winner's commit, finds another size,
# and does nothing. A cursor never goes back: of two that had nothing new, the slower comes last.
# A checkpoint vouches for what is committed: it must be on disk, whatever the server's default.
_APPEND = text(
    """
    WITH swapped AS (
      UPDATE head SET size = :size, frontier = :frontier WHERE size = :size_before
      RETURNING set_config('synchronous_commit', 'on', true)
    ), entries AS (
      INSERT INTO entry (index, body, key, producer, seq, type, subject, division, actor,
                         actor_role, time, mentions)
      SELECT :size_before + new.at - 1, new.body, new.key, new.producer, new.seq, new.type,
             new.subject, new.division, new.actor, new.actor_role, new.time,
             CAST(new.mentions AS uuid[])
      FROM unnest(CAST(:bodies AS bytea[]), CAST(:keys AS uuid[]), CAST(:producers AS text[]),
                  CAST(:seqs AS bigint[]), CAST(:types AS text[]), CAST(:subjects AS text[]),
                  CAST(:divisions AS text[]), CAST(:actors AS text[]),
                  CAST(:actor_roles AS text[]), CAST(:times AS timestamptz[]),
                  CAST(:mentions AS text[]))
           WITH ORDINALITY AS new(body, key, producer, seq, type, subject, division, actor,
                                  actor_role, time, mentions, at)
      WHERE EXISTS (SELECT FROM swapped)
    ), nodes AS (
      INSERT INTO node (level, index, hash)
      SELECT new.level, new.index, new.hash
      FROM unnest(CAST(:node_levels AS smallint[]), CAST(:node_indexes AS bigint[]),
                  CAST(:node_hashes AS bytea[])) AS new(level, index, hash)
      WHERE EXISTS (SELECT FROM swapped)
    ), cursors AS (
      INSERT INTO feed_cursor (source, seq)
      SELECT * FROM unnest(CAST(:sources AS text[]), CAST(:ends AS bigint[]))
      WHERE EXISTS (SELECT FROM swapped)
      ON CONFLICT (source) DO UPDATE SET seq = greatest(feed_cursor.seq, excluded.seq)
    )
    SELECT count(*) FROM swapped
    """
)
_COLUMNS = (
    *("bodies", "keys", "producers", "seqs", "types", "subjects", "divisions"),
    *("actors", "actor_roles", "times", "mentions"),
)

# Of each entry of a batch where it stands; None if other content stands in its place.
Indexes = list[int | None]


@dataclass(frozen=True)
class _Plan:
    """What is to be done when the head is `before`."""

    before: Frontier
    due: list[Batch | None]
    ends: dict[str, int]
    sifted: Sifted

    def answers(self) -> list[Indexes | None]:
        indexes = iter(self.sifted.indexes)
        return [list(islice(indexes, len(each.entries))) if each else None for each in self.due]


async def take_in(
    reading: AsyncSession, sessions: Sessions, batches: Sequence[Batch], *, size_signed: int
) -> list[Indexes | None]:
    """Append what is new of `batches` and move their cursors; what is wrong becomes an alarm.

    reading       in AUTOCOMMIT: what needs no alarm is one statement, and so one transaction
    size_signed   size of the last checkpoint we know of
    Returns for each batch where its entries stand; None, with nothing done, when its cursor is not
    where it says. Raises LogRefused when the log is shorter than what is signed.
    """
    for _ in range(ATTEMPTS_MAX):
        plan = await _plan(reading, batches, size_signed)
        if plan.sifted.alarms:
            return await _take_in_with_alarms(sessions, batches, size_signed)
        if not (plan.sifted.new or plan.ends):
            return plan.answers()
        if await append(reading, plan.before, plan.sifted.new, plan.ends):
            return plan.answers()
    raise domain.LogContended


async def _take_in_with_alarms(
    sessions: Sessions, batches: Sequence[Batch], size_signed: int
) -> list[Indexes | None]:
    async with sessions.begin() as session:
        # An alarm of which no entry comes would not be held off by the swap: another replica with
        # the same batch must wait, and then find its cursor moved.
        await session.execute(_LOCK_HEAD)
        plan = await _plan(session, batches, size_signed)
        if not await append(session, plan.before, plan.sifted.new, plan.ends):
            raise domain.LogContended
        await emit_all(
            session,
            [
                Emission(alarm, subject=f"event/{alarm.event_id}", actor="audit", role="service")
                for alarm in plan.sifted.alarms
            ],
        )
    return plan.answers()


async def _plan(session: AsyncSession, batches: Sequence[Batch], size_signed: int) -> _Plan:
    producers: list[str] = list({batch.producer for batch in batches})
    keys = [entry.key for batch in batches for entry in batch.entries]
    # The head is read before, or with, all else: whatever is appended later makes the swap fail.
    row = (await session.execute(_STATE, {"producers": producers, "keys": keys})).one_or_none()
    if row is None:
        raise domain.LogRefused("The stored head of the log is missing.")
    before = _frontier(row)
    if before.size < size_signed:
        raise domain.LogRefused(f"The log has {before.size} entries, {size_signed} are signed.")
    due, ends = domain.due(batches, dict(zip(producers, row.cursors, strict=True)))
    entries = [entry for batch in due if batch for entry in batch.entries]
    last_seqs = dict(zip(producers, row.last_seqs, strict=True))
    # No number above a producer's highest can be known.
    told = [entry for entry in entries if entry.seq <= last_seqs[entry.producer]]
    known = Known(before.size, {}, {}, last_seqs)
    if told or row.some_known:
        known = await _known(session, known, keys, told)
    return _Plan(before, due, ends, domain.sift(entries, known))


async def head(session: AsyncSession) -> Frontier:
    """Size and frontier as they are stored; raises LogRefused when they do not fit each other."""
    row = (await session.execute(_HEAD)).one_or_none()
    if row is None:
        raise domain.LogRefused("The stored head of the log is missing.")
    return _frontier(row)


def _frontier(row: Row[Any]) -> Frontier:
    try:
        return Frontier.from_bytes(row.size, row.frontier)
    except ValueError as error:
        raise domain.LogRefused("The stored head of the log is damaged.") from error


async def _known(
    session: AsyncSession, known: Known, keys: Sequence[UUID], told: Sequence[Entry]
) -> Known:
    rows = await session.execute(
        _KNOWN,
        {
            "keys": keys,
            "producers": [entry.producer for entry in told],
            "seqs": [entry.seq for entry in told],
        },
    )
    by_key: dict[UUID, Held] = {}
    by_seq: dict[tuple[str, int], Held] = {}
    for row in rows:
        by_key[row.key] = by_seq[row.producer, row.seq] = Held(row.place, row.digest)
    return replace(known, by_key=by_key, by_seq=by_seq)


async def append(
    session: AsyncSession,
    before: Frontier,
    entries: Sequence[Entry],
    ends: Mapping[str, int] | None = None,
) -> bool:
    """Append, and move cursors to `ends`, in one statement.

    False, with nothing done, when the head is not `before` any more.
    """
    after, nodes = merkle.extend(before, (merkle.leaf_hash(entry.body) for entry in entries))
    columns = map(list, zip(*entries, strict=True)) if entries else ([] for _ in _COLUMNS)
    swapped = await session.scalar(
        _APPEND,
        {
            "size": after.size,
            "size_before": before.size,
            "frontier": after.to_bytes(),
            **dict(zip(_COLUMNS, columns, strict=True)),
            "mentions": ["{" + ",".join(entry.mentions) + "}" for entry in entries],
            "node_levels": [node.level for node in nodes],
            "node_indexes": [node.index for node in nodes],
            "node_hashes": list(nodes.values()),
            "sources": list(ends or ()),
            "ends": list((ends or {}).values()),
        },
    )
    return bool(swapped)
