"""Appending to the log what several callers hand in, in one transaction (see `intake`)."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit import domain
from services.audit.contract import PRODUCERS
from services.audit.domain import Batch, Entry, Held, Known, Sifted
from shared.db import Sessions, driver_of
from shared.events import Emission, emit_all
from shared.tlog import merkle
from shared.tlog.merkle import Frontier, Node

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

# From this many entries on, a COPY saves more than the questions it needs cost.
COPY_MIN = 400

_COLUMNS = ("index", *Entry._fields)

# Compare and swap: the loser of two appenders waits for the winner's commit, finds another size,
# and does nothing. A cursor never goes back: of two that had nothing new, the slower comes last.
# A checkpoint vouches for what is committed: it must be on disk, whatever the server's default.
_APPEND = f"""
    WITH swapped AS (
      UPDATE head SET size = $1, frontier = $2 WHERE size = $3 AND frontier = $4
      RETURNING set_config('synchronous_commit', 'on', true)
    ), nodes AS (
      INSERT INTO node (level, index, hash)
      SELECT new.level, new.index, new.hash
      FROM unnest($5::smallint[], $6::bigint[], $7::bytea[]) AS new(level, index, hash)
      WHERE EXISTS (SELECT FROM swapped)
    ), cursors AS (
      INSERT INTO feed_cursor (source, seq)
      SELECT * FROM unnest($8::text[], $9::bigint[]) WHERE EXISTS (SELECT FROM swapped)
      ON CONFLICT (source) DO UPDATE SET seq = greatest(feed_cursor.seq, excluded.seq)
    ), entries AS (
      INSERT INTO entry ({", ".join(_COLUMNS)})
      SELECT * FROM unnest($10::new_entry[]) WHERE EXISTS (SELECT FROM swapped)
    )
    SELECT count(*) FROM swapped
"""  # noqa: S608 - of our own constants

# Before a COPY, until the swap after it: whoever else appends, in either way, waits here.
_HOLD_HEAD = "SELECT true FROM head WHERE size = $1 AND frontier = $2 FOR UPDATE"

# The new head, and the nodes just completed.
Extended = tuple[Frontier, dict[Node, bytes]]

# Of each entry of a batch where it stands; None if other content stands in its place.
Indexes = list[int | None]


@dataclass(frozen=True)
class Standing:
    """What a group must go on from: the head, each producer's cursor and highest number."""

    head: Frontier
    cursors: Mapping[str, int]
    last_seqs: Mapping[str, int]


@dataclass(frozen=True)
class _Plan:
    """What is to be done where the log stands so."""

    standing: Standing
    due: list[Batch | None]
    ends: dict[str, int]
    sifted: Sifted

    def answers(self) -> list[Indexes | None]:
        answers, at = list[Indexes | None](), 0
        for batch in self.due:
            after = at + len(batch.entries) if batch else at
            answers.append(self.sifted.indexes[at:after] if batch else None)
            at = after
        return answers

    def afterwards(self, head: Frontier) -> Standing:
        return Standing(head, {**self.standing.cursors, **self.ends}, self.sifted.last_seqs)


class Appender:
    """Takes in one group after the other; one per process."""

    def __init__(self) -> None:
        self._standing: Standing | None = None  # after our last group; None: to be asked for

    async def take_in(
        self,
        reading: AsyncSession,
        sessions: Sessions,
        batches: Sequence[Batch],
        *,
        size_signed: int,
    ) -> list[Indexes | None]:
        """Append what is new of `batches` and move their cursors; what is wrong becomes an alarm.

        reading       in AUTOCOMMIT: what needs no alarm is one statement, and so one transaction
        size_signed   size of the last checkpoint we know of
        Returns for each batch where its entries stand; None, with nothing done, when its cursor is
        not where it says. Raises LogRefused when the log is shorter than what is signed.
        """
        standing, self._standing = self._standing, None
        plan = _expected(standing, batches, size_signed)
        if plan is not None:
            with contextlib.suppress(IntegrityError):  # some of it is in the log: look there
                if head := await append(reading, plan.standing.head, plan.sifted.new, plan.ends):
                    self._standing = plan.afterwards(head)
                    return plan.answers()
        for _ in range(ATTEMPTS_MAX):
            plan = await _plan(reading, batches, size_signed)
            if plan.sifted.alarms:
                return await _take_in_with_alarms(sessions, batches, size_signed)
            if not (plan.sifted.new or plan.ends):
                return plan.answers()
            if head := await append(reading, plan.standing.head, plan.sifted.new, plan.ends):
                self._standing = plan.afterwards(head)
                return plan.answers()
        raise domain.LogContended


