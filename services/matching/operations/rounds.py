"""Rounds: start, approve, discard, cancel."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    CursorResult,
    Select,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.matching import contract, domain
from services.matching.domain import RoundKind, RoundState, Stage, State
from services.matching.operations import freezing
from services.matching.operations.allocations import BY_ITSELF, facts_of
from services.matching.planning import Snapshot, SnapshotOutdated, pack, unpack
from services.matching.policies import Policy, policies
from services.matching.tables import (
    FACTS,
    Allocation,
    NeedView,
    Outcome,
    Proposal,
    Round,
    RoundPart,
    RoundSnapshot,
)
from shared import db
from shared.callers import Caller
from shared.db import constraint_of, uuid7
from shared.events import Emission, Event, emit_all
from shared.screening import refuse_personal_data
from shared.vocabulary import divisions

# A computation that fails this often without getting further is a bug that waiting does not mend.
ATTEMPTS_MAX = 10

_COMPUTED = frozenset({RoundState.COMPUTED, RoundState.APPROVED})


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
    before = await _start_from(session, body)
    frozen_by, snapshot = await _snapshot(session, body, policy, before, at)
    packed, sha256 = await asyncio.to_thread(pack, snapshot)
    round_id = uuid7()
    started = Round(
        id=round_id,
        kind=body.kind,
        division_code=body.division_code,
        policy=policy.name,
        ranking=snapshot.card.name,
        frozen_by=frozen_by or round_id,
        start_from=None if before is None else before.id,
        note=body.note,
        state=RoundState.COMPUTING,
        stage=Stage.WAITING,
        progress_permille=0,
        attempts=0,
        created_by=caller.subject,
        created_role=caller.role,
        created_at=at,
        needs_seq=snapshot.needs_seq,
        donors_seq=snapshot.donors_seq,
        taken_at=snapshot.taken_at,
        needs=len(snapshot.needs),
        lines=len(snapshot.lines),
        snapshot_sha256=sha256,
    )
    session.add(started)
    await session.flush()
    session.add(RoundSnapshot(round_id=started.id, packed=packed))
    fact = contract.RoundStarted(
        round_id=started.id,
        kind=body.kind,
        policy=started.policy,
        ranking=started.ranking,
        frozen_by=started.frozen_by,
        start_from=started.start_from,
        needs_seq=started.needs_seq,
        donors_seq=started.donors_seq,
        needs=started.needs,
        lines=started.lines,
        snapshot_sha256=sha256,
    )
    await emit_all(session, [_emission(started, fact, caller.subject, caller.role)])
    return started


async def _start_from(session: AsyncSession, body: contract.RoundCreate) -> Round | None:
    """The round whose prices are begun with; a placement must have one."""
    kind = RoundKind(body.kind)
    if body.start_from is not None:
        found = await session.get(Round, body.start_from)
        if found is None or found.state not in _COMPUTED:
            raise domain.RoundUnknown("start_from is no computed round.")
    elif kind is RoundKind.PLACEMENT and body.snapshot_of is None:
        found = await session.scalar(
            select(Round)
            .where(
                Round.division_code == body.division_code,
                Round.kind == RoundKind.ROUND,
                Round.state.in_(_COMPUTED),
            )
            .order_by(Round.id.desc())
            .limit(1)
        )
        if found is None:
            raise domain.RoundUnknown("The division has no round yet that could be added to.")
    else:
        return None
    if kind is RoundKind.PLACEMENT and (
        found.kind != RoundKind.ROUND or found.division_code != body.division_code
    ):
        raise domain.RoundUnknown("A placement adds to a round of the same division.")
    return found


async def _snapshot(
    session: AsyncSession,
    body: contract.RoundCreate,
    policy: Policy,
    before: Round | None,
    at: datetime,
) -> tuple[UUID | None, Snapshot]:
    """The snapshot, and the round that froze it when it is another's."""
    kind = RoundKind(body.kind)
    prices = {} if before is None else await freezing.prices_of(session, before.id)
    if body.snapshot_of is None:
        since = before if kind is RoundKind.PLACEMENT else None
        wanted = freezing.Wanted(kind, body.division_code, policy, since, prices)
        return None, await freezing.freeze(session, wanted, at)
    frozen = await session.get(Round, body.snapshot_of)
    if frozen is None or frozen.division_code != body.division_code:
        raise domain.RoundUnknown("snapshot_of is no round of this division.")
    placement = RoundKind.PLACEMENT
    if (frozen.kind == placement) != (kind is placement):
        raise domain.RoundUnknown("A placement is computed again as a placement only.")
    stored = await session.get_one(RoundSnapshot, frozen.id)
    try:
        found = await asyncio.to_thread(unpack, stored.packed, frozen.snapshot_sha256)
    except SnapshotOutdated as error:
        raise domain.RoundUnknown(
            "snapshot_of was frozen by a version of before, which this one does not read."
        ) from error
    if before is None and kind is placement:
        prices = found.start_prices
    return frozen.frozen_by, replace(
        found, policy=policy, kind=kind.value, start_prices=dict(prices)
    )


def _check_division(caller: Caller, division_code: str) -> None:
    if not caller.covers(division_code):
        raise domain.DivisionNotYours("Your division does not cover the round's.")


# ------------------------------------------------------------------- decided


