"""Entering needs and deciding them."""

from uuid import UUID

from fastapi import APIRouter, Response

from services.needs import contract, queries
from services.needs.domain import errors
from services.needs.operations import decisions, needs, readings
from services.needs.routes.callers import Enterer, IfMatch, Keeper, Verifier, etag, version_of
from services.needs.routes.items import KNOWN_KEY, item_of, made, single
from shared.callers import Caller
from shared.db import Transaction, now
from shared.errors import PreconditionFailed, PreconditionRequired, ServiceError, responses
from shared.idempotency import IdempotencyKeyMissing, IdempotencyKeyReused, Once, RequestInFlight
from shared.screening import PersonalDataInText

router = APIRouter(prefix="/v1", tags=["needs"])

_ONCE = (IdempotencyKeyMissing, IdempotencyKeyReused, RequestInFlight)
_CONTENT = (
    errors.UnknownCode,
    errors.UnitNotAllowed,
    errors.ClassOfOtherCategory,
    PersonalDataInText,
)
_FOUND = (errors.NeedNotFound, errors.OutsideDivision)
_OWN = (*_FOUND, errors.EnteredByAnother)


async def _detail(
    session: Transaction, caller: Caller, response: Response, need_id: UUID
) -> contract.NeedDetail:
    await session.flush()
    need = await queries.read_detail(session, caller, need_id)
    response.headers["ETag"] = etag(need.version)
    return need


@router.post(
    "/needs",
    status_code=201,
    response_model=contract.NeedDetail,
    responses=KNOWN_KEY
    | responses(*_ONCE, *_CONTENT, errors.ApplicantNotFound, errors.OutsideDivision),
)
async def enter_need(
    caller: Enterer,
    keeper: Keeper,
    session: Transaction,
    once: Once,
    response: Response,
    body: contract.NeedCreate,
) -> contract.NeedDetail:
    """Enter a need for an applicant; a key that is known answers what is there."""
    need_id, status = single(await needs.enter(session, keeper, caller, [body], now()))
    response.status_code = status
    need = await _detail(session, caller, response, need_id)
    if status == 200:
        await readings.tell_need(session, caller, need)
    return await once.remember(status, made(need, need.applicant_kind))


@router.post("/need-batches", response_model=contract.BatchResult, responses=responses(*_ONCE))
async def enter_needs(
    caller: Enterer, keeper: Keeper, session: Transaction, once: Once, body: contract.NeedBatch
) -> contract.BatchResult:
    """Enter up to 500 needs; each is created, known already, or refused by itself."""
    results = await needs.enter(session, keeper, caller, body.needs, now())
    return await once.remember(200, contract.BatchResult(results=[item_of(r) for r in results]))


@router.patch(
    "/needs/{need_id}",
    response_model=contract.NeedDetail,
    responses=responses(
        *_OWN,
        *_CONTENT,
        errors.NotEditable,
        errors.QuantityHeld,
        PreconditionFailed,
        PreconditionRequired,
    ),
)
async def edit_need(
    caller: Enterer,
    keeper: Keeper,
    session: Transaction,
    response: Response,
    need_id: UUID,
    body: contract.NeedEdit,
    if_match: IfMatch = None,
) -> contract.NeedDetail:
    """Change a draft or returned need; what is left out stays."""
    await needs.edit(session, keeper, caller, need_id, version_of(if_match), body)
    return await _detail(session, caller, response, need_id)


@router.post(
    "/needs/{need_id}/submission",
    response_model=contract.NeedDetail,
    responses=responses(*_OWN, errors.StateForbids, errors.NeedIncomplete),
)
async def submit_need(
    caller: Enterer, keeper: Keeper, session: Transaction, response: Response, need_id: UUID
) -> contract.NeedDetail:
    """Submit a draft or returned need to its first level; what threatens life is published."""
    await needs.submit(session, keeper, caller, need_id, now())
    return await _detail(session, caller, response, need_id)


@router.post(
    "/needs/{need_id}/withdrawal",
    response_model=contract.NeedDetail,
    responses=responses(*_OWN, errors.StateForbids),
)
async def withdraw_need(
    caller: Enterer, session: Transaction, response: Response, need_id: UUID
) -> contract.NeedDetail:
    """Withdraw a need: its requester no longer wants it filled."""
    await needs.withdraw(session, caller, need_id)
    return await _detail(session, caller, response, need_id)


@router.post(
    "/needs/{need_id}/renewal",
    response_model=contract.NeedDetail,
    responses=responses(*_OWN, errors.NotRenewable),
)
async def renew_need(
    caller: Enterer, session: Transaction, response: Response, need_id: UUID
) -> contract.NeedDetail:
    """Say that a published need still stands."""
    await needs.renew(session, caller, need_id, now())
    return await _detail(session, caller, response, need_id)


# ------------------------------------------------------------------ decisions

_DECIDING = (
    errors.NotYourLevel,
    errors.EnteredByYou,
    errors.RecusalDeclared,
    errors.DecidedByYou,
    errors.NothingToDecide,
    errors.StateForbids,
    errors.ReasonRequired,
    PersonalDataInText,
)


@router.post(
    "/needs/{need_id}/decisions",
    status_code=201,
    response_model=contract.DecidedItem,
    responses=responses(*_ONCE, *_FOUND, *_DECIDING),
)
async def decide_need(
    caller: Verifier,
    keeper: Keeper,
    session: Transaction,
    once: Once,
    need_id: UUID,
    body: contract.DecisionCreate,
) -> contract.DecidedItem:
    """Pass, return or reject a need at the level of the caller's role."""
    decision = contract.Decision(need_id=need_id, outcome=body.outcome, reason=body.reason)
    result = (await decisions.decide(session, keeper, caller, [decision], now()))[0]
    if isinstance(result, ServiceError):
        raise result
    decided = contract.DecidedItem.model_validate(
        {"need_id": need_id, "outcome": "decided", "state": result.state}
    )
    return await once.remember(201, decided)


@router.post(
    "/decision-batches",
    response_model=contract.DecisionBatchResult,
    responses=responses(*_ONCE),
)
async def decide_needs(
    caller: Verifier, keeper: Keeper, session: Transaction, once: Once, body: contract.DecisionBatch
) -> contract.DecisionBatchResult:
    """Decide up to 500 needs; each is decided or refused by itself."""
    results = await decisions.decide(session, keeper, caller, body.decisions, now())
    items = [
        contract.DecidedItem.model_validate(
            {"need_id": decision.need_id}
            | (
                {"outcome": "refused", "code": result.code, "detail": result.detail}
                if isinstance(result, ServiceError)
                else {"outcome": "decided", "state": result.state}
            )
        )
        for decision, result in zip(body.decisions, results, strict=True)
    ]
    return await once.remember(200, contract.DecisionBatchResult(results=items))


@router.post(
    "/needs/{need_id}/recusals",
    status_code=201,
    response_model=contract.RecusalRead,
    responses=responses(*_ONCE, *_FOUND, PersonalDataInText),
)
async def recuse_from_need(
    caller: Verifier,
    session: Transaction,
    once: Once,
    need_id: UUID,
    body: contract.RecusalCreate,
) -> contract.RecusalRead:
    """Declare a relation to the applicant; the caller decides nothing about this need."""
    recusal = await decisions.recuse(session, caller, need_id, body.reason_code, now())
    return await once.remember(201, recusal)
