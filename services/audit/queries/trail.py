"""The trail: entries by what they are about, who acted, where and when."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.domain import division_bounds
from services.audit.queries.rows import COLUMNS


@dataclass(frozen=True)
class TrailFilter:
    """What the trail is asked for; None asks for nothing. `mentioned` must all be named."""

    mentioned: list[UUID] = field(default_factory=list)
    officer: str | None = None
    producer: str | None = None
    event_type: str | None = None
    division: str | None = None
    since: datetime | None = None
    before: datetime | None = None


_WORDS = text(
    "SELECT EXISTS (SELECT FROM entry WHERE actor = :officer) AS officer,"
    " EXISTS (SELECT FROM entry WHERE type = :event_type) AS event_type"
)
NOT_IN_THE_LOG = "(not in the log)"


async def told(session: AsyncSession, wanted: TrailFilter) -> TrailFilter:
    """The filter as it may be told in public: of its words only those that the log has already."""
    has = (
        await session.execute(_WORDS, {"officer": wanted.officer, "event_type": wanted.event_type})
    ).one()
    return replace(
        wanted,
        officer=wanted.officer if wanted.officer is None or has.officer else NOT_IN_THE_LOG,
        event_type=(
            wanted.event_type if wanted.event_type is None or has.event_type else NOT_IN_THE_LOG
        ),
    )


async def trail(
    session: AsyncSession, wanted: TrailFilter, *, newest: bool, after: int | None, limit: int
) -> Sequence[Row[Any]]:
    """Entries in the order of the log, or its reverse, beyond index `after`."""
    lowest, highest = division_bounds(wanted.division) if wanted.division else (None, None)
    conditions: dict[str, dict[str, Any]] = {
        "mentions @> CAST(:mentioned AS uuid[])": {"mentioned": wanted.mentioned},
        "actor = :officer": {"officer": wanted.officer},
        "producer = :producer": {"producer": wanted.producer},
        "type = :event_type": {"event_type": wanted.event_type},
        "division >= :lowest": {"lowest": lowest},
        "division <= :highest": {"highest": highest},
        "time >= :since": {"since": wanted.since},
        "time < :before": {"before": wanted.before},
        ("index < :after" if newest else "index > :after"): {"after": after},
    }
    asked = {
        condition: value
        for condition, value in conditions.items()
        if next(iter(value.values())) not in (None, [])
    }
    where = " AND ".join(asked) or "true"
    order = "DESC" if newest else "ASC"
    statement = text(
        f"SELECT {COLUMNS}, body FROM entry WHERE {where} ORDER BY index {order} LIMIT :limit"  # noqa: S608 - conditions of our own, values bound
    )
    values: dict[str, Any] = {"limit": limit}
    for value in asked.values():
        values |= value
    return (await session.execute(statement, values)).all()
