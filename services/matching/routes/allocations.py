"""Allocations: their public view, and what each side may do to them, one or many at a time."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from services.matching import contract, domain
from services.matching.domain import SCOPES_OF, Action
from services.matching.operations import allocations as operations
from services.matching.operations import slips
from services.matching.queries import allocations as queries
from services.matching.queries.allocations import AllocationFilter
from shared.bodies import DivisionCode
from shared.callers import Caller, Public, require
from shared.db import Reading, Transaction, now
from shared.errors import ServiceError, responses
from shared.paging import Cursor, InvalidCursor, Limit, Page, encode_cursor, page
from shared.screening import PersonalDataInText


def _may(action: Action) -> Any:
    return Depends(require(*SCOPES_OF[action]))


Acceptor = Annotated[Caller, _may(Action.ACCEPT)]
Decliner = Annotated[Caller, _may(Action.DECLINE)]
Approver = Annotated[Caller, _may(Action.APPROVE)]
Dispatcher = Annotated[Caller, _may(Action.DISPATCH)]
Confirmer = Annotated[Caller, _may(Action.CONFIRM)]
Canceller = Annotated[Caller, _may(Action.CANCEL)]
Returner = Annotated[Caller, _may(Action.RETURN)]
Issuer = Annotated[Caller, Depends(require("slips:issue"))]
Anyone = Annotated[
    Caller, Depends(require(*sorted({s for scopes in SCOPES_OF.values() for s in scopes})))
]

_MOVED = (
    domain.AllocationNotFound,
    domain.NotFromHere,
    domain.DeadlinePassed,
    domain.NotYourAllocation,
)

router = APIRouter(prefix="/v1", tags=["allocations"])


@router.get(
    "/allocations", response_model=Page[contract.AllocationRead], responses=responses(InvalidCursor)
)
async def list_allocations(
    session: Reading,
    caller: Public,
    request: Request,
    response: Response,
    state: contract.AllocationState | None = None,
    round_id: UUID | None = None,
    organization_id: UUID | None = None,
    need_id: UUID | None = None,
    line_id: UUID | None = None,
    within: Annotated[
        DivisionCode | None, Query(description="A division and all it covers.")
    ] = None,
    logged: Annotated[
        bool | None, Query(description="Whether the approval stands in the log.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[contract.AllocationRead]:
    """Allocations, the oldest first."""
    wanted = AllocationFilter(state, round_id, organization_id, need_id, line_id, within, logged)
    rows = await queries.list_allocations(session, wanted, limit, cursor)
    proofs = await queries.proofs_of(session, rows[:limit])
    log_url = request.app.state.log_url
    return page(
        request,
        response,
        rows,
        limit,
        lambda a: encode_cursor(a.id),
        lambda a: queries.render(a, proofs, log_url),
    )


@router.get(
    "/allocations/{allocation_id}",
    response_model=contract.AllocationRead,
    responses=responses(domain.AllocationNotFound),
)
async def read_allocation(
    session: Reading, caller: Public, request: Request, allocation_id: UUID
) -> contract.AllocationRead:
    """One allocation: its state, and where its approval stands in the log, proved."""
    found = await queries.allocation_of(session, allocation_id)
    return await queries.allocation_read(session, found, request.app.state.log_url)


# ---------------------------------------------------------------- one at a time


@router.post(
    "/allocations/{allocation_id}/acceptance",
    response_model=contract.AllocationRead,
    responses=responses(*_MOVED),
)
async def accept(
    caller: Acceptor, request: Request, allocation_id: UUID
) -> contract.AllocationRead:
    """The organization says that it will give what is reserved."""
    return await _act(request, caller, Action.ACCEPT, allocation_id)


@router.post(
    "/allocations/{allocation_id}/declination",
    response_model=contract.AllocationRead,
    responses=responses(*_MOVED, PersonalDataInText),
)
async def decline(
    caller: Decliner, request: Request, allocation_id: UUID, body: contract.Declination
) -> contract.AllocationRead:
    """The organization, or an officer for the applicant, declines with a reason."""
    return await _act(request, caller, Action.DECLINE, allocation_id, reason_code=body.reason_code)


@router.post(
    "/allocations/{allocation_id}/approval",
    response_model=contract.AllocationRead,
    responses=responses(*_MOVED, domain.DivisionNotYours, domain.TookPart, domain.NeedSuspended),
)
async def approve(
    caller: Approver, request: Request, allocation_id: UUID
) -> contract.AllocationRead:
    """An officer on neither side approves what the organization accepted."""
    return await _act(request, caller, Action.APPROVE, allocation_id)


@router.post(
    "/allocations/{allocation_id}/dispatch",
    response_model=contract.AllocationRead,
    responses=responses(
        *_MOVED, domain.ApprovalNotInLog, domain.NeedSuspended, domain.LogWithoutQuorum
    ),
)
async def dispatch(
    caller: Dispatcher, request: Request, allocation_id: UUID
) -> contract.AllocationRead:
    """The organization sends it; refused until the approval stands in the log.

    While too few witnesses cosign the log, the policy says how urgent a need must be."""
    return await _act(request, caller, Action.DISPATCH, allocation_id)


@router.post(
    "/allocations/{allocation_id}/delivery",
    response_model=contract.AllocationRead,
    responses=responses(*_MOVED),
)
async def deliver(
    caller: Dispatcher, request: Request, allocation_id: UUID
) -> contract.AllocationRead:
    """The organization reports that it arrived."""
    return await _act(request, caller, Action.DELIVER, allocation_id)


@router.post(
    "/allocations/{allocation_id}/confirmation",
    response_model=contract.AllocationRead,
    responses=responses(
        *_MOVED,
        domain.DivisionNotYours,
        domain.TookPart,
        domain.SlipNotIssued,
        domain.SlipWrong,
        domain.SlipLocked,
    ),
)
async def confirm(
    caller: Confirmer, request: Request, allocation_id: UUID, body: contract.Confirmation
) -> contract.AllocationRead:
    """The household confirms, with its slip's code or before a village officer."""
    return await _act(request, caller, Action.CONFIRM, allocation_id, code=body.code)


