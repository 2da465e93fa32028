"""One telling of a producer against what the log adds up to at the place the telling names."""

import json
from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.contract import AlarmRaised, Producer, TotalsAlarm, TotalsDifference
from services.audit.domain import event_in
from services.audit.reckoning.folding import columns, move
from services.audit.reckoning.movements import (
    LINE_STATES,
    MOVING_TYPES,
    Key,
    Malformed,
    Telling,
    movement_of,
)
from shared.events import Emission, emit_all

EXAMPLES_MAX = 20
# Rows that agreed are of no use to anybody after a quarter; the log has them for ever.
KEPT = timedelta(days=92)

# Parts are told in their order, so how many were told says which: none comes twice, and none after
# the last, when all were compared.
_BEGIN = text(
    "INSERT INTO telling (producer, day, as_of_seq, occasion, parts, parts_told, told_at)"
    " VALUES (:producer, :day, :as_of_seq, :occasion, :parts, :part, :told_at)"
    " ON CONFLICT (producer, day, as_of_seq) DO NOTHING RETURNING parts_told"
)
_GO_ON = text(
    "UPDATE telling SET parts_told = :part"
    " WHERE producer = :producer AND day = :day AND as_of_seq = :as_of_seq"
    " AND occasion = :occasion AND parts = :parts AND parts_told = :part - 1 RETURNING parts_told"
)
_TELL_ROWS = text(
    "INSERT INTO told_total (producer, day, as_of_seq, book, division_code, item_class, unit,"
    " state, told_quantity, told_allocations)"
    " SELECT :producer, :day, :as_of_seq, row->>0, coalesce(row->>1, ''), row->>2, row->>3,"
    " row->>4, CAST(row->>5 AS numeric), CAST(row->>6 AS bigint)"
    " FROM jsonb_array_elements(CAST(:rows AS jsonb)) AS row"
    " ON CONFLICT ON CONSTRAINT pk_told_total DO NOTHING RETURNING 1"
)
_SINCE = text(
    "SELECT body FROM entry WHERE producer = :producer AND seq > :as_of_seq AND seq < :seq"
    " AND type = ANY(CAST(:types AS text[]))"
)
# The sums are those of everything before the telling; what came after the place it names is taken
# away again.
_ADD_UP = text(
    """
    WITH moved AS (
      SELECT division_code, item_class, unit, state, quantity, allocations FROM ledger_sum
      WHERE producer = :producer
      UNION ALL
      SELECT * FROM unnest(CAST(:divisions AS text[]), CAST(:item_classes AS text[]),
        CAST(:units AS text[]), CAST(:states AS text[]), CAST(:quantities AS numeric[]),
        CAST(:counts AS bigint[]))
    ), logged AS (
      SELECT 'allocations' AS book, division_code, item_class, unit, state,
             sum(quantity) AS quantity, sum(allocations) AS allocations
      FROM moved GROUP BY division_code, item_class, unit, state
      UNION ALL
      SELECT 'lines', '', item_class, unit, state, sum(quantity), 0
      FROM moved WHERE state = ANY(CAST(:line_states AS text[])) GROUP BY item_class, unit, state
    )
    INSERT INTO told_total (producer, day, as_of_seq, book, division_code, item_class, unit, state,
                            logged_quantity, logged_allocations)
    SELECT :producer, :day, :as_of_seq, book, division_code, item_class, unit, state, quantity,
           allocations
    FROM logged WHERE quantity <> 0 OR allocations <> 0
    ON CONFLICT ON CONSTRAINT pk_told_total DO UPDATE
    SET logged_quantity = excluded.logged_quantity,
        logged_allocations = excluded.logged_allocations
    """
)
_DIFFERENT = "(told_quantity, told_allocations) <> (logged_quantity, logged_allocations)"
_DIFFERENCES = text(
    "SELECT book, division_code, item_class, unit, state, told_quantity, told_allocations,"  # noqa: S608 - a condition of our own
    " logged_quantity, logged_allocations, count(*) OVER () AS of_all FROM told_total"
    " WHERE producer = :producer AND day = :day AND as_of_seq = :as_of_seq"
    f" AND {_DIFFERENT} ORDER BY 1 DESC, 2, 3, 4, 5 LIMIT :limit"
)
_COMPARED = text(
    "UPDATE telling SET compared_at = :moment, differences = :differences"
    " WHERE producer = :producer AND day = :day AND as_of_seq = :as_of_seq"
)
_DAYS_BEFORE = text(
    "SELECT max(day) FROM telling WHERE producer = :producer AND occasion = 'day_end'"
    " AND compared_at IS NOT NULL"
)
_FORGET = text(
    "DELETE FROM told_total WHERE producer = :producer AND day < :before"  # noqa: S608 - a condition of our own
    f" AND NOT {_DIFFERENT}"
)


