"""Rounds: freeze, keep what was computed, approve or discard."""

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, exists, func, insert, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.matching import contract, domain
from services.matching.domain import LineTerms, NeedTerms, RoundState, State
from services.matching.index import code_range
from services.matching.operations.allocations import BY_ITSELF, facts_of
from services.matching.planning import Plan, Snapshot, pack
from services.matching.policies import Policy, policies
from services.matching.tables import (
    FACTS,
    Allocation,
    LineView,
    NeedView,
    Proposal,
    Round,
    RoundSnapshot,
)
from services.matching.terms import line_terms, need_terms
from shared import db
from shared.callers import Caller
from shared.db import uuid7
from shared.events import Emission, Event, cursor, emit_all
from shared.screening import refuse_personal_data
from shared.vocabulary import divisions

# More would take minutes to freeze and to solve, and gigabytes.
NEEDS_MAX = 100_000
# A computation that fails this often is a bug that waiting does not mend.
ATTEMPTS_MAX = 10


async def start(
    session: AsyncSession, caller: Caller, body: contract.RoundCreate, at: datetime
) -> Round:
    """Freeze what the round is computed from; the worker computes it."""
    refuse_personal_data({"note": body.note})
    policy = policies().get(body.policy)
    if policy is None:
        raise domain.PolicyNotFound("There is no matching policy of this name.")
    if not divisions.known(body.division_code):
        raise domain.DivisionUnknown("There is no such division.")
    _check_division(caller, body.division_code)
    snapshot = await freeze(session, body.division_code, policy, at)
    packed, sha256 = await asyncio.to_thread(pack, snapshot)
    started = Round(
        id=uuid7(),
        division_code=body.division_code,
        policy=policy.name,
        note=body.note,
        state=RoundState.COMPUTING,
        progress_permille=0,
        attempts=0,
        created_by=caller.subject,
        created_role=caller.role,
        created_at=at,
        needs_seq=snapshot.needs_seq,
        donors_seq=snapshot.donors_seq,
        taken_at=at,
        needs=len(snapshot.needs),
        lines=len(snapshot.lines),
        snapshot_sha256=sha256,
    )
    session.add(started)
    await session.flush()
    session.add(RoundSnapshot(round_id=started.id, packed=packed))
    fact = contract.RoundStarted(
        round_id=started.id,
        policy=started.policy,
        needs_seq=started.needs_seq,
        donors_seq=started.donors_seq,
        needs=started.needs,
        lines=started.lines,
        snapshot_sha256=sha256,
    )
    await emit_all(session, [_emission(started, fact, caller.subject, caller.role)])
    return started


def _check_division(caller: Caller, division_code: str) -> None:
    if not caller.covers(division_code):
        raise domain.DivisionNotYours("Your division does not cover the round's.")


# ----------------------------------------------------------------- snapshot


async def freeze(
    session: AsyncSession, division_code: str, policy: Policy, at: datetime
) -> Snapshot:
    """Published needs of the division that lack something, and open lines of their classes."""
    # While these are held no feed is applied: rows and cursors belong to the same moment.
    await db.lock(session, "consumer needs")
    await db.lock(session, "consumer donors")
    needs, aided = await _needs(session, division_code, policy, at)
    lines = await _lines(session, {need.item_class for need in needs}, at)
    return Snapshot(
        taken_at=at,
        division_code=division_code,
        needs_seq=await cursor(session, "needs"),
        donors_seq=await cursor(session, "donors"),
        policy=policy,
        needs=tuple(needs),
        lines=tuple(lines),
        set_aside={"one_aid_in_period": aided} if aided else {},
    )


async def _needs(
    session: AsyncSession, division_code: str, policy: Policy, at: datetime
) -> tuple[list[NeedTerms], int]:
    low, high = code_range(division_code)
    promised = await _promised(session, Allocation.need_id, Allocation.need_seen)
    aided = _aided(policy, at)
    rows = await session.execute(
        select(NeedView, aided.label("aided"))
        .where(
            NeedView.division_code >= f"{low:012}",
            # The root's range ends at 10^12, which has no twelve-digit form.
            NeedView.division_code < f"{high:012}" if high < 10**12 else literal(True),
            NeedView.state == "published",
            NeedView.remaining > 0,
            NeedView.expires_at > at,
        )
        .order_by(NeedView.need_id)
        .limit(NEEDS_MAX + 1)
    )
    kept: list[NeedTerms] = []
    left_out = 0
    for view, had_aid in rows:
        remaining = view.remaining - promised.get(view.need_id, 0)
        if had_aid:
            left_out += 1
        elif remaining > 0:
            kept.append(need_terms(view, remaining))
    if len(kept) + left_out > NEEDS_MAX:
        raise domain.RoundTooLarge(NEEDS_MAX)
    return kept, left_out


