"""Fetches what proves approvals once the log's checkpoint has its quorum, and keeps it.

The log makes receipts; matching only carries them, so that whoever reads an allocation can check it
without asking anybody. A row waits (`receipt IS NULL`) from the moment the approval's place in the
log is known. Every process does this: a receipt fetched twice is kept once.
"""

import asyncio
import logging

from fastapi import FastAPI
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import bindparam, select, update

from services.audit.contract import ReceiptRead, ReceiptsRead
from services.matching.tables import AllocationReceipt
from shared.client import Client, RemoteFailure, RemoteUnavailable
from shared.db import Sessions
from shared.logs import begin_trace

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

    async def run(self, app: FastAPI) -> None:
        while True:
            begin_trace()
            try:
                kept = await fetch(app.state.sessions, self._audit)
                pause_s = 0.0 if kept == BATCH_SIZE else POLL_S
            except RemoteFailure as error:
                log.warning("receipts not fetched", extra={"error": str(error)})
                pause_s = RETRY_S
            await asyncio.sleep(pause_s)


async def fetch(sessions: Sessions, audit: Client) -> int:
    """One batch, the oldest first; return how many are kept. Raises RemoteFailure."""
    async with sessions() as session:
        waiting = await session.scalars(
            select(AllocationReceipt.event_id)
            .where(AllocationReceipt.receipt.is_(None))
            .order_by(AllocationReceipt.allocation_id)
            .limit(BATCH_SIZE)
        )
        event_ids = waiting.all()
    if not event_ids:
        return 0
    # No transaction is open meanwhile.
    params = {"event_id": [str(each) for each in event_ids]}
    answer = await audit.get("/v1/receipts", params=params, timeout_s=TIMEOUT_S)
    found = _read(answer.content)
    if found:
        async with sessions.begin() as session:
            connection = await session.connection()
            await connection.execute(_KEEP, [_row(each) for each in found])
    return len(found)


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
