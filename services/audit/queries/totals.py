"""Totals as they were told, beside what the log adds up to."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.domain import division_bounds

_LAST_DAY = text("SELECT max(day) FROM telling WHERE compared_at IS NOT NULL")
# Of a day that was told more than once (asked, and at its end) the last telling counts.
_STANDING = text(
    "SELECT producer, max(as_of_seq) FROM telling WHERE day = :day AND compared_at IS NOT NULL"
    " GROUP BY producer"
)
_TOTALS = (
    "SELECT t.*, l.occasion, l.told_at FROM told_total t"
    " JOIN telling l USING (producer, day, as_of_seq)"
    " JOIN unnest(CAST(:producers AS text[]), CAST(:as_of_seqs AS bigint[]))"
    " AS standing (producer, as_of_seq) USING (producer, as_of_seq) WHERE {where}"
    " ORDER BY t.division_code, t.item_class, t.unit, t.state, t.producer, t.book LIMIT :limit"
)
_AFTER = (
    "(t.division_code, t.item_class, t.unit, t.state, t.producer, t.book)"
    " > (:a0, :a1, :a2, :a3, :a4, :a5)"
)
_TELLINGS = (
    "SELECT producer, day, as_of_seq, occasion, parts, told_at, compared_at, differences"
    " FROM telling WHERE {where} ORDER BY day DESC, producer DESC, as_of_seq DESC LIMIT :limit"
)


async def last_day(session: AsyncSession) -> date | None:
    """The last day whose totals were compared."""
    day: date | None = await session.scalar(_LAST_DAY)
    return day


async def standing(session: AsyncSession, day: date) -> dict[str, int]:
    """Of each producer that told the day: the place in its feed after which its totals hold."""
    return dict(iter(await session.execute(_STANDING, {"day": day})))


async def totals(
    session: AsyncSession,
    day: date,
    held: Mapping[str, int],
    *,
    division: str | None,
    producer: str | None,
    item_class: str | None,
    differing: bool,
    after: Sequence[str] | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Rows by place and item, so that what needs, donors and matching say stands together.

    held  the `standing` of the day they are of
    """
    lowest, highest = division_bounds(division) if division else (None, None)
    where = ["t.day = :day"]
    if division:
        where.append("t.division_code BETWEEN :lowest AND :highest")
    if producer:
        where.append("t.producer = :producer")
    if item_class:
        where.append("t.item_class = :item_class")
    if differing:
        where.append(
            "(t.told_quantity, t.told_allocations) <> (t.logged_quantity, t.logged_allocations)"
        )
    if after:
        where.append(_AFTER)
    values: dict[str, Any] = {"day": day, "limit": limit}
    values |= {"producers": list(held), "as_of_seqs": list(held.values())}
    values |= {"lowest": lowest, "highest": highest} if division else {}
    values |= {"producer": producer} if producer else {}
    values |= {"item_class": item_class} if item_class else {}
    values |= {f"a{place}": value for place, value in enumerate(after or ())}
    statement = text(_TOTALS.format(where=" AND ".join(where)))
    return (await session.execute(statement, values)).all()


async def tellings(
    session: AsyncSession, day: date | None, after: tuple[date, str, int] | None, limit: int
) -> Sequence[Row[Any]]:
    """Which totals were told, newest day first."""
    where = ["true"]
    values: dict[str, Any] = {"limit": limit}
    if day is not None:
        where.append("day = :day")
        values["day"] = day
    if after is not None:
        where.append("(day, producer, as_of_seq) < (:a0, :a1, :a2)")
        values |= {f"a{place}": value for place, value in enumerate(after)}
    statement = text(_TELLINGS.format(where=" AND ".join(where)))
    return (await session.execute(statement, values)).all()
