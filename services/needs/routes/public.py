"""What anybody may see: published needs and the notice board."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from services.needs import contract, queries
from services.needs.domain.errors import NeedNotFound
from services.needs.routes.callers import CodeFilter, Division
from shared.callers import Public
from shared.db import Reading
from shared.errors import responses
from shared.paging import Cursor, InvalidCursor, Limit, Page, decode_cursor, encode_cursor, page

router = APIRouter(prefix="/v1", tags=["public"])

Met = Annotated[Literal["unmet", "partly", "fully"] | None, Query()]
Words = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00]*$",
        description="Words in Chinese or English; all of them must occur.",
    ),
]


@router.get("/needs", response_model=Page[contract.NeedRead], responses=responses(InvalidCursor))
async def list_needs(
    request: Request,
    response: Response,
    caller: Public,
    session: Reading,
    division: Division = None,
    category: CodeFilter = None,
    item_class: CodeFilter = None,
    urgency: CodeFilter = None,
    met: Met = None,
    q: Words = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[contract.NeedRead]:
    """Published needs, newest first; `met=fully` lists those that are closed."""
    rows = await queries.list_published(
        session,
        division=division,
        category=category,
        item_class=item_class,
        urgency=urgency,
        how_far_met=met,
        q=q,
        after=decode_cursor(cursor, datetime, UUID) if cursor else None,
        rows_max=limit + 1,
    )
    return page(
        request,
        response,
        rows,
        limit,
        lambda row: encode_cursor(row.published_at, row.id),
        queries.render,
    )


@router.get("/needs/{need_id}", response_model=contract.NeedRead, responses=responses(NeedNotFound))
async def read_need(caller: Public, session: Reading, need_id: UUID) -> contract.NeedRead:
    """A published or closed need."""
    return await queries.read_public(session, need_id)


@router.get(
    "/notices", response_model=Page[contract.NoticeRead], responses=responses(InvalidCursor)
)
async def list_notices(
    request: Request,
    response: Response,
    caller: Public,
    session: Reading,
    division: Division = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[contract.NoticeRead]:
    """The public notice board: needs that anybody may object to, what ends first on top."""
    rows = await queries.list_notices(
        session,
        division=division,
        after=decode_cursor(cursor, datetime, UUID) if cursor else None,
        rows_max=limit + 1,
    )
    return page(
        request,
        response,
        rows,
        limit,
        lambda row: encode_cursor(row.notice_ends_at, row.id),
        queries.render_notice,
    )
