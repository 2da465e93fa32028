"""HTTP: C2SP tlog-witness v1.0.0, whose answers are plain text, and our public keys."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from services.witness import domain, operations, queries
from services.witness.contract import SIZE_MEDIA_TYPE
from services.witness.domain import (
    MalformedSubmission,
    NotConsistent,
    NothingCosigned,
    OldSizeTooLarge,
    SizeDiffers,
    UnknownLog,
    UntrustedCheckpoint,
    WitnessRefused,
)
from services.witness.keeper import Keeper
from shared.callers import Public
from shared.db import Reading, Transaction, now
from shared.errors import responses

TEXT = "text/plain; charset=utf-8"
CHANGING = {"Cache-Control": "no-cache"}
router = APIRouter(tags=["witness"])


def _text(description: str, media_type: str = "text/plain") -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}


_REQUEST = {
    "description": "`old <size>`, proof lines in base64, an empty line, the signed checkpoint.",
    "required": True,
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


@router.post(
    "/add-checkpoint",
    response_class=Response,
    openapi_extra={"requestBody": _REQUEST},
    responses={
        **responses(
            MalformedSubmission,
            OldSizeTooLarge,
            UntrustedCheckpoint,
            UnknownLog,
            NotConsistent,
            WitnessRefused,
        ),
        200: _text("Cosignature lines"),
        409: _text("The size of the last checkpoint cosigned", SIZE_MEDIA_TYPE),
    },
)
async def add_checkpoint(session: Transaction, caller: Public, request: Request) -> Response:
    """Cosign a checkpoint that goes on from the last one cosigned of its log."""
    keeper: Keeper = request.app.state.keeper
    submission = domain.submission_of(await request.body(), keeper.logs)
    at = int(now().timestamp())
    try:
        lines = await operations.add_checkpoint(
            session, keeper.state, keeper.cosigners(), submission, at
        )
    except SizeDiffers as differs:
        # SPEC: 409, the size "in decimal, followed by a newline", as exactly this content type.
        return Response(f"{differs.size}\n", 409, headers={"Content-Type": SIZE_MEDIA_TYPE})
    return Response(lines, media_type=TEXT)


@router.get(
    "/{origin_sha256}/checkpoint",
    response_class=Response,
    responses={**responses(NothingCosigned, WitnessRefused), 200: _text("Found")},
)
async def read_checkpoint(
    session: Reading,
    caller: Public,
    request: Request,
    origin_sha256: Annotated[
        str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the log's origin, in hex.")
    ],
) -> Response:
    """The last checkpoint cosigned of a log, with the log's signatures and ours: for monitors."""
    keeper: Keeper = request.app.state.keeper
    note = await queries.last_checkpoint(session, keeper.state, keeper.logs, origin_sha256)
    return Response(note, media_type=TEXT, headers=CHANGING)


@router.get(
    "/v1/key",
    response_class=Response,
    responses={**responses(WitnessRefused), 200: _text("Found")},
)
async def read_key(caller: Public, request: Request) -> Response:
    """Our public keys, a line each; compare them with ones from elsewhere before you trust them."""
    cosigners = request.app.state.keeper.cosigners()
    return Response("".join(f"{each.key}\n" for each in cosigners), media_type=TEXT)
