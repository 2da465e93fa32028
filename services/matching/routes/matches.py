"""What fits what: offers for a need, needs for an offer. Published needs are public, so is this."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from services.matching import contract, domain
from services.matching.queries import matches as queries
from shared.callers import Public
from shared.db import Reading, now
from shared.errors import responses

MATCHES_MAX = 50
PolicyName = Annotated[
    str, Query(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Matching policy to score by.")
]
MatchLimit = Annotated[int, Query(ge=1, le=MATCHES_MAX, description="Matches, best first.")]

router = APIRouter(prefix="/v1", tags=["matches"])


@router.get(
    "/needs/{need_id}/offers",
    response_model=contract.ScoredOffers,
    responses=responses(domain.NeedNotFound, domain.PolicyNotFound),
)
async def offers_for_need(
    session: Reading,
    caller: Public,
    request: Request,
    need_id: UUID,
    policy: PolicyName = "national-1",
    limit: MatchLimit = 10,
) -> contract.ScoredOffers:
    """Open offer lines that may serve a published need, with scores and reasons."""
    return await queries.offers_for_need(
        session, request.app.state.retrieval, need_id, policy, limit, now()
    )


@router.get(
    "/offers/{offer_id}/needs",
    response_model=contract.ScoredNeeds,
    responses=responses(domain.OfferNotFound, domain.PolicyNotFound),
)
async def needs_for_offer(
    session: Reading,
    caller: Public,
    request: Request,
    offer_id: UUID,
    policy: PolicyName = "national-1",
    limit: MatchLimit = 10,
) -> contract.ScoredNeeds:
    """Published needs that an open offer's lines may serve, with scores and reasons."""
    return await queries.needs_for_offer(
        session, request.app.state.retrieval, offer_id, policy, limit, now()
    )
