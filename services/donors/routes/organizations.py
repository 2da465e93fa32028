"""Organizations: register, list, approve, block."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from services.donors import contract, queries
from services.donors.domain import errors
from services.donors.operations import organizations as operations
from services.donors.routes import answers
from shared.bodies import Code, DivisionCode
from shared.callers import Caller, Public, require
from shared.db import Reading, Transaction, now
from shared.errors import responses
from shared.idempotency import IdempotencyKeyMissing, IdempotencyKeyReused, Once, RequestInFlight
from shared.paging import Cursor, InvalidCursor, Limit, Page, encode_cursor, page
from shared.screening import PersonalDataInText

Enterer = Annotated[Caller, Depends(require("organizations:enter"))]
Approver = Annotated[Caller, Depends(require("organizations:approve"))]
Search = Annotated[str | None, Query(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
OwnKey = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=120,
        pattern=r"^[^\x00-\x1f]+$",
        description="Finds what the caller entered under this key.",
    ),
]
ONCE = (IdempotencyKeyMissing, IdempotencyKeyReused, RequestInFlight)

router = APIRouter(prefix="/v1", tags=["organizations"])


@router.post(
    "/organizations",
    status_code=201,
    response_model=contract.OrganizationRead,
    responses=responses(
        errors.ExternalKeyTaken,
        errors.UsccTaken,
        errors.InvalidUscc,
        errors.UnknownCode,
        errors.UnknownDivision,
        PersonalDataInText,
        errors.NotYours,
        *ONCE,
    ),
)
async def register_organization(
    session: Transaction, caller: Enterer, body: contract.OrganizationCreate, once: Once
) -> contract.OrganizationRead:
    """Register an organization that offers help."""
    organization = await operations.register(session, caller, body, now())
    return await once.remember(201, queries.organization_read(organization, caller))


@router.post(
    "/organization-batches",
    response_model=contract.BatchResult,
    responses=responses(errors.NotYours, *ONCE),
)
async def register_organizations(
    session: Transaction, caller: Enterer, body: contract.OrganizationBatch, once: Once
) -> contract.BatchResult:
    """Register organizations, each by itself; known external keys change nothing."""
    outcomes = await operations.register_all(session, caller, body.organizations, now())
    return await once.remember(200, answers.created(outcomes))


@router.get(
    "/organizations",
    response_model=Page[contract.OrganizationRead],
    responses=responses(InvalidCursor),
)
async def list_organizations(
    request: Request,
    response: Response,
    session: Reading,
    caller: Public,
    state: contract.OrganizationState | None = None,
    kind: Code | None = None,
    division_code: Annotated[
        DivisionCode | None, Query(description="Seated in this division.")
    ] = None,
    q: Search = None,
    external_key: OwnKey = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[contract.OrganizationRead]:
    """List approved organizations, newest first; an approver sees all, others their own too."""
    wanted = queries.OrganizationFilter(state, kind, division_code, q, external_key)
    rows = await queries.list_organizations(session, caller, wanted, limit, cursor)
    return page(
        request,
        response,
        rows,
        limit,
        lambda row: encode_cursor(row.id),
        lambda row: queries.organization_read(row, caller),
    )


@router.get(
    "/organizations/{organization_id}",
    response_model=contract.OrganizationRead,
    responses=responses(errors.OrganizationNotFound),
)
async def read_organization(
    session: Reading, caller: Public, organization_id: UUID
) -> contract.OrganizationRead:
    """Read one organization."""
    organization = await queries.get_organization(session, caller, organization_id)
    return queries.organization_read(organization, caller)


@router.post(
    "/organizations/{organization_id}/approval",
    response_model=contract.OrganizationRead,
    responses=responses(
        errors.OrganizationNotFound,
        errors.OrganizationMoveRefused,
        errors.EnteredByApprover,
        errors.ReasonMissing,
        PersonalDataInText,
    ),
)
async def approve_organization(
    session: Transaction, caller: Approver, organization_id: UUID, body: contract.ApprovalCreate
) -> contract.OrganizationRead:
    """Approve an organization; without a checked USCC with a reason only, and unverified."""
    organization = await operations.approve(session, caller, organization_id, body.reason, now())
    return queries.organization_read(organization, caller)


@router.post(
    "/organization-approval-batches",
    response_model=contract.ApprovalBatchResult,
    responses=responses(),
)
async def approve_organizations(
    session: Transaction, caller: Approver, body: contract.OrganizationApprovalBatch
) -> contract.ApprovalBatchResult:
    """Approve organizations, each by itself."""
    outcomes = await operations.approve_all(session, caller, body.approvals, now())
    return answers.approved([item.organization_id for item in body.approvals], outcomes)


@router.post(
    "/organizations/{organization_id}/blocking",
    response_model=contract.OrganizationRead,
    responses=responses(
        errors.OrganizationNotFound, errors.OrganizationMoveRefused, PersonalDataInText
    ),
)
async def block_organization(
    session: Transaction, caller: Approver, organization_id: UUID, body: contract.Reason
) -> contract.OrganizationRead:
    """Block an organization, and with it its offers."""
    organization = await operations.block(session, caller, organization_id, body.reason)
    return queries.organization_read(organization, caller)
