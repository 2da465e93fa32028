"""The ledger of offer lines: reservations by other services."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from services.donors import contract, queries
from services.donors.domain import errors
from services.donors.operations import reservations as operations
from shared.callers import Caller, require
from shared.db import Reading, Transaction, now
from shared.errors import ServiceError, responses
from shared.paging import Cursor, InvalidCursor, Limit, Page, encode_cursor, page

Mover = Annotated[Caller, Depends(require("ledger:move"))]

router = APIRouter(prefix="/v1", tags=["ledger"])


@router.put(
    "/offer-lines/{line_id}/reservations/{allocation_id}",
    response_model=contract.ReservationRead,
    responses=responses(
        errors.LineNotFound,
        errors.OfferNotOpen,
        errors.NotEnoughAvailable,
        errors.BelowSmallestLot,
        errors.QuantityDiffers,
        errors.ReservationMoveRefused,
    ),
)
async def move_reservation(
    session: Transaction,
    caller: Mover,
    line_id: UUID,
    allocation_id: UUID,
    body: contract.ReservationPut,
) -> contract.ReservationRead:
    """Hold a quantity of a line for an allocation, or move what it holds; repeating is harmless."""
    item = contract.ReservationItem(
        line_id=line_id, allocation_id=allocation_id, **body.model_dump()
    )
    moved = await operations.move(session, caller, item, now())
    return queries.reservation_read(moved.reservation, moved.line_available)


@router.put("/reservations", response_model=contract.MovedBatchResult, responses=responses())
async def move_reservations(
    session: Transaction, caller: Mover, body: contract.ReservationBatch
) -> contract.MovedBatchResult:
    """Move reservations, each by itself; repeating is harmless."""
    outcomes = await operations.move_all(session, caller, body.reservations, now())
    return contract.MovedBatchResult(
        results=[
            contract.MovedItem(
                allocation_id=item.allocation_id,
                outcome="refused",
                code=outcome.code,
                detail=outcome.detail,
            )
            if isinstance(outcome, ServiceError)
            else contract.MovedItem(allocation_id=item.allocation_id, outcome="applied")
            for item, outcome in zip(body.reservations, outcomes, strict=True)
        ]
    )


@router.get(
    "/offer-lines/{line_id}/reservations",
    response_model=Page[contract.ReservationRead],
    responses=responses(errors.LineNotFound, InvalidCursor),
)
async def list_reservations(
    request: Request,
    response: Response,
    session: Reading,
    caller: Mover,
    line_id: UUID,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[contract.ReservationRead]:
    """List what each allocation holds, or held, of a line."""
    line, rows = await queries.list_reservations(session, line_id, limit, cursor)
    return page(
        request,
        response,
        rows,
        limit,
        lambda row: encode_cursor(row.allocation_id),
        lambda row: queries.reservation_read(row, line.available),
    )
