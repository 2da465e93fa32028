"""What people and clocks do to allocations: batches of one or many, each item by itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching import contract, domain
from services.matching.domain import Action, Actor, Case, State
from services.matching.policies import policies
from services.matching.tables import Allocation, LogView, NeedView
from shared.callers import Caller
from shared.errors import Forbidden, ServiceError
from shared.events import Emission, emit_all
from shared.screening import refuse_personal_data

# Who acts when nobody does: a deadline, a withdrawn need, a ledger that refused.
BY_ITSELF = "clock:matching"


@dataclass(frozen=True)
class Acted:
    """What became of one item; `changed` is False when it was so before."""

    allocation: Allocation
    changed: bool


async def act(
    session: AsyncSession,
    caller: Caller,
    action: Action,
    items: Sequence[contract.AllocationItem],
    at: datetime,
    slip_key: bytes,
) -> list[Acted | ServiceError]:
    """Do one action to each item in the order given; one refused leaves the others be.

    Raises Forbidden when the caller has no scope for the action at all.
    """
    if caller.scopes.isdisjoint(domain.SCOPES_OF[action]):
        raise Forbidden(f"This needs one of the scopes: {', '.join(domain.SCOPES_OF[action])}.")
    actor = Actor(caller.subject, caller.scopes, caller.division, caller.org)
    ids = {item.allocation_id for item in items}
    rows = await lock(session, ids)
    needs = await _needs_of(session, rows.values())
    # Only what is about to leave may have to wait for the log's witnesses.
    unwitnessed = action is Action.DISPATCH and await _quorum_is_missing(session)
    desk = Desk(at, caller.subject, caller.role)
    outcomes: list[Acted | ServiceError] = []
    for item in items:
        allocation = rows.get(item.allocation_id)
        try:
            refuse_personal_data({"reason_code": item.reason_code})
            if allocation is None:
                raise domain.AllocationNotFound("There is no such allocation.")
            case = case_of(allocation, needs.get(allocation.need_id), unwitnessed=unwitnessed)
            outcomes.append(_act_one(desk, actor, action, allocation, case, item, slip_key))
        except ServiceError as refused:
            outcomes.append(refused)
    await desk.record(session)
    return outcomes


def _act_one(
    desk: "Desk",
    actor: Actor,
    action: Action,
    allocation: Allocation,
    case: Case,
    item: contract.AllocationItem,
    slip_key: bytes,
) -> Acted:
    wanted = domain.LEADS_TO[action]
    if case.state == wanted or (wanted is State.CONFIRMED and case.state is State.CLOSED):
        return Acted(allocation, changed=False)
    domain.move(case.state, wanted)
    domain.check_deadline(case, desk.at)
    said: dict[str, Any] = {}
    match action:
        case Action.ACCEPT:
            domain.check_organization(actor, case)
        case Action.DECLINE:
            said["side"] = domain.side_of_decliner(actor, case)
        case Action.APPROVE:
            domain.check_approver(actor, case)
            allocation.approved_by = actor.subject
        case Action.DISPATCH:
            domain.check_dispatch(actor, case)
            said["approval_log_index"] = case.approval_log_index
        case Action.DELIVER:
            domain.check_organization(actor, case)
        case Action.CONFIRM:
            said["method"] = _confirm(actor, allocation, case, item, slip_key)
        case Action.CANCEL:
            said["side"] = domain.check_canceller(actor, case)
        case Action.RETURN:
            domain.check_returner(actor, case)
    if action in {Action.DECLINE, Action.CANCEL, Action.RETURN}:
        if item.reason_code is None:
            raise domain.ReasonMissing("Declining, cancelling and returning need a reason_code.")
        said["reason_code"] = item.reason_code
    desk.move(allocation, wanted, **said)
    return Acted(allocation, changed=True)


def _confirm(
    actor: Actor, allocation: Allocation, case: Case, item: contract.AllocationItem, slip_key: bytes
) -> str:
    how = domain.check_confirmer(actor, case, with_code=item.code is not None)
    if item.code is not None:
        # Counted before it is compared, and kept also when the code is wrong.
        allocation.slip_attempts = min(allocation.slip_attempts + 1, 1_000)
        domain.check_code(
            replace(case, slip_attempts=allocation.slip_attempts),
            domain.slip_hash(slip_key, allocation.id, item.code),
            policies()[allocation.policy].slip_attempts_max,
        )
    allocation.confirmed_by, allocation.confirmed_how = actor.subject, how
    return how


async def act_by_itself(
    session: AsyncSession, action: Action, reasons: Mapping[UUID, str], at: datetime
) -> int:
    """Cancel allocations because of what happened elsewhere; return how many it changed."""
    rows = await lock(session, reasons)
    desk = Desk(at, BY_ITSELF, "service")
    for allocation in rows.values():
        wanted = domain.LEADS_TO[action]
        if wanted in domain.reachable(State(allocation.state)):
            desk.move(allocation, wanted, side="matching", reason_code=reasons[allocation.id])
    return await desk.record(session)


async def reserve(session: AsyncSession, allocation_ids: Sequence[UUID], at: datetime) -> int:
    """Both ledgers hold the quantity: proposals become reservations with a deadline."""
    rows = await lock(session, allocation_ids)
    desk = Desk(at, BY_ITSELF, "service")
    for allocation in rows.values():
        if allocation.state == State.PROPOSED:
            desk.move(allocation, State.RESERVED)
    return await desk.record(session)


async def fall_due(session: AsyncSession, at: datetime) -> int:
    """Expire what was not acted upon in time; close what was confirmed long enough ago."""
    rows = await session.scalars(
        select(Allocation)
        .where(Allocation.due_at <= at)
        .order_by(Allocation.due_at, Allocation.id)
        .limit(contract.BATCH_MAX)
        .with_for_update(skip_locked=True)
    )
    desk = Desk(at, BY_ITSELF, "service")
    for allocation in rows:
        closes = allocation.state == State.CONFIRMED
        desk.move(allocation, State.CLOSED if closes else State.EXPIRED)
    return await desk.record(session)


async def lock(session: AsyncSession, ids: Iterable[UUID]) -> dict[UUID, Allocation]:
    """The allocations by id, locked in one order so that two batches cannot block each other."""
    if not (wanted := list(ids)):
        return {}
    rows = await session.scalars(
        select(Allocation)
        .where(Allocation.id.in_(wanted))
        .order_by(Allocation.id)
        .with_for_update()
    )
    return {row.id: row for row in rows}


async def _needs_of(session: AsyncSession, rows: Iterable[Allocation]) -> dict[UUID, NeedView]:
    found = await session.scalars(
        select(NeedView).where(NeedView.need_id.in_({row.need_id for row in rows}))
    )
    return {need.need_id: need for need in found}


async def _quorum_is_missing(session: AsyncSession) -> bool:
    return await session.scalar(select(LogView.quorum_missing_since)) is not None


def case_of(allocation: Allocation, need: NeedView | None, *, unwitnessed: bool = False) -> Case:
    let_go = policies()[allocation.policy].without_quorum.dispatch
    took_part = () if need is None else (need.entered_by, *need.verified_by, *need.recused)
    handled_by = {*allocation.allocated_by, *allocation.slip_issued_by}
    if allocation.approved_by is not None:
        handled_by.add(allocation.approved_by)
    return Case(
        state=State(allocation.state),
        due_at=None if allocation.state == State.CONFIRMED else allocation.due_at,
        division_code=allocation.division_code,
        urgency=allocation.urgency,
        organization_id=allocation.organization_id,
        took_part=frozenset(took_part),
        handled_by=frozenset(handled_by),
        approval_log_index=allocation.approval_log_index,
        slip_hash=allocation.slip_hash,
        slip_attempts=allocation.slip_attempts,
        need_suspended=need is not None and need.state == "suspended",
        held_back=unwitnessed and allocation.urgency not in let_go,
    )


class Desk:
    """Moves allocations in one transaction and keeps the events to be recorded with them."""

    def __init__(self, at: datetime, actor: str, role: str) -> None:
        self.at = at
        self._actor, self._role = actor, role
        self._moved: list[tuple[Allocation, Emission]] = []

    def move(self, allocation: Allocation, wanted: State, **said: Any) -> None:
        said["state_before"] = allocation.state
        allocation.state = domain.move(State(allocation.state), wanted)
        allocation.reason_code = said.get("reason_code")
        allocation.side = said.get("side")
        allocation.changed_at = self.at
        target = domain.LEDGER_TARGET[wanted]
        if allocation.target != target:
            allocation.target = target
            allocation.try_at, allocation.carry_failures = self.at, 0
        policy = policies()[allocation.policy]
        allocation.due_at = domain.due_at(
            wanted,
            self.at,
            {**policy.deadlines_s.model_dump(), State.CONFIRMED: policy.close_after_s},
        )
        if wanted is State.RESERVED:
            said["due_at"] = allocation.due_at
        self.tell(allocation, _EVENTS[wanted], **said)

    def tell(
        self, allocation: Allocation, kind: type[contract.AllocationEvent], **said: Any
    ) -> None:
        emission = Emission(
            kind(**facts_of(allocation), **said),
            f"allocation/{allocation.id}",
            self._actor,
            self._role,
            allocation.division_code,
        )
        self._moved.append((allocation, emission))

    async def record(self, session: AsyncSession) -> int:
        """Record the events, then write the rows, each once; return how many events."""
        with session.no_autoflush:
            event_ids = await emit_all(session, [emission for _, emission in self._moved])
        for (allocation, emission), event_id in zip(self._moved, event_ids, strict=True):
            if isinstance(emission.event, contract.AllocationApproved):
                allocation.approval_event_id = event_id
        await session.flush()
        return len(event_ids)


_EVENTS: dict[State, type[contract.AllocationEvent]] = {
    State.RESERVED: contract.AllocationReserved,
    State.ACCEPTED: contract.AllocationAccepted,
    State.APPROVED: contract.AllocationApproved,
    State.DISPATCHED: contract.AllocationDispatched,
    State.DELIVERED: contract.AllocationDelivered,
    State.CONFIRMED: contract.AllocationConfirmed,
    State.CLOSED: contract.AllocationClosed,
    State.DECLINED: contract.AllocationDeclined,
    State.EXPIRED: contract.AllocationExpired,
    State.CANCELLED: contract.AllocationCancelled,
    State.RETURNED: contract.AllocationReturned,
}
_FACTS = tuple(set(contract.AllocationEvent.model_fields) - {"allocation_id", "state_before"})


def facts_of(allocation: Any) -> dict[str, Any]:
    return {"allocation_id": allocation.id} | {name: getattr(allocation, name) for name in _FACTS}
