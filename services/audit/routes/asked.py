"""What the trail can be asked for, the same for pages and exports, and how it is told."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.contract import Producer
from services.audit.queries.trail import TrailFilter, told
from shared.bodies import DivisionCode, Moment
from shared.callers import Caller, require

_Plain = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]
# Of the whole country, whatever the caller's division: the log is public, so nothing is hidden by
# less; what is not public stays with needs, which looks at the division.
Supervisor = Annotated[Caller, Depends(require("trail:read"))]


def _asked(
    allocation: UUID | None = None,
    need: UUID | None = None,
    organization: UUID | None = None,
    offer: UUID | None = None,
    subject: Annotated[
        _Plain | None, Query(description="What it is about.", examples=["need/0197…"])
    ] = None,
    officer: Annotated[_Plain | None, Query(description="Who acted.")] = None,
    producer: Producer | None = None,
    event_type: Annotated[_Plain | None, Query(alias="type")] = None,
    division: Annotated[DivisionCode | None, Query(description="And what it covers.")] = None,
    since: Annotated[Moment | None, Query(description="Events from then on.")] = None,
    before: Annotated[Moment | None, Query(description="Events before then.")] = None,
) -> TrailFilter:
    return TrailFilter(
        allocation,
        need,
        organization,
        offer,
        subject,
        officer,
        producer,
        event_type,
        division,
        since,
        before,
    )


Asked = Annotated[TrailFilter, Depends(_asked)]


async def in_public(session: AsyncSession, wanted: TrailFilter) -> dict[str, Any]:
    """The fields of `contract.TrailAsked`."""
    fields = await told(session, wanted)
    ids = ("allocation", "need", "organization", "offer")
    return {f"{name}_id" if name in ids else name: value for name, value in fields.items()}
