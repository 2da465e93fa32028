"""The public log: checkpoint, tiles, proofs, receipts, and what the verifier needs."""

import base64
from pathlib import Path as FilePath
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from services.audit.contract import (
    ColumnsRead,
    ConsistencyProof,
    InclusionProof,
    LogHead,
    WitnessesRead,
    WitnessRead,
)
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
async def read_checkpoint(session: Reading, caller: Public, request: Request) -> Response:
    """The newest checkpoint that enough witnesses have cosigned (C2SP tlog-checkpoint)."""
    checkpoint = await queries.published_checkpoint(session, request.app.state.quorum)
    return Response(checkpoint.note, media_type=TEXT, headers=CHANGING)


@router.get(
    "/v1/checkpoints/signed",
    response_class=Response,
    responses={**_body(TEXT), **responses(CheckpointNotFound)},
)
async def read_signed_checkpoint(session: Reading, caller: Public) -> Response:
    """The newest checkpoint the log has signed, with the cosignatures it has by now."""
    checkpoint = await queries.signed_checkpoint(session)
    return Response(checkpoint.note, media_type=TEXT, headers=CHANGING)


@router.get("/v1/witnesses")
async def read_witnesses(session: Reading, caller: Public, request: Request) -> WitnessesRead:
    """Who cosigns the log, what each has cosigned last, and whether that is enough."""
    witnesses = request.app.state.policy.witnesses
    keys = [party.key for party in witnesses.values()]
    rows = await queries.witnessed(session, request.app.state.quorum, keys)
    last = {(row.name, row.key_id): row for row in rows if row.name is not None}
    asks = request.app.state.quorum is not None
    return WitnessesRead(
        size_signed=rows[0].size_signed,
        size_published=rows[0].size_published if asks else rows[0].size_signed,
        quorum_missing_since=rows[0].missing_since,
        data=[
            WitnessRead(
                name=name,
                key=str(key),
                size=last[key.name, key.key_id].size,
                cosigned_at=last[key.name, key.key_id].at,
            )
            for name, key in zip(witnesses, keys, strict=True)
        ],
    )


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
    """That an entry is in the log under the newest signed checkpoint (RFC 9162 2.1.3)."""
    entry = event_id if index is None else index
    if entry is None or None not in (index, event_id):
        raise NoEntryNamed
    proof = await queries.inclusion(session, entry)
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
async def read_receipt(
    session: Reading, caller: Public, request: Request, event_id: UUID
) -> Response:
    """A receipt to keep, checkable offline (C2SP tlog-proof); cosigned once a quorum has."""
    proof = await queries.inclusion(session, event_id, policy=request.app.state.quorum)
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
async def read_keys(caller: Public, request: Request) -> Response:
    """The log's public keys, newest first; compare them with what you have from elsewhere.

    A line a key: the key, the size from which checkpoints carry its signature, and the last such.
    """
    return Response(await run_in_threadpool(request.app.state.log.vkey), media_type=TEXT)


@router.get("/v1/verifier", response_class=Response, responses=_body("text/x-python"))
async def read_verifier(caller: Public) -> Response:
    """The stand-alone verifier: one file, to be read before it is run."""
    source = await run_in_threadpool(_VERIFIER.read_text)
    return Response(source, media_type="text/x-python; charset=utf-8")


def _encode(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
