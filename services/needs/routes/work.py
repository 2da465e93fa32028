"""What officers see of their division: every state, and what awaits them."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from services.needs import contract, queries
from services.needs.domain.errors import EnteredByAnother, NeedNotFound, OutsideDivision
from services.needs.operations import readings
from services.needs.routes.callers import Insider, ObjectionDecider, etag
from shared.db import Transaction
from shared.errors import responses
from shared.paging import Cursor, InvalidCursor, Limit, Page, decode_cursor, encode_cursor, page
from shared.vocabulary.codes import Level, NeedState

router = APIRouter(prefix="/v1/work", tags=["work"])


@router.get("/needs", response_model=Page[contract.NeedDetail], responses=responses(InvalidCursor))
async def list_work(
    request: Request,
    response: Response,
    caller: Insider,
    session: Transaction,
    level: Annotated[Level | None, Query(description="Awaiting this level.")] = None,
    state: Annotated[NeedState | None, Query()] = None,
    mine: Annotated[bool, Query(description="Only what the caller may decide now.")] = False,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[contract.NeedDetail]:
    """Needs in any state, oldest first: of the caller's division, or entered by the caller.

    Each page that shows any is an event.
    """
    rows = await queries.list_work(
        session,
        caller,
        level=level,
        state=state,
        mine=mine,
        after=decode_cursor(cursor, UUID)[0] if cursor else None,
        rows_max=limit + 1,
    )
    await readings.tell_list(
        session, caller, "needs", len(rows[:limit]), level=level, state=state, mine=mine
    )
    return page(
        request,
        response,
        rows,
        limit,
        lambda row: encode_cursor(row.id),
        queries.render_detail,
    )


@router.get(
    "/needs/{need_id}",
    response_model=contract.NeedDetail,
    responses=responses(NeedNotFound, OutsideDivision, EnteredByAnother),
)
async def read_work(
    caller: Insider, session: Transaction, response: Response, need_id: UUID
) -> contract.NeedDetail:
    """A need in any state, with the ETag that editing it asks for; each reading is an event."""
    need = await queries.read_detail(session, caller, need_id)
    await readings.tell_need(session, caller, need)
    response.headers["ETag"] = etag(need.version)
    return need


@router.get(
    "/objections", response_model=Page[contract.ObjectionDetail], responses=responses(InvalidCursor)
)
async def list_objections(
    request: Request,
    response: Response,
    caller: ObjectionDecider,
    session: Transaction,
    state: Annotated[Literal["open", "upheld", "dismissed"], Query()] = "open",
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[contract.ObjectionDetail]:
    """Objections to needs of the caller's division, oldest first.

    Each page that shows any is an event.
    """
    rows = await queries.list_objections(
        session,
        caller,
        state=state,
        after=decode_cursor(cursor, UUID)[0] if cursor else None,
        rows_max=limit + 1,
    )
    await readings.tell_list(session, caller, "objections", len(rows[:limit]), state=state)
    return page(
        request,
        response,
        rows,
        limit,
        lambda row: encode_cursor(row.id),
        contract.ObjectionDetail.model_validate,
    )
