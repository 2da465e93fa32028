"""Fetches what proves approvals once the log's checkpoint has its quorum, and keeps it.

The log makes receipts; matching only carries them, having looked that each proves its approval, so
that whoever reads an allocation can check it without asking anybody. A row waits (`receipt IS
NULL`) from the moment the approval's place in the log is known. Every process does this: a receipt
fetched twice is kept once.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from uuid import UUID

from fastapi import FastAPI
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Row, bindparam, select, update

from services.audit.contract import ReceiptRead, ReceiptsRead
from services.matching.tables import AllocationReceipt
from shared.client import Client, RemoteFailure, RemoteUnavailable
from shared.db import Sessions
from shared.logs import begin_trace
from shared.tlog.checkpoints import Checkpoint, Receipt
from shared.tlog.merkle import leaf_hash, verify_inclusion

log = logging.getLogger(__name__)

BATCH_SIZE = 100  # what the log answers at once
POLL_S = 1.0
# The log may be down, or without its quorum: nothing waits for a receipt but its readers.
RETRY_S = 5.0
TIMEOUT_S = 30.0
_receipts = TypeAdapter(ReceiptsRead)


class Fetch:
    """The task of one process; `audit` is a client of the log."""

    def __init__(self, audit: Client) -> None:
        self._audit = audit
        # Who was asked for last. All that wait are gone through in turn, so that those who never
        # get a receipt hold up nobody.
        self._last: UUID | None = None

    async def run(self, app: FastAPI) -> None:
        while True:
            begin_trace()
            try:
                kept = await self.some(app.state.sessions)
                pause_s = 0.0 if kept == BATCH_SIZE else POLL_S
            except RemoteFailure as error:
                log.warning("receipts not fetched", extra={"error": str(error)})
                pause_s = RETRY_S
            await asyncio.sleep(pause_s)

    async def some(self, sessions: Sessions) -> int:
        """One batch, the oldest first; return how many are kept. Raises RemoteFailure."""
        waiting = await _waiting(sessions, self._last)
        self._last = waiting[-1].allocation_id if len(waiting) == BATCH_SIZE else None
        if not waiting:
            return 0
        # No transaction is open meanwhile.
        params = {"event_id": [str(row.event_id) for row in waiting]}
        answer = await self._audit.get("/v1/receipts", params=params, timeout_s=TIMEOUT_S)
        found = [each for each in _read(answer.content) if _is_proved(each)]
        if found:
            async with sessions.begin() as session:
                connection = await session.connection()
                await connection.execute(_KEEP, [_row(each) for each in found])
        return len(found)


async def _waiting(sessions: Sessions, after: UUID | None) -> Sequence[Row[UUID, UUID]]:
    statement = (
        select(AllocationReceipt.allocation_id, AllocationReceipt.event_id)
        .where(AllocationReceipt.receipt.is_(None))
        .order_by(AllocationReceipt.allocation_id)
        .limit(BATCH_SIZE)
    )
    if after is not None:
        statement = statement.where(AllocationReceipt.allocation_id > after)
    async with sessions() as session:
        return (await session.execute(statement)).all()


def _is_proved(found: ReceiptRead) -> bool:
    """Whether the receipt leads from this entry, of this event, to the root of its checkpoint.

    What is kept is never fetched again, so what proves nothing must not be kept. Who signed the
    checkpoint is for its readers to judge: they have the keys they trust.
    """
    try:
        receipt = Receipt.parse(found.receipt)
        checkpoint = Checkpoint.parse(receipt.checkpoint_note)
        leaf = leaf_hash(found.entry.encode())
        verify_inclusion(receipt.index, checkpoint.size, leaf, receipt.hashes, checkpoint.root)
        event = json.loads(found.entry.partition("\n")[2])
        proved = UUID(str(event["id"])) == found.event_id
    except (ValueError, TypeError, KeyError, RecursionError):
        proved = False
    if not proved:
        log.error("a receipt proves nothing", extra={"event_id": str(found.event_id)})
    return proved


_KEEP = (
    update(AllocationReceipt)
    .where(
        AllocationReceipt.event_id == bindparam("of"),
        AllocationReceipt.receipt.is_(None),
    )
    .values(entry=bindparam("told"), receipt=bindparam("proof"))
)


def _row(found: ReceiptRead) -> dict[str, object]:
    return {"of": found.event_id, "told": found.entry, "proof": found.receipt}


def _read(content: bytes) -> list[ReceiptRead]:
    try:
        return _receipts.validate_json(content).data
    except ValidationError as error:
        raise RemoteUnavailable("audit: the answer is not of its contract") from error
