"""Entering, editing, submitting, withdrawing and renewing needs."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.needs import contract, tables
from services.needs.domain import errors
from services.needs.domain.states import EDITABLE
from services.needs.domain.verification import first_level, is_published_first
from services.needs.operations.disclosures import OF_NEED, Hidden, emit_hiding, hide, of_need
from services.needs.operations.policies import PoliciesInForce, read_policies
from services.needs.operations.publication import publish
from services.needs.operations.rows import (
    Actor,
    check_may_see,
    lock_need,
    read_names,
    set_state,
    share_applicants,
    told,
)
from services.needs.privacy import Privacy, programme_year
from services.needs.searching import vector
from shared.callers import Caller
from shared.db import lock, uuid7
from shared.errors import PreconditionFailed, ServiceError
from shared.events import Emission, emit_all
from shared.screening import refuse_personal_data, refuse_personal_key
from shared.vocabulary import codes, item_classes, units
from shared.vocabulary.codes import NeedState, Urgency
from shared.vocabulary.errors import UnitNotAllowed, VocabularyError


async def enter(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    bodies: Sequence[contract.NeedCreate],
    now: datetime,
) -> list[contract.CreatedItem | ServiceError]:
    """One result for each body, in their order: created, already there, or the refusal.

    A key stands for one need of one entering subject; a repeated key changes nothing. A need
    without a quantity is kept as a draft even when it was to be submitted.
    """
    # Two batches of one subject that share keys come one after the other.
    await lock(session, f"enter needs {caller.subject}")
    known = await _known_keys(session, caller, bodies)
    applicants = await share_applicants(session, {body.applicant_id for body in bodies})
    names = await read_names(session, privacy, applicants)
    policies = await read_policies(session, now)
    results: list[contract.CreatedItem | ServiceError] = []
    made: list[tables.Need] = []
    emissions: list[tuple[Emission, Hidden | None]] = []
    for body in bodies:
        if body.external_key is not None and body.external_key in known:
            results.append(_already_there(*known[body.external_key]))
            continue
        await asyncio.sleep(0)  # screening takes up to 30 ms a body; others get their turn
        try:
            need = _need(caller, body, applicants, names, now)
        except ServiceError as refusal:
            results.append(refusal)
            continue
        emissions.append(_drafted(need, privacy, Actor.of(caller), now))
        if body.submit and need.quantity is not None:
            emissions.append((_submit(need, policies, Actor.of(caller), now), None))
        made.append(need)
        if need.external_key is not None:
            known[need.external_key] = (need.id, need.state)
        results.append(contract.CreatedItem(outcome="created", id=need.id, state=need.state))
    session.add_all(made)
    await session.flush()
    await emit_hiding(session, emissions)
    return await _publish_first(session, privacy, made, results, Actor.of(caller), now)


async def _known_keys(
    session: AsyncSession, caller: Caller, bodies: Sequence[contract.NeedCreate]
) -> dict[str, tuple[UUID, str]]:
    keys = [body.external_key for body in bodies if body.external_key is not None]
    rows = await session.execute(
        select(tables.Need.external_key, tables.Need.id, tables.Need.state).where(
            tables.Need.entered_by == caller.subject, tables.Need.external_key.in_(keys)
        )
    )
    return {str(key): (need_id, state) for key, need_id, state in rows}


def _already_there(need_id: UUID, state: str) -> contract.CreatedItem:
    return contract.CreatedItem(outcome="already_there", id=need_id, state=state)


def _need(
    caller: Caller,
    body: contract.NeedCreate,
    applicants: Mapping[UUID, tables.Applicant],
    names: Mapping[UUID, str],
    now: datetime,
) -> tables.Need:
    applicant = applicants.get(body.applicant_id)
    if applicant is None:
        raise errors.ApplicantNotFound
    if not caller.covers(applicant.division_code):
        raise errors.OutsideDivision
    _check_codes(body)
    refuse_personal_key(body.external_key, names.get(applicant.id))
    _screen(body, names.get(applicant.id))
    base_quantity, base_unit = _base(body.item_class, body.quantity, body.unit)
    return tables.Need(
        id=uuid7(),
        **body.model_dump(
            exclude={"submit", "evidence", "category", "item_class", "urgency", "cause"}
        ),
        category=body.category,
        item_class=body.item_class,
        urgency=body.urgency,
        # Erased is erased: nothing of a person's health is kept again.
        cause=body.cause if applicant.erased_at is None else None,
        evidence=[evidence.model_dump() for evidence in body.evidence],
        division_code=applicant.division_code,
        base_quantity=base_quantity,
        base_unit=base_unit,
        reserved=0,
        in_transit=0,
        delivered=0,
        state=NeedState.DRAFT.value,
        submission=0,
        publish_first=False,
        version=1,
        entered_by=caller.subject,
        edited_by=[],
        created_at=now,
        search=_search(body.item_class, body.title, body.item, body.specification, body.text),
    )


def _check_codes(body: contract.NeedCreate) -> None:
    if body.category not in set(codes.Category):
        raise errors.UnknownCode("category")
    if body.item_class not in item_classes.item_classes():
        raise errors.UnknownCode("item_class")
    category = item_classes.get(body.item_class).category
    if category != body.category:
        raise errors.ClassOfOtherCategory(category)
    if body.cause is not None and body.cause not in set(codes.Cause):
        raise errors.UnknownCode("cause")


def _screen(body: contract.NeedCreate | contract.NeedEdit, own_name: str | None) -> None:
    refuse_personal_data(
        {
            "title": body.title,
            "text": body.text,
            "item": body.item,
            "specification": body.specification,
        },
        own_name,
    )


def _base(item_class: str, quantity: int | None, unit: str) -> tuple[int | None, str | None]:
    """(base quantity, base unit); neither without a quantity, but the unit is checked anyway."""
    try:
        base_quantity, base_unit = units.to_base(item_class, quantity or 1, unit)
    except UnitNotAllowed as error:
        raise errors.UnitNotAllowed(item_classes.get(item_class).units) from error
    except VocabularyError as error:
        raise errors.UnknownCode("unit") from error
    if quantity is None:
        return None, None
    if base_quantity > BASE_QUANTITY_MAX:
        raise errors.FieldInvalid("quantity", "The quantity is larger than can be kept.")
    return base_quantity, base_unit


# As the contract bounds it.
BASE_QUANTITY_MAX = 10**15


def _search(item_class: str, *texts: str | None) -> str:
    named = item_classes.get(item_class)
    return vector([*texts, named.name_zh, named.name_en])


def _drafted(
    need: tables.Need, privacy: Privacy, actor: Actor, now: datetime
) -> tuple[Emission, Hidden | None]:
    digests, hidden = _hide(need, privacy)
    event = contract.NeedDrafted(
        need_id=need.id,
        applicant=privacy.pseudonym(need.applicant_id, programme_year(now)),
        category=need.category,
        item_class=need.item_class,
        digests=digests,
    )
    return told(need, event, actor), hidden


def _hide(need: tables.Need, privacy: Privacy) -> tuple[list[str], Hidden | None]:
    key = privacy.keys.get(need.applicant_id)
    return hide(of_need(need), OF_NEED, key, need.applicant_id, need.id)


def _submit(need: tables.Need, policies: PoliciesInForce, actor: Actor, now: datetime) -> Emission:
    """Submit in memory; a need that is to be published first is published by the caller."""
    if need.quantity is None:
        raise errors.NeedIncomplete
    set_state(need, NeedState.SUBMITTED)
    policy = policies.of(need.division_code)
    level = first_level(need.division_code, policy)
    need.submission += 1
    need.policy = policy.code
    need.next_level = level.value
    need.publish_first = is_published_first(Urgency(need.urgency), need.submission, policy)
    need.review_due_at = now + policy.review if need.publish_first else None
    # A returned need begins anew: an earlier publication does not date this one.
    need.notice_ends_at = need.published_at = need.expires_at = None
    event = contract.NeedSubmitted(
        need_id=need.id, urgency=need.urgency, first_level=level, policy=policy.code
    )
    return told(need, event, actor)


async def _publish_first(
    session: AsyncSession,
    privacy: Privacy,
    made: Sequence[tables.Need],
    results: list[contract.CreatedItem | ServiceError],
    actor: Actor,
    now: datetime,
) -> list[contract.CreatedItem | ServiceError]:
    first = [need for need in made if need.publish_first]
    await publish(session, privacy, first, actor, now)
    states = {need.id: need.state for need in first}
    return [
        r.model_copy(update={"state": states[r.id]})
        if isinstance(r, contract.CreatedItem) and r.id in states
        else r
        for r in results
    ]


# ------------------------------------------------------------------ one need


async def _lock_own(session: AsyncSession, caller: Caller, need_id: UUID) -> tables.Need:
    """The need, locked, if the caller may see it."""
    need = await lock_need(session, need_id)
    check_may_see(caller, need.division_code, need.entered_by)
    return need


async def edit(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    need_id: UUID,
    version: int,
    body: contract.NeedEdit,
) -> tables.Need:
    """Change a draft or returned need that still has the version the caller has seen."""
    need = await _lock_own(session, caller, need_id)
    if need.version != version:
        raise PreconditionFailed("The need has changed since; read it again.")
    if need.state not in EDITABLE:
        raise errors.NotEditable(NeedState(need.state))
    names = await read_names(session, privacy, [need.applicant_id])
    _screen(body, names.get(need.applicant_id))
    changes: dict[str, Any] = body.model_dump(exclude_none=True)
    for field, value in changes.items():
        setattr(need, field, value)
    need.base_quantity, need.base_unit = _base(need.item_class, need.quantity, need.unit)
    if need.reserved + need.in_transit + need.delivered > (need.base_quantity or 0):
        raise errors.QuantityHeld
    need.search = _search(need.item_class, need.title, need.item, need.specification, need.text)
    need.version += 1
    if caller.subject not in need.edited_by:
        need.edited_by = [*need.edited_by, caller.subject]
    digests, hidden = _hide(need, privacy)
    event = contract.NeedEdited(need_id=need.id, digests=digests)
    await emit_hiding(session, [(told(need, event, Actor.of(caller)), hidden)])
    return need


async def submit(
    session: AsyncSession, privacy: Privacy, caller: Caller, need_id: UUID, now: datetime
) -> tables.Need:
    """Begin verification at the first level; what threatens life is published at once."""
    need = await _lock_own(session, caller, need_id)
    actor = Actor.of(caller)
    emission = _submit(need, await read_policies(session, now), actor, now)
    await emit_all(session, [emission])
    if need.publish_first:
        await publish(session, privacy, [need], actor, now)
    return need


async def withdraw(session: AsyncSession, caller: Caller, need_id: UUID) -> tables.Need:
    """Its requester no longer wants it filled; what is on its way may still arrive."""
    need = await _lock_own(session, caller, need_id)
    set_state(need, NeedState.WITHDRAWN)
    need.next_level = None
    event = contract.NeedWithdrawn(need_id=need.id)
    await emit_all(session, [told(need, event, Actor.of(caller))])
    return need


async def renew(session: AsyncSession, caller: Caller, need_id: UUID, now: datetime) -> tables.Need:
    """Say that a published need still stands; it is fresh for another while from now on."""
    need = await _lock_own(session, caller, need_id)
    if need.state != NeedState.PUBLISHED:
        raise errors.NotRenewable(NeedState(need.state))
    policies = await read_policies(session, now)
    need.expires_at = now + policies.of(need.division_code).freshness
    need.version += 1
    event = contract.NeedRenewed(need_id=need.id, expires_at=need.expires_at)
    await emit_all(session, [told(need, event, Actor.of(caller))])
    return need
