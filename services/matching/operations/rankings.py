"""Rankings: propose one to be trained from what was decided, keep it, put one into force."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import func, or_, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching.contract import rankings as contract
from services.matching.domain import DivisionNotYours, State
from services.matching.domain.rankings import (
    DecisionsTooFew,
    RankingInTraining,
    RankingNameTaken,
    RankingNotFound,
    RankingState,
    check_activator,
    move_ranking,
)
from services.matching.operations import freezing
from services.matching.queries.rankings import ACCEPTED, active_scorecard, card_of
from services.matching.ranking.evaluation import Figures
from services.matching.ranking.features import CODES
from services.matching.ranking.learning import DECISIONS_MIN, Decisions
from services.matching.ranking.scorecard import Scorecard
from services.matching.tables import Allocation, Proposal, Ranking
from shared import db
from shared.callers import Caller
from shared.db import constraint_of
from shared.events import Emission, Event, emit_all
from shared.screening import refuse_personal_data
from shared.vocabulary import divisions

# The newest decisions; more would not fit in memory beside a round.
DECISIONS_MAX = 200_000
# Training that fails this often is a bug that waiting does not mend.
ATTEMPTS_MAX = 3
# Reasons to decline or return that say nothing of how well the line suited the need: the stock was
# gone, the organization could not act, the need was already met or given up, the paper was wrong.
NOT_ABOUT_FIT = frozenset(
    {
        "no_stock",
        "out_of_stock",
        "stock_reserved_elsewhere",
        "organization_closed",
        "organization_busy",
        "no_transport",
        "not_needed",
        "no_longer_needed",
        "need_met_elsewhere",
        "applicant_moved",
        "applicant_not_reached",
        "duplicate",
        "mistake",
    }
)


async def propose(
    session: AsyncSession, caller: Caller, body: contract.RankingCreate, at: datetime
) -> Ranking:
    """Name a ranking to be trained from the decisions up to now; the trainer does it next."""
    _check_everywhere(caller)
    refuse_personal_data({"note": body.note})
    # Refused now rather than after a minute; the trainer asks more precisely.
    decided = await session.scalar(
        select(func.count()).select_from(Allocation).where(_decided(), Allocation.changed_at <= at)
    )
    if (decided or 0) < DECISIONS_MIN:
        raise DecisionsTooFew(
            f"{decided} decisions are known; at least {DECISIONS_MIN} are needed to learn from."
        )
    previous = await active_scorecard(session)
    proposed = Ranking(
        name=body.name,
        state=RankingState.TRAINING,
        built_in=False,
        note=body.note,
        seed=body.seed,
        previous=previous.name,
        decisions=0,
        progress_permille=0,
        attempts=0,
        proposed_by=caller.subject,
        proposed_role=caller.role,
        proposed_at=at,
    )
    session.add(proposed)
    try:
        await session.flush()
    except IntegrityError as error:
        if constraint_of(error) == "pk_ranking":
            raise RankingNameTaken("There is a ranking of this name.") from error
        if constraint_of(error) == "uq_ranking_training":
            raise RankingInTraining("Another ranking is being trained; wait for it.") from error
        raise
    return proposed


def _check_everywhere(caller: Caller) -> None:
    # A ranking holds for every division.
    if not caller.covers(divisions.ROOT):
        raise DivisionNotYours("A ranking holds for the whole country; your division does not.")


async def activate(
    session: AsyncSession, caller: Caller, name: str, reason: str, at: datetime
) -> Ranking:
    """Put a ranking into force in place of the one that is; never by who proposed it."""
    _check_everywhere(caller)
    refuse_personal_data({"reason": reason})
    # Two at once: the second sees what the first put into force.
    await db.lock(session, "activate ranking")
    wanted = await session.scalar(select(Ranking).where(Ranking.name == name).with_for_update())
    if wanted is None:
        raise RankingNotFound("There is no ranking of this name.")
    state = move_ranking(RankingState(wanted.state), RankingState.ACTIVE)
    check_activator(caller.subject, wanted.proposed_by)
    before = await session.scalar(
        select(Ranking).where(Ranking.state == RankingState.ACTIVE).with_for_update()
    )
    if before is not None:
        before.state = move_ranking(RankingState(before.state), RankingState.RETIRED)
        before.retired_at = at
        # Before the next: the constraint allows one in force.
        await session.flush()
    wanted.state, wanted.activated_by, wanted.activated_at = state, caller.subject, at
    wanted.activation_reason, wanted.retired_at = reason, None
    fact = contract.RankingActivated(
        ranking=name,
        replaced=None if before is None else before.name,
        card_sha256=wanted.card_sha256,
    )
    await _tell(session, fact, name, caller.subject, caller.role)
    return wanted


async def _tell(session: AsyncSession, fact: Event, name: str, actor: str, role: str) -> None:
    await emit_all(session, [Emission(fact, f"ranking/{name}", actor, role, divisions.ROOT)])


# ------------------------------------------------------------------ training


@dataclass(frozen=True)
class Lesson:
    """What one training starts from.

    sha256     over the decisions, one JSON array a line, in order
    left_out   decisions for reasons that say nothing about fit
    """

    name: str
    seed: int
    previous: Scorecard
    decisions: Decisions
    sha256: str
    left_out: int


async def begin_training(session: AsyncSession) -> Lesson | None:
    """The ranking that waits to be trained, with what it learns from; None when none does."""
    row = await session.scalar(
        select(Ranking).where(Ranking.state == RankingState.TRAINING).with_for_update()
    )
    if row is None:
        return None
    if row.attempts >= ATTEMPTS_MAX:
        fail(row, "training_failed")
        return None
    # Counted before it is tried: training that ends the process is not tried for ever.
    row.attempts += 1
    before = await session.get_one(Ranking, row.previous)
    previous = card_of(before)
    if previous is None:
        raise RuntimeError(f"ranking {before.name} has no card")
    # Hundreds of thousands of rows may take longer than a request's statement may.
    await session.execute(text("SET LOCAL statement_timeout = '300s'"))
    rows: list[Any] = []
    async for part in freezing.portions(session, _newest_decisions(row.proposed_at)):
        rows += part
    decisions, sha256, left_out = await asyncio.to_thread(_decisions, rows)
    return Lesson(row.name, row.seed, previous, decisions, sha256, left_out)


def _decided() -> Any:
    """Taken by the organization, or refused by one of the sides; nothing else says how it fits."""
    return or_(
        Allocation.state.in_(ACCEPTED),
        Allocation.state == State.RETURNED,
        (Allocation.state == State.DECLINED) & Allocation.side.in_(["organization", "applicant"]),
    )


def _newest_decisions(until: datetime) -> Any:
    """The newest DECISIONS_MAX, oldest first."""
    newest = (
        select(
            Allocation.id,
            Allocation.need_id,
            Allocation.organization_id,
            Allocation.state,
            Allocation.side,
            Allocation.reason_code,
            Proposal.features,
            Proposal.explanation["rank"].as_integer().label("rank"),
        )
        .join(Proposal, Proposal.id == Allocation.id)
        # Proposals from before there were rankings have other features.
        .where(_decided(), Allocation.changed_at <= until, Proposal.ranking.is_not(None))
        .order_by(Allocation.id.desc())
        .limit(DECISIONS_MAX)
        .subquery()
    )
    return select(newest).order_by(newest.c.id)


def _decisions(rows: Sequence[Any]) -> tuple[Decisions, str, int]:
    digest = hashlib.sha256()
    kept, left_out = [], 0
    for row in rows:
        accepted = row.state in ACCEPTED
        if not accepted and row.reason_code in NOT_ABOUT_FIT:
            left_out += 1
            continue
        rank = row.rank or 1
        line = [str(row.id), accepted, rank, list(row.features)]
        digest.update(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        kept.append((row, accepted, rank))
    return (
        Decisions(
            values=np.array([r.features for r, _, _ in kept], dtype=np.int64).reshape(
                -1, len(CODES)
            ),
            accepted=np.array([accepted for _, accepted, _ in kept], dtype=bool),
            need=_numbers([r.need_id for r, _, _ in kept]),
            organization=_numbers([r.organization_id for r, _, _ in kept]),
            rank=np.array([rank for _, _, rank in kept], dtype=np.int64),
        ),
        digest.hexdigest(),
        left_out,
    )


def _numbers(ids: Sequence[Any]) -> "np.ndarray[Any, np.dtype[np.int64]]":
    place = {one: number for number, one in enumerate(dict.fromkeys(ids))}
    return np.array([place[one] for one in ids], dtype=np.int64)


async def keep(
    session: AsyncSession, lesson: Lesson, card: Scorecard, figures: Figures, at: datetime
) -> bool:
    """Store what was learned; False when another process was first."""
    row = await _in_training(session, lesson.name)
    if row is None:
        return False
    plain = card.model_dump(mode="json")
    row.state = move_ranking(RankingState(row.state), RankingState.PROPOSED)
    row.card, row.card_sha256 = plain, card.sha256()
    row.figures = {**asdict(figures), "left_out": lesson.left_out}
    row.decisions, row.decisions_sha256 = len(lesson.decisions), lesson.sha256
    row.progress_permille, row.trained_at = 1_000, at
    fact = contract.RankingProposed(
        ranking=row.name,
        previous=row.previous,
        decisions=row.decisions,
        decisions_sha256=lesson.sha256,
        card_sha256=row.card_sha256,
    )
    await _tell(session, fact, row.name, row.proposed_by, row.proposed_role)
    return True


async def give_up(session: AsyncSession, name: str, problem: str) -> None:
    """Say why nothing was learned."""
    row = await _in_training(session, name)
    if row is not None:
        fail(row, problem)


def fail(row: Ranking, problem: str) -> None:
    row.state, row.problem = move_ranking(RankingState(row.state), RankingState.FAILED), problem


async def _in_training(session: AsyncSession, name: str) -> Ranking | None:
    return await session.scalar(
        select(Ranking)
        .where(Ranking.name == name, Ranking.state == RankingState.TRAINING)
        .with_for_update()
    )