@router.post(
    "/allocations/{allocation_id}/cancellation",
    response_model=contract.AllocationRead,
    responses=responses(*_MOVED, PersonalDataInText),
)
async def cancel(
    caller: Canceller, request: Request, allocation_id: UUID, body: contract.Cancellation
) -> contract.AllocationRead:
    """Undo what has not been dispatched; both ledgers get the quantity back."""
    return await _act(request, caller, Action.CANCEL, allocation_id, reason_code=body.reason_code)


@router.post(
    "/allocations/{allocation_id}/return",
    response_model=contract.AllocationRead,
    responses=responses(*_MOVED, PersonalDataInText),
)
async def give_back(
    caller: Returner, request: Request, allocation_id: UUID, body: contract.Return
) -> contract.AllocationRead:
    """What was dispatched or delivered came back."""
    return await _act(request, caller, Action.RETURN, allocation_id, reason_code=body.reason_code)


@router.post(
    "/allocations/{allocation_id}/slip",
    status_code=201,
    response_model=contract.SlipRead,
    responses=responses(domain.AllocationNotFound, domain.NotFromHere, domain.DivisionNotYours),
)
async def issue_slip(
    session: Transaction, caller: Issuer, request: Request, allocation_id: UUID
) -> contract.SlipRead:
    """Print the household's one-time code, shown only now; a lost slip is printed again."""
    key = request.app.state.slip_key.value()
    [outcome] = await slips.issue(session, caller, [allocation_id], now(), key)
    if isinstance(outcome, ServiceError):
        raise outcome
    return contract.SlipRead(allocation_id=allocation_id, code=outcome)


async def _act(
    request: Request,
    caller: Caller,
    action: Action,
    allocation_id: UUID,
    *,
    reason_code: str | None = None,
    code: str | None = None,
) -> contract.AllocationRead:
    item = contract.AllocationItem(allocation_id=allocation_id, reason_code=reason_code, code=code)
    state = request.app.state
    # Not the request's own transaction: a wrong code is counted although the answer is an error.
    async with state.callers.sessions.begin() as session:
        [outcome] = await operations.act(
            session, caller, action, [item], now(), state.slip_key.value()
        )
        if not isinstance(outcome, ServiceError):
            return await queries.allocation_read(session, outcome.allocation, state.log_url)
    raise outcome


# ------------------------------------------------------------------- many at once


@router.post(
    "/allocation-batches", response_model=contract.AllocationBatchResult, responses=responses()
)
async def act_on_many(
    session: Transaction, caller: Anyone, request: Request, body: contract.AllocationBatch
) -> contract.AllocationBatchResult:
    """One action on up to 500 allocations, each by itself; repeating is harmless."""
    outcomes = await operations.act(
        session, caller, Action(body.action), body.items, now(), request.app.state.slip_key.value()
    )
    return contract.AllocationBatchResult(
        results=[
            contract.ActedItem(
                allocation_id=item.allocation_id,
                outcome="refused",
                code=outcome.code,
                detail=outcome.detail,
            )
            if isinstance(outcome, ServiceError)
            else contract.ActedItem(
                allocation_id=item.allocation_id,
                outcome="done" if outcome.changed else "already_done",
                state=outcome.allocation.state,
            )
            for item, outcome in zip(body.items, outcomes, strict=True)
        ]
    )


@router.post(
    "/slip-batches", status_code=201, response_model=contract.SlipBatchResult, responses=responses()
)
async def issue_many_slips(
    session: Transaction, caller: Issuer, request: Request, body: contract.SlipBatch
) -> contract.SlipBatchResult:
    """Print slips for up to 500 allocations; each code is shown only now."""
    key = request.app.state.slip_key.value()
    outcomes = await slips.issue(session, caller, body.allocation_ids, now(), key)
    return contract.SlipBatchResult(
        results=[
            contract.IssuedSlip(
                allocation_id=allocation_id,
                outcome="refused",
                code=outcome.code,
                detail=outcome.detail,
            )
            if isinstance(outcome, ServiceError)
            else contract.IssuedSlip(allocation_id=allocation_id, outcome="issued", slip=outcome)
            for allocation_id, outcome in zip(body.allocation_ids, outcomes, strict=True)
        ]
    )
