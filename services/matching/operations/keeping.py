"""What a computation leaves: its parts while it runs, then the whole of it at once.

Rows are copied (PostgreSQL's COPY): a hundred thousand of them in seconds, in the transaction that
makes the round `computed`.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import any_, delete, literal, select
from sqlalchemy import update as sql_update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching import contract, domain
from services.matching.domain import RoundState, Stage
from services.matching.operations.allocations import BY_ITSELF
from services.matching.operations.rounds import kind_of, lock
from services.matching.planning import Plan
from services.matching.tables import (
    FACTS,
    LineView,
    Outcome,
    Proposal,
    Round,
    RoundPart,
    RoundPrice,
)
from shared.db import uuid7
from shared.events import Emission, emit_all

PackedPart = tuple[str, bytes, str]


async def keep_up(
    session: AsyncSession,
    round_id: UUID,
    stage: Stage,
    permille: int,
    parts: Sequence[PackedPart],
) -> bool:
    """Store how far it is, and item classes solved (class, bytes, SHA-256) since the last time.

    False when nobody waits for it any more: it was cancelled, discarded, or computed elsewhere.
    """
    # What gets further is not given up, however often its process ends: the attempts before are
    # forgotten, and classes are not without number.
    reached = {"attempts": 1} if parts else {}
    going_on = await session.scalar(
        sql_update(Round)
        .where(Round.id == round_id, Round.state == RoundState.COMPUTING)
        .values(stage=stage, progress_permille=permille, **reached)
        .returning(Round.id)
    )
    if going_on is None:
        return False
    if parts:
        await session.execute(
            insert(RoundPart).on_conflict_do_nothing(),
            [
                {"round_id": round_id, "item_class": item_class, "packed": packed, "sha256": sha256}
                for item_class, packed, sha256 in parts
            ],
        )
    return True


async def keep(session: AsyncSession, round_id: UUID, plan: Plan, at: datetime) -> bool:
    """Store what was computed; False when another process was first, or nobody wants it."""
    decided = await asyncio.to_thread(plan.sha256)
    computed = await lock(session, round_id)
    if computed.state != RoundState.COMPUTING:
        return False
    computed.state = domain.move_round(RoundState(computed.state), RoundState.COMPUTED)
    computed.stage, computed.progress_permille = Stage.DONE, 1_000
    computed.totals, computed.proposals_sha256 = plan.totals, decided
    computed.computed_at = at
    await session.flush()
    names = await _organization_names(session, plan)
    await session.execute(delete(RoundPart).where(RoundPart.round_id == round_id))
    for table, columns, rows in await asyncio.to_thread(_rows, computed, plan, names):
        await _copy(session, table, columns, rows)
    fact = contract.RoundComputed(
        round_id=round_id,
        kind=kind_of(computed),
        policy=computed.policy,
        ranking=computed.ranking,
        snapshot_sha256=computed.snapshot_sha256,
        proposals_sha256=decided,
        proposals=plan.totals["proposals"],
        needs_met=plan.totals["needs_met"],
        objective=plan.totals["welfare"],
    )
    emission = Emission(fact, f"round/{round_id}", BY_ITSELF, "service", computed.division_code)
    await emit_all(session, [emission])
    return True


async def _organization_names(session: AsyncSession, plan: Plan) -> dict[UUID, str]:
    """Names by line id."""
    # One array: as separate parameters there could be more than the protocol has room for.
    ids = literal(sorted({p.line.line_id for p in plan.proposals}), ARRAY(PG_UUID(as_uuid=True)))
    rows = await session.execute(
        select(LineView.line_id, LineView.organization_name).where(LineView.line_id == any_(ids))
    )
    return {row.line_id: row.organization_name for row in rows}


def _rows(
    of: Round, plan: Plan, names: dict[UUID, str]
) -> list[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]]:
    """(table, columns, rows) of everything the plan says."""
    proposals = [
        (
            uuid7(),
            of.id,
            of.policy,
            of.ranking,
            p.fit,
            p.value,
            list(p.features),
            _json(p.explanation),
            p.need.need_id,
            p.line.line_id,
            p.line.offer_id,
            p.line.organization_id,
            names[p.line.line_id],
            p.need.applicant,
            p.need.title,
            p.line.title,
            p.need.item_class,
            p.need.urgency,
            p.need.division_code,
            p.quantity,
            p.need.unit,
        )
        for p in plan.proposals
    ]
    outcomes = [
        (
            of.id,
            o.need.need_id,
            o.code,
            o.need.item_class,
            o.need.unit,
            o.need.urgency,
            o.need.division_code,
            o.need.title,
            o.need.remaining,
            o.given,
            _json(o.counts),
            o.best_line_id,
        )
        for o in plan.outcomes
    ]
    prices = [(of.id, UUID(line_id), price) for line_id, price in plan.prices.items()]
    return [
        (Proposal.__tablename__, _PROPOSAL, proposals),
        (Outcome.__tablename__, _OUTCOME, outcomes),
        (RoundPrice.__tablename__, ("round_id", "line_id", "price"), prices),
    ]


_PROPOSAL = (
    *("id", "round_id", "policy", "ranking", "score_permille", "value_permille", "features"),
    "explanation",
    *FACTS,
)
_OUTCOME = (
    *("round_id", "need_id", "code", "item_class", "unit", "urgency", "division_code"),
    *("need_title", "lacking", "given", "counts", "best_line_id"),
)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


async def _copy(
    session: AsyncSession, table: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]
) -> None:
    if not rows:
        return
    raw = await (await session.connection()).get_raw_connection()
    driver: Any = raw.driver_connection
    await driver.copy_records_to_table(table, records=rows, columns=columns)