async def take(session: AsyncSession, telling: Telling, moment: datetime) -> None:
    """Keep one part; with the last one, compare. The fold of all before it is written.

    Raises Malformed, with a part of it kept.
    """
    told = telling.told
    name = {"producer": telling.producer, "day": told.day, "as_of_seq": told.as_of_seq}
    part = {"occasion": told.occasion, "parts": told.parts, "part": told.part}
    if told.part == 1:
        kept = await session.scalar(_BEGIN, {**name, **part, "told_at": telling.time})
    else:
        kept = await session.scalar(_GO_ON, {**name, **part})
    if kept is None:
        raise Malformed(f"part {told.part} of {told.parts} again, or out of its order")
    rows = await session.scalars(_TELL_ROWS, {**name, "rows": json.dumps(told.rows)})
    if len(rows.all()) != len(told.rows):
        raise Malformed("a row of an earlier part")
    if told.part != told.parts:
        return
    alarms: list[TotalsAlarm] = []
    if told.occasion == "day_end":
        before = await session.scalar(_DAYS_BEFORE, {"producer": telling.producer})
        alarms += _days_between(before, told.day)
        await session.execute(_FORGET, {"producer": telling.producer, "before": told.day - KEPT})
    moved = await _moved_since(session, telling)
    line_states = list(LINE_STATES[telling.producer])
    await session.execute(_ADD_UP, {**name, **columns(moved), "line_states": line_states})
    different = (await session.execute(_DIFFERENCES, {**name, "limit": EXAMPLES_MAX})).all()
    count = different[0].of_all if different else 0
    await session.execute(_COMPARED, {**name, "moment": moment, "differences": count})
    if different:
        alarms.append(
            TotalsAlarm(
                kind="ledger",
                day=told.day,
                as_of_seq=told.as_of_seq,
                count=count,
                differences=[_difference(row) for row in different],
            )
        )
    await raise_alarms(session, alarms, telling)


def _days_between(before: date | None, day: date) -> list[TotalsAlarm]:
    if before is None or day == before + timedelta(days=1):
        return []
    if day <= before:
        return [TotalsAlarm(kind="malformed", day=day, detail=f"told after {before}")]
    missed = (day - before).days - 1
    return [TotalsAlarm(kind="day_missing", day=before + timedelta(days=1), count=missed)]


async def _moved_since(
    session: AsyncSession, telling: Telling
) -> defaultdict[Key, tuple[int, int]]:
    """What was moved between the place the telling names and the telling, to be taken away."""
    values = {
        "producer": telling.producer,
        "as_of_seq": telling.told.as_of_seq,
        "seq": telling.seq,
        "types": list(MOVING_TYPES),
    }
    sums: defaultdict[Key, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for body in await session.scalars(_SINCE, values):
        if (movement := movement_of(event_in(body) or {})) is not None:
            move(sums, movement, sign=-1)
    return sums


def _difference(row: Row[Any]) -> TotalsDifference:
    return TotalsDifference(
        book=row.book,
        division_code=row.division_code or None,
        item_class=row.item_class,
        unit=row.unit,
        state=row.state,
        told_quantity=str(row.told_quantity),
        told_allocations=row.told_allocations,
        logged_quantity=str(row.logged_quantity),
        logged_allocations=row.logged_allocations,
    )


async def raise_alarms(
    session: AsyncSession,
    alarms: list[TotalsAlarm],
    telling: Telling | None = None,
    producer: Producer | None = None,
) -> None:
    """Log each; `telling` is the one that shows it, if one does."""
    told_by: Any = telling.producer if telling else producer
    await emit_all(
        session,
        [
            Emission(
                AlarmRaised(
                    alarm="totals_differ",
                    producer=told_by,
                    seq=telling.seq if telling else None,
                    event_id=telling.event_id if telling else None,
                    totals=alarm,
                ),
                subject=f"totals/{alarm.day or alarm.allocation_id}",
                actor="audit",
                role="service",
            )
            for alarm in alarms
        ],
    )
