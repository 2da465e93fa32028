"""Applicants and, for those entitled, a household's personal data."""

from uuid import UUID

from fastapi import APIRouter, Response

from services.needs import contract
from services.needs.domain import errors
from services.needs.operations import applicants, readings
from services.needs.routes.callers import Enterer, Insider, Keeper, Purpose, Reader
from services.needs.routes.items import KNOWN_KEY, item_of, made, single
from shared.db import Transaction, now
from shared.errors import responses
from shared.idempotency import IdempotencyKeyMissing, IdempotencyKeyReused, Once, RequestInFlight
from shared.screening import PersonalDataInText

router = APIRouter(prefix="/v1", tags=["applicants"])

_ONCE = (IdempotencyKeyMissing, IdempotencyKeyReused, RequestInFlight)


@router.post(
    "/applicants",
    status_code=201,
    response_model=contract.ApplicantRead,
    responses=KNOWN_KEY
    | responses(
        *_ONCE,
        errors.OutsideDivision,
        errors.ApplicantExists,
        errors.UnknownCode,
        errors.ApplicantIncomplete,
        errors.IdNumberInvalid,
        PersonalDataInText,
    ),
)
async def register_applicant(
    caller: Enterer,
    keeper: Keeper,
    session: Transaction,
    once: Once,
    response: Response,
    body: contract.ApplicantCreate,
) -> contract.ApplicantRead:
    """Register what needs are for; a key that is known answers what is there."""
    applicant_id, status = single(await applicants.register(session, keeper, caller, [body], now()))
    response.status_code = status
    applicant = await applicants.read_unopened(session, caller, applicant_id)
    if status == 200:
        await readings.tell_applicant(
            session, keeper, caller, applicant_id, applicant.division_code, now()
        )
    return await once.remember(status, made(applicant, applicant.kind))


@router.post(
    "/applicant-batches",
    response_model=contract.BatchResult,
    responses=responses(*_ONCE),
)
async def register_applicants(
    caller: Enterer,
    keeper: Keeper,
    session: Transaction,
    once: Once,
    body: contract.ApplicantBatch,
) -> contract.BatchResult:
    """Register up to 500 applicants; each is created, known already, or refused by itself."""
    results = await applicants.register(session, keeper, caller, body.applicants, now())
    return await once.remember(200, contract.BatchResult(results=[item_of(r) for r in results]))


@router.get(
    "/applicants/{applicant_id}",
    response_model=contract.ApplicantRead,
    responses=responses(
        errors.ApplicantNotFound,
        errors.OutsideDivision,
        errors.EnteredByAnother,
        errors.PersonalKeyMissing,
    ),
)
async def read_applicant(
    caller: Insider, keeper: Keeper, session: Transaction, applicant_id: UUID
) -> contract.ApplicantRead:
    """An applicant of the caller's division, or entered by a caller who only enters; masked.

    Each reading is an event.
    """
    shown = await applicants.read(session, keeper, caller, applicant_id)
    await readings.tell_applicant(session, keeper, caller, shown.id, shown.division_code, now())
    return shown


@router.get(
    "/applicants/{applicant_id}/personal",
    response_model=contract.PersonalRead,
    responses=responses(
        errors.ApplicantNotFound,
        errors.OutsideDivision,
        errors.PersonalDataErased,
        PersonalDataInText,
        errors.PersonalKeyMissing,
    ),
)
async def read_personal(
    caller: Reader,
    keeper: Keeper,
    session: Transaction,
    response: Response,
    applicant_id: UUID,
    purpose: Purpose,
) -> contract.PersonalRead:
    """A household's personal data, for a stated purpose; each reading is an event."""
    response.headers["Cache-Control"] = "no-store"
    return await applicants.read_personal(session, keeper, caller, applicant_id, purpose, now())


@router.delete(
    "/applicants/{applicant_id}/personal",
    status_code=204,
    responses=responses(
        errors.ApplicantNotFound, errors.ErasedBySupervisor, errors.OutsideDivision
    ),
)
async def erase_personal(
    caller: Reader, keeper: Keeper, session: Transaction, applicant_id: UUID
) -> None:
    """Destroy the key of a household's personal data, by a supervisor; it cannot be undone."""
    await applicants.erase_personal(session, keeper, caller, applicant_id, now())
