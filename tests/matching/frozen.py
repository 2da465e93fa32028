"""A matching database filled without the other services, and rounds run on it step by step."""

import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import async_sessionmaker

from services.matching import contract, worker
from services.matching.operations import rounds
from services.matching.tables import LineView, NeedView, Round
from shared.callers import ROLES, Caller
from shared.db import Sessions, make_engine, now

CITY = "430200000000"
CLASSES = ("school_fees", "grain", "bedding", "computers", "tutoring_hours", "small_credit")
TOWNSHIPS = ("430224101000", "430224102000", "430225101000", "430225102000")
WORDS = ("学费", "饮水", "危房", "种苗", "培训", "口罩", "大米", "技术", "补助", "改造")


def somebody(role: str = "alliance_coordinator", division: str | None = CITY) -> Caller:
    return Caller(f"a {role}", frozenset({role}), ROLES[role], division)


@asynccontextmanager
async def sessions_of(url: str):
    engine = make_engine(url)
    try:
        yield async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()


def a_need_row(number: int, **fields):
    return {
        "need_id": UUID(int=number),
        "applicant": f"p{number}",
        "applicant_kind": "household",
        "household_class": "general",
        "poverty_permille": 400,
        "category": "education_training",
        "item_class": "school_fees",
        "title": "学费资助",
        "item": "学费",
        "specification": None,
        "unit": "yuan",
        "required": 100,
        "remaining": fields.get("required", 100),
        "urgency": "normal",
        "needed_by": None,
        "division_code": "430224101000",
        "published_at": datetime.now(UTC) - timedelta(days=9),
        "expires_at": datetime.now(UTC) + timedelta(days=90),
        "entered_by": "clerk",
        "verified_by": [],
        "recused": [],
        "state": "published",
        "changed_seq": number,
        "published_seq": number,
        **fields,
    }


def a_line_row(number: int, **fields):
    return {
        "line_id": UUID(int=10**9 + number),
        "offer_id": UUID(int=2 * 10**9 + number),
        "organization_id": UUID(int=3 * 10**9 + number),
        "organization_name": f"机构{number}",
        "organization_verified": True,
        "kind": "money",
        "category": "education_training",
        "title": "助学金",
        "item_class": "school_fees",
        "item": "学费",
        "specification": None,
        "unit": "yuan",
        "total": fields.get("available", 100),
        "available": 100,
        "lot_min": 1,
        "served_division_codes": ["430200000000"],
        "applicant_kinds": [],
        "household_classes": [],
        "valid_from": datetime.now(UTC) - timedelta(days=1),
        "valid_until": datetime.now(UTC) + timedelta(days=30),
        "state": "open",
        "changed_seq": number,
        "opened_seq": number,
        **fields,
    }


async def fill(sessions: Sessions, needs, lines) -> None:
    async with sessions.begin() as session:
        for table, rows in ((NeedView, needs), (LineView, lines)):
            if rows:
                await session.execute(insert(table), rows)


def many(needs: int, lines: int, classes: int = len(CLASSES), seed: int = 5):
    """Rows of needs and lines over several item classes and townships."""
    rng = random.Random(seed)
    names = [f"class_{n:02}" for n in range(classes)]
    return (
        [
            a_need_row(
                n,
                item_class=rng.choice(names),
                title="".join(rng.choices(WORDS, k=3)),
                required=rng.randint(1, 500),
                urgency=rng.choice(["normal"] * 6 + ["urgent"] * 3 + ["life_threatening"]),
                division_code=rng.choice(TOWNSHIPS),
            )
            for n in range(1, needs + 1)
        ],
        [
            a_line_row(
                n,
                item_class=rng.choice(names),
                title="".join(rng.choices(WORDS, k=3)),
                available=rng.randint(1, 2000),
                lot_min=rng.choice([1, 1, 1, 20]),
                served_division_codes=[rng.choice([CITY, "430224000000", *TOWNSHIPS])],
            )
            for n in range(1, lines + 1)
        ],
    )


async def start(sessions: Sessions, at: datetime | None = None, **body) -> UUID:
    async with sessions.begin() as session:
        begun = await rounds.start(
            session,
            somebody(),
            contract.RoundCreate(**{"division_code": CITY, "policy": "example-1"} | body),
            at or now(),
        )
        return begun.id


async def computed(sessions: Sessions, at: datetime | None = None, **body) -> Any:
    """A round, started and computed."""
    round_id = await start(sessions, at, **body)
    assert await worker.compute_one(sessions) == 1
    return await the_round(sessions, round_id)


async def the_round(sessions: Sessions, round_id: UUID) -> Any:
    async with sessions() as session:
        return await session.get_one(Round, round_id)


async def scalar(sessions: Sessions, statement):
    async with sessions() as session:
        return await session.scalar(statement)
