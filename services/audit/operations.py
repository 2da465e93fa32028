"""Taking events into the log, inside the transaction that moves the feed's cursor."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit import domain
from services.audit.contract import Producer
from services.audit.domain import Entry
from shared.events import CloudEvent, Emission, emit_all
from shared.tlog import merkle
from shared.tlog.merkle import Frontier

# Each lost attempt means that somebody else appended; four feeds and a few replicas take turns.
ATTEMPTS_MAX = 100

# A checkpoint vouches for what is committed: it must be on disk, whatever the server's default.
_HEAD = text("SELECT size, frontier, set_config('synchronous_commit', 'on', true) FROM head")

_KNOWN = text(
    "SELECT key, producer, seq, sha256(body) AS digest FROM entry"
    " WHERE key = ANY(CAST(:keys AS uuid[]))"
    " OR (producer = :producer AND seq = ANY(CAST(:seqs AS bigint[])))"
)
_LAST_SEQ = text("SELECT coalesce(max(seq), 0) FROM entry WHERE producer = :producer")

# Compare and swap: the loser of two appenders waits for the winner's commit, finds another size,
# and inserts nothing.
_APPEND = text(
    """
    WITH swapped AS (
      UPDATE head SET size = :size, frontier = :frontier WHERE size = :size_before RETURNING size
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
    )
    SELECT size FROM swapped
    """
)


async def take_in(
    session: AsyncSession, producer: Producer, events: Sequence[CloudEvent], *, size_signed: int
) -> int:
    """Append what is new of `events`; what is wrong with them becomes an alarm of ours.

    size_signed   size of the last checkpoint we know of
    Returns how many entries were appended. Raises LogRefused when the log is shorter than that.
    """
    entries = [domain.entry_of(producer, event) for event in events]
    for _ in range(ATTEMPTS_MAX):
        # The head comes first: whatever is appended after this read makes the swap fail.
        frontier = await head(session)
        if frontier.size < size_signed:
            raise domain.LogRefused(
                f"The log has {frontier.size} entries, {size_signed} are signed."
            )
        new, alarms = domain.sift(entries, await _known(session, producer, entries))
        if not new or await append(session, frontier, new):
            break
    else:
        raise domain.LogContended
    await emit_all(
        session,
        [
            Emission(alarm, subject=f"event/{alarm.event_id}", actor="audit", role="service")
            for alarm in alarms
        ],
    )
    return len(new)


async def head(session: AsyncSession) -> Frontier:
    """Size and frontier as they are stored; raises LogRefused when they do not fit each other."""
    row = (await session.execute(_HEAD)).one_or_none()
    if row is None:
        raise domain.LogRefused("The stored head of the log is missing.")
    try:
        return Frontier.from_bytes(row.size, row.frontier)
    except ValueError as error:
        raise domain.LogRefused("The stored head of the log is damaged.") from error


async def _known(
    session: AsyncSession, producer: Producer, entries: Sequence[Entry]
) -> domain.Known:
    rows = await session.execute(
        _KNOWN,
        {
            "keys": [entry.key for entry in entries],
            "seqs": [entry.seq for entry in entries],
            "producer": producer,
        },
    )
    by_key: dict[UUID, bytes] = {}
    by_seq: dict[int, bytes] = {}
    for row in rows:
        by_key[row.key] = row.digest
        if row.producer == producer:
            by_seq[row.seq] = row.digest
    last = await session.scalar(_LAST_SEQ, {"producer": producer})
    return domain.Known(by_key, by_seq, int(last or 0))


async def append(session: AsyncSession, before: Frontier, entries: Sequence[Entry]) -> bool:
    """Append in one statement; False, with nothing done, when the head is not `before` any more."""
    after, nodes = merkle.extend(before, (merkle.leaf_hash(entry.body) for entry in entries))
    size = await session.scalar(
        _APPEND,
        {
            "size": after.size,
            "size_before": before.size,
            "frontier": after.to_bytes(),
            "bodies": [entry.body for entry in entries],
            "keys": [entry.key for entry in entries],
            "producers": [entry.producer for entry in entries],
            "seqs": [entry.seq for entry in entries],
            "types": [entry.type for entry in entries],
            "subjects": [entry.subject for entry in entries],
            "divisions": [entry.division for entry in entries],
            "actors": [entry.actor for entry in entries],
            "actor_roles": [entry.actor_role for entry in entries],
            "times": [entry.time for entry in entries],
            "mentions": ["{" + ",".join(map(str, entry.mentions)) + "}" for entry in entries],
            "node_levels": [node.level for node in nodes],
            "node_indexes": [node.index for node in nodes],
            "node_hashes": list(nodes.values()),
        },
    )
    return size is not None