def _aided(policy: Policy, at: datetime) -> Any:
    if policy.one_aid_days == 0:
        return literal(False)
    return and_(
        NeedView.applicant_kind.in_(policy.one_aid_applicant_kinds),
        exists().where(
            Allocation.applicant == NeedView.applicant,
            Allocation.item_class == NeedView.item_class,
            Allocation.need_id != NeedView.need_id,
            Allocation.state.in_(domain.AIDING),
            Allocation.created_at >= domain.aided_since(at, policy.one_aid_days),
        ),
    )


async def _lines(session: AsyncSession, item_classes: set[str], at: datetime) -> list[LineTerms]:
    promised = await _promised(session, Allocation.line_id, Allocation.line_seen)
    views = await session.scalars(
        select(LineView)
        .where(
            LineView.item_class.in_(item_classes),
            LineView.state == "open",
            LineView.available > 0,
            LineView.valid_from <= at,
            LineView.valid_until > at,
        )
        .order_by(LineView.line_id)
    )
    found = [(view, view.available - promised.get(view.line_id, 0)) for view in views]
    return [line_terms(view, available) for view, available in found if available > 0]


async def _promised(session: AsyncSession, side: Any, seen: Any) -> dict[UUID, int]:
    """What live allocations hold of each need or line that its feed has not told of yet."""
    rows = await session.execute(
        select(side, func.sum(Allocation.quantity))
        .where(~seen, Allocation.state.in_(domain.AIDING))
        .group_by(side)
    )
    return {key: int(total) for key, total in rows}


# ------------------------------------------------------------- computed, decided


async def keep(session: AsyncSession, round_id: UUID, plan: Plan, at: datetime) -> bool:
    """Store what was computed; False when another process was first."""
    computed = await _lock(session, round_id)
    if computed.state != RoundState.COMPUTING:
        return False
    computed.state = domain.move_round(RoundState(computed.state), RoundState.COMPUTED)
    computed.progress_permille = 1_000
    computed.totals, computed.proposals_sha256 = plan.totals, plan.sha256()
    computed.computed_at = at
    named = await session.execute(
        select(LineView.line_id, LineView.organization_name).where(
            LineView.line_id.in_({p.line.line_id for p in plan.proposals})
        )
    )
    names = {line_id: name for line_id, name in named}  # noqa: C416 - a Row is no pair to mypy
    rows = [
        {
            "id": uuid7(),
            "round_id": round_id,
            "need_id": p.need.need_id,
            "line_id": p.line.line_id,
            "offer_id": p.line.offer_id,
            "organization_id": p.line.organization_id,
            "organization_name": names[p.line.line_id],
            "applicant": p.need.applicant,
            "need_title": p.need.title,
            "offer_title": p.line.title,
            "item_class": p.need.item_class,
            "urgency": p.need.urgency,
            "division_code": p.need.division_code,
            "quantity": p.quantity,
            "unit": p.need.unit,
            "score_permille": p.value,
            "features": list(p.features),
        }
        for p in plan.proposals
    ]
    if rows:
        await session.execute(insert(Proposal), rows)
    fact = contract.RoundComputed(
        round_id=round_id,
        policy=computed.policy,
        snapshot_sha256=computed.snapshot_sha256,
        proposals_sha256=computed.proposals_sha256,
        proposals=plan.totals["proposals"],
        needs_met=plan.totals["needs_met"],
        objective=plan.totals["objective"],
    )
    await emit_all(session, [_emission(computed, fact, BY_ITSELF, "service")])
    return True


