"""Allocations that were accepted and declined, put into the tables as rounds leave them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import insert

from services.matching.ranking.features import CODES
from services.matching.tables import Allocation, LineView, NeedView, Proposal, Round
from shared.db import uuid7

QUANTITY = CODES.index("quantity_fit")
DAY = datetime(2026, 6, 1, tzinfo=UTC)


def plain(table: Any, **known: Any) -> dict[str, Any]:
    """A row of a table: what the test cares about, and something valid in every other column."""
    row: dict[str, Any] = {}
    for column in table.__table__.columns:
        if column.name in known:
            row[column.name] = known[column.name]
        elif not column.nullable and column.server_default is None:
            row[column.name] = _something(column)
    return row


def _something(column: Any) -> Any:
    kind = column.type.python_type
    return {
        str: "x",
        int: 1,
        bool: False,
        UUID: UUID(int=1),
        datetime: DAY,
        list: [],
        dict: {},
    }[kind]


async def decide(
    app: Any, count: int, *, old: bool = False, reason: str = "wrong_item"
) -> list[UUID]:
    """Allocations that were accepted when the quantity fitted, and declined otherwise; return ids.

    old   proposed before there were rankings
    """
    chance = np.random.default_rng(0)
    needs = [uuid7() for _ in range(max(1, count // 3))]
    lines, organization = [uuid7() for _ in range(4)], uuid7()
    values = chance.integers(0, 1001, (count, len(CODES)))
    accepted = values[:, QUANTITY] + chance.integers(-200, 201, count) > 500
    ids = [uuid7() for _ in range(count)]
    at_round = uuid7()
    facts = [
        {"need_id": needs[row % len(needs)], "line_id": lines[row // len(needs)]}
        | {"organization_id": organization, "item_class": "tent", "quantity": 1}
        for row in range(count)
    ]
    async with app.state.sessions.begin() as session:
        await session.execute(
            insert(Round),
            [plain(Round, id=at_round, frozen_by=at_round, state="cancelled", decided_at=DAY)],
        )
        await session.execute(
            insert(NeedView),
            [
                plain(NeedView, need_id=need, title="帐篷", item="帐篷", state="published")
                for need in needs
            ],
        )
        await session.execute(
            insert(LineView),
            [
                plain(LineView, line_id=line, title="帐篷", item="棉", state="open")
                for line in lines
            ],
        )
        await session.execute(
            insert(Proposal),
            [
                plain(
                    Proposal,
                    id=id_,
                    round_id=at_round,
                    ranking=None if old else "reasoned-1",
                    features=row.tolist(),
                    explanation={"rank": 1 + number % 4},
                    **fact,
                )
                for number, (id_, row, fact) in enumerate(zip(ids, values, facts, strict=True))
            ],
        )
        await session.execute(
            insert(Allocation),
            [
                plain(
                    Allocation,
                    id=id_,
                    round_id=at_round,
                    state="accepted" if yes else "declined",
                    side=None if yes else "organization",
                    reason_code=None if yes else reason,
                    approval_event_id=None,
                    target="reserved" if yes else "released",
                    line_movement="reserved" if yes else "released",
                    need_movement="reserved" if yes else "released",
                    **fact,
                )
                for id_, yes, fact in zip(ids, accepted.tolist(), facts, strict=True)
            ],
        )
    return ids
