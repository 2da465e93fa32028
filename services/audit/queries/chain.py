"""All entries that belong to one allocation, in two statements whatever their number."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.chain import ENTRIES_MAX, OF_OTHERS, Fact, subjects
from services.audit.domain import AllocationNotLogged, ChainTooLong, event_in
from services.audit.queries.rows import COLUMNS

# What the log tells of itself (who read the allocation) is not of the chain, nor what somebody says
# in another's name.
_OWN = text(
    f"SELECT {COLUMNS}, body FROM entry"  # noqa: S608 - our own list of columns
    " WHERE mentions @> ARRAY[CAST(:allocation AS uuid)] AND producer <> 'audit'"
    " AND starts_with(type, producer || '.')"
    " ORDER BY index LIMIT :limit"
)
_AROUND = text(
    f"SELECT {COLUMNS}, body FROM entry"  # noqa: S608 - our own list of columns
    " WHERE subject = ANY(CAST(:subjects AS text[])) AND type <> ALL(CAST(:others AS text[]))"
    " AND starts_with(type, producer || '.')"
    " ORDER BY index LIMIT :limit"
)


async def entries_of(session: AsyncSession, allocation_id: UUID) -> list[Row[Any]]:
    """In the order of the log. Raises AllocationNotLogged, ChainTooLong."""
    limit = ENTRIES_MAX + 1
    own = (await session.execute(_OWN, {"allocation": allocation_id, "limit": limit})).all()
    about = subjects(map(fact_of, own))
    if not about:
        raise AllocationNotLogged
    values = {"subjects": about, "others": list(OF_OTHERS), "limit": limit}
    around = (await session.execute(_AROUND, values)).all()
    rows = {row[0]: row for row in (*own, *around)}
    if len(rows) > ENTRIES_MAX:
        raise ChainTooLong(ENTRIES_MAX)
    return [rows[index] for index in sorted(rows)]


def fact_of(row: Row[Any]) -> Fact:
    return Fact(row[0], row.type, row.subject, data_of(row))


def data_of(row: Row[Any]) -> dict[str, Any]:
    """The event's data; empty when it was replaced or cannot be read."""
    data = (event_in(row.body) or {}).get("data")
    return data if isinstance(data, dict) else {}


def indexes_of(rows: Sequence[Row[Any]]) -> list[int]:
    # By place: the attribute `index` of a row is a tuple's method.
    return [row[0] for row in rows]
