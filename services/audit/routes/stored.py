"""What the verifier reads much of at once: entries, and what is stored beside them."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.audit.contract import StoredCheckpoints
from services.audit.domain import EntriesMissing, TileNotFound, TooManyBytes
from services.audit.queries import stored
from shared.callers import Public
from shared.db import Reading
from shared.errors import responses

OCTETS = "application/octet-stream"
INDEX_MAX = 2**62
CHECKPOINTS_MAX = 1_000
router = APIRouter(tags=["log"])


@router.get(
    "/v1/stored",
    response_class=Response,
    responses={
        200: {
            "description": "Found",
            "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}},
        },
        **responses(TileNotFound, EntriesMissing, TooManyBytes),
    },
)
async def read_stored(
    session: Reading,
    caller: Public,
    first: Annotated[int, Query(ge=0, le=INDEX_MAX, description="Index of an entry, from 0.")],
    limit: Annotated[int, Query(ge=1, le=stored.ROWS_MAX, description="Rows.")],
) -> Response:
    """Signed entries from `first` on, in groups of 64 (the last may be smaller).

    Of each group three blocks, each after its length in bytes (4 bytes, big-endian):

    1. its query columns as stored, UTF-8, all parted by U+001F; ten of each entry: producer, seq,
    actor, actor_role, mentions (`{id,id}`), division (or nothing), event_id, subject, time
    (`2026-11-01 08:00:00.5+00`), type; a backslash stands for what is null and should not be, or
    for each of the ten;
    2. its stored leaf hashes;
    3. its entries, parted by a byte 0.
    """
    return Response(await stored.rows(session, first, limit), media_type=OCTETS)


@router.get("/v1/stored/checkpoints", response_model=StoredCheckpoints)
async def read_stored_checkpoints(
    session: Reading,
    caller: Public,
    after: Annotated[
        int, Query(ge=-1, le=INDEX_MAX, description="Size of the last one read.")
    ] = -1,
    limit: Annotated[int, Query(ge=1, le=CHECKPOINTS_MAX, description="Checkpoints.")] = 200,
) -> Response:
    """All checkpoints as stored, with who cosigned them when: compared with notes and entries."""
    rows = await stored.checkpoints(session, after, limit)
    return Response(f'{{"data":{rows}}}', media_type="application/json")
