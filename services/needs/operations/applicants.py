"""Registering applicants; reading and erasing a household's personal data."""

import re
from collections.abc import Sequence, Set
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession
from stdnum.exceptions import ValidationError
from stdnum.iso7064 import mod_11_2

from services.needs import contract, tables
from services.needs.domain import errors
from services.needs.operations.rows import Actor, check_may_see
from services.needs.policies import deprivation_index
from services.needs.privacy import MASK, Privacy, masked, open_sealed, programme_year, seal
from shared.callers import Caller
from shared.db import lock, uuid7
from shared.errors import ServiceError
from shared.events import Emission, emit, emit_all
from shared.screening import refuse_personal_data, refuse_personal_key
from shared.vocabulary import codes, divisions


async def register(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    bodies: Sequence[contract.ApplicantCreate],
    now: datetime,
) -> list[contract.CreatedItem | ServiceError]:
    """One result for each body, in their order: created, already there, or the refusal.

    A key stands for one applicant of one entering subject; a repeated key changes nothing.
    """
    # Two batches of one subject that share keys come one after the other.
    await lock(session, f"enter applicants {caller.subject}")
    known = await _known_keys(session, caller, bodies)
    results: list[contract.CreatedItem | ServiceError] = []
    rows: list[dict[str, Any]] = []
    accepted: dict[UUID, contract.ApplicantCreate] = {}
    for body in bodies:
        if body.external_key in known:
            results.append(
                contract.CreatedItem(outcome="already_there", id=known[body.external_key])
            )
            continue
        try:
            row = _row(privacy, caller, body, now)
        except ServiceError as refusal:
            results.append(refusal)
            continue
        rows.append(row)
        accepted[row["id"]] = body
        if body.external_key is not None:
            known[body.external_key] = row["id"]
        results.append(contract.CreatedItem(outcome="created", id=row["id"]))
    written = await _insert(session, rows)
    await _seal_personal(session, privacy, {i: b for i, b in accepted.items() if i in written})
    await _tell_registered(session, privacy, caller, accepted, written, now)
    duplicates = accepted.keys() - written
    return [_unless_a_duplicate(result, duplicates) for result in results]


async def _known_keys(
    session: AsyncSession, caller: Caller, bodies: Sequence[contract.ApplicantCreate]
) -> dict[str | None, UUID]:
    keys = [body.external_key for body in bodies if body.external_key is not None]
    rows = await session.execute(
        select(tables.Applicant.external_key, tables.Applicant.id).where(
            tables.Applicant.entered_by == caller.subject, tables.Applicant.external_key.in_(keys)
        )
    )
    return dict(iter(rows))


def _row(
    privacy: Privacy, caller: Caller, body: contract.ApplicantCreate, now: datetime
) -> dict[str, Any]:
    _check(caller, body)
    row: dict[str, Any] = {
        "id": uuid7(),
        "external_key": body.external_key,
        "kind": body.kind,
        "division_code": body.division_code,
        "shown_name": body.name,
        "household": None,
        "household_class": None,
        "deprivation_score_permille": None,
        "deprivation_index": None,
        "id_number_index": None,
        "erased_at": None,
        "entered_by": caller.subject,
        "created_at": now,
    }
    if body.household is not None and body.personal is not None:
        index = deprivation_index()
        row |= {
            "shown_name": masked(body.personal.name),
            "household": body.household.model_dump(mode="json"),
            "household_class": body.household.household_class,
            "deprivation_score_permille": index.score_permille(body.household.deprivations),
            "deprivation_index": index.version,
        }
        if body.personal.id_number is not None:
            number = _id_number(body.personal.id_number)
            row["id_number_index"] = privacy.blind_index(number, programme_year(now))
    return row


def _check(caller: Caller, body: contract.ApplicantCreate) -> None:
    if not divisions.known(body.division_code):
        raise errors.UnknownCode("division_code")
    if not caller.covers(body.division_code):
        raise errors.OutsideDivision
    refuse_personal_key(body.external_key, body.personal.name if body.personal else None)
    if body.kind == "household":
        if body.personal is None or body.household is None:
            raise errors.ApplicantIncomplete("household", "A household has personal and household.")
        if body.name is not None:
            raise errors.ApplicantIncomplete("name", "A household's name belongs into personal.")
        _check_household(body.household)
    else:
        if body.name is None:
            raise errors.ApplicantIncomplete("name", f"This {body.kind} needs a name.")
        if body.personal is not None or body.household is not None:
            raise errors.ApplicantIncomplete("personal", "Only a household has personal data.")
        refuse_personal_data({"name": body.name})


def _check_household(household: contract.HouseholdRecord) -> None:
    causes = [household.main_cause, *household.other_causes]
    if not set(causes) <= set(codes.Cause):
        raise errors.UnknownCode("household.main_cause")
    if len(set(causes)) != len(causes):
        raise errors.FieldInvalid("household.other_causes", "A cause is named twice.")
    if not set(household.deprivations) <= deprivation_index().weights_permille.keys():
        raise errors.UnknownCode("household.deprivations")


def _id_number(text: str) -> str:
    """18 characters with their check digit, as GB 11643 has it; older ones are not accepted."""
    compact = text.replace(" ", "").upper()
    # ASCII only: the check takes digits of any script, and each would be another blind index.
    if not _ID_NUMBER.fullmatch(compact):
        raise errors.IdNumberInvalid
    try:
        return str(mod_11_2.validate(compact))
    except ValidationError as error:
        raise errors.IdNumberInvalid from error


