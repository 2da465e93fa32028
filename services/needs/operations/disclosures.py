"""Events that commit to values they do not say, and showing those values to a supervisor."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.needs import contract, tables
from services.needs.disclosures import SALT_BYTES, digested, opened
from services.needs.domain import errors
from services.needs.operations.rows import Actor
from services.needs.privacy import (
    Privacy,
    open_disclosures,
    programme_year,
    seal_disclosures,
)
from shared.callers import Caller
from shared.events import Emission, emit, emit_all
from shared.screening import refuse_personal_data
from shared.vocabulary.codes import ApplicantKind, Role

# One digest for each, stated or not; the names are those of the contract's bodies.
OF_HOUSEHOLD = (
    *contract.PersonalData.model_fields,
    "division_code",
    *contract.HouseholdRecord.model_fields,
    "deprivation_score_permille",
)
# What `needs.need_published` does not say, or says only later.
OF_NEED = ("division_code", "text", "cause", "headcount")

_EVENT = tables.Base.metadata.tables["event"]


@dataclass(frozen=True, slots=True)
class Hidden:
    """What opens the digests of an event that is about to be told."""

    applicant_id: UUID
    need_id: UUID | None
    key: bytes
    disclosures: list[str]


def of_household(body: contract.ApplicantCreate, score_permille: int) -> dict[str, Any]:
    """The values the registration of a household commits to, as they were entered."""
    said = {"division_code": body.division_code, "deprivation_score_permille": score_permille}
    for part in (body.personal, body.household):
        said |= {} if part is None else part.model_dump(mode="json")
    return said


def of_need(need: tables.Need) -> dict[str, Any]:
    """The values the entering or editing of a need commits to, as they are now."""
    return {name: getattr(need, name) for name in OF_NEED}


def hide(
    values: Mapping[str, Any],
    names: Sequence[str],
    key: bytes | None,
    applicant_id: UUID,
    need_id: UUID | None = None,
) -> tuple[list[str], Hidden | None]:
    """Digests for an event, and what opens them.

    key  of the person; without one (a village, an institution, a person erased) the digests are
         decoys and open for nobody, so that an event does not tell which it was
    """
    salts = [secrets.token_bytes(SALT_BYTES) for _ in names]
    made = digested({} if key is None else values, len(names), salts)
    if key is None:
        return made.digests, None
    return made.digests, Hidden(applicant_id, need_id, key, made.disclosures)


async def emit_hiding(
    session: AsyncSession, told: Sequence[tuple[Emission, Hidden | None]]
) -> None:
    """Record events in the order given, and keep what opens their digests under persons' keys."""
    ids = await emit_all(session, [emission for emission, _ in told])
    rows = [
        {
            "event_id": event_id,
            "applicant_id": hidden.applicant_id,
            "need_id": hidden.need_id,
            "sealed": seal_disclosures(
                hidden.key, hidden.applicant_id, event_id, hidden.disclosures
            ),
        }
        for event_id, (_, hidden) in zip(ids, told, strict=True)
        if hidden is not None
    ]
    if rows:
        await session.execute(insert(tables.EventDisclosures), rows)


# ------------------------------------------------------------------- showing


async def read_of_applicant(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    applicant_id: UUID,
    purpose: str,
    now: datetime,
    *,
    after: UUID | None,
    rows_max: int,
) -> list[contract.EventDisclosuresRead]:
    """Of every event about the applicant and its needs, oldest first; recorded each time."""
    applicant = await session.get(tables.Applicant, applicant_id)
    if applicant is None:
        raise errors.ApplicantNotFound
    mine = tables.EventDisclosures.applicant_id == applicant_id
    shown = await _open(session, privacy, caller, applicant, purpose, mine, after, rows_max)
    pseudonym = privacy.pseudonym(applicant_id, programme_year(now))
    event = contract.DisclosuresRead(applicant=pseudonym, purpose=purpose)
    await _tell(session, caller, applicant, event, f"applicant/{pseudonym}")
    return shown


async def read_of_need(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    need_id: UUID,
    purpose: str,
    *,
    after: UUID | None,
    rows_max: int,
) -> list[contract.EventDisclosuresRead]:
    """Of every event about the need, oldest first; recorded each time."""
    need = await session.get(tables.Need, need_id)
    if need is None:
        raise errors.NeedNotFound
    applicant = await session.get_one(tables.Applicant, need.applicant_id)
    mine = tables.EventDisclosures.need_id == need_id
    shown = await _open(session, privacy, caller, applicant, purpose, mine, after, rows_max)
    event = contract.DisclosuresRead(need_id=need_id, purpose=purpose)
    await _tell(session, caller, applicant, event, f"need/{need_id}")
    return shown


async def _open(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    applicant: tables.Applicant,
    purpose: str,
    mine: ColumnElement[bool],
    after: UUID | None,
    rows_max: int,
) -> list[contract.EventDisclosuresRead]:
    refuse_personal_data({"purpose": purpose})
    if Role.SUPERVISOR not in caller.roles:
        raise errors.DisclosedToSupervisor
    if not caller.covers(applicant.division_code):
        raise errors.OutsideDivision
    if applicant.kind != ApplicantKind.HOUSEHOLD or applicant.erased_at is not None:
        raise errors.PersonalDataErased
    key = privacy.keys.get(applicant.id)
    if key is None:
        raise errors.PersonalKeyMissing
    kept = tables.EventDisclosures
    statement = (
        select(kept.event_id, kept.need_id, kept.sealed, _EVENT.c.seq)
        .outerjoin(_EVENT, _EVENT.c.id == kept.event_id)
        .where(mine)
        .order_by(kept.event_id)
        .limit(rows_max)
    )
    if after is not None:
        statement = statement.where(kept.event_id > after)
    return [
        contract.EventDisclosuresRead(
            event_id=row.event_id,
            seq=row.seq,
            need_id=row.need_id,
            disclosures=[
                _shown(text)
                for text in open_disclosures(key, applicant.id, row.event_id, row.sealed)
            ],
        )
        for row in await session.execute(statement)
    ]


def _shown(text: str) -> contract.DisclosureRead:
    said = opened(text)
    return contract.DisclosureRead(disclosure=text, name=said.name, value=said.value)


async def _tell(
    session: AsyncSession,
    caller: Caller,
    applicant: tables.Applicant,
    event: contract.DisclosuresRead,
    subject: str,
) -> None:
    actor = Actor.of(caller)
    await emit(
        session,
        event,
        subject=subject,
        actor=actor.subject,
        role=actor.role,
        division=applicant.division_code,
    )
