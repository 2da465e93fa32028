"""Rankings: what counts when lines are ranked for needs. Public, as everything that decides is."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from services.matching.contract import rankings as contract
from services.matching.domain import DivisionNotYours, TookPart
from services.matching.domain.rankings import (
    DecisionsTooFew,
    RankingInTraining,
    RankingNameTaken,
    RankingNotFound,
    RankingNotThere,
)
from services.matching.operations import rankings as operations
from services.matching.queries import rankings as queries
from shared.callers import Caller, Public, require
from shared.db import Reading, Transaction, now
from shared.errors import responses
from shared.idempotency import IdempotencyKeyMissing, IdempotencyKeyReused, Once, RequestInFlight
from shared.paging import Cursor, InvalidCursor, Limit, Page, encode_cursor, page
from shared.screening import PersonalDataInText

Activator = Annotated[Caller, Depends(require("policy:activate"))]
Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]

router = APIRouter(prefix="/v1/rankings", tags=["rankings"])


@router.get("", response_model=Page[contract.RankingRead], responses=responses(InvalidCursor))
async def list_rankings(
    session: Reading,
    caller: Public,
    request: Request,
    response: Response,
    state: contract.RankingState | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[contract.RankingRead]:
    """Rankings, the newest first; one of them is active."""
    rows = await queries.list_rankings(session, state, limit, cursor)
    return page(
        request,
        response,
        rows,
        limit,
        lambda r: encode_cursor(r.proposed_at, r.name),
        queries.ranking_read,
    )


@router.get("/{name}", response_model=contract.RankingDetail, responses=responses(RankingNotFound))
async def read_ranking(session: Reading, caller: Public, name: Name) -> contract.RankingDetail:
    """One ranking with its scorecard, and how it did against the one before it."""
    return queries.ranking_detail(await queries.ranking_of(session, name))


@router.post(
    "",
    status_code=202,
    response_model=contract.RankingRead,
    responses=responses(
        IdempotencyKeyMissing,
        IdempotencyKeyReused,
        RequestInFlight,
        DivisionNotYours,
        DecisionsTooFew,
        RankingNameTaken,
        RankingInTraining,
        PersonalDataInText,
    ),
)
async def propose_ranking(
    caller: Activator, session: Transaction, once: Once, body: contract.RankingCreate
) -> contract.RankingRead:
    """Have a ranking trained from the decisions until now; read it again to see how far it is."""
    proposed = await operations.propose(session, caller, body, now())
    return await once.remember(202, queries.ranking_read(proposed))


@router.post(
    "/{name}/activation",
    response_model=contract.RankingRead,
    responses=responses(
        RankingNotFound, RankingNotThere, TookPart, DivisionNotYours, PersonalDataInText
    ),
)
async def activate_ranking(
    caller: Activator, session: Transaction, name: Name, body: contract.RankingActivate
) -> contract.RankingRead:
    """Put a ranking into force for the rounds from now on; not by the person who proposed it."""
    return queries.ranking_read(
        await operations.activate(session, caller, name, body.reason, now())
    )
