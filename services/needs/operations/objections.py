"""Objections: anybody may object during the notice; somebody outside the chain decides."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.needs import contract, tables
from services.needs.domain import errors
from services.needs.domain.states import may_become
from services.needs.domain.verification import (
    check_may_decide_objection,
    check_open_to_objection,
)
from services.needs.operations.publication import (
    count_open_objections,
    suspend_for_objection,
    take_up_again,
)
from services.needs.operations.rows import (
    Actor,
    lock_need,
    officer_of,
    read_names,
    set_state,
    told,
)
from services.needs.operations.standings import read_standings
from services.needs.privacy import Privacy
from shared.callers import Caller
from shared.db import uuid7
from shared.events import emit_all
from shared.screening import refuse_personal_data
from shared.vocabulary.codes import NeedState


async def object_to(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller | None,
    need_id: UUID,
    reason: str,
    now: datetime,
) -> tables.Objection:
    """Receive an objection; the need is suspended until it has been decided."""
    need = await lock_need(session, need_id)
    objections = await count_open_objections(session, [need_id])
    check_open_to_objection(
        NeedState(need.state), need.publish_first, need.notice_ends_at, objections[need_id]
    )
    names = await read_names(session, privacy, [need.applicant_id])
    refuse_personal_data({"reason": reason}, names.get(need.applicant_id))
    objection = tables.Objection(
        id=uuid7(),
        need_id=need_id,
        reason=reason,
        state="open",
        received_from=None if caller is None else caller.subject,
        received_at=now,
    )
    session.add(objection)
    actor = Actor.of(caller)
    event = contract.ObjectionReceived(need_id=need_id, objection_id=objection.id)
    await emit_all(session, [told(need, event, actor)])
    if need.state != NeedState.SUSPENDED:
        await suspend_for_objection(session, need, actor)
    return objection


async def decide(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    objection_id: UUID,
    body: contract.ObjectionDecision,
    now: datetime,
) -> tables.Objection:
    """Upheld: the need is rejected. Dismissed: it goes on from where it was stopped."""
    need_id = await session.scalar(
        select(tables.Objection.need_id).where(tables.Objection.id == objection_id)
    )
    if need_id is None:
        raise errors.ObjectionNotFound
    # The need first, as everywhere; only then its objections.
    need = await lock_need(session, need_id)
    objection = await session.get_one(tables.Objection, objection_id, with_for_update=True)
    standing = (await read_standings(session, [need]))[need.id]
    check_may_decide_objection(standing, officer_of(caller), objection.received_from)
    if objection.state != "open":
        raise errors.ObjectionClosed
    names = await read_names(session, privacy, [need.applicant_id])
    refuse_personal_data({"reason": body.reason}, names.get(need.applicant_id))
    objection.state = body.outcome
    objection.decided_by = caller.subject
    objection.decided_at = now
    objection.decision_reason = body.reason
    actor = Actor.of(caller)
    decided = contract.ObjectionDecided(
        need_id=need_id, objection_id=objection_id, outcome=body.outcome
    )
    await emit_all(session, [told(need, decided, actor)])
    if body.outcome == "upheld":
        await _reject(session, need, actor)
    else:
        await session.flush()
        left = await count_open_objections(session, [need_id])
        await take_up_again(session, privacy, need, left[need_id], actor, now)
    return objection


async def _reject(session: AsyncSession, need: tables.Need, actor: Actor) -> None:
    # A need that was withdrawn in the meantime stays so.
    if not may_become(NeedState(need.state), NeedState.REJECTED):
        return
    set_state(need, NeedState.REJECTED)
    need.next_level = None
    event = contract.NeedRejected(need_id=need.id, level=None, policy=need.policy or "")
    await emit_all(session, [told(need, event, actor)])
