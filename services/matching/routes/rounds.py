"""Matching rounds."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from services.matching import contract, domain
from services.matching.operations import rounds as operations
from services.matching.queries import rounds as queries
from shared.bodies import DivisionCode
from shared.callers import Caller, require
from shared.db import Reading, Transaction, now
from shared.errors import responses
from shared.idempotency import Once
from shared.paging import Cursor, InvalidCursor, Limit, Page, encode_cursor, page
from shared.screening import PersonalDataInText

Runner = Annotated[Caller, Depends(require("rounds:run"))]
Approver = Annotated[Caller, Depends(require("rounds:approve"))]
Reader = Annotated[
    Caller, Depends(require("rounds:run", "rounds:approve", "allocations:approve", "trail:read"))
]

router = APIRouter(prefix="/v1/rounds", tags=["rounds"])


@router.post(
    "",
    status_code=201,
    response_model=contract.RoundRead,
    responses=responses(
        domain.PolicyNotFound,
        domain.DivisionUnknown,
        domain.DivisionNotYours,
        domain.RoundTooLarge,
        domain.RoundUnknown,
        PersonalDataInText,
    ),
)
async def start_round(
    caller: Runner, session: Transaction, once: Once, body: contract.RoundCreate
) -> contract.RoundRead:
    """Freeze a snapshot of a division's needs and the offers that serve it; it is computed next."""
    started = await operations.start(session, caller, body, now())
    return await once.remember(201, queries.round_read(started))


@router.get("", response_model=Page[contract.RoundRead], responses=responses(InvalidCursor))
async def list_rounds(
    session: Reading,
    caller: Reader,
    request: Request,
    response: Response,
    state: contract.RoundState | None = None,
    kind: contract.RoundKind | None = None,
    division_code: DivisionCode | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[contract.RoundRead]:
    """Rounds, the newest first."""
    wanted = queries.RoundFilter(state, kind, division_code)
    rows = await queries.list_rounds(session, wanted, limit, cursor)
    return page(request, response, rows, limit, lambda r: encode_cursor(r.id), queries.round_read)


@router.get(
    "/{round_id}", response_model=contract.RoundRead, responses=responses(domain.RoundNotFound)
)
async def read_round(session: Reading, caller: Reader, round_id: UUID) -> contract.RoundRead:
    """One round: its snapshot, how far it is, totals by tier."""
    return queries.round_read(await queries.round_of(session, round_id))


@router.get(
    "/{round_id}/proposals",
    response_model=Page[contract.ProposalRead],
    responses=responses(domain.RoundNotFound, domain.DivisionNotYours, InvalidCursor),
)
async def list_proposals(
    session: Reading,
    caller: Reader,
    request: Request,
    response: Response,
    round_id: UUID,
    need_id: UUID | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[contract.ProposalRead]:
    """What the round proposes, each explained."""
    found = await queries.round_for(session, caller, round_id)
    rows = await queries.list_proposals(session, round_id, need_id, limit, cursor)
    card = await queries.card_for(session, found)
    return page(
        request,
        response,
        rows,
        limit,
        lambda p: encode_cursor(p.id),
        lambda p: queries.proposal_read(p, card),
    )


@router.post(
    "/{round_id}/approval",
    response_model=contract.RoundRead,
    responses=responses(
        domain.RoundNotFound,
        domain.RoundNotThere,
        domain.DivisionNotYours,
        domain.DryRunNotApproved,
        domain.SnapshotUsed,
    ),
)
async def approve_round(
    session: Transaction, caller: Approver, round_id: UUID
) -> contract.RoundRead:
    """Turn the proposals into allocations; their quantities are reserved next."""
    return queries.round_read(await operations.approve(session, caller, round_id, now()))


@router.post(
    "/{round_id}/cancellation",
    response_model=contract.RoundRead,
    responses=responses(
        domain.RoundNotFound, domain.RoundNotThere, domain.DivisionNotYours, PersonalDataInText
    ),
)
async def cancel_round(
    session: Transaction, caller: Runner, round_id: UUID, body: contract.RoundCancellation
) -> contract.RoundRead:
    """Stop a round that is being computed."""
    return queries.round_read(
        await operations.cancel(session, caller, round_id, body.reason, now())
    )


@router.post(
    "/{round_id}/discard",
    response_model=contract.RoundRead,
    responses=responses(
        domain.RoundNotFound, domain.RoundNotThere, domain.DivisionNotYours, PersonalDataInText
    ),
)
async def discard_round(
    session: Transaction, caller: Approver, round_id: UUID, body: contract.RoundDiscard
) -> contract.RoundRead:
    """Drop a round of which nothing was promised yet."""
    return queries.round_read(
        await operations.discard(session, caller, round_id, body.reason, now())
    )
