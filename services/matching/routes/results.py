"""What rounds found: overviews, unmet needs, comparisons, the frozen data itself."""

import zlib
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from services.matching import contract, domain
from services.matching.queries import comparison, rounds
from services.matching.queries import results as queries
from shared.callers import Caller, Public, require
from shared.db import Reading
from shared.errors import responses
from shared.paging import Cursor, InvalidCursor, Limit, Page, encode_cursor, page

# Frozen data hold pseudonyms and degrees of deprivation: those who run rounds, and those who audit.
FrozenReader = Annotated[Caller, Depends(require("rounds:run", "trail:read"))]
Reader = Annotated[Caller, Depends(require("rounds:run", "rounds:approve", "trail:read"))]
With = Annotated[UUID, Query(alias="with", description="The round to compare it with.")]
CHUNK_BYTES = 1 << 18

router = APIRouter(tags=["rounds"])


@router.get(
    "/v1/rounds/{round_id}/overview",
    response_model=contract.OverviewRead,
    responses=responses(domain.RoundNotFound, domain.DivisionNotYours, domain.NoOverview),
)
async def read_overview(session: Reading, caller: Reader, round_id: UUID) -> contract.OverviewRead:
    """A round before it is approved: totals, tiers with gaps, fairness, explained samples."""
    return await queries.overview_read(session, await rounds.round_for(session, caller, round_id))


@router.get(
    "/v1/rounds/{round_id}/outcomes",
    response_model=Page[contract.OutcomeRead],
    responses=responses(domain.RoundNotFound, domain.DivisionNotYours, InvalidCursor),
)
async def list_outcomes(
    session: Reading,
    caller: Reader,
    request: Request,
    response: Response,
    round_id: UUID,
    code: contract.OutcomeCode | None = None,
    need_id: UUID | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[contract.OutcomeRead]:
    """Why needs were not, or not fully, met."""
    await rounds.round_for(session, caller, round_id)
    rows = await queries.list_outcomes(session, round_id, code, need_id, limit, cursor)
    return page(
        request, response, rows, limit, lambda o: encode_cursor(o.need_id), queries.outcome_read
    )


@router.get(
    "/v1/rounds/{round_id}/comparison",
    response_model=contract.ComparisonRead,
    responses=responses(domain.RoundNotFound, domain.DivisionNotYours, domain.NotComparable),
)
async def compare_rounds(
    session: Reading, caller: Reader, round_id: UUID, other: With
) -> contract.ComparisonRead:
    """This round and another on the same frozen data: totals, tiers, fairness, gains and losses."""
    first, second = await comparison.compared(session, caller, round_id, other)
    return await comparison.comparison(session, first, second)


@router.get(
    "/v1/rounds/{round_id}/comparison/needs",
    response_model=Page[contract.ComparedNeed],
    responses=responses(
        domain.RoundNotFound, domain.DivisionNotYours, domain.NotComparable, InvalidCursor
    ),
)
async def compare_needs(
    session: Reading,
    caller: Reader,
    request: Request,
    response: Response,
    round_id: UUID,
    other: With,
    change: contract.Change | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[contract.ComparedNeed]:
    """Needs that get more, or less, in the other round than in this one."""
    first, second = await comparison.compared(session, caller, round_id, other)
    rows = await comparison.compared_needs(
        session, comparison.Pair(first.id, second.id), change, limit, cursor
    )
    return page(
        request,
        response,
        rows,
        limit,
        lambda row: encode_cursor(row.need_id),
        contract.ComparedNeed.model_validate,
    )


@router.get(
    "/v1/rounds/{round_id}/snapshot",
    response_class=Response,
    responses={
        200: {
            "description": "JSON; its ETag is the SHA-256 that the round and its event name.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        **responses(domain.RoundNotFound, domain.DivisionNotYours),
    },
)
async def read_snapshot(
    session: Reading, caller: FrozenReader, request: Request, round_id: UUID
) -> Response:
    """The frozen data a round is computed from, to compute it again."""
    found = await rounds.round_for(session, caller, round_id)
    packed = await queries.packed_of(session, round_id)
    headers = {"ETag": f'"{found.snapshot_sha256}"', "Vary": "Accept-Encoding"}
    # Stored as zlib, which is what HTTP calls deflate: sent as it is to whoever takes that.
    if "deflate" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "deflate"
        return Response(packed, media_type="application/json", headers=headers)
    return StreamingResponse(_plain(packed), media_type="application/json", headers=headers)


def _plain(packed: bytes) -> Iterator[bytes]:
    reader: Any = zlib.decompressobj()
    rest = packed
    while rest:
        yield reader.decompress(rest, CHUNK_BYTES)
        rest = reader.unconsumed_tail
    yield reader.flush()


@router.get(
    "/v1/needs/{need_id}/outcome",
    response_model=contract.NeedOutcome,
    tags=["matches"],
    responses=responses(domain.NeedNotFound, domain.NotConsidered),
)
async def read_need_outcome(
    session: Reading, caller: Public, need_id: UUID
) -> contract.NeedOutcome:
    """What the last approved round gives a published need, and why not all of it, in words."""
    return await queries.need_outcome(session, need_id)
