"""The trail: entries by what they are about, who acted, where and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.contract import NOT_IN_THE_LOG
from services.audit.domain import division_bounds
from services.audit.queries.rows import COLUMNS

# The first checkpoint with a quorum that covers the entry: under whatever policy, it was one then.
COSIGNED_AT = (
    "(SELECT q.at FROM quorum q WHERE q.size > entry.index ORDER BY q.size, q.at LIMIT 1)"
    " AS cosigned_at"
)


@dataclass(frozen=True)
class TrailFilter:
    """What the trail is asked for; None asks for nothing, all that is given must hold."""

    allocation: UUID | None = None
    need: UUID | None = None
    organization: UUID | None = None
    offer: UUID | None = None
    subject: str | None = None
    officer: str | None = None
    producer: str | None = None
    event_type: str | None = None
    division: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    @property
    def mentioned(self) -> list[UUID]:
        named = (self.allocation, self.need, self.organization, self.offer)
        return [each for each in named if each is not None]


_WORDS = text(
    "SELECT EXISTS (SELECT FROM entry WHERE actor = :officer) AS officer,"
    " EXISTS (SELECT FROM entry WHERE type = :type) AS type,"
    " EXISTS (SELECT FROM entry WHERE subject = :subject) AS subject,"
    " ARRAY(SELECT each FROM unnest(CAST(:ids AS uuid[])) AS each"
    "  WHERE EXISTS (SELECT FROM entry WHERE mentions @> ARRAY[each])) AS ids"
)


async def told(session: AsyncSession, wanted: TrailFilter) -> dict[str, Any]:
    """The filter as it may be told in public: of its words and ids only those that the log has
    already; an id of nothing may be a number of somebody's."""
    words = {"officer": wanted.officer, "type": wanted.event_type, "subject": wanted.subject}
    has = (await session.execute(_WORDS, words | {"ids": wanted.mentioned})).one()
    is_there = {"officer": has.officer, "event_type": has.type, "subject": has.subject}
    for name in ("allocation", "need", "organization", "offer"):
        is_there[name] = getattr(wanted, name) in has.ids
    return {
        name: value if value is None or is_there.get(name, True) else NOT_IN_THE_LOG
        for name, value in vars(wanted).items()
    }


async def trail(
    session: AsyncSession, wanted: TrailFilter, *, newest: bool, after: int | None, limit: int
) -> Sequence[Row[Any]]:
    """Entries in the order of the log, or its reverse, beyond index `after`."""
    where, values = _conditions(wanted)
    if after is not None:
        where.append("index < :after" if newest else "index > :after")
        values["after"] = after
    order = "DESC" if newest else "ASC"
    found = _found(wanted, where, f"ORDER BY index {order} LIMIT :limit")
    statement = text(
        f"SELECT {COLUMNS}, {COSIGNED_AT}, body FROM entry"  # noqa: S608 - conditions of our own, values bound
        f" WHERE index IN ({found}) ORDER BY index {order}"
    )
    return (await session.execute(statement, {**values, "limit": limit})).all()


async def indexes(
    session: AsyncSession, wanted: TrailFilter, *, after: int, size: int, limit: int
) -> list[int]:
    """Where the entries stand that are below `size` and beyond index `after`, rising."""
    where, values = _conditions(wanted)
    where += ["index > :after", "index < :size"]
    statement = text(_found(wanted, where, "ORDER BY index LIMIT :limit"))
    values |= {"after": after, "size": size, "limit": limit}
    return list(await session.scalars(statement, values))


async def bodies(session: AsyncSession, at: Sequence[int]) -> Sequence[Row[Any]]:
    """The entries of these indexes, rising; what is gone is left out."""
    statement = text(
        f"SELECT {COLUMNS}, body, leaf FROM entry"  # noqa: S608 - our own list of columns
        " WHERE index = ANY(CAST(:at AS bigint[])) ORDER BY index"
    )
    return (await session.execute(statement, {"at": list(at)})).all()


async def bodies_of(
    session: AsyncSession, event_ids: Sequence[UUID], size: int
) -> Sequence[Row[Any]]:
    """The entries of these events that stand below `size`, rising."""
    statement = text(
        f"SELECT {COLUMNS}, body FROM entry"  # noqa: S608 - our own list of columns
        " WHERE key = ANY(CAST(:keys AS uuid[])) AND index < :size ORDER BY index"
    )
    return (await session.execute(statement, {"keys": list(event_ids), "size": size})).all()


def _found(wanted: TrailFilter, where: Sequence[str], order: str) -> str:
    """The statement that finds indexes. A range of time is found first and ordered afterwards:
    the planner does not know that times rise with indexes, and would walk the log from its end
    until it came to the range."""
    conditions = " AND ".join(where) or "true"
    if wanted.since is None and wanted.before is None:
        return f"SELECT index FROM entry WHERE {conditions} {order}"  # noqa: S608 - conditions of our own
    return (
        f"WITH found AS MATERIALIZED (SELECT index FROM entry WHERE {conditions})"  # noqa: S608 - conditions of our own
        f" SELECT index FROM found {order}"
    )


def _conditions(wanted: TrailFilter) -> tuple[list[str], dict[str, Any]]:
    lowest, highest = division_bounds(wanted.division) if wanted.division else (None, None)
    conditions: dict[str, tuple[str, Any]] = {
        "mentions @> CAST(:mentioned AS uuid[])": ("mentioned", wanted.mentioned or None),
        "subject = :subject": ("subject", wanted.subject),
        "actor = :officer": ("officer", wanted.officer),
        "producer = :producer": ("producer", wanted.producer),
        "type = :event_type": ("event_type", wanted.event_type),
        "division >= :lowest": ("lowest", lowest),
        "division <= :highest": ("highest", highest),
        "time >= :since": ("since", wanted.since),
        "time < :before": ("before", wanted.before),
    }
    asked = {where: bound for where, bound in conditions.items() if bound[1] is not None}
    return list(asked), dict(asked.values())
