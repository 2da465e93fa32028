"""The public log: checkpoint, tiles, proofs, receipts, and what the verifier needs."""

import base64
from pathlib import Path as FilePath
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from services.audit.contract import ColumnsRead, ConsistencyProof, InclusionProof, LogHead
from services.audit.domain import (
    CheckpointNotFound,
    EntriesMissing,
    EntryNotFound,
    EntryNotSigned,
    LogRefused,
    NoEntryNamed,
    SizesOutOfRange,
    TileNotFound,
)
from services.audit.queries import log as queries
from services.audit.tiles import LEVEL_MAX, BadTilePath, TileSpan, parse_span
from shared.callers import Public
from shared.db import Reading
from shared.errors import responses
from shared.tlog.checkpoints import Receipt

TEXT = "text/plain; charset=utf-8"
OCTETS = "application/octet-stream"
# SPEC: tlog-tiles: tiles never change, so they may be kept for ever; the checkpoint does.
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
CHANGING = {"Cache-Control": "no-cache"}
INDEX_MAX = 2**62
COLUMNS_MAX = 1_000
_VERIFIER = FilePath(__file__).parent.parent / "verifier.py"

Index = Annotated[int, Query(ge=0, le=INDEX_MAX, description="Index of an entry, from 0.")]
TreeSize = Annotated[int, Query(ge=0, le=INDEX_MAX, description="Number of entries.")]
TilePath = Annotated[
    str,
    Path(
        max_length=40,
        pattern=r"^[0-9x/p.]+$",
        description="Index of the tile in groups of three digits, with `.p/<W>` for a partial one.",
        examples=["x001/x234/067"],
    ),
]
router = APIRouter(tags=["log"])


def _body(media_type: str) -> dict[int | str, dict[str, object]]:
    schema: dict[str, str] = {"type": "string"}
    if media_type == OCTETS:
        schema["format"] = "binary"
    return {
        200: {"description": "Found", "content": {media_type.split(";")[0]: {"schema": schema}}}
    }


@router.get(
    "/checkpoint",
    response_class=Response,
    responses={**_body(TEXT), **responses(CheckpointNotFound)},
)
async def read_checkpoint(session: Reading, caller: Public) -> Response:
    """The last signed checkpoint (C2SP tlog-checkpoint)."""
    checkpoint = await queries.last_checkpoint(session)
    return Response(checkpoint.note, media_type=TEXT, headers=CHANGING)


@router.get(
    "/tile/entries/{path:path}",
    response_class=Response,
    responses={**_body(OCTETS), **responses(TileNotFound, CheckpointNotFound, EntriesMissing)},
)
async def read_entries(session: Reading, caller: Public, path: TilePath) -> Response:
    """A bundle of up to 256 entries, each after its length (C2SP tlog-tiles)."""
    bundle = await queries.entry_bundle(session, _span(path))
    return Response(bundle, media_type=OCTETS, headers=IMMUTABLE)


@router.get(
    "/tile/{level}/{path:path}",
    response_class=Response,
    responses={**_body(OCTETS), **responses(TileNotFound, CheckpointNotFound, EntriesMissing)},
)
async def read_tile(
    session: Reading,
    caller: Public,
    level: Annotated[int, Path(ge=0, le=LEVEL_MAX)],
    path: TilePath,
) -> Response:
    """A tile of up to 256 hashes of tree level 8 x `level` (C2SP tlog-tiles)."""
    tile = await queries.hash_tile(session, level, _span(path))
    return Response(tile, media_type=OCTETS, headers=IMMUTABLE)


def _span(path: str) -> TileSpan:
    try:
        return parse_span(path)
    except BadTilePath as error:
        raise TileNotFound from error


@router.get(
    "/v1/proofs/inclusion",
    responses=responses(NoEntryNamed, EntryNotFound, EntryNotSigned, EntriesMissing),
)
async def prove_inclusion(
    session: Reading,
    caller: Public,
    index: Annotated[int | None, Query(ge=0, le=INDEX_MAX)] = None,
    event_id: UUID | None = None,
) -> InclusionProof:
    """That an entry is in the log under the last checkpoint (RFC 9162 2.1.3)."""
    if (index is None) == (event_id is None):
        raise NoEntryNamed
    if index is None:
        index = await queries.index_of(session, event_id)  # type: ignore[arg-type]  # one is given
    proof = await queries.inclusion(session, index)
    return InclusionProof(
        index=proof.index,
        size=proof.size,
        leaf=_encode(proof.leaf),
        hashes=[_encode(each) for each in proof.hashes],
        checkpoint=proof.note,
    )


@router.get(
    "/v1/proofs/consistency",
    responses=responses(SizesOutOfRange, CheckpointNotFound, EntriesMissing),
)
async def prove_consistency(
    session: Reading, caller: Public, first: TreeSize, second: TreeSize
) -> ConsistencyProof:
    """That the log of size `first` is a prefix of the log of size `second` (RFC 9162 2.1.4)."""
    path = await queries.consistency(session, first, second)
    return ConsistencyProof(first=first, second=second, hashes=[_encode(each) for each in path])


@router.get(
    "/v1/receipts/{event_id}",
    response_class=Response,
    responses={**_body(TEXT), **responses(EntryNotFound, EntryNotSigned, EntriesMissing)},
)
async def read_receipt(session: Reading, caller: Public, event_id: UUID) -> Response:
    """A receipt to keep, checkable offline (C2SP tlog-proof)."""
    proof = await queries.inclusion(session, await queries.index_of(session, event_id))
    receipt = Receipt(proof.index, proof.hashes, proof.note)
    return Response(str(receipt), media_type=TEXT, headers=CHANGING)


@router.get("/v1/columns", response_model=ColumnsRead)
async def read_columns(
    session: Reading,
    caller: Public,
    first: Annotated[int, Query(ge=-INDEX_MAX, le=INDEX_MAX)] = 0,
    limit: Annotated[int, Query(ge=1, le=COLUMNS_MAX, description="Rows.")] = 256,
) -> Response:
    """The query columns of entries from `first` on, as stored: compared with the bodies."""
    rows = await queries.columns(session, first, limit)
    return Response(f'{{"data":{rows}}}', media_type="application/json")


@router.get("/v1/head", responses=responses(LogRefused))
async def read_head(session: Reading, caller: Public) -> LogHead:
    """The state the next entry is appended to, as stored: compared with the recomputed one."""
    row = await queries.head(session)
    steps = range(0, len(row.frontier), 32)
    return LogHead(
        size=row.size,
        frontier=[_encode(row.frontier[at : at + 32]) for at in steps],
        index_min=row.index_min,
        index_max=row.index_max,
    )


@router.get("/v1/key", response_class=Response, responses=_body(TEXT))
async def read_key(caller: Public, request: Request) -> Response:
    """The log's public key; compare it with one from elsewhere before you trust it."""
    return Response(await run_in_threadpool(request.app.state.log.vkey), media_type=TEXT)


@router.get("/v1/verifier", response_class=Response, responses=_body("text/x-python"))
async def read_verifier(caller: Public) -> Response:
    """The stand-alone verifier: one file, to be read before it is run."""
    source = await run_in_threadpool(_VERIFIER.read_text)
    return Response(source, media_type="text/x-python; charset=utf-8")


def _encode(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
