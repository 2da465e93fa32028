"""Answers that carry their proofs: chains of allocations, receipts by the many, exports."""

import base64
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit import chain, exports, hashes, sentences
from services.audit.contract import (
    AllocationChain,
    ChainLack,
    ChainRead,
    ChainStep,
    ExportFormat,
    ReceiptRead,
    ReceiptsRead,
    TrailExported,
)
from services.audit.domain import (
    AllocationNotLogged,
    ChainTooLong,
    CheckpointNotFound,
    EntriesMissing,
)
from services.audit.queries import chain as chains
from services.audit.queries import log, trail
from services.audit.queries.trail import TrailFilter
from services.audit.routes.asked import Asked, Supervisor, in_public
from shared.bodies import render_moment
from shared.callers import Public
from shared.db import Reading, Sessions, Transaction, now
from shared.errors import responses
from shared.events import emit
from shared.tlog.checkpoints import Receipt

EXPORT_ENTRIES_MAX = 100_000
RECEIPTS_MAX = 100
_ENTRIES_A_READ = 256
router = APIRouter(tags=["trail"])


@router.get(
    "/v1/allocations/{allocation_id}/chain",
    responses=responses(AllocationNotLogged, ChainTooLong, CheckpointNotFound, EntriesMissing),
)
async def read_chain(
    request: Request, session: Transaction, caller: Supervisor, allocation_id: UUID
) -> AllocationChain:
    """Who did what, when, why and under which policy for one allocation, with proofs, and what
    is missing; the reading is logged too."""
    rows = await chains.entries_of(session, allocation_id)
    checkpoint = await _checkpoint(session, request)
    covered = [index for index in chains.indexes_of(rows) if index < checkpoint.size]
    paths = await hashes.inclusion_paths(session, covered, checkpoint.size)
    proofs = dict(zip(covered, paths, strict=True))
    await emit(
        session,
        ChainRead(allocation_id=allocation_id),
        subject=f"allocation/{allocation_id}",
        actor=caller.subject,
        role=caller.role,
    )
    facts = [chains.fact_of(row) for row in rows]
    return AllocationChain(
        allocation_id=allocation_id,
        origin=request.app.state.settings.origin,
        size=checkpoint.size,
        checkpoint=checkpoint.note,
        steps=[_step(row, proofs.get(row[0])) for row in rows],
        missing=[_lack(each) for each in chain.lacking(allocation_id, facts)],
    )


async def _checkpoint(session: AsyncSession, request: Request) -> Row[Any]:
    """The newest with a quorum; without any yet, the newest signed, as receipts do it."""
    try:
        return await log.published_checkpoint(session, request.app.state.quorum)
    except CheckpointNotFound:
        return await log.signed_checkpoint(session)


