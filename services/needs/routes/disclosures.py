"""What opens the digests in events, for a supervisor; each reading is an event."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.needs import contract
from services.needs.domain import errors
from services.needs.operations import disclosures
from services.needs.routes.callers import Keeper, Purpose, Reader
from shared.db import Transaction, now
from shared.errors import responses
from shared.paging import Cursor, InvalidCursor, Limit, Page, decode_cursor, encode_cursor, page
from shared.screening import PersonalDataInText

router = APIRouter(prefix="/v1", tags=["disclosures"])

_REFUSALS = (
    errors.DisclosedToSupervisor,
    errors.OutsideDivision,
    errors.PersonalDataErased,
    errors.PersonalKeyMissing,
    PersonalDataInText,
    InvalidCursor,
)
_Shown = contract.EventDisclosuresRead


@router.get(
    "/applicants/{applicant_id}/disclosures",
    response_model=Page[_Shown],
    responses=responses(errors.ApplicantNotFound, *_REFUSALS),
)
async def read_of_applicant(
    request: Request,
    response: Response,
    caller: Reader,
    keeper: Keeper,
    session: Transaction,
    applicant_id: UUID,
    purpose: Purpose,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[_Shown]:
    """What a household's events commit to, those about its needs included, oldest first."""
    shown = await disclosures.read_of_applicant(
        session,
        keeper,
        caller,
        applicant_id,
        purpose,
        now(),
        after=_after(cursor),
        rows_max=limit + 1,
    )
    return _page(request, response, shown, limit)


@router.get(
    "/needs/{need_id}/disclosures",
    response_model=Page[_Shown],
    responses=responses(errors.NeedNotFound, *_REFUSALS),
)
async def read_of_need(
    request: Request,
    response: Response,
    caller: Reader,
    keeper: Keeper,
    session: Transaction,
    need_id: UUID,
    purpose: Purpose,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[_Shown]:
    """What the events of a household's need commit to, oldest first."""
    shown = await disclosures.read_of_need(
        session, keeper, caller, need_id, purpose, after=_after(cursor), rows_max=limit + 1
    )
    return _page(request, response, shown, limit)


def _after(cursor: str | None) -> UUID | None:
    return decode_cursor(cursor, UUID)[0] if cursor else None


def _page(request: Request, response: Response, shown: list[_Shown], limit: int) -> Page[_Shown]:
    response.headers["Cache-Control"] = "no-store"
    return page(
        request, response, shown, limit, lambda row: encode_cursor(row.event_id), lambda row: row
    )
