"""What fits what: offers for a need, needs for an offer. Published needs are public, so is this."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from services.matching import contract, domain
from services.matching.queries import matches as queries
from shared.bodies import Code, DivisionCode
from shared.callers import Public
from shared.db import Reading, now
from shared.errors import responses
from shared.paging import Cursor, InvalidCursor, page
from shared.vocabulary import divisions

MATCHES_MAX = 50
PolicyName = Annotated[
    str, Query(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Matching policy to score by.")
]
MatchLimit = Annotated[int, Query(ge=1, le=MATCHES_MAX, description="Matches a page, best first.")]
QuantityMin = Annotated[int, Query(ge=1, le=10**15, description="In base units.")]

router = APIRouter(prefix="/v1", tags=["matches"])


@router.get(
    "/needs/{need_id}/offers",
    response_model=contract.ScoredOffers,
    responses=responses(domain.NeedNotFound, domain.PolicyNotFound, InvalidCursor),
)
async def offers_for_need(
    session: Reading,
    caller: Public,
    request: Request,
    response: Response,
    need_id: UUID,
    policy: PolicyName = "national-1",
    quantity_min: QuantityMin = 1,
    limit: MatchLimit = 10,
    cursor: Cursor = None,
) -> contract.ScoredOffers:
    """Open offer lines that may serve a published need, with scores and reasons."""
    retrieval = request.app.state.retrieval
    judge = await queries.judge_of(session, retrieval, policy, now())
    found = await queries.offers_for_need(session, retrieval, need_id, judge, quantity_min)
    made = page(
        request,
        response,
        queries.after(found, cursor, limit),
        limit,
        queries.cursor_of,
        lambda match: queries.offer_read(match, judge),
    )
    return contract.ScoredOffers(
        data=made.data, meta=made.meta, links=made.links, compared=found.compared, cut=found.cut
    )


@router.get(
    "/offers/{offer_id}/needs",
    response_model=contract.ScoredNeeds,
    responses=responses(
        domain.OfferNotFound, domain.PolicyNotFound, domain.DivisionUnknown, InvalidCursor
    ),
)
async def needs_for_offer(
    session: Reading,
    caller: Public,
    request: Request,
    response: Response,
    offer_id: UUID,
    policy: PolicyName = "national-1",
    category: Code | None = None,
    item_class: Code | None = None,
    urgency: contract.Urgency | None = None,
    division_code: DivisionCode | None = None,
    quantity_min: QuantityMin = 1,
    limit: MatchLimit = 10,
    cursor: Cursor = None,
) -> contract.ScoredNeeds:
    """Published needs that an open offer's lines may serve, with scores and reasons."""
    if division_code is not None and not divisions.known(division_code):
        raise domain.DivisionUnknown("This is not a known division code.")
    retrieval = request.app.state.retrieval
    judge = await queries.judge_of(session, retrieval, policy, now())
    found = await queries.needs_for_offer(
        session,
        retrieval,
        offer_id,
        judge,
        queries.Narrowed(category, item_class, urgency, division_code, quantity_min),
    )
    made = page(
        request,
        response,
        queries.after(found, cursor, limit),
        limit,
        queries.cursor_of,
        lambda match: queries.need_read(match, judge),
    )
    return contract.ScoredNeeds(
        data=made.data, meta=made.meta, links=made.links, compared=found.compared, cut=found.cut
    )
