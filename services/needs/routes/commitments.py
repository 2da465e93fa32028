"""What allocations hold of needs; told by the matching service."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.needs import contract, queries
from services.needs.domain import errors
from services.needs.operations import commitments
from services.needs.routes.callers import Committer, Keeper
from shared.db import Reading, Transaction, now
from shared.errors import ServiceError, responses
from shared.paging import Cursor, InvalidCursor, Limit, Page, decode_cursor, encode_cursor, page

router = APIRouter(prefix="/v1", tags=["commitments"])


@router.put(
    "/needs/{need_id}/commitments/{allocation_id}",
    response_model=contract.CommitmentRead,
    responses=responses(
        errors.NeedNotFound,
        errors.NeedNotOpen,
        errors.NeedExceeded,
        errors.CommitmentDiffers,
        errors.CommitmentMoveForbidden,
    ),
)
async def put_commitment(
    caller: Committer,
    keeper: Keeper,
    session: Transaction,
    need_id: UUID,
    allocation_id: UUID,
    body: contract.CommitmentPut,
) -> contract.CommitmentRead:
    """Hold a quantity for an allocation, or move what it holds; the same again changes nothing."""
    item = contract.CommitmentItem(
        need_id=need_id, allocation_id=allocation_id, quantity=body.quantity, state=body.state
    )
    result = (await commitments.move_all(session, keeper, caller, [item], now()))[0]
    if isinstance(result, ServiceError):
        raise result
    return result


@router.put("/commitments", response_model=contract.MovedBatchResult)
async def put_commitments(
    caller: Committer, keeper: Keeper, session: Transaction, body: contract.CommitmentBatch
) -> contract.MovedBatchResult:
    """Up to 500 commitments; each is applied whole or refused by itself."""
    results = await commitments.move_all(session, keeper, caller, body.commitments, now())
    return contract.MovedBatchResult(
        results=[
            contract.MovedItem(
                allocation_id=item.allocation_id,
                outcome="refused",
                code=result.code,
                detail=result.detail,
            )
            if isinstance(result, ServiceError)
            else contract.MovedItem(allocation_id=item.allocation_id, outcome="applied")
            for item, result in zip(body.commitments, results, strict=True)
        ]
    )


@router.get(
    "/needs/{need_id}/commitments",
    response_model=Page[contract.CommitmentRead],
    responses=responses(errors.NeedNotFound, InvalidCursor),
)
async def list_commitments(
    request: Request,
    response: Response,
    caller: Committer,
    session: Reading,
    need_id: UUID,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[contract.CommitmentRead]:
    """What each allocation holds of a need."""
    rows = await queries.list_commitments(
        session,
        need_id,
        after=decode_cursor(cursor, UUID)[0] if cursor else None,
        rows_max=limit + 1,
    )
    return page(
        request,
        response,
        rows,
        limit,
        lambda row: encode_cursor(row.allocation_id),
        lambda row: row,
    )
