"""Carries every allocation's quantity to where both ledgers must hold it.

Each row says what the ledgers are to hold (`target`) and what they are known to hold
(`line_movement`, `need_movement`). A pass reads rows where these differ, asks the ledgers by
idempotent PUTs with no transaction open, and writes what they answered. Nothing is assumed: a
call whose answer was lost is made again, and one refused is either undone on both sides or kept
and told. So a crash anywhere leaves rows that the next pass goes on from.

Compensation needs no code of its own: what is refused is cancelled, a cancelled allocation's
target is `released`, and a release leaves its mark even where the reservation never arrived.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.donors import contract as donors
from services.matching import remote
from services.matching.domain import Action, next_movement
from services.matching.operations import allocations
from services.matching.tables import Allocation
from services.needs import contract as needs
from shared.client import Client, RemoteFailure
from shared.db import Sessions, now
from shared.vocabulary.movements import MovementState

log = logging.getLogger(__name__)

BATCH_SIZE = 500
RETRY_S_MIN = 0.5
RETRY_S_MAX = 60.0
# A movement that a ledger refuses is asked again now and then: somebody may mend what is wrong.
REFUSED_RETRY_S = 60.0
# A release of what the ledger never heard of: nothing is held there.
_NOTHING_THERE = {"need_not_found", "offer_line_not_found"}

_TABLE = cast(Table, Allocation.__table__)
_UNCARRIED = or_(
    Allocation.line_movement.is_distinct_from(Allocation.target),
    Allocation.need_movement.is_distinct_from(Allocation.target),
)


@dataclass(frozen=True)
class Load:
    """One allocation to be carried, as it was read."""

    id: UUID
    line_id: UUID
    need_id: UUID
    quantity: int
    division_code: str
    target: MovementState
    line_movement: str | None
    need_movement: str | None
    failures: int


@dataclass(frozen=True)
class Answer:
    """What a ledger said of one step; code is None when it applied it."""

    load: Load
    step: MovementState
    code: str | None


async def carry(sessions: Sessions, donors_client: Client, needs_client: Client) -> int:
    """One pass over at most BATCH_SIZE allocations; return how many steps were answered."""
    loads = await _due(sessions, now())
    if not loads:
        return 0
    line_steps = [(load, step) for load in loads if (step := _line_step(load)) is not None]
    line_answers, line_failed = await _ask(
        line_steps, lambda steps: _ask_donors(donors_client, steps)
    )
    await _write(sessions, "line_movement", line_answers, line_failed)
    held = {a.load.id: a.step.value for a in line_answers if a.code is None}
    lost = {a.load.id for a in line_answers if a.code is not None}
    lost |= {load.id for load in line_failed}
    loads = [
        replace(load, line_movement=held.get(load.id, load.line_movement))
        for load in loads
        if load.id not in lost
    ]
    need_steps = [(load, step) for load in loads if (step := _need_step(load)) is not None]
    need_answers, need_failed = await _ask(
        need_steps, lambda steps: _ask_needs(needs_client, steps)
    )
    await _write(sessions, "need_movement", need_answers, need_failed)
    return len(line_answers) + len(need_answers)


async def _due(sessions: Sessions, at: datetime) -> list[Load]:
    async with sessions() as session:
        rows = await session.execute(
            select(
                Allocation.id,
                Allocation.line_id,
                Allocation.need_id,
                Allocation.quantity,
                Allocation.division_code,
                Allocation.target,
                Allocation.line_movement,
                Allocation.need_movement,
                Allocation.carry_failures,
            )
            .where(_UNCARRIED, Allocation.try_at <= at)
            .order_by(Allocation.try_at, Allocation.id)
            .limit(BATCH_SIZE)
        )
        return [Load(*row[:5], MovementState(row.target), *row[6:]) for row in rows]


def _line_step(load: Load) -> MovementState | None:
    return next_movement(load.line_movement, load.target)


def _need_step(load: Load) -> MovementState | None:
    # The offer first: what it refuses never touches the need.
    if load.target is MovementState.RESERVED and load.line_movement != MovementState.RESERVED:
        return None
    return next_movement(load.need_movement, load.target)


# -------------------------------------------------------------- remote calls

Steps = list[tuple[Load, MovementState]]


async def _ask(
    steps: Steps, ask: Callable[[Steps], Awaitable[Sequence[Any]]]
) -> tuple[list[Answer], list[Load]]:
    """Answers, and the allocations of which nothing is known because the call failed."""
    if not steps:
        return [], []
    try:
        results = await ask(steps)
    except RemoteFailure as error:
        log.warning("movements not carried", extra={"count": len(steps), "error": str(error)})
        return [], [load for load, _ in steps]
    return [
        Answer(load, step, None if result.outcome == "applied" else str(result.code))
        for (load, step), result in zip(steps, results, strict=True)
    ], []


async def _ask_donors(client: Client, steps: Steps) -> Sequence[donors.MovedItem]:
    return await remote.move_reservations(
        client,
        [
            donors.ReservationItem(
                line_id=load.line_id,
                allocation_id=load.id,
                quantity=load.quantity,
                state=step,
                division_code=load.division_code,
            )
            for load, step in steps
        ],
    )


async def _ask_needs(client: Client, steps: Steps) -> Sequence[needs.MovedItem]:
    return await remote.move_commitments(
        client,
        [
            needs.CommitmentItem(
                need_id=load.need_id, allocation_id=load.id, quantity=load.quantity, state=step
            )
            for load, step in steps
        ],
    )


# ------------------------------------------------------------- local writing


async def _write(
    sessions: Sessions, column: str, answers: Sequence[Answer], failed: Sequence[Load]
) -> None:
    """Keep what one ledger answered, and what follows from it, in one transaction."""
    if not answers and not failed:
        return
    at = now()
    applied, refused, stuck = _sort(answers)
    async with sessions.begin() as session:
        # Rows are locked in one order by everybody who writes many.
        await allocations.lock(session, {a.load.id for a in answers} | {x.id for x in failed})
        await _keep_movements(session, column, applied)
        await allocations.act_by_itself(
            session, Action.CANCEL, {a.load.id: a.code or "refused" for a in refused}, at
        )
        await _put_off(session, [(a.load, a.code) for a in stuck], at)
        await _put_off(session, [(load, None) for load in failed], at)
        if column == "need_movement":
            held = [a.load.id for a in applied if a.step is MovementState.RESERVED]
            await allocations.reserve(session, held, at)


def _sort(answers: Sequence[Answer]) -> tuple[list[Answer], list[Answer], list[Answer]]:
    """applied; refused reservations, to be cancelled; refused later movements, to be told."""
    applied, refused, stuck = [], [], []
    for answer in answers:
        released = answer.step is MovementState.RELEASED
        if answer.code is None or (released and answer.code in _NOTHING_THERE):
            applied.append(answer)
        elif answer.step is MovementState.RESERVED:
            refused.append(answer)
        else:
            log.error(
                "a ledger refused a movement",
                extra={
                    "allocation_id": str(answer.load.id),
                    "movement": answer.step.value,
                    "code": answer.code,
                },
            )
            stuck.append(answer)
    return applied, refused, stuck


async def _keep_movements(session: AsyncSession, column: str, applied: Sequence[Answer]) -> None:
    if not applied:
        return
    known = _TABLE.c[column]
    statement = (
        _TABLE.update()
        .where(
            _TABLE.c.id == bindparam("allocation"),
            # Another driver may have carried it further since it was read.
            known.is_not_distinct_from(bindparam("before", type_=known.type)),
        )
        .values(
            {
                column: bindparam("after", type_=known.type),
                "carry_failures": 0,
                "carry_problem": None,
            }
        )
    )
    await session.execute(
        statement,
        [
            {
                "allocation": answer.load.id,
                "before": getattr(answer.load, column),
                "after": answer.step.value,
            }
            for answer in applied
        ],
    )


async def _put_off(
    session: AsyncSession, loads: Sequence[tuple[Load, str | None]], at: datetime
) -> None:
    if not loads:
        return
    statement = (
        _TABLE.update()
        .where(_TABLE.c.id == bindparam("allocation"))
        .values(
            try_at=bindparam("again"),
            carry_failures=bindparam("failures"),
            carry_problem=bindparam("problem", type_=_TABLE.c.carry_problem.type),
        )
    )
    await session.execute(
        statement,
        [
            {
                "allocation": load.id,
                "again": at + timedelta(seconds=_pause_s(load.failures, code)),
                "failures": min(load.failures + 1, 1_000),
                "problem": code,
            }
            for load, code in loads
        ],
    )


def _pause_s(failures: int, code: str | None) -> float:
    if code is not None:
        return REFUSED_RETRY_S
    return float(min(RETRY_S_MAX, RETRY_S_MIN * 2 ** min(failures, 10)))
