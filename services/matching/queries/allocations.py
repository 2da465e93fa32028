"""Allocations by state, place and party."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching import contract, domain
from services.matching.index import code_range
from services.matching.tables import Allocation, AllocationReceipt
from shared.paging import decode_cursor


@dataclass(frozen=True)
class AllocationFilter:
    """None is no restriction; within is a division and all it covers."""

    state: str | None = None
    round_id: UUID | None = None
    organization_id: UUID | None = None
    need_id: UUID | None = None
    line_id: UUID | None = None
    within: str | None = None
    logged: bool | None = None


async def list_allocations(
    session: AsyncSession, wanted: AllocationFilter, limit: int, cursor: str | None
) -> Sequence[Allocation]:
    """Oldest first, limit + 1 rows."""
    query: Select[Any] = select(Allocation).order_by(Allocation.id).limit(limit + 1)
    for name in ("state", "round_id", "organization_id", "need_id", "line_id"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(getattr(Allocation, name) == value)
    if wanted.within is not None:
        low, high = code_range(wanted.within)
        query = query.where(Allocation.division_code >= f"{low:012}")
        if high < 10**12:  # the root's range ends where no twelve-digit code is
            query = query.where(Allocation.division_code < f"{high:012}")
    if wanted.logged is not None:
        query = query.where(Allocation.approval_log_index.is_not(None) == wanted.logged)
    if cursor is not None:
        query = query.where(Allocation.id > decode_cursor(cursor, UUID)[0])
    return (await session.scalars(query)).all()


async def allocation_of(session: AsyncSession, allocation_id: UUID) -> Allocation:
    found = await session.get(Allocation, allocation_id)
    if found is None:
        raise domain.AllocationNotFound("There is no such allocation.")
    return found


async def proofs_of(
    session: AsyncSession, rows: Sequence[Allocation]
) -> dict[UUID, contract.ApprovalProof]:
    """What proves the approvals of these, as far as it has been fetched; by allocation."""
    logged = [row.id for row in rows if row.approval_log_index is not None]
    if not logged:
        return {}
    table = AllocationReceipt
    statement = select(table).where(table.allocation_id.in_(logged), table.receipt.is_not(None))
    return {
        each.allocation_id: contract.ApprovalProof.model_validate(each)
        for each in await session.scalars(statement)
    }


async def allocation_read(
    session: AsyncSession, row: Allocation, log_url: str
) -> contract.AllocationRead:
    return render(row, await proofs_of(session, [row]), log_url)


def render(
    row: Allocation, proofs: Mapping[UUID, contract.ApprovalProof], log_url: str
) -> contract.AllocationRead:
    receipt = None
    if row.approval_log_index is not None:
        receipt = f"{log_url}/v1/receipts/{row.approval_event_id}"
    fields = {
        name: getattr(row, name)
        for name in contract.AllocationRead.model_fields
        if name not in {"approval_receipt", "approval_proof"}
    }
    return contract.AllocationRead(
        **fields, approval_receipt=receipt, approval_proof=proofs.get(row.id)
    )