_ID_NUMBER = re.compile("[0-9]{17}[0-9X]")


async def _insert(session: AsyncSession, rows: list[dict[str, Any]]) -> set[UUID]:
    """Insert applicants; a person who is registered already is left out, whoever was first."""
    if not rows:
        return set()
    # In one order, so that two batches with the same persons cannot wait for each other.
    rows.sort(key=lambda row: row["id_number_index"] or b"")
    statement = (
        pg_insert(tables.Applicant)
        .on_conflict_do_nothing(constraint="applicant_person_once")
        .returning(tables.Applicant.id)
    )
    return set(await session.scalars(statement, rows))


async def _seal_personal(
    session: AsyncSession, privacy: Privacy, accepted: dict[UUID, contract.ApplicantCreate]
) -> None:
    people = {i: body.personal for i, body in accepted.items() if body.personal is not None}
    if not people:
        return
    # Durable before this transaction commits: a key without a row does no harm.
    keys = await privacy.keys.create(list(people))
    rows = []
    for key, (applicant_id, personal) in zip(keys, people.items(), strict=True):
        values = personal.model_dump(exclude_none=True)
        rows.append(
            {
                "applicant_id": applicant_id,
                "fields": sorted(values),
                "sealed": seal(key, applicant_id, values),
            }
        )
    await session.execute(insert(tables.PersonalData), rows)


async def _tell_registered(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    accepted: dict[UUID, contract.ApplicantCreate],
    written: set[UUID],
    now: datetime,
) -> None:
    year, actor = programme_year(now), Actor.of(caller)
    emissions = []
    for applicant_id, body in accepted.items():
        if applicant_id in written:
            pseudonym = privacy.pseudonym(applicant_id, year)
            event = contract.ApplicantRegistered(applicant=pseudonym, applicant_kind=body.kind)
            emissions.append(
                Emission(
                    event, f"applicant/{pseudonym}", actor.subject, actor.role, body.division_code
                )
            )
    await emit_all(session, emissions)


def _unless_a_duplicate(
    result: contract.CreatedItem | ServiceError, duplicates: Set[UUID]
) -> contract.CreatedItem | ServiceError:
    # Also of a later row with the key of such a one: there is no applicant of that id.
    if isinstance(result, contract.CreatedItem) and result.id in duplicates:
        return errors.ApplicantExists()
    return result


# ------------------------------------------------------------- personal data


async def read(session: AsyncSession, caller: Caller, applicant_id: UUID) -> tables.Applicant:
    applicant = await session.get(tables.Applicant, applicant_id)
    if applicant is None:
        raise errors.ApplicantNotFound
    check_may_see(caller, applicant.division_code, applicant.entered_by)
    return applicant


async def read_personal(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    applicant_id: UUID,
    purpose: str,
    now: datetime,
) -> contract.PersonalRead:
    """The values in clear, for an officer of the division or a supervisor; recorded each time."""
    refuse_personal_data({"purpose": purpose})
    applicant = await session.get(tables.Applicant, applicant_id)
    if applicant is None:
        raise errors.ApplicantNotFound
    if not (caller.covers(applicant.division_code) or codes.Role.SUPERVISOR in caller.roles):
        raise errors.OutsideDivision
    row = await session.get(tables.PersonalData, applicant_id)
    if row is None:
        raise errors.PersonalDataErased
    key = privacy.keys.get(applicant_id)
    if key is None:
        raise errors.PersonalKeyMissing
    values = open_sealed(key, applicant_id, row.fields, row.sealed)
    pseudonym = privacy.pseudonym(applicant_id, programme_year(now))
    await _tell(
        session,
        caller,
        applicant,
        pseudonym,
        contract.PersonalDataRead(applicant=pseudonym, purpose=purpose),
    )
    return contract.PersonalRead(
        **{name: values.get(name) for name in contract.PersonalRead.model_fields}
    )


async def erase_personal(
    session: AsyncSession, privacy: Privacy, caller: Caller, applicant_id: UUID, now: datetime
) -> None:
    """Destroy the person's key, and with it every copy of the values; asked again, do nothing."""
    if codes.Role.SUPERVISOR not in caller.roles:
        raise errors.ErasedBySupervisor
    applicant = await session.get(tables.Applicant, applicant_id, with_for_update=True)
    if applicant is None:
        raise errors.ApplicantNotFound
    if not caller.covers(applicant.division_code):
        raise errors.OutsideDivision
    # Before the commit: if that fails, the values are gone all the same and asking again ends it.
    await privacy.keys.destroy(applicant_id)
    if applicant.erased_at is not None or applicant.kind != codes.ApplicantKind.HOUSEHOLD:
        return
    await session.execute(
        delete(tables.PersonalData).where(tables.PersonalData.applicant_id == applicant_id)
    )
    applicant.erased_at = now
    applicant.shown_name = MASK
    applicant.id_number_index = None
    pseudonym = privacy.pseudonym(applicant_id, programme_year(now))
    await _tell(
        session,
        caller,
        applicant,
        pseudonym,
        contract.PersonalDataErased(applicant=pseudonym),
    )


async def _tell(
    session: AsyncSession,
    caller: Caller,
    applicant: tables.Applicant,
    pseudonym: str,
    event: contract.PersonalDataRead | contract.PersonalDataErased,
) -> None:
    actor = Actor.of(caller)
    await emit(
        session,
        event,
        subject=f"applicant/{pseudonym}",
        actor=actor.subject,
        role=actor.role,
        division=applicant.division_code,
    )
