"""Putting a policy into force for a division, and asking which one is."""

from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.needs import contract, tables
from services.needs.domain.errors import FieldInvalid, OutsideDivision, UnknownCode
from services.needs.domain.policy import Activation, Policy, in_force
from services.needs.operations.rows import Actor
from services.needs.policies import policies
from shared.callers import Caller
from shared.db import uuid7
from shared.events import emit
from shared.screening import refuse_personal_data
from shared.vocabulary import divisions


async def activate(
    session: AsyncSession, caller: Caller, body: contract.PolicyActivate, now: datetime
) -> tables.PolicyActivation:
    """In force from now on, until a more specific or a later activation, or its end."""
    if body.policy not in policies():
        raise UnknownCode("policy")
    if not divisions.known(body.division_code):
        raise UnknownCode("division_code")
    if not caller.covers(body.division_code):
        raise OutsideDivision
    if body.valid_until is not None and body.valid_until <= now:
        raise FieldInvalid("valid_until", "The policy would end before it begins.")
    refuse_personal_data({"reason": body.reason})
    activation = tables.PolicyActivation(
        id=uuid7(),
        policy=body.policy,
        division_code=body.division_code,
        valid_from=now,
        valid_until=body.valid_until,
        reason=body.reason,
        activated_by=caller.subject,
    )
    session.add(activation)
    actor = Actor.of(caller)
    await emit(
        session,
        contract.PolicyActivated(
            activation_id=activation.id, policy=body.policy, valid_until=body.valid_until
        ),
        subject=f"policy-activation/{activation.id}",
        actor=actor.subject,
        role=actor.role,
        division=body.division_code,
    )
    return activation


class PoliciesInForce:
    """The policies in force at one moment, for as many divisions as a batch touches."""

    def __init__(self, activations: list[Activation], now: datetime) -> None:
        self._activations, self._now = activations, now
        self._known: dict[str, Policy] = {}

    def of(self, division_code: str) -> Policy:
        if division_code not in self._known:
            code = in_force(division_code, self._activations, self._now)
            self._known[division_code] = policies()[code]
        return self._known[division_code]


async def read_policies(session: AsyncSession, now: datetime) -> PoliciesInForce:
    rows = await session.execute(
        select(
            tables.PolicyActivation.policy,
            tables.PolicyActivation.division_code,
            tables.PolicyActivation.valid_from,
            tables.PolicyActivation.valid_until,
        ).where(
            tables.PolicyActivation.valid_from <= now,
            or_(
                tables.PolicyActivation.valid_until.is_(None),
                tables.PolicyActivation.valid_until > now,
            ),
        )
    )
    return PoliciesInForce([Activation(*row) for row in rows], now)
