"""What the verifier reads much of at once: entries, leaf hashes and query columns as stored."""

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
    """Signed entries from `first` on, in three blocks, each after its length (4 bytes, big-endian).

    1. the entries, each after its length, as in `/tile/entries/…`; 2. the stored leaf hashes;
    3. the stored query columns, UTF-8: rows ended by U+001E, their eleven texts parted by U+001F:
    event_id, producer, seq, type, subject, division (after `=`, or nothing), actor, actor_role,
    time (`2026-11-01 08:00:00.5+00`), mentions (`{id,id}`).
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
