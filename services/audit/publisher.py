"""Checks the log against what was signed, and signs what is new.

The publisher goes on from its own last state, never from the database's word: the frontier under
the last checkpoint is rebuilt from stored rows and must have the signed root; new leaves are added
to it, and the result must be what the database's head says. So a tampered database can stop the
log, and cannot make it sign a second history. Before it signs anything it also asks the witnesses
what they cosigned last: they remember also what was restored away here, database, key and copy.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit import hashes, operations, rotation
from services.audit.contract import LogStarted
from services.audit.domain import EntriesMissing, LogRefused, contiguous
from services.audit.keys import KeyFiles, LogKeys
from services.audit.state import StateDirectory
from services.audit.witnesses import Witness, ask_all
from shared.db import STORAGE_ERRORS, Sessions, now, try_lock
from shared.events import emit
from shared.logs import begin_trace
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import HASH_BYTES, Frontier, extend
from shared.tlog.notes import MalformedNote, UntrustedNote, VerifierKey

log = logging.getLogger(__name__)

LEAVES_CHUNK = 65_536  # 2 MiB in memory, whatever was appended since
IDLE_S = 1.0  # other replicas' entries are seen at the latest after this
REFUSED_RETRY_S = 2.0
CHECKED_WAIT_S_MAX = 20.0  # below the statements' and the transaction's own timeouts

_LEAVES = text(
    "SELECT count(*) AS count, string_agg(leaf, ''::bytea ORDER BY index) AS leaves"
    " FROM entry WHERE index >= :lo AND index < :hi"
)
_INDEXES = text("SELECT index FROM entry WHERE index >= :lo AND index < :hi ORDER BY index")
# One statement, so that both are of one moment: others go on appending.
_EDGE = text("SELECT size, (SELECT max(index) FROM entry) AS index_max FROM head")
_PUBLISH = text(
    "INSERT INTO checkpoint (size, root, note, at) VALUES (:size, :root, :note, :at)"
    " ON CONFLICT (size) DO NOTHING"
)
_PUBLISHED = text("SELECT root FROM checkpoint WHERE size = :size")
_ANY_PUBLISHED = text("SELECT EXISTS (SELECT FROM checkpoint)")
_SIZE_PUBLISHED = text("SELECT max(size) FROM checkpoint")


class Publisher:
    """One per process; of several replicas, the one holding the advisory lock signs.

    interval_s    shortest time between two checkpoints
    witnesses     who is asked at the start, and whenever one of them doubts us
    trusted_keys  keys of this log by its policy: one that a restored state directory has not yet
    """

    def __init__(
        self,
        state: StateDirectory,
        keys: KeyFiles,
        interval_s: float,
        witnesses: Sequence[Witness] = (),
        trusted_keys: Sequence[VerifierKey] = (),
    ) -> None:
        self._state = state
        self._keys = keys
        self._interval_s = interval_s
        self._witnesses = witnesses
        self._trusted_keys = trusted_keys
        self._to_ask = True  # the witnesses: they may know more of this log than we do
        self._seen: dict[str, str] = {}  # what each cosigned last, until found to be ours
        self._frontier: Frontier | None = None  # under the last checkpoint; None: check all
        self._published_size = -1
        self._refusal: str | None = "the log has not been checked yet"
        self._checked = asyncio.Event()
        self._appended = asyncio.Event()
        self._news = asyncio.Event()
        self._started = False

    # ------------------------------------------------------------ what others ask

    @property
    def refuses(self) -> bool:
        return self._refusal is not None

    @property
    def origin(self) -> str:
        return self._keys.origin

    def compare_with(self, witness: str, note: str) -> None:
        """Compare, in the next turn, with what a witness says it cosigned last."""
        self._seen[witness] = note
        self._appended.set()

    def not_ready(self) -> str | None:
        return None if self._refusal is None else f"log: {self._refusal}"

    async def may_write(self) -> int:
        """Wait for the first check; return the size signed. Raises LogRefused."""
        if not self._checked.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECKED_WAIT_S_MAX):
                    await self._checked.wait()
        if self._refusal is not None:
            raise LogRefused(self._refusal)
        return 0 if self._frontier is None else self._frontier.size

    def appended(self) -> None:
        """Say that entries have been committed."""
        self._appended.set()

    async def news(self, timeout_s: float) -> None:
        """Wait until something was published here, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()

    def vkey(self) -> str:
        """The log's public keys, newest first. Blocks; raises LogRefused before there is one."""
        return self._keys.text()

    # ------------------------------------------------------------ the task

    async def run(self, app: FastAPI) -> None:
        while True:
            begin_trace()
            try:
                published = await self._tick(app.state.sessions)
            except (LogRefused, EntriesMissing) as error:
                self._refuse(error.detail)
                await asyncio.sleep(REFUSED_RETRY_S)
                continue
            except STORAGE_ERRORS as error:
                # The database or the state directory cannot be reached: nothing may be appended
                # that could not be signed.
                self._refuse(f"not checked, {type(error).__name__}")
                await asyncio.sleep(REFUSED_RETRY_S)
                continue
            if published:
                self._news.set()
                self._news = asyncio.Event()
                await asyncio.sleep(self._interval_s)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_S):
                        await self._appended.wait()

    def _refuse(self, reason: str) -> None:
        if reason != self._refusal:
            log.error("log refused", extra={"reason": reason})
        self._refusal = reason
        self._checked.set()

    async def _tick(self, sessions: Sessions) -> bool:
        """One turn; True when a checkpoint was published. Raises LogRefused, EntriesMissing."""
        self._appended.clear()
        if self._to_ask:
            # Before the transaction: nobody waits for a witness with a lock in his hands.
            self._seen |= await self._ask_witnesses()
            self._to_ask = False
        try:
            async with sessions.begin() as session:
                if not await try_lock(session, "checkpoint"):
                    return False
                published = await self._step(session)
        except BaseException:
            # What was not committed must not be believed: the next turn checks everything again.
            self._frontier, self._published_size, self._to_ask = None, -1, True
            raise
        self._refusal, self._started = None, True
        self._checked.set()
        return published

    async def _ask_witnesses(self) -> dict[str, str]:
        notes, failures = await ask_all(self._witnesses, self._keys.origin)
        for name, reason in failures:
            log.warning("not compared with a witness", extra={"witness": name, "reason": reason})
        return dict(notes)

    async def _step(self, session: AsyncSession) -> bool:
        head = await operations.head(session)
        signed_before = self._started or bool(await session.scalar(_ANY_PUBLISHED))
        keys = await asyncio.to_thread(self._keys.load, may_create=not signed_before)
        copy = await asyncio.to_thread(self._state.signed, keys)
        last, note = copy or (None, None)
        if self._frontier is None or last is None or self._frontier.size != last.size:
            self._frontier = await self._check(session, head, last)
        await self._compare(session, keys, self._frontier.size)
        # Each turn: somebody may have taken it away while we run.
        await self._complete_leaves(session, self._frontier.size, note)
        # Committed before anything newer is signed: were both in one transaction that fails, the
        # next turn would know of the newer one only, and the database would lack this for ever.
        published = copy is not None and self._published_size != copy[0].size
        if copy is not None and published:
            await asyncio.to_thread(self._state.remember, copy[1])
            await self._publish(session, *copy)
        told = False
        if copy is not None:
            keys, told = await rotation.carry_out(session, self._keys, keys, copy[0].size, copy[1])
        if last is None or head.size > last.size:
            # What was told of a key is committed before the key is used: were both in one
            # transaction that fails, it would be in use and never told of.
            if not published and not told:
                published = await self._sign(session, keys, self._frontier, head, note)
        elif head.size < last.size:
            raise LogRefused(
                f"The log has {head.size} entries where {last.size} have been signed: its tail is "
                "missing. Restore the newest backup; never let a shorter log grow again."
            )
        elif head != self._frontier:
            raise LogRefused("The stored head is not that of the signed entries.")
        if not self._started:
            await self._say_started(session, keys, head.size)
        return published

    async def _compare(self, session: AsyncSession, keys: LogKeys, size_signed: int) -> None:
        """With what witnesses cosigned last. Raises LogRefused.

        Only what this log itself signed counts: a witness's word alone stops nobody. What refutes
        us is kept beside the copy, for other processes and for when no witness answers, until this
        log has that very checkpoint.
        """
        kept = await asyncio.to_thread(self._state.refuted)
        if kept is not None:
            try:
                await self._compare_one(session, keys, size_signed, *kept)
            except (MalformedNote, UntrustedNote) as error:
                raise LogRefused(
                    f"AUDIT_STATE_DIR/refuted, a checkpoint of ours that the witness {kept[0]} "
                    f"showed, cannot be read any more: {error}"
                ) from error
            log.warning("this log is what it signed again", extra={"witness": kept[0]})
            await asyncio.to_thread(self._state.forget_refuted)
        for name, note in list(self._seen.items()):
            try:
                await self._compare_one(session, keys, size_signed, name, note)
            except LogRefused:
                await asyncio.to_thread(self._state.keep_refuted, name, note)
                raise
            except (MalformedNote, UntrustedNote) as error:
                reason = f"its checkpoint is not ours: {error}"
                log.warning(
                    "not compared with a witness", extra={"witness": name, "reason": reason}
                )
            if self._seen.get(name) == note:  # else it said something newer meanwhile
                del self._seen[name]

    async def _compare_one(
        self, session: AsyncSession, keys: LogKeys, size_signed: int, name: str, note: str
    ) -> None:
        """Raises LogRefused; MalformedNote or UntrustedNote when the note is not ours."""
        theirs = keys.open(note, self._trusted_keys)
        if theirs.size > size_signed:
            raise LogRefused(
                f"The witness {name} has cosigned {theirs.size} entries of this log, which ends"
                f" at {size_signed} here: database and state directory are from a backup. "
                "Restore their newest state."
            )
        if (await hashes.frontier_at(session, theirs.size)).root != theirs.root:
            raise LogRefused(
                f"The witness {name} has cosigned another history: the first {theirs.size} "
                "entries are not those it saw."
            )

    async def _check(
        self, session: AsyncSession, head: Frontier, last: Checkpoint | None
    ) -> Frontier:
        """The frontier under the last checkpoint, found right. Raises LogRefused."""
        if last is None:
            if await session.scalar(_ANY_PUBLISHED):
                raise LogRefused(
                    "The log has been signed, but AUDIT_STATE_DIR holds no checkpoint: restore "
                    "that directory."
                )
            last_frontier = Frontier()
        elif head.size < last.size:
            raise LogRefused(
                f"The log has {head.size} entries where {last.size} have been signed: its tail is "
                "missing. Restore the newest backup; never let a shorter log grow again."
            )
        else:
            # What is signed is on disk before it is published, so the copy is never behind.
            published = await session.scalar(_SIZE_PUBLISHED)
            if published is not None and published > last.size:
                raise LogRefused(
                    f"A checkpoint of size {published} is published; AUDIT_STATE_DIR, from a backup"
                    f", ends at {last.size}. Restore its newest state."
                )
            last_frontier = await hashes.frontier_at(session, last.size)
            if last_frontier.root != last.root:
                raise LogRefused(
                    f"The first {last.size} entries are not those that were signed: verify."
                )
        # The right edge: the head must be what the stored rows add up to, with none beyond.
        size, index_max = (await session.execute(_EDGE)).one()
        if (-1 if index_max is None else index_max) != size - 1:
            raise LogRefused(f"The head says {size} entries; the last index is {index_max}.")
        if await hashes.frontier_at(session, head.size) != head:
            raise LogRefused("The stored head is not that of the stored entries.")
        return last_frontier

    async def _complete_leaves(self, session: AsyncSession, size: int, note: str | None) -> None:
        held = await asyncio.to_thread(self._state.leaves_held)
        if held < size:
            log.warning("leaf hashes are written again", extra={"first": held, "size": size})
            async for first, leaves in self._leaves(session, held, size):
                await asyncio.to_thread(self._state.keep_leaves, first, leaves, after=note)

    async def _leaves(
        self, session: AsyncSession, lo: int, hi: int
    ) -> AsyncIterator[tuple[int, list[bytes]]]:
        for first in range(lo, hi, LEAVES_CHUNK):
            until = min(first + LEAVES_CHUNK, hi)
            bounds = {"lo": first, "hi": until}
            row = (await session.execute(_LEAVES, bounds)).one()
            if row[0] != until - first:
                indexes = list(await session.scalars(_INDEXES, bounds))
                gap = contiguous(indexes, first)
                raise EntriesMissing(first + len(indexes) if gap is None else gap)
            steps = range(0, len(row.leaves), HASH_BYTES)
            yield first, [row.leaves[at : at + HASH_BYTES] for at in steps]

    async def _sign(
        self,
        session: AsyncSession,
        keys: LogKeys,
        frontier: Frontier,
        head: Frontier,
        last: str | None,
    ) -> bool:
        """Sign what follows the checkpoint in the note `last`. Raises LogRefused."""
        async for first, leaves in self._leaves(session, frontier.size, head.size):
            frontier, _ = extend(frontier, leaves)
            await asyncio.to_thread(self._state.keep_leaves, first, leaves, after=last)
        if frontier != head:
            raise LogRefused("The stored head is not that of the stored entries.")
        checkpoint = Checkpoint(keys.name, frontier.size, frontier.root)
        # SPEC: tlog-checkpoint: "A log MUST not sign any checkpoint inconsistent with any it
        # previously signed": `frontier` was extended from the last one, by appending only.
        note = keys.sign(str(checkpoint), int(now().timestamp()))
        await asyncio.to_thread(self._state.keep_checkpoint, note, frontier.size, after=last)
        self._frontier = frontier
        return await self._publish(session, checkpoint, note)

    async def _publish(self, session: AsyncSession, checkpoint: Checkpoint, note: str) -> bool:
        values = {"size": checkpoint.size, "root": checkpoint.root, "note": note, "at": now()}
        await session.execute(_PUBLISH, values)
        if await session.scalar(_PUBLISHED, {"size": checkpoint.size}) != checkpoint.root:
            raise LogRefused(f"Another checkpoint of size {checkpoint.size} is published.")
        self._published_size = checkpoint.size
        return True

    async def _say_started(self, session: AsyncSession, keys: LogKeys, size: int) -> None:
        await emit(
            session,
            LogStarted(origin=keys.name, key_id=keys.current.key_id.hex(), size=size),
            subject=f"log/{keys.name}",
            actor="audit",
            role="service",
        )
