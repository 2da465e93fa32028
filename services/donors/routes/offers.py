"""Offers: enter, list, edit a draft, submit, approve, withdraw, block."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from services.donors import contract, queries
from services.donors.domain import errors
from services.donors.operations import offers as operations
from services.donors.routes import answers
from services.donors.routes.organizations import ONCE, OwnKey, Search
from shared.bodies import Code, DivisionCode
from shared.callers import Caller, Public, require
from shared.db import Reading, Transaction, now
from shared.errors import PreconditionFailed, PreconditionRequired, responses
from shared.idempotency import Once
from shared.paging import Cursor, InvalidCursor, Limit, Page, encode_cursor, page
from shared.screening import PersonalDataInText

Enterer = Annotated[Caller, Depends(require("offers:enter"))]
Approver = Annotated[Caller, Depends(require("offers:approve"))]
UNFIT = (
    errors.UnknownCode,
    errors.UnknownDivision,
    errors.DivisionTooFine,
    errors.UnitNotAllowed,
    errors.ValidityEmpty,
    errors.LotAboveQuantity,
    errors.QuantityTooLarge,
    errors.QuantityMissing,
)

router = APIRouter(prefix="/v1", tags=["offers"])


@router.post(
    "/offers",
    status_code=201,
    response_model=contract.OfferRead,
    responses=responses(
        errors.OrganizationNotFound,
        errors.OrganizationIsBlocked,
        errors.ExternalKeyTaken,
        errors.ValidityOver,
        errors.NotYours,
        *UNFIT,
        PersonalDataInText,
        *ONCE,
    ),
)
async def enter_offer(
    response: Response,
    session: Transaction,
    caller: Enterer,
    body: contract.OfferCreate,
    once: Once,
) -> contract.OfferRead:
    """Enter an offer as a draft, or submitted at once."""
    offer = await operations.enter(session, caller, body, now())
    response.headers["ETag"] = answers.etag(offer)
    return await once.remember(201, queries.offer_read(offer, caller))


@router.post("/offer-batches", response_model=contract.BatchResult, responses=responses(*ONCE))
async def enter_offers(
    session: Transaction, caller: Enterer, body: contract.OfferBatch, once: Once
) -> contract.BatchResult:
    """Enter offers, each by itself; known external keys change nothing."""
    outcomes = await operations.enter_all(session, caller, body.offers, now())
    return await once.remember(200, answers.created(outcomes))


@router.get("/offers", response_model=Page[contract.OfferRead], responses=responses(InvalidCursor))
async def list_offers(
    request: Request,
    response: Response,
    session: Reading,
    caller: Public,
    state: Annotated[
        contract.OfferState, Query(description="Open ones when nothing is said.")
    ] = "open",
    any_state: Annotated[bool, Query(description="Whatever their state.")] = False,
    serves: Annotated[
        DivisionCode | None, Query(description="All of this division is served.")
    ] = None,
    serves_within: Annotated[
        DivisionCode | None,
        Query(description="This division, or one inside it, is named as served."),
    ] = None,
    category: Code | None = None,
    item_class: Code | None = None,
    kind: contract.OfferKind | None = None,
    organization_id: UUID | None = None,
    q: Search = None,
    external_key: OwnKey = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[contract.OfferRead]:
    """List open offers, newest first; other states to the public once they have been open."""
    wanted = queries.OfferFilter(
        state=None if any_state else state,
        serves=serves,
        serves_within=serves_within,
        category=category,
        item_class=item_class,
        kind=kind,
        organization_id=organization_id,
        q=q,
        external_key=external_key,
    )
    rows = await queries.list_offers(session, caller, wanted, limit, cursor)
    return page(
        request,
        response,
        rows,
        limit,
        lambda row: encode_cursor(row.id),
        lambda row: queries.offer_read(row, caller),
    )


@router.get(
    "/offers/{offer_id}",
    response_model=contract.OfferRead,
    responses=responses(errors.OfferNotFound),
)
async def read_offer(
    response: Response, session: Reading, caller: Public, offer_id: UUID
) -> contract.OfferRead:
    """Read one offer; its ETag is the version of its terms and state."""
    offer = await queries.get_offer(session, caller, offer_id)
    response.headers["ETag"] = answers.etag(offer)
    return queries.offer_read(offer, caller)


@router.patch(
    "/offers/{offer_id}/lines/{line_id}",
    response_model=contract.OfferRead,
    responses=responses(
        errors.OfferNotFound,
        errors.LineNotFound,
        errors.OfferNotADraft,
        errors.NotYours,
        errors.LotAboveQuantity,
        errors.QuantityTooLarge,
        PersonalDataInText,
        PreconditionFailed,
        PreconditionRequired,
    ),
)
async def edit_line(
    response: Response,
    session: Transaction,
    caller: Enterer,
    offer_id: UUID,
    line_id: UUID,
    body: contract.OfferLineEdit,
    if_match: answers.IfMatch = None,
) -> contract.OfferRead:
    """Change a line of a draft, for instance say how much there is."""
    offer = await operations.edit_line(
        session, caller, offer_id, line_id, body, answers.versions(if_match)
    )
    response.headers["ETag"] = answers.etag(offer)
    return queries.offer_read(offer, caller)


@router.post(
    "/offers/{offer_id}/submission",
    response_model=contract.OfferRead,
    responses=responses(
        errors.OfferNotFound,
        errors.OfferMoveRefused,
        errors.OrganizationIsBlocked,
        errors.QuantityMissing,
        errors.ValidityOver,
        errors.NotYours,
    ),
)
async def submit_offer(session: Transaction, caller: Enterer, offer_id: UUID) -> contract.OfferRead:
    """Submit a draft for approval."""
    offer = await operations.submit(session, caller, offer_id, now())
    return queries.offer_read(offer, caller)


@router.post(
    "/offers/{offer_id}/approval",
    response_model=contract.OfferRead,
    responses=responses(
        errors.OfferNotFound,
        errors.OfferMoveRefused,
        errors.OrganizationIsBlocked,
        errors.ValidityOver,
        errors.EnteredByApprover,
        errors.OutsideDivision,
        PersonalDataInText,
    ),
)
async def approve_offer(
    session: Transaction, caller: Approver, offer_id: UUID, body: contract.ApprovalCreate
) -> contract.OfferRead:
    """Approve a submitted offer; it opens as soon as its validity and organization allow."""
    offer = await operations.approve(session, caller, offer_id, body.reason, now())
    return queries.offer_read(offer, caller)


@router.post(
    "/offer-approval-batches",
    response_model=contract.ApprovalBatchResult,
    responses=responses(),
)
async def approve_offers(
    session: Transaction, caller: Approver, body: contract.OfferApprovalBatch
) -> contract.ApprovalBatchResult:
    """Approve offers, each by itself."""
    outcomes = await operations.approve_all(session, caller, body.approvals, now())
    return answers.approved([item.offer_id for item in body.approvals], outcomes)


@router.post(
    "/offers/{offer_id}/withdrawal",
    response_model=contract.OfferRead,
    responses=responses(errors.OfferNotFound, errors.OfferMoveRefused, errors.NotYours),
)
async def withdraw_offer(
    session: Transaction, caller: Enterer, offer_id: UUID
) -> contract.OfferRead:
    """Take an offer back; what is held of it already goes on its way."""
    return queries.offer_read(await operations.withdraw(session, caller, offer_id), caller)


@router.post(
    "/offers/{offer_id}/blocking",
    response_model=contract.OfferRead,
    responses=responses(
        errors.OfferNotFound,
        errors.OfferMoveRefused,
        errors.OutsideDivision,
        PersonalDataInText,
    ),
)
async def block_offer(
    session: Transaction, caller: Approver, offer_id: UUID, body: contract.Reason
) -> contract.OfferRead:
    """Stop an offer, with a reason; what is held of it already goes on its way."""
    offer = await operations.block(session, caller, offer_id, body.reason)
    return queries.offer_read(offer, caller)
