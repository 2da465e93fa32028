"""Reading and locking the rows that operations work on, and telling of them in events."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.needs import tables
from services.needs.domain.errors import (
    EnteredByAnother,
    NeedNotFound,
    OutsideDivision,
    PersonalKeyMissing,
)
from services.needs.domain.states import move
from services.needs.domain.verification import Officer
from services.needs.privacy import Privacy, open_sealed
from shared.callers import Caller
from shared.events import Emission, Event
from shared.vocabulary.codes import ApplicantKind, NeedState


@dataclass(frozen=True, slots=True)
class Actor:
    """Who caused an event, in which role."""

    subject: str
    role: str

    @classmethod
    def of(cls, caller: Caller | None) -> Self:
        return cls("public", "public") if caller is None else cls(caller.subject, caller.role)


CLOCK = Actor("clock:needs", "clock")


def officer_of(caller: Caller) -> Officer:
    return Officer(caller.subject, caller.roles, caller.division)


def check_may_see(caller: Caller, division_code: str, entered_by: str) -> None:
    """Who reads sees their division, who only enters what they entered; raises why not."""
    if not caller.covers(division_code):
        raise OutsideDivision
    if not sees_division(caller) and entered_by != caller.subject:
        raise EnteredByAnother


def sees_division(caller: Caller) -> bool:
    return "needs:read" in caller.scopes


def told(need: tables.Need, event: Event, actor: Actor) -> Emission:
    """An emission about a need, in its division."""
    return Emission(event, f"need/{need.id}", actor.subject, actor.role, need.division_code)


def set_state(need: tables.Need, after: NeedState) -> None:
    """Move a need in memory; raises StateForbids. Its version counts edits and moves."""
    need.state = move(NeedState(need.state), after).value
    need.version += 1


async def lock_needs(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, tables.Need]:
    """The needs that exist, locked until the transaction ends."""
    found = await session.scalars(
        select(tables.Need)
        .where(tables.Need.id.in_(set(ids)))
        .order_by(tables.Need.id)
        .with_for_update()
        # A row read before the lock must not hide what another transaction has done since.
        .execution_options(populate_existing=True)
    )
    return {need.id: need for need in found}


async def lock_need(session: AsyncSession, need_id: UUID) -> tables.Need:
    found = await lock_needs(session, [need_id])
    if need_id not in found:
        raise NeedNotFound
    return found[need_id]


async def share_applicants(
    session: AsyncSession, ids: Collection[UUID]
) -> dict[UUID, tables.Applicant]:
    """The applicants that exist; until the transaction ends the data of none of them is erased."""
    found = await session.scalars(
        select(tables.Applicant)
        .where(tables.Applicant.id.in_(ids))
        .order_by(tables.Applicant.id)
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    )
    return {applicant.id: applicant for applicant in found}


async def read_applicants(
    session: AsyncSession, ids: Iterable[UUID]
) -> dict[UUID, tables.Applicant]:
    found = await session.scalars(select(tables.Applicant).where(tables.Applicant.id.in_(set(ids))))
    return {applicant.id: applicant for applicant in found}


async def read_names(
    session: AsyncSession, privacy: Privacy, applicant_ids: Iterable[UUID]
) -> dict[UUID, str]:
    """Full names of households, to be screened for in texts and for nothing else.

    Villages and institutions have public names and are left out, so are persons erased. Raises
    PersonalKeyMissing: a text that cannot be screened is not taken.
    """
    sealed = await session.execute(
        select(
            tables.PersonalData.applicant_id,
            tables.PersonalData.fields,
            tables.PersonalData.sealed,
        )
        .join(tables.Applicant, tables.Applicant.id == tables.PersonalData.applicant_id)
        .where(
            tables.PersonalData.applicant_id.in_(set(applicant_ids)),
            tables.Applicant.kind == ApplicantKind.HOUSEHOLD,
        )
    )
    names = {}
    for applicant_id, fields, ciphertext in sealed:
        key = privacy.keys.get(applicant_id)
        if key is None:
            raise PersonalKeyMissing
        names[applicant_id] = open_sealed(key, applicant_id, fields, ciphertext)["name"]
    return names