async def approve(session: AsyncSession, caller: Caller, round_id: UUID, at: datetime) -> Round:
    """Turn the round's proposals into allocations.

    A proposal whose applicant was given an aid of the class since the snapshot is left out.
    """
    # Two rounds approved at once must see each other's allocations. Before the round's row, which
    # the start of another round may want while it holds this (`freezing`).
    await db.lock(session, freezing.APPROVAL_LOCK)
    approved = await lock(session, round_id)
    _check_division(caller, approved.division_code)
    if approved.kind == RoundKind.DRY_RUN:
        raise domain.DryRunNotApproved
    approved.state = domain.move_round(RoundState(approved.state), RoundState.APPROVED)
    approved.decided_by, approved.decided_at = caller.subject, at
    await _flush_approved(session)
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
        insert(Allocation).from_select(
            [*copied, *values],
            select(
                *(chosen.c[name] for name in copied),
                *(literal(value, table.c[name].type) for name, value in values.items()),
            ),
        )
    )
    await _tell_left_out(session, round_id)
    fact = contract.RoundApproved(
        round_id=round_id,
        kind=kind_of(approved),
        policy=approved.policy,
        proposals=cast("CursorResult[Any]", inserted).rowcount,
    )
    await emit_all(session, [_emission(approved, fact, caller.subject, caller.role)])
    told = select(*(table.c[name] for name in [*copied, "policy"]))
    by_id = told.where(table.c.round_id == round_id).order_by(table.c.id)
    async for rows in freezing.portions(session, by_id):
        await emit_all(session, [_proposed(row, caller) for row in rows])
    return approved


def _proposed(row: Any, caller: Caller) -> Emission:
    fact = contract.AllocationProposed(**facts_of(row))
    subject = f"allocation/{row.id}"
    return Emission(fact, subject, caller.subject, caller.role, row.division_code)


async def _flush_approved(session: AsyncSession) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if constraint_of(error) == "uq_matching_round_approved_snapshot":
            raise domain.SnapshotUsed from error
        raise


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


async def _tell_left_out(session: AsyncSession, round_id: UUID) -> None:
    """The reason of needs whose proposals did not become allocations: all of a need, or none."""
    facts = ("need_id", "item_class", "unit", "urgency", "division_code", "need_title")
    of_need = [getattr(Proposal, name) for name in facts]
    new: dict[str, Any] = {
        "round_id": literal(round_id, Outcome.round_id.type),
        "code": literal("one_aid_in_period"),
        "given": literal(0),
        "counts": literal({}, Outcome.counts.type),
        "best_line_id": null(),
    }
    left_out = (
        select(*of_need, func.sum(Proposal.quantity), *new.values())
        .where(
            Proposal.round_id == round_id,
            ~exists().where(Allocation.id == Proposal.id),
        )
        .group_by(*of_need)
    )
    statement = upsert(Outcome).from_select([*facts, "lacking", *new], left_out)
    # Partly met it has an outcome already, which says what it lacked in all.
    changed = {name: statement.excluded[name] for name in ("code", "given", "counts")}
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["round_id", "need_id"], set_={**changed, "best_line_id": None}
        )
    )


async def discard(
    session: AsyncSession, caller: Caller, round_id: UUID, reason: str, at: datetime
) -> Round:
    """Drop a round; nothing of it was promised to anybody."""
    refuse_personal_data({"reason": reason})
    found = await lock(session, round_id)
    _check_division(caller, found.division_code)
    return await _end(session, found, RoundState.DISCARDED, reason, caller, at)


async def cancel(
    session: AsyncSession, caller: Caller, round_id: UUID, reason: str, at: datetime
) -> Round:
    """Stop a computation. It is cancelled once this is committed; the work ends soon after."""
    refuse_personal_data({"reason": reason})
    found = await lock(session, round_id)
    _check_division(caller, found.division_code)
    return await _end(session, found, RoundState.CANCELLED, reason, caller, at)


async def give_up(session: AsyncSession, round_id: UUID, at: datetime) -> None:
    """Discard a round that could not be computed."""
    found = await lock(session, round_id)
    if found.state == RoundState.COMPUTING:
        await _end(session, found, RoundState.DISCARDED, "computation_failed", None, at)


async def _end(
    session: AsyncSession,
    found: Round,
    state: RoundState,
    reason: str,
    caller: Caller | None,
    at: datetime,
) -> Round:
    """caller   None when nobody asked for it"""
    actor, role = (BY_ITSELF, "service") if caller is None else (caller.subject, caller.role)
    found.state = domain.move_round(RoundState(found.state), state)
    found.decided_by, found.decided_at, found.discard_reason = actor, at, reason
    found.stage = Stage.DONE
    await session.execute(delete(RoundPart).where(RoundPart.round_id == found.id))
    kind = contract.RoundCancelled if state is RoundState.CANCELLED else contract.RoundDiscarded
    fact = kind(round_id=found.id, kind=kind_of(found), policy=found.policy)
    await emit_all(session, [_emission(found, fact, actor, role)])
    return found


async def lock(session: AsyncSession, round_id: UUID) -> Round:
    found = await session.scalar(select(Round).where(Round.id == round_id).with_for_update())
    if found is None:
        raise domain.RoundNotFound("There is no such round.")
    return found


def kind_of(of: Round) -> contract.RoundKind:
    kind: contract.RoundKind = RoundKind(of.kind).value
    return kind


def _emission(about: Round, fact: Event, actor: str, role: str) -> Emission:
    return Emission(fact, f"round/{about.id}", actor, role, about.division_code)
