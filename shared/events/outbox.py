"""Recording an event in the transaction of the change it tells of."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import column, table
from sqlalchemy.types import DateTime, Uuid

from shared.db import now, uuid7
from shared.events.model import Emission, Event
from shared.logs import current_traceparent
from shared.vocabulary import divisions

_OUTBOX = table(
    "outbox",
    column("id", Uuid),
    column("type"),
    column("subject"),
    column("time", DateTime(timezone=True)),
    column("actor"),
    column("actorrole"),
    column("division"),
    column("traceparent"),
    column("data", JSONB),
)
# The sequencer is woken by the commit of a session that carries this mark (shared.service).
EMITTED = "emitted"


async def emit(
    session: AsyncSession,
    event: Event,
    *,
    subject: str,
    actor: str,
    role: str,
    division: str | None = None,
) -> None:
    """Record one event; see `Emission` for the arguments."""
    await emit_all(session, [Emission(event, subject, actor, role, division)])


async def emit_all(session: AsyncSession, emissions: Sequence[Emission]) -> list[UUID]:
    """Record events in the order given; return their ids."""
    moment, traceparent = now(), current_traceparent()
    rows: list[dict[str, Any]] = [
        {
            "id": uuid7(),
            "type": emission.event.type,
            "subject": emission.subject,
            "time": moment,
            "actor": emission.actor,
            "actorrole": emission.role,
            "division": _public_division(emission.division),
            "traceparent": traceparent,
            "data": emission.event.model_dump(mode="json"),
        }
        for emission in emissions
    ]
    if rows:
        # One prepared statement for all: VALUES lists of thousands are compiled anew each time.
        await session.execute(insert(_OUTBOX), rows)
        session.sync_session.info[EMITTED] = True
    return [row["id"] for row in rows]


def _public_division(code: str | None) -> str | None:
    # An event is for ever and for everybody: it says the township, never the village.
    return None if code is None else divisions.cut_to_township(code)
