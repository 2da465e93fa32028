"""What allocations hold of needs: told by the matching service, never above what is required."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.needs import contract, tables
from services.needs.domain import errors
from services.needs.domain.quantities import Commitment, Holding, apply, state_after_movement
from services.needs.operations.publication import (
    count_open_objections,
    suspend_for_objection,
    tell_published,
)
from services.needs.operations.rows import Actor, lock_needs, set_state, told
from services.needs.privacy import Privacy
from shared.callers import Caller
from shared.errors import ServiceError
from shared.events import Emission, emit_all
from shared.vocabulary.codes import NeedState
from shared.vocabulary.movements import MovementState

_Key = tuple[UUID, UUID]


async def move_all(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    items: Sequence[contract.CommitmentItem],
    now: datetime,
) -> list[contract.CommitmentRead | ServiceError]:
    """One result for each item, in their order; each item is applied whole or not at all.

    The same item again changes nothing and emits nothing: the caller may repeat what it does not
    know the outcome of. The rows of the needs are locked, so no two callers see the same rest.
    """
    needs = await lock_needs(session, [item.need_id for item in items])
    held = await _held(session, items)
    before = dict(held)
    states = {need_id: need.state for need_id, need in needs.items()}
    results: list[contract.CommitmentRead | ServiceError] = []
    emissions: list[Emission] = []
    actor = Actor.of(caller)
    for item in items:
        try:
            need = needs.get(item.need_id)
            if need is None:
                raise errors.NeedNotFound
            key = (item.need_id, item.allocation_id)
            after = Commitment(item.quantity, item.state)
            holding = apply(holding_of(need), NeedState(need.state), held.get(key), after)
            if (known := held.get(key)) != after:
                held[key] = after
                _write(need, holding)
                emissions.append(_moved(need, item, known, holding, actor))
            results.append(
                contract.CommitmentRead(**item.model_dump(), need_remaining=holding.remaining)
            )
        except ServiceError as refusal:
            results.append(refusal)
    await _upsert(session, {key: c for key, c in held.items() if before.get(key) != c}, now)
    await emit_all(session, emissions)
    changed = [need for need in needs.values() if need.state != states[need.id]]
    await _tell_states(session, privacy, changed, actor)
    return results


def holding_of(need: tables.Need) -> Holding:
    return Holding(need.base_quantity or 0, need.reserved, need.in_transit, need.delivered)


async def _held(
    session: AsyncSession, items: Sequence[contract.CommitmentItem]
) -> dict[_Key, Commitment]:
    rows = await session.execute(
        select(
            tables.Commitment.need_id,
            tables.Commitment.allocation_id,
            tables.Commitment.quantity,
            tables.Commitment.state,
        ).where(
            tuple_(tables.Commitment.need_id, tables.Commitment.allocation_id).in_(
                {(item.need_id, item.allocation_id) for item in items}
            )
        )
    )
    return {(n, a): Commitment(quantity, MovementState(state)) for n, a, quantity, state in rows}


def _write(need: tables.Need, holding: Holding) -> None:
    need.reserved = holding.reserved
    need.in_transit = holding.in_transit
    need.delivered = holding.delivered
    before = NeedState(need.state)
    if (after := state_after_movement(before, holding)) is not before:
        # A need published first that is filled keeps its level: its verification is still owed.
        set_state(need, after)


def _moved(
    need: tables.Need,
    item: contract.CommitmentItem,
    known: Commitment | None,
    holding: Holding,
    actor: Actor,
) -> Emission:
    event = contract.CommitmentMoved(
        need_id=item.need_id,
        allocation_id=item.allocation_id,
        quantity=item.quantity,
        state=item.state,
        need_remaining=holding.remaining,
        state_before=None if known is None else known.state,
        item_class=need.item_class,
        unit=need.base_unit or "",
    )
    return told(need, event, actor)


async def _upsert(session: AsyncSession, changed: dict[_Key, Commitment], now: datetime) -> None:
    await session.flush()
    if not changed:
        return
    statement = insert(tables.Commitment)
    statement = statement.on_conflict_do_update(
        index_elements=[tables.Commitment.need_id, tables.Commitment.allocation_id],
        set_={"state": statement.excluded.state, "moved_at": statement.excluded.moved_at},
    )
    await session.execute(
        statement,
        [
            {
                "need_id": need_id,
                "allocation_id": allocation_id,
                "quantity": commitment.quantity,
                "state": commitment.state.value,
                "moved_at": now,
            }
            for (need_id, allocation_id), commitment in changed.items()
        ],
    )


async def _tell_states(
    session: AsyncSession,
    privacy: Privacy,
    changed: Sequence[tables.Need],
    actor: Actor,
) -> None:
    closed = [need for need in changed if need.state == NeedState.CLOSED]
    await emit_all(
        session, [told(need, contract.NeedClosed(need_id=need.id), actor) for need in closed]
    )
    reopened = [need for need in changed if need.state == NeedState.PUBLISHED]
    if not reopened:
        return
    objections = await count_open_objections(session, [need.id for need in reopened])
    for need in reopened:
        if objections[need.id]:
            await suspend_for_objection(session, need, actor)
    published = [need for need in reopened if not objections[need.id]]
    await tell_published(session, privacy, published, actor)
