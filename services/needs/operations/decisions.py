"""Verification: officers pass, return or reject needs at the level of their role."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.needs import contract, tables
from services.needs.domain import errors
from services.needs.domain.policy import Policy
from services.needs.domain.verification import (
    Standing,
    check_may_decide,
    level_after,
    state_after_pass,
)
from services.needs.operations.policies import read_policies
from services.needs.operations.publication import (
    count_open_objections,
    read_verified_by,
    take_up_again,
)
from services.needs.operations.rows import (
    Actor,
    lock_need,
    lock_needs,
    officer_of,
    read_names,
    set_state,
    told,
)
from services.needs.operations.standings import read_standings
from services.needs.privacy import Privacy
from shared.callers import Caller
from shared.db import uuid7
from shared.errors import ServiceError
from shared.events import Emission, emit_all
from shared.screening import refuse_personal_data
from shared.vocabulary.codes import Level, NeedState


async def decide(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    decisions: Sequence[contract.Decision],
    now: datetime,
) -> list[tables.Need | ServiceError]:
    """One result for each decision, in their order: the need as it is now, or the refusal."""
    needs = await lock_needs(session, [decision.need_id for decision in decisions])
    standings = await read_standings(session, needs.values())
    policies = await read_policies(session, now)
    with_reason = [
        needs[d.need_id].applicant_id for d in decisions if d.reason and d.need_id in needs
    ]
    names = await read_names(session, privacy, with_reason) if with_reason else {}
    results: list[tables.Need | ServiceError] = []
    emissions: list[Emission] = []
    reviewed: list[tables.Need] = []
    for decision in decisions:
        await asyncio.sleep(0)  # screening takes up to 20 ms a reason; others get their turn
        try:
            need = needs.get(decision.need_id)
            if need is None:
                raise errors.NeedNotFound
            refuse_personal_data({"reason": decision.reason}, names.get(need.applicant_id))
            policy = policies.of(need.division_code)
            standing = standings[need.id]
            level = _check(standing, caller, decision)
            emissions += _apply(need, standing, level, decision, policy, Actor.of(caller), now)
            session.add(_verification(need, level, decision, caller, policy, now))
            # A second decision about the same need in this batch meets the first.
            standings[need.id] = replace(
                standing,
                state=NeedState(need.state),
                next_level=None if need.next_level is None else Level(need.next_level),
                decided_by=standing.decided_by | {caller.subject},
            )
            if need.publish_first and decision.outcome == "passed" and need.next_level is None:
                reviewed.append(need)
            results.append(need)
        except ServiceError as refusal:
            results.append(refusal)
    await session.flush()
    await emit_all(session, emissions)
    await _finish_reviews(session, privacy, reviewed, Actor.of(caller), now)
    return results


def _check(standing: Standing, caller: Caller, decision: contract.Decision) -> Level:
    level = check_may_decide(standing, officer_of(caller))
    if decision.outcome != "passed" and decision.reason is None:
        raise errors.ReasonRequired
    return level


def _verification(
    need: tables.Need,
    level: Level,
    decision: contract.Decision,
    caller: Caller,
    policy: Policy,
    now: datetime,
) -> tables.Verification:
    return tables.Verification(
        id=uuid7(),
        need_id=need.id,
        submission=need.submission,
        level=level.value,
        outcome=decision.outcome,
        officer=caller.subject,
        reason=decision.reason,
        policy=policy.code,
        at=now,
    )


def _apply(
    need: tables.Need,
    standing: Standing,
    level: Level,
    decision: contract.Decision,
    policy: Policy,
    actor: Actor,
    now: datetime,
) -> list[Emission]:
    """Change the need in memory and say what happened; raises before anything is changed."""
    if decision.outcome != "passed":
        returned = decision.outcome == "returned"
        set_state(need, NeedState.RETURNED if returned else NeedState.REJECTED)
        need.policy = policy.code
        need.next_level = None
        kind = contract.NeedReturned if returned else contract.NeedRejected
        return [told(need, kind(need_id=need.id, level=level, policy=policy.code), actor)]
    following = level_after(level, need.division_code, policy)
    need.state = state_after_pass(standing, level, following).value
    need.policy = policy.code
    need.next_level = None if following is None else following.value
    need.version += 1
    verified = contract.NeedVerified(need_id=need.id, level=level, policy=policy.code)
    emissions = [told(need, verified, actor)]
    if need.state == NeedState.NOTICED:
        need.notice_ends_at = now + policy.notice
        noticed = contract.NeedNoticed(
            need_id=need.id, notice_ends_at=need.notice_ends_at, policy=policy.code
        )
        emissions.append(told(need, noticed, actor))
    return emissions


async def _finish_reviews(
    session: AsyncSession,
    privacy: Privacy,
    reviewed: Sequence[tables.Need],
    actor: Actor,
    now: datetime,
) -> None:
    """What was published first and has now passed; if it was suspended for that, take it up."""
    if not reviewed:
        return
    verified_by = await read_verified_by(session, reviewed)
    emissions = []
    for need in reviewed:
        need.review_due_at = None
        event = contract.NeedReviewed(
            need_id=need.id, verified_by=verified_by[need.id], policy=need.policy or ""
        )
        emissions.append(told(need, event, actor))
    await emit_all(session, emissions)
    objections = await count_open_objections(session, [need.id for need in reviewed])
    for need in reviewed:
        await take_up_again(session, privacy, need, objections[need.id], actor, now)


async def recuse(
    session: AsyncSession, caller: Caller, need_id: UUID, reason_code: str, now: datetime
) -> contract.RecusalRead:
    """Declare a relation to the applicant, which holds for all of the applicant's needs.

    Declared twice, the first declaration stands. It is told of the need, and of the others that
    are being met already; those published later name all who are related.
    """
    refuse_personal_data({"reason_code": reason_code})
    need = await lock_need(session, need_id)
    if not caller.covers(need.division_code):
        raise errors.OutsideDivision
    made = await session.scalar(
        insert(tables.Recusal)
        .values(need_id=need_id, officer=caller.subject, reason_code=reason_code, at=now)
        .on_conflict_do_nothing()
        .returning(tables.Recusal.at)
    )
    if made is not None:
        others = await session.scalars(
            select(tables.Need).where(
                tables.Need.applicant_id == need.applicant_id,
                tables.Need.id != need_id,
                tables.Need.state.in_((NeedState.PUBLISHED, NeedState.SUSPENDED)),
            )
        )
        emissions = []
        for concerned in (need, *others):
            event = contract.RecusalDeclared(need_id=concerned.id, reason_code=reason_code)
            emissions.append(told(concerned, event, Actor.of(caller)))
        await emit_all(session, emissions)
    recusal = await session.get_one(tables.Recusal, (need_id, caller.subject))
    return contract.RecusalRead.model_validate(recusal)