def _expected(
    standing: Standing | None, batches: Sequence[Batch], size_signed: int
) -> _Plan | None:
    """The plan of a group that goes on where our last one ended, without a look at the database.

    It holds if it can be carried out: the swap finds whether anybody has appended since, and unique
    indexes whatever the log has already, or the group has twice. Nothing else can have moved a
    cursor past these entries: it would have found them, or what stands in their place, in the log.
    None where more must be known: a cursor or a number is not the next.
    """
    if standing is None or standing.head.size < size_signed:
        return None
    due, ends = domain.due(batches, standing.cursors)
    entries = [entry for batch in due if batch for entry in batch.entries]
    last_seqs = domain.following(entries, standing.last_seqs)
    if None in due or not entries or last_seqs is None:
        return None
    indexes = range(standing.head.size, standing.head.size + len(entries))
    return _Plan(standing, due, ends, Sifted(entries, [], list(indexes), last_seqs))


async def _take_in_with_alarms(
    sessions: Sessions, batches: Sequence[Batch], size_signed: int
) -> list[Indexes | None]:
    async with sessions.begin() as session:
        # An alarm of which no entry comes would not be held off by the swap: another replica with
        # the same batch must wait, and then find its cursor moved.
        await session.execute(_LOCK_HEAD)
        plan = await _plan(session, batches, size_signed)
        if not await append(session, plan.standing.head, plan.sifted.new, plan.ends):
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
    keys = [entry.key for batch in batches for entry in batch.entries]
    # The head is read before, or with, all else: whatever is appended later makes the swap fail.
    row = (
        await session.execute(_STATE, {"producers": list(PRODUCERS), "keys": keys})
    ).one_or_none()
    if row is None:
        raise domain.LogRefused("The stored head of the log is missing.")
    before = _frontier(row)
    if before.size < size_signed:
        raise domain.LogRefused(f"The log has {before.size} entries, {size_signed} are signed.")
    cursors = dict(zip(PRODUCERS, row.cursors, strict=True))
    due, ends = domain.due(batches, cursors)
    entries = [entry for batch in due if batch for entry in batch.entries]
    last_seqs = dict(zip(PRODUCERS, row.last_seqs, strict=True))
    # No number above a producer's highest can be known.
    told = [entry for entry in entries if entry.seq <= last_seqs[entry.producer]]
    known = Known(before.size, {}, {}, last_seqs)
    if told or row.some_known:
        known = await _known(session, known, keys, told)
    standing = Standing(before, cursors, last_seqs)
    return _Plan(standing, due, ends, domain.sift(entries, known))


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
) -> Frontier | None:
    """Append, and move cursors to `ends`, in one transaction; the new head.

    session   in AUTOCOMMIT, or in a transaction in which something has been asked already
    None, with nothing done, when the head is not `before` any more.
    """
    async with driver_of(session) as driver:
        if len(entries) < COPY_MIN:
            extended = _extended(before, entries)
            records = list(_records(before, entries))
            swapped = await driver.fetchval(_APPEND, *_swap(before, extended, ends), records)
            return extended[0] if swapped else None
        async with driver.transaction():
            # The head first: from here on nobody else appends.
            if not await driver.fetchval(_HOLD_HEAD, before.size, before.to_bytes()):
                return None
            extended = await _copy(driver, before, entries)
            if not await driver.fetchval(_APPEND, *_swap(before, extended, ends), []):
                raise domain.LogContended  # undone: without its head nothing may stay
            return extended[0]


def _extended(before: Frontier, entries: Sequence[Entry]) -> Extended:
    return merkle.extend(before, [merkle.leaf_hash(entry.body) for entry in entries])


def _records(before: Frontier, entries: Sequence[Entry]) -> Iterator[tuple[Any, ...]]:
    return ((at, *entry) for at, entry in enumerate(entries, before.size))


def _swap(before: Frontier, extended: Extended, ends: Mapping[str, int] | None) -> tuple[Any, ...]:
    after, nodes = extended
    return (
        *(after.size, after.to_bytes(), before.size, before.to_bytes()),
        *([node.level for node in nodes], [node.index for node in nodes], list(nodes.values())),
        *(list(ends or ()), list((ends or {}).values())),
    )


async def _copy(driver: Any, before: Frontier, entries: Sequence[Entry]) -> Extended:
    """Send the entries, and hash them while PostgreSQL is busy with what it was sent."""
    loop = asyncio.get_running_loop()
    made: list[Extended] = []

    def records() -> Iterator[tuple[Any, ...]]:
        yield from _records(before, entries)
        # The driver sends the last of them and waits: then is the loop's next turn.
        loop.call_soon(lambda: made.append(_extended(before, entries)))

    await driver.copy_records_to_table("entry", records=records(), columns=_COLUMNS)
    return made[0] if made else _extended(before, entries)  # it failed there: tell the caller
