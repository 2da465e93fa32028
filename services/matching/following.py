"""What the feeds of needs, donors and audit mean for matching: read models and log indexes.

Each function is the effects of one batch, inside the transaction that moves the cursor; applying
an event again gives the same rows. Events that say nothing to matching are passed over.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, cast
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Table, bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit import contract as audit
from services.donors import contract as donors
from services.matching.domain import Action, State
from services.matching.operations import allocations
from services.matching.tables import Allocation, AllocationReceipt, LineView, LogView, NeedView
from services.needs import contract as needs
from shared.db import now
from shared.events import CloudEvent, Event
from shared.vocabulary import divisions

_NEED = cast(Table, NeedView.__table__)
_LINE = cast(Table, LineView.__table__)
_ALLOCATION = cast(Table, Allocation.__table__)
_RECEIPT = cast(Table, AllocationReceipt.__table__)
_LOG = cast(Table, LogView.__table__)
_uuid: TypeAdapter[UUID] = TypeAdapter(UUID)

Rows = list[dict[str, Any]]


async def apply_needs(session: AsyncSession, events: Sequence[CloudEvent]) -> None:
    """Keep `need_view`; undo what a need that is no more had been promised."""
    gone: dict[UUID, str] = {}
    seen: set[UUID] = set()
    for kind, run in groupby(events, key=lambda event: event.type):
        batch = list(run)
        match kind:
            case needs.NeedPublished.type:
                await _publish(session, batch)
            case needs.NeedReviewed.type:
                await _set_needs(session, batch, "verified_by", needs.NeedReviewed)
            case needs.NeedRenewed.type:
                await _set_needs(session, batch, "expires_at", needs.NeedRenewed)
            case needs.RecusalDeclared.type:
                await _recuse(session, batch)
            case needs.CommitmentMoved.type:
                seen |= await _move_commitments(session, batch)
            case _ if kind in _NEED_STATES:
                await _set_need_state(session, batch, _NEED_STATES[kind])
                if kind in _UNDONE:
                    gone |= {_uuid.validate_python(e.data["need_id"]): _UNDONE[kind] for e in batch}
    undone = await _undone_by(session, gone)
    # At the end and all at once: rows of allocations are locked in one order by everybody.
    await allocations.lock(session, seen | undone.keys())
    await _saw(session, "need_seen", seen)
    await allocations.act_by_itself(session, Action.CANCEL, undone, now())


_NEED_STATES = {
    needs.NeedSuspended.type: "suspended",
    needs.NeedWithdrawn.type: "withdrawn",
    needs.NeedExpired.type: "expired",
    needs.NeedClosed.type: "closed",
    # Told of what was published first, and of needs never published, of which there is no row.
    needs.NeedReturned.type: "returned",
    needs.NeedRejected.type: "rejected",
}
_UNDONE = {
    needs.NeedWithdrawn.type: "need_withdrawn",
    needs.NeedExpired.type: "need_expired",
    needs.NeedReturned.type: "need_returned",
    needs.NeedRejected.type: "need_rejected",
}


async def _publish(session: AsyncSession, events: Sequence[CloudEvent]) -> None:
    rows = [_need_row(event) for event in events]
    statement = insert(_NEED)
    new = statement.excluded
    changed: dict[str, Any] = {
        c.name: new[c.name] for c in _NEED.columns if c.name not in {"need_id", "remaining"}
    }
    # Published again: what commitments hold of it still counts.
    changed["remaining"] = func.greatest(
        _NEED.c.remaining + new.required - _NEED.c.required, literal_column("0")
    )
    await session.execute(
        statement.on_conflict_do_update(index_elements=["need_id"], set_=changed), rows
    )


def _need_row(event: CloudEvent) -> dict[str, Any]:
    fact = needs.NeedPublished.model_validate(event.data)
    return {
        "need_id": fact.need_id,
        "applicant": fact.applicant,
        "applicant_kind": fact.applicant_kind,
        "household_class": fact.household_class,
        "poverty_permille": fact.deprivation_score_permille,
        "category": fact.category,
        "item_class": fact.item_class,
        "title": fact.title,
        "item": fact.item,
        "specification": fact.specification,
        "unit": fact.base_unit,
        "required": fact.base_quantity,
        "remaining": fact.base_quantity,
        "urgency": fact.urgency,
        "needed_by": fact.needed_by,
        "division_code": event.division or divisions.ROOT,
        "published_at": fact.published_at,
        "expires_at": fact.expires_at,
        "entered_by": fact.entered_by,
        "verified_by": fact.verified_by,
        "recused": fact.recused,
        "state": "published",
        "changed_seq": event.seq,
        "published_seq": event.seq,
    }


async def _set_needs(
    session: AsyncSession, events: Sequence[CloudEvent], column: str, kind: type[Event]
) -> None:
    facts = [(event.seq, kind.model_validate(event.data).model_dump()) for event in events]
    await _update(
        session,
        _NEED,
        "need_id",
        [
            {"need_id": fact["need_id"], "changed_seq": seq, column: fact[column]}
            for seq, fact in facts
        ],
    )


async def _set_need_state(session: AsyncSession, events: Sequence[CloudEvent], state: str) -> None:
    await _update(
        session,
        _NEED,
        "need_id",
        [
            {
                "need_id": _uuid.validate_python(event.data["need_id"]),
                "state": state,
                "changed_seq": event.seq,
            }
            for event in events
        ],
    )


async def _recuse(session: AsyncSession, events: Sequence[CloudEvent]) -> None:
    # Before publication there is no row: NeedPublished will name who was recused by then.
    statement = (
        _NEED.update()
        .where(
            _NEED.c.need_id == bindparam("need"),
            bindparam("officer", type_=_NEED.c.entered_by.type) != func.all(_NEED.c.recused),
        )
        .values(recused=func.array_append(_NEED.c.recused, bindparam("officer")))
    )
    await session.execute(
        statement,
        [
            {"need": _uuid.validate_python(event.data["need_id"]), "officer": event.actor}
            for event in events
        ],
    )


async def _move_commitments(session: AsyncSession, events: Sequence[CloudEvent]) -> set[UUID]:
    facts = [(event.seq, needs.CommitmentMoved.model_validate(event.data)) for event in events]
    await _update(
        session,
        _NEED,
        "need_id",
        [
            {"need_id": fact.need_id, "remaining": fact.need_remaining, "changed_seq": seq}
            for seq, fact in facts
        ],
    )
    return {fact.allocation_id for _, fact in facts}


async def _undone_by(session: AsyncSession, gone: dict[UUID, str]) -> dict[UUID, str]:
    """What was promised to needs that are no more, as far as nothing has moved: id -> reason."""
    if not gone:
        return {}
    found = await session.execute(
        select(Allocation.id, Allocation.need_id).where(
            Allocation.need_id.in_(gone),
            Allocation.state.in_([State.PROPOSED, State.RESERVED, State.ACCEPTED, State.APPROVED]),
        )
    )
    return {row.id: gone[row.need_id] for row in found}


# ------------------------------------------------------------------- donors


async def apply_donors(session: AsyncSession, events: Sequence[CloudEvent]) -> None:
    """Keep `line_view`."""
    seen: set[UUID] = set()
    for kind, run in groupby(events, key=lambda event: event.type):
        batch = list(run)
        match kind:
            case donors.OfferOpened.type:
                await _open_offers(session, batch)
            case donors.ReservationMoved.type:
                seen |= await _move_reservations(session, batch)
            case donors.OrganizationApproved.type:
                await _verify_organizations(session, batch)
            case _ if kind in _OFFER_STATES:
                await _update(
                    session,
                    _LINE,
                    "offer_id",
                    [
                        {
                            "offer_id": _uuid.validate_python(event.data["offer_id"]),
                            "state": _OFFER_STATES[kind],
                            "changed_seq": event.seq,
                        }
                        for event in batch
                    ],
                )
    await allocations.lock(session, seen)
    await _saw(session, "line_seen", seen)


# Exhausted and replenished say nothing that `available` does not.
_OFFER_STATES = {
    donors.OfferExpired.type: "expired",
    donors.OfferWithdrawn.type: "withdrawn",
    donors.OfferBlocked.type: "blocked",
}


async def _open_offers(session: AsyncSession, events: Sequence[CloudEvent]) -> None:
    rows: Rows = []
    for event in events:
        fact = donors.OfferOpened.model_validate(event.data)
        rows.extend(
            {
                "line_id": line.line_id,
                "offer_id": fact.offer_id,
                "organization_id": fact.organization_id,
                "organization_name": fact.organization_name,
                "organization_verified": fact.organization_verified,
                "kind": fact.kind,
                "category": fact.category,
                "title": fact.title,
                "item_class": line.item_class,
                "item": line.item,
                "specification": line.specification,
                "unit": line.base_unit,
                "total": line.total,
                "available": line.available,
                "lot_min": line.lot_min_base,
                "served_division_codes": fact.served_division_codes,
                "applicant_kinds": fact.applicant_kinds,
                "household_classes": fact.household_classes,
                "valid_from": fact.valid_from,
                "valid_until": fact.valid_until,
                "state": "open",
                "changed_seq": event.seq,
                "opened_seq": event.seq,
            }
            for line in fact.lines
        )
    statement = insert(_LINE)
    changed = {c.name: statement.excluded[c.name] for c in _LINE.columns if c.name != "line_id"}
    await session.execute(
        statement.on_conflict_do_update(index_elements=["line_id"], set_=changed), rows
    )


async def _move_reservations(session: AsyncSession, events: Sequence[CloudEvent]) -> set[UUID]:
    facts = [(event.seq, donors.ReservationMoved.model_validate(event.data)) for event in events]
    await _update(
        session,
        _LINE,
        "line_id",
        [
            {"line_id": fact.line_id, "available": fact.line_available, "changed_seq": seq}
            for seq, fact in facts
        ],
    )
    return {fact.allocation_id for _, fact in facts}


async def _verify_organizations(session: AsyncSession, events: Sequence[CloudEvent]) -> None:
    facts = [
        (event.seq, donors.OrganizationApproved.model_validate(event.data)) for event in events
    ]
    await _update(
        session,
        _LINE,
        "organization_id",
        [
            {
                "organization_id": fact.organization_id,
                "organization_verified": fact.verified,
                "changed_seq": seq,
            }
            for seq, fact in facts
        ],
    )


# -------------------------------------------------------------------- audit


async def apply_audit(session: AsyncSession, events: Sequence[CloudEvent]) -> None:
    """Note where the approvals of allocations stand in the log, under a signed checkpoint; what
    proves them is fetched from then on (`receipts`)."""
    entries = [
        audit.EntryAppended.model_validate(event.data)
        for event in events
        if event.type == audit.EntryAppended.type and event.data["producer"] == "matching"
    ]
    if not entries:
        return
    statement = (
        _ALLOCATION.update()
        .where(
            _ALLOCATION.c.approval_event_id == bindparam("event"),
            _ALLOCATION.c.approval_log_index.is_(None),
        )
        .values(approval_log_index=bindparam("at"))
    )
    # Few of the log's entries are approvals: asked for at once, the others cost no statement.
    found = await session.execute(
        select(Allocation.id, Allocation.approval_event_id).where(
            Allocation.approval_event_id.in_([entry.event_id for entry in entries])
        )
    )
    known = {row.approval_event_id: row.id for row in found}
    rows = [{"event": e.event_id, "at": e.index} for e in entries if e.event_id in known]
    if rows:
        await allocations.lock(session, known.values())
        await session.execute(statement, rows)
        waiting = [{"allocation_id": known[row["event"]], "event_id": row["event"]} for row in rows]
        await session.execute(insert(_RECEIPT).on_conflict_do_nothing(), waiting)


async def apply_alarms(session: AsyncSession, events: Sequence[CloudEvent]) -> None:
    """Keep `log_view`: since when too few witnesses cosign the log."""
    for event in events:
        since = None
        if event.type == audit.AlarmRaised.type and event.data.get("alarm") == "quorum_missing":
            since = event.time
        elif event.type != audit.QuorumMet.type:
            continue
        await session.execute(_LOG.update().values(quorum_missing_since=since))


# ------------------------------------------------------------------ helpers


async def _update(session: AsyncSession, table: Table, key: str, rows: Rows) -> None:
    """Update by key, row by row in the order given, in one round trip."""
    values: dict[str, Callable[..., Any] | Any] = {
        name: bindparam(f"new_{name}", type_=table.c[name].type) for name in rows[0] if name != key
    }
    statement = table.update().where(table.c[key] == bindparam(f"at_{key}")).values(values)
    await session.execute(
        statement,
        [
            {f"at_{key}": row[key]} | {f"new_{n}": v for n, v in row.items() if n != key}
            for row in rows
        ],
    )


async def _saw(session: AsyncSession, column: str, allocation_ids: set[UUID]) -> None:
    if not allocation_ids:
        return
    seen = _ALLOCATION.c[column]
    await session.execute(
        _ALLOCATION.update()
        .where(_ALLOCATION.c.id.in_(list(allocation_ids)), ~seen)
        .values({column: True})
    )