def _step(row: Row[Any], path: list[bytes] | None) -> ChainStep:
    data = chains.data_of(row)
    zh, en = sentences.of_event(row.type, row.actor_role, data)
    return ChainStep(
        **{name: value for name, value in row._mapping.items() if name not in {"body"}},
        policy=_text(data.get("policy")),
        why=_text(data.get("reason") or data.get("reason_code")),
        says_zh=zh,
        says_en=en,
        body=bytes(row.body).decode(errors="replace"),
        hashes=None if path is None else [base64.b64encode(each).decode() for each in path],
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _lack(lack: chain.Lack) -> ChainLack:
    zh, en = sentences.of_lack(lack.step, lack.kind)
    return ChainLack(step=lack.step, kind=lack.kind, says_zh=zh, says_en=en)


@router.get("/v1/receipts", responses=responses(CheckpointNotFound, EntriesMissing))
async def read_receipts(
    session: Reading,
    caller: Public,
    request: Request,
    event_id: Annotated[list[UUID], Query(min_length=1, max_length=RECEIPTS_MAX)],
) -> ReceiptsRead:
    """Entries with their receipts, as far as the newest checkpoint with a quorum covers them."""
    checkpoint = await log.published_checkpoint(session, request.app.state.quorum)
    rows = await trail.bodies_of(session, event_id, checkpoint.size)
    indexes = chains.indexes_of(rows)
    paths = await hashes.inclusion_paths(session, indexes, checkpoint.size)
    return ReceiptsRead(
        data=[
            ReceiptRead(
                event_id=row.event_id,
                index=index,
                entry=bytes(row.body).decode(errors="replace"),
                receipt=str(Receipt(index, path, checkpoint.note)),
            )
            for row, index, path in zip(rows, indexes, paths, strict=True)
        ]
    )


@router.get(
    "/v1/export",
    response_class=StreamingResponse,
    responses={
        **responses(CheckpointNotFound),
        200: {
            "description": "The entries, each with its proof (docs/log.md)",
            "content": {
                "application/x-ndjson": {"schema": {"type": "string"}},
                "text/csv": {"schema": {"type": "string"}},
            },
        },
    },
)
async def export_trail(
    request: Request,
    session: Transaction,
    caller: Supervisor,
    wanted: Asked,
    form: Annotated[ExportFormat, Query(alias="format")] = "jsonl",
    after_index: Annotated[
        int, Query(ge=-1, le=2**62, description="`last_index` of the export that this continues.")
    ] = -1,
    limit: Annotated[int, Query(ge=1, le=EXPORT_ENTRIES_MAX)] = EXPORT_ENTRIES_MAX,
) -> StreamingResponse:
    """Entries with their proofs, as a file that a verifier checks offline; logged before it is
    sent."""
    checkpoint = await _checkpoint(session, request)
    found = await trail.indexes(
        session, wanted, after=after_index, size=checkpoint.size, limit=limit + 1
    )
    indexes, has_more = found[:limit], len(found) > limit
    after = after_index if after_index >= 0 else None
    fact = TrailExported(
        **await in_public(session, wanted),
        format=form,
        after_index=after,
        entries=len(indexes),
        size=checkpoint.size,
    )
    await emit(
        session,
        fact,
        subject="trail",
        actor=caller.subject,
        role=caller.role,
        division=wanted.division,
    )
    moment, origin = now(), request.app.state.settings.origin
    told = exports.Told(origin, moment, _asked(wanted), after, checkpoint.note)
    written = exports.FORMS[form](told)
    name = f"trail-{moment:%Y%m%dT%H%M%SZ}.{form}"
    # The transaction of this request has been committed before the first of these bytes is made.
    return StreamingResponse(
        _written(
            request.app.state.callers.reading_sessions, written, indexes, has_more, checkpoint.size
        ),
        media_type=written.media_type,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
        },
    )


async def _written(
    sessions: Sessions,
    written: exports.JsonLines | exports.Csv,
    indexes: list[int],
    has_more: bool,
    size: int,
) -> AsyncIterator[str]:
    yield written.head()
    for at in range(0, len(indexes), _ENTRIES_A_READ):
        batch = indexes[at : at + _ENTRIES_A_READ]
        # A connection is held for a batch, not while a slow reader takes it.
        async with sessions() as session:
            rows = await trail.bodies(session, batch)
            if len(rows) != len(batch):
                # Without its end the file is seen to be cut; nothing takes the entry's place.
                raise EntriesMissing(min(set(batch) - set(chains.indexes_of(rows))))
            paths = await hashes.inclusion_paths(session, batch, size)
        yield "".join(
            written.entry(exports.Exported(row, path))
            for row, path in zip(rows, paths, strict=True)
        )
    yield written.end(indexes, has_more)


def _asked(wanted: TrailFilter) -> dict[str, str]:
    """The filter by the names of the query, without what was not asked for."""
    return {
        "type" if name == "event_type" else name: (
            render_moment(value) if name in {"since", "before"} else str(value)
        )
        for name, value in vars(wanted).items()
        if value is not None
    }
