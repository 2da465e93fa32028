"""Objections to needs on public notice."""

from uuid import UUID

from fastapi import APIRouter

from services.needs import contract
from services.needs.domain import errors
from services.needs.operations import objections
from services.needs.routes.callers import Keeper, ObjectionDecider
from shared.callers import Public
from shared.db import Transaction, now
from shared.errors import responses
from shared.idempotency import IdempotencyKeyMissing, IdempotencyKeyReused, Once, RequestInFlight
from shared.screening import PersonalDataInText

router = APIRouter(prefix="/v1", tags=["objections"])

_ONCE = (IdempotencyKeyMissing, IdempotencyKeyReused, RequestInFlight)


@router.post(
    "/needs/{need_id}/objections",
    status_code=201,
    response_model=contract.ObjectionRead,
    responses=responses(
        *_ONCE,
        errors.NeedNotFound,
        errors.NotOpenToObjection,
        errors.TooManyObjections,
        PersonalDataInText,
    ),
)
async def object_to_need(
    caller: Public,
    keeper: Keeper,
    session: Transaction,
    once: Once,
    need_id: UUID,
    body: contract.ObjectionCreate,
) -> contract.ObjectionRead:
    """Object to a need on notice, or to one published first; anybody may, with reasons."""
    objection = await objections.object_to(session, keeper, caller, need_id, body.reason, now())
    return await once.remember(201, contract.ObjectionRead.model_validate(objection))


@router.post(
    "/objections/{objection_id}/decision",
    response_model=contract.ObjectionRead,
    responses=responses(
        errors.ObjectionNotFound,
        errors.OutsideDivision,
        errors.PartOfChain,
        errors.RecusalDeclared,
        errors.ObjectionClosed,
        PersonalDataInText,
    ),
)
async def decide_objection(
    caller: ObjectionDecider,
    keeper: Keeper,
    session: Transaction,
    objection_id: UUID,
    body: contract.ObjectionDecision,
) -> contract.ObjectionRead:
    """Uphold or dismiss an objection, by somebody who had no part in the need."""
    objection = await objections.decide(session, keeper, caller, objection_id, body, now())
    return contract.ObjectionRead.model_validate(objection)