async def approve(session: AsyncSession, caller: Caller, round_id: UUID, at: datetime) -> Round:
    """Turn the round's proposals into allocations.

    A proposal whose applicant was given an aid of the class since the snapshot is left out.
    """
    approved = await _lock(session, round_id)
    _check_division(caller, approved.division_code)
    approved.state = domain.move_round(RoundState(approved.state), RoundState.APPROVED)
    approved.decided_by, approved.decided_at = caller.subject, at
    # Two rounds approved at once must see each other's allocations.
    await db.lock(session, "approve rounds")
    # The policy as it was frozen is the one of the same name: policies are never edited.
    chosen = _still_fitting(round_id, policies()[approved.policy], at)
    values: dict[str, Any] = {
        "policy": approved.policy,
        "state": State.PROPOSED.value,
        "created_at": at,
        "changed_at": at,
        "target": domain.LEDGER_TARGET[State.PROPOSED].value,
        "line_seen": False,
        "need_seen": False,
        "try_at": at,
        "carry_failures": 0,
        "allocated_by": sorted({approved.created_by, caller.subject}),
        "slip_issued_by": [],
        "slip_attempts": 0,
    }
    copied = ["id", "round_id", *FACTS]
    table = Allocation.__table__
    inserted = await session.execute(
        insert(Allocation)
        .from_select(
            [*copied, *values],
            select(
                *(chosen.c[name] for name in copied),
                *(literal(value, table.c[name].type) for name, value in values.items()),
            ),
        )
        .returning(*(table.c[name] for name in [*copied, "policy"]))
    )
    rows = sorted(inserted.all(), key=lambda row: row.id.bytes)
    emissions = [
        _emission(
            approved,
            contract.RoundApproved(round_id=round_id, policy=approved.policy, proposals=len(rows)),
            caller.subject,
            caller.role,
        ),
        *(
            Emission(
                contract.AllocationProposed(**facts_of(row)),
                f"allocation/{row.id}",
                caller.subject,
                caller.role,
                row.division_code,
            )
            for row in rows
        ),
    ]
    await emit_all(session, emissions)
    return approved


def _still_fitting(round_id: UUID, policy: Policy, at: datetime) -> Any:
    chosen: Select[Any] = select(Proposal).where(Proposal.round_id == round_id)
    if policy.one_aid_days:
        other = aliased(Allocation)
        limited = exists().where(
            NeedView.need_id == Proposal.need_id,
            NeedView.applicant_kind.in_(policy.one_aid_applicant_kinds),
        )
        given = exists().where(
            other.applicant == Proposal.applicant,
            other.item_class == Proposal.item_class,
            other.need_id != Proposal.need_id,
            other.state.in_(domain.AIDING),
            other.created_at >= domain.aided_since(at, policy.one_aid_days),
        )
        chosen = chosen.where(or_(~limited, ~given))
    return chosen.subquery()


async def discard(
    session: AsyncSession, caller: Caller, round_id: UUID, reason: str, at: datetime
) -> Round:
    """Drop a round; nothing of it was promised to anybody."""
    refuse_personal_data({"reason": reason})
    found = await _lock(session, round_id)
    _check_division(caller, found.division_code)
    return await _discard(session, found, reason, caller.subject, caller.role, at)


async def give_up(session: AsyncSession, round_id: UUID, at: datetime) -> None:
    """Discard a round that could not be computed."""
    found = await _lock(session, round_id)
    if found.state == RoundState.COMPUTING:
        await _discard(session, found, "computation_failed", BY_ITSELF, "service", at)


async def _discard(
    session: AsyncSession, found: Round, reason: str, actor: str, role: str, at: datetime
) -> Round:
    found.state = domain.move_round(RoundState(found.state), RoundState.DISCARDED)
    found.decided_by, found.decided_at, found.discard_reason = actor, at, reason
    fact = contract.RoundDiscarded(round_id=found.id, policy=found.policy)
    await emit_all(session, [_emission(found, fact, actor, role)])
    return found


async def _lock(session: AsyncSession, round_id: UUID) -> Round:
    found = await session.scalar(select(Round).where(Round.id == round_id).with_for_update())
    if found is None:
        raise domain.RoundNotFound("There is no such round.")
    return found


def _emission(about: Round, fact: Event, actor: str, role: str) -> Emission:
    return Emission(fact, f"round/{about.id}", actor, role, about.division_code)
