"""Opens what the witness remembers, and says whether it may cosign.

At the start the keys are read or made, and for each log the database is brought forward to the copy
outside it, or the copy to the database: of the two whichever is behind was restored from a backup,
or was not reached before a crash.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from fastapi import FastAPI
from sqlalchemy import text

from services.witness import domain, operations
from services.witness.domain import ClockBehind, Logs, WitnessRefused
from services.witness.state import StateDirectory
from shared.db import STORAGE_ERRORS, Sessions, now
from shared.logs import begin_trace
from shared.tlog.notes import Cosigner

log = logging.getLogger(__name__)

RETRY_S = 2.0

_ANYTHING = text("SELECT EXISTS (SELECT FROM cosigned)")


class Keeper:
    """One per process; several may share a database and a state directory."""

    def __init__(self, state: StateDirectory, logs: Logs) -> None:
        self.state = state
        self.logs = logs
        self._cosigners: Sequence[Cosigner] = ()
        self._refusal: str | None = "the witness has not been opened yet"

    def not_ready(self) -> str | None:
        refusal = self._refusal
        try:
            domain.check_clock(self.state.latest_at, int(now().timestamp()))
        except ClockBehind as error:
            refusal = refusal or error.detail
        return None if refusal is None else f"witness: {refusal}"

    def cosigners(self) -> Sequence[Cosigner]:
        """Our keys, Ed25519 first. Raises WitnessRefused while we must not cosign."""
        if self._refusal is not None:
            raise WitnessRefused(self._refusal)
        return self._cosigners

    async def run(self, app: FastAPI) -> None:
        while self._refusal is not None:
            begin_trace()
            try:
                await self._open(app.state.sessions)
                self._refusal = None
            except WitnessRefused as error:
                self._refuse(error.detail)
                await asyncio.sleep(RETRY_S)
            except STORAGE_ERRORS as error:
                self._refuse(f"not opened, {type(error).__name__}")
                await asyncio.sleep(RETRY_S)
        await app.state.stopping.wait()

    def _refuse(self, reason: str) -> None:
        if reason != self._refusal:
            log.error("witness refused", extra={"reason": reason})
        self._refusal = reason

    async def _open(self, sessions: Sessions) -> None:
        async with sessions.begin() as session:
            anything = await session.scalar(_ANYTHING) or await asyncio.to_thread(
                lambda: self.state.has_cosigned
            )
            self._cosigners = await asyncio.to_thread(
                partial(self.state.cosigners, may_create=not anything)
            )
        for origin in self.logs:
            async with sessions.begin() as session:
                last = await operations.lock_last(session, self.state, origin)
                if last is not None:
                    await operations.keep(session, self.state, last)
