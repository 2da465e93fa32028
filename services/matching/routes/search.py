"""Free-text search over published needs and open offers; all of it is public."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from services.matching import domain
from services.matching.contract import Urgency
from services.matching.contract import search as contract
from services.matching.domain.search import CategoryUnknown, ItemClassUnknown, QueryEmpty
from services.matching.queries import search as queries
from shared.bodies import Code, DivisionCode
from shared.callers import Public
from shared.db import Reading
from shared.errors import responses
from shared.paging import Cursor, InvalidCursor, Limit, page

SearchText = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00]*$",
        description="Words, in Chinese or English; left out, everything is listed, newest first.",
        examples=["儿童口罩"],
    ),
]
REFUSED = responses(
    QueryEmpty, CategoryUnknown, ItemClassUnknown, domain.DivisionUnknown, InvalidCursor
)

router = APIRouter(prefix="/v1/search", tags=["search"])


@router.get("/needs", response_model=contract.NeedHits, responses=REFUSED)
async def search_needs(
    session: Reading,
    caller: Public,
    request: Request,
    response: Response,
    q: SearchText = None,
    category: Code | None = None,
    item_class: Code | None = None,
    division_code: DivisionCode | None = None,
    urgency: Urgency | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> contract.NeedHits:
    """Published needs that still lack something, with counts by category, class and division."""
    found = await queries.hits(
        session,
        request.app.state.retrieval,
        "needs",
        queries.Search(q, category, item_class, urgency, division_code, limit, cursor),
    )
    made = page(
        request,
        response,
        found.rows,
        limit,
        queries.cursor_of,
        lambda row: queries.need_read(row, q is not None),
    )
    return contract.NeedHits(
        data=made.data,
        meta=made.meta,
        links=made.links,
        total=found.total,
        facets=contract.NeedFacets.model_validate(found.facets),
    )


@router.get("/offers", response_model=contract.OfferHits, responses=REFUSED)
async def search_offers(
    session: Reading,
    caller: Public,
    request: Request,
    response: Response,
    q: SearchText = None,
    category: Code | None = None,
    item_class: Code | None = None,
    division_code: DivisionCode | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> contract.OfferHits:
    """Lines of open offers that still have something and serve at least part of the division."""
    found = await queries.hits(
        session,
        request.app.state.retrieval,
        "lines",
        queries.Search(q, category, item_class, None, division_code, limit, cursor),
    )
    made = page(
        request,
        response,
        found.rows,
        limit,
        queries.cursor_of,
        lambda row: queries.line_read(row, q is not None),
    )
    return contract.OfferHits(
        data=made.data,
        meta=made.meta,
        links=made.links,
        total=found.total,
        facets=contract.Facets.model_validate(found.facets),
    )
