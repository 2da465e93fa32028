"""Totals of the ledgers, as told and as the log adds them up: public, as every movement is."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Row

from services.audit.contract import Producer, TellingRead, TotalRead
from services.audit.queries import totals as queries
from services.audit.reckoning.movements import PRODUCERS
from services.audit.reckoning.words import division_names, item_class_names, state_names
from shared.bodies import Code, DivisionCode
from shared.callers import Public
from shared.db import Reading
from shared.errors import responses
from shared.paging import (
    Cursor,
    InvalidCursor,
    Limit,
    Page,
    decode_cursor,
    encode_cursor,
    page,
)

router = APIRouter(tags=["totals"])
NOT_TOLD = -1  # in a cursor: a place in no feed
# Beyond these neither a calendar nor PostgreSQL has room.
Day = Annotated[
    date, Query(ge=date(1900, 1, 1), le=date(2200, 12, 31), description="A day of China time.")
]


@router.get("/v1/totals", responses=responses(InvalidCursor))
async def read_totals(
    request: Request,
    response: Response,
    session: Reading,
    caller: Public,
    day: Day | None = None,
    division: Annotated[DivisionCode | None, Query(description="And what it covers.")] = None,
    producer: Producer | None = None,
    item_class: Code | None = None,
    differing: Annotated[bool, Query(description="Only what differs.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[TotalRead]:
    """What each ledger held on a day (the last one compared), as told and as the log adds it up."""
    after = None
    if cursor:
        # All pages are of one standing, whatever is told meanwhile.
        told_on, *places = decode_cursor(cursor, str, *[int] * len(PRODUCERS), *[str] * 6)
        wanted: date | None = _day(told_on)
        held = dict(zip(PRODUCERS, places, strict=False))
        after = places[len(PRODUCERS) :]
    else:
        wanted = day or await queries.last_day(session)
        held = await queries.standing(session, wanted) if wanted else {}
    rows = (
        []
        if wanted is None
        else await queries.totals(
            session,
            wanted,
            held,
            division=division,
            producer=producer,
            item_class=item_class,
            differing=differing,
            after=after,
            limit=limit + 1,
        )
    )

    def place_of(row: Row[Any]) -> str:
        return encode_cursor(
            str(wanted),
            *(held.get(each, NOT_TOLD) for each in PRODUCERS),
            *(row.division_code, row.item_class, row.unit, row.state, row.producer, row.book),
        )

    return page(request, response, rows, limit, cursor_of=place_of, render=_total)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidCursor from error


def _total(row: Row[Any]) -> TotalRead:
    place = division_names(row.division_code)
    item = item_class_names(row.item_class)
    state = state_names(row.state)
    return TotalRead(
        producer=row.producer,
        day=row.day,
        occasion=row.occasion,
        as_of_seq=row.as_of_seq,
        told_at=row.told_at,
        book=row.book,
        division_code=row.division_code or None,
        division_zh=place[0],
        division_en=place[1],
        item_class=row.item_class,
        item_class_zh=item[0],
        item_class_en=item[1],
        unit=row.unit,
        state=row.state,
        state_zh=state[0],
        state_en=state[1],
        told_quantity=str(row.told_quantity),
        told_allocations=row.told_allocations,
        logged_quantity=str(row.logged_quantity),
        logged_allocations=row.logged_allocations,
        quantity_difference=str(row.told_quantity - row.logged_quantity),
    )


@router.get("/v1/tellings", responses=responses(InvalidCursor))
async def read_tellings(
    request: Request,
    response: Response,
    session: Reading,
    caller: Public,
    day: Day | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[TellingRead]:
    """Which totals needs, donors and matching told, and how many rows of each differed."""
    after = _telling_after(cursor) if cursor else None
    rows = await queries.tellings(session, day, after, limit + 1)
    return page(
        request,
        response,
        rows,
        limit,
        cursor_of=lambda row: encode_cursor(str(row.day), row.producer, row.as_of_seq),
        render=TellingRead.model_validate,
    )


def _telling_after(cursor: str) -> tuple[date, str, int]:
    day, producer, as_of_seq = decode_cursor(cursor, str, str, int)
    return _day(day), producer, as_of_seq
