"""Gets checkpoints cosigned by the witnesses of the policy, and raises the alarm when it cannot.

All are asked about the same checkpoint, the target, so that their cosignatures meet. The target
moves to the newest checkpoint when there is a quorum for it, or nobody is left who might still
answer; so a slow witness skips checkpoints, and one that fails holds up nobody. One process at a
time asks: it holds a lease, which another takes when it runs out. No transaction is open while a
witness is waited for.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit import hashes
from services.audit.contract import AlarmRaised, QuorumMet
from services.audit.domain import EntriesMissing
from services.audit.publisher import Publisher
from services.audit.witnesses import Witness, WitnessAt, WitnessFailure, WitnessRefused
from shared.db import STORAGE_ERRORS, Sessions, now
from shared.events import Event, emit
from shared.logs import begin_trace
from shared.tlog.merkle import consistency_ranges
from shared.tlog.notes import Signature, VerifierKey
from shared.tlog.policies import Policy

log = logging.getLogger(__name__)

POLL_S = 0.5  # a checkpoint signed by another process is seen at the latest after this
POLL_ALONE_S = 5.0  # with no witness at all: only an alarm from before may have to end
LEASE_S = 5.0
RETRY_S_MIN = 0.5
RETRY_S_MAX = 10.0
RELEARN_MAX = 3  # how often a witness may say that it is elsewhere, for one checkpoint
RECOUNT_MAX = 1_000  # checkpoints whose cosignatures are counted again under a changed policy

_LEASE = text(
    "UPDATE witnessing SET holder = :me, until = now() + make_interval(secs => :lease)"
    " WHERE holder = :me OR until IS NULL OR until < now() RETURNING true"
)
# `since`: when the first checkpoint was signed that waits for its quorum. The empty tree is not
# cosigned: it vouches for nothing.
_RELEASE = text("UPDATE witnessing SET holder = NULL, until = NULL WHERE holder = :me")
_STANDS = text(
    """
    WITH met AS (SELECT coalesce(max(size), 0) AS size FROM quorum WHERE policy = :policy)
    SELECT c.size, c.note, c.at, met.size AS met, w.missing_since,
           (SELECT at FROM checkpoint WHERE size > met.size ORDER BY size LIMIT 1) AS since
    FROM checkpoint c, met, witnessing w WHERE c.size > 0 ORDER BY c.size DESC LIMIT 1
    """
)
_KEEP = text(
    "INSERT INTO cosignature (name, key_id, size, line, at)"
    " VALUES (:name, :key_id, :size, :line, :at) ON CONFLICT DO NOTHING"
)
_HELD = text("SELECT max(size) FROM cosignature WHERE name = :name AND key_id = :key_id")
_COUNTED = text("SELECT name, key_id, at FROM cosignature WHERE size = :size")
_TO_RECOUNT = text(
    "SELECT DISTINCT size FROM cosignature"
    " WHERE size > (SELECT coalesce(max(size), 0) FROM quorum WHERE policy = :policy)"
    " ORDER BY size DESC LIMIT :most"
)
_MET = text(
    "INSERT INTO quorum (size, policy, at) VALUES (:size, :policy, :at) ON CONFLICT DO NOTHING"
)
_NEWEST = text("SELECT max(size) FROM checkpoint")
_ALARM = text(
    "UPDATE witnessing SET missing_since = :since"
    " WHERE (missing_since IS NULL) = (CAST(:since AS timestamptz) IS NOT NULL) RETURNING true"
)


@dataclass(frozen=True)
class Target:
    """The checkpoint that all witnesses are asked about."""

    size: int
    note: str


@dataclass
class Asked:
    """How far we are with one witness.

    at     size it cosigned last, as far as we know; None: the database knows
    done   size of the last target that needs no more asking
    fails  why the last attempt failed; None: it did not
    """

    witness: Witness
    at: int | None = None
    done: int = 0
    fails: str | None = None


class Cosigning:
    """One per process; `alarm_s`: how long the oldest checkpoint without a quorum may wait."""

    def __init__(
        self,
        publisher: Publisher,
        policy: Policy,
        witnesses: Sequence[Witness],
        alarm_s: float,
    ) -> None:
        self._publisher = publisher
        self._policy = policy
        self._policy_id = policy.identity
        self._asked = [Asked(witness) for witness in witnesses]
        self._names = {party.key: name for name, party in policy.witnesses.items()}
        self._alarm = timedelta(seconds=alarm_s)
        self._me = uuid4()
        self._asks_since = now()
        self._leads_until = -math.inf  # of time.monotonic(): half a lease ahead
        self._target: Target | None = None
        self._to_count: set[int] = set()
        self._proving = asyncio.Lock()
        self._proved: tuple[tuple[int, int], list[bytes]] = (0, 0), []  # the last proof, of what
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()

    async def run(self, app: FastAPI) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._hear())
                group.create_task(self._lead(app.state.sessions))
                for asked in self._asked:
                    group.create_task(self._follow(app.state.sessions, asked))
        finally:
            self._leads_until = -math.inf
            # The next process need not wait for the lease to run out; if this fails, it does.
            with contextlib.suppress(*STORAGE_ERRORS):
                async with app.state.sessions.begin() as session:
                    await session.execute(_RELEASE, {"me": self._me})

    async def _hear(self) -> None:
        while True:
            if self._names:
                await self._publisher.news(POLL_S)
            else:
                await asyncio.sleep(POLL_ALONE_S)
            self._wake.set()

    # ------------------------------------------------------------ which checkpoint, and the alarm

    async def _lead(self, sessions: Sessions) -> None:
        while True:
            begin_trace()
            self._wake.clear()
            due: set[int] = set()
            try:
                if self._publisher.refuses or not await self._has_lease(sessions):
                    self._aim(None)
                else:
                    # What is cosigned during the turn is counted in the next.
                    due, self._to_count = self._to_count, due
                    async with sessions.begin() as session:
                        await self._turn(session, due)
            except STORAGE_ERRORS as error:
                self._to_count |= due
                log.warning("witnesses not asked", extra={"error": type(error).__name__})
                self._aim(None)
                await asyncio.sleep(RETRY_S_MIN)
            await self._wake.wait()

    async def _has_lease(self, sessions: Sessions) -> bool:
        moment = time.monotonic()
        if moment < self._leads_until:
            return True
        async with sessions.begin() as session:
            mine = await session.scalar(_LEASE, {"me": self._me, "lease": LEASE_S})
            # Taken anew, also from ourselves: it ran out while we could not ask.
            if mine and moment - self._leads_until > LEASE_S:
                self._asks_since = now()
                # Another may have asked them before us, perhaps under another policy.
                for asked in self._asked:
                    asked.at = None
                wanted = {"policy": self._policy_id, "most": RECOUNT_MAX}
                self._to_count |= set(await session.scalars(_TO_RECOUNT, wanted))
        self._leads_until = moment + LEASE_S / 2 if mine else -math.inf
        return bool(mine)

    async def _turn(self, session: AsyncSession, due: set[int]) -> None:
        for size in sorted(due):
            await self._count(session, size)
        row = (await session.execute(_STANDS, {"policy": self._policy_id})).one_or_none()
        if row is None:
            return
        wanted = not self._policy.is_met(())
        met = row.met if wanted else row.size
        await self._watch(session, row, row.since if wanted else None)
        target = self._target
        if target is None or met >= target.size or not self._pending(target):
            self._aim(Target(row.size, row.note))

    async def _count(self, session: AsyncSession, size: int) -> None:
        times = await self._times(session, size)
        at = self._policy.met_at({key: int(when.timestamp()) for key, when in times.items()})
        if at is not None:
            moment = datetime.fromtimestamp(at, tz=UTC)
            await session.execute(_MET, {"size": size, "policy": self._policy_id, "at": moment})

    async def _times(self, session: AsyncSession, size: int) -> dict[VerifierKey, datetime]:
        """When which witness of the policy cosigned the checkpoint of this size."""
        known = {(key.name, key.key_id): key for key in self._names}
        rows = await session.execute(_COUNTED, {"size": size})
        return {
            known[row.name, row.key_id]: row.at for row in rows if (row.name, row.key_id) in known
        }

    async def _watch(self, session: AsyncSession, row: Row[Any], since: datetime | None) -> None:
        """Raise the alarm, or end it: once each."""
        waits = since is not None and now() - since >= self._alarm
        # While nobody asked them, the witnesses cannot have answered.
        raised = waits and now() - self._asks_since >= self._alarm
        if (row.missing_since is None and not raised) or (row.missing_since is not None and waits):
            return
        # Another may believe that it leads: of two, who comes second finds it done.
        if not await session.scalar(_ALARM, {"since": since if raised else None}):
            return
        event: Event
        if raised:
            there = await self._times(session, self._target.size if self._target else row.size)
            lacking = sorted(name for key, name in self._names.items() if key not in there)
            event = AlarmRaised(
                alarm="quorum_missing", size=row.size, since=since, witnesses=lacking
            )
            reasons = {asked.witness.name: asked.fails for asked in self._asked}
            log.error("quorum missing", extra={"size": row.size, "witnesses": reasons})
        else:
            size = row.met if since is not None or row.met else row.size
            there = await self._times(session, size)
            event = QuorumMet(size=size, witnesses=sorted(self._names[key] for key in there))
        await emit(session, event, subject="quorum", actor="audit", role="service")

    def _pending(self, target: Target) -> bool:
        return any(asked.fails is None and asked.done < target.size for asked in self._asked)

    def _aim(self, target: Target | None) -> None:
        if target != self._target:
            self._target = target
            self._moved.set()
            self._moved = asyncio.Event()

    # ------------------------------------------------------------ one witness

    async def _follow(self, sessions: Sessions, asked: Asked) -> None:
        pause_s = RETRY_S_MIN
        while True:
            target = self._target
            if target is None or asked.done >= target.size:
                await self._moved.wait()
                continue
            begin_trace()
            fails = None
            try:
                await self._ask(sessions, asked, target)
                asked.done = target.size
            except (WitnessFailure, EntriesMissing) as error:
                fails = str(error)
            except STORAGE_ERRORS as error:
                fails = type(error).__name__
            if fails != asked.fails:
                extra = {"witness": asked.witness.name, "reason": fails}
                log.warning("witness failed" if fails else "witness cosigns again", extra=extra)
            asked.fails = fails
            self._wake.set()
            if fails is None:
                pause_s = RETRY_S_MIN
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_S_MAX)

    async def _ask(self, sessions: Sessions, asked: Asked, target: Target) -> None:
        """Get the target cosigned, and keep it; nothing is done when the witness is further."""
        for _ in range(RELEARN_MAX):
            old = await self._old_size(sessions, asked)
            if old > target.size:
                return
            proof = await self._proof(sessions, old, target.size)
            try:
                signature = await asked.witness.add(
                    old, proof, target.note, now_s=now().timestamp()
                )
            except WitnessAt as other:
                await self._learn(sessions, asked, other.size)
                continue
            except WitnessRefused:
                await self._compare(asked)
                raise
            await self._keep(sessions, target, signature)
            asked.at = target.size
            return
        raise WitnessFailure("it says each time that it is at another size")

    async def _proof(self, sessions: Sessions, old: int, size: int) -> list[bytes]:
        """The consistency proof: mostly all witnesses need the same one, at the same time."""
        if not 0 < old < size:
            return []
        async with self._proving:
            if self._proved[0] != (old, size):
                async with sessions.begin() as session:
                    proof = await hashes.roots(session, consistency_ranges(old, size))
                self._proved = (old, size), proof
            return self._proved[1]

    async def _compare(self, asked: Asked) -> None:
        """It lies, or it knows more of this log than we do: what it can show decides."""
        note = await asked.witness.last(self._publisher.origin)
        if note is not None:
            self._publisher.compare_with(asked.witness.name, note)

    async def _old_size(self, sessions: Sessions, asked: Asked) -> int:
        if asked.at is None:
            key = asked.witness.key
            async with sessions.begin() as session:
                held = await session.scalar(_HELD, {"name": key.name, "key_id": key.key_id})
            asked.at = int(held or 0)
        return asked.at

    async def _learn(self, sessions: Sessions, asked: Asked, size: int) -> None:
        """The witness says it cosigned `size` last: our question was done though it failed."""
        async with sessions.begin() as session:
            newest = await session.scalar(_NEWEST) or 0
        if size > newest:
            await self._compare(asked)
            raise WitnessFailure(f"it says it cosigned {size} entries where {newest} are signed")
        asked.at = size

    async def _keep(self, sessions: Sessions, target: Target, signature: Signature) -> None:
        key = signature.key
        moment = datetime.fromtimestamp(signature.at or 0, tz=UTC)
        async with sessions.begin() as session:
            await session.execute(
                _KEEP,
                {
                    "name": key.name,
                    "key_id": key.key_id,
                    "size": target.size,
                    "line": signature.line,
                    "at": moment,
                },
            )
        self._to_count.add(target.size)
