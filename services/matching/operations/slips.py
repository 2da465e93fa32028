"""Paper slips with a one-time code, by which a household confirms that help arrived."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.matching import contract, domain
from services.matching.domain import Actor
from services.matching.operations.allocations import Desk, case_of, lock
from shared.callers import Caller
from shared.errors import ServiceError

# Crockford's base 32 without I, L, O and U: nothing that reads as something else.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


async def issue(
    session: AsyncSession,
    caller: Caller,
    allocation_ids: Sequence[UUID],
    at: datetime,
    slip_key: bytes,
) -> list[str | ServiceError]:
    """Print a slip for each allocation: its code, which is kept nowhere, or why not.

    Answers are not remembered by an Idempotency-Key, because that would keep the codes. A slip
    whose answer was lost is printed again.
    """
    actor = Actor(caller.subject, caller.scopes, caller.division, caller.org)
    rows = await lock(session, allocation_ids)
    desk = Desk(at, caller.subject, caller.role)
    outcomes: list[str | ServiceError] = []
    for allocation_id in allocation_ids:
        allocation = rows.get(allocation_id)
        try:
            if allocation is None:
                raise domain.AllocationNotFound("There is no such allocation.")
            domain.check_issuer(actor, case_of(allocation, None))
        except ServiceError as refused:
            outcomes.append(refused)
            continue
        code = _new_code()
        allocation.slip_hash = domain.slip_hash(slip_key, allocation.id, code)
        allocation.slip_issued_by = sorted({*allocation.slip_issued_by, caller.subject})
        allocation.slip_attempts = 0
        desk.tell(allocation, contract.SlipIssued)
        outcomes.append(code)
    await desk.record(session)
    return outcomes


def _new_code() -> str:
    # 40 bits, and at most a handful of attempts.
    letters = "".join(secrets.choice(ALPHABET) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"
