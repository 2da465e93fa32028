"""Registering applicants; reading and erasing a household's personal data."""

import re
from collections.abc import Sequence, Set
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession
from stdnum.exceptions import ValidationError
from stdnum.iso7064 import mod_11_2

from services.needs import contract, tables
from services.needs.domain import errors
from services.needs.domain.policy import band_permille
from services.needs.operations import disclosures
from services.needs.operations.rows import Actor, check_may_see
from services.needs.policies import deprivation_index
from services.needs.privacy import MASK, Privacy, masked, open_sealed, programme_year, seal
from shared.callers import Caller
from shared.db import lock, uuid7
from shared.errors import ServiceError
from shared.events import Emission, emit
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
    made = {i: body for i, body in accepted.items() if i in written}
    keys = await _seal_personal(session, privacy, made)
    await _tell_registered(session, privacy, caller, made, keys, now)
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
        row |= {
            "shown_name": masked(body.personal.name),
            "household_class": body.household.household_class,
            "deprivation_score_permille": band_permille(_score_permille(body.household)),
            "deprivation_index": deprivation_index().version,
        }
        if body.personal.id_number is not None:
            number = _id_number(body.personal.id_number)
            row["id_number_index"] = privacy.blind_index(number, programme_year(now))
    return row


def _score_permille(household: contract.HouseholdRecord) -> int:
    return deprivation_index().score_permille(household.deprivations)


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
    session: AsyncSession, privacy: Privacy, made: dict[UUID, contract.ApplicantCreate]
) -> dict[UUID, bytes]:
    """Keep what was entered of households under keys of their own; return the keys."""
    people = [i for i, body in made.items() if body.personal is not None]
    if not people:
        return {}
    # Durable before this transaction commits: a key without a row does no harm.
    keys = dict(zip(people, await privacy.keys.create(people), strict=True))
    rows = []
    for applicant_id, key in keys.items():
        values = _sealed_values(made[applicant_id])
        rows.append(
            {
                "applicant_id": applicant_id,
                "fields": sorted(values),
                "sealed": seal(key, applicant_id, values),
            }
        )
    await session.execute(insert(tables.PersonalData), rows)
    return keys


def _sealed_values(body: contract.ApplicantCreate) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if body.personal is not None:
        values |= body.personal.model_dump(exclude_none=True)
    if body.household is not None:
        values[_RECORD] = body.household.model_dump(mode="json")
        values[_SCORE] = _score_permille(body.household)
    return values


# Names of what is sealed beside the personal data.
_RECORD, _SCORE = "household", "deprivation_score_permille"


async def _tell_registered(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    made: dict[UUID, contract.ApplicantCreate],
    keys: dict[UUID, bytes],
    now: datetime,
) -> None:
    year, actor = programme_year(now), Actor.of(caller)
    told = []
    for applicant_id, body in made.items():
        pseudonym = privacy.pseudonym(applicant_id, year)
        digests: list[str] = []
        hidden = None
        if body.household is not None:
            values = disclosures.of_household(body, _score_permille(body.household))
            digests, hidden = disclosures.hide(
                values, disclosures.OF_HOUSEHOLD, keys[applicant_id], applicant_id
            )
        event = contract.ApplicantRegistered(
            applicant=pseudonym, applicant_kind=body.kind, digests=digests
        )
        emission = Emission(
            event, f"applicant/{pseudonym}", actor.subject, actor.role, body.division_code
        )
        told.append((emission, hidden))
    await disclosures.emit_hiding(session, told)


def _unless_a_duplicate(
    result: contract.CreatedItem | ServiceError, duplicates: Set[UUID]
) -> contract.CreatedItem | ServiceError:
    # Also of a later row with the key of such a one: there is no applicant of that id.
    if isinstance(result, contract.CreatedItem) and result.id in duplicates:
        return errors.ApplicantExists()
    return result


# ------------------------------------------------------------- personal data


async def read(
    session: AsyncSession, privacy: Privacy, caller: Caller, applicant_id: UUID
) -> contract.ApplicantRead:
    """An applicant with its household record, for an officer of its division or who entered it."""
    applicant = await _visible(session, caller, applicant_id)
    row = await session.get(tables.PersonalData, applicant_id)
    if row is None:
        return _shown(applicant, None, None)
    values = _open(privacy, row)
    # Rows from before the record was sealed have it beside.
    record = values.get(_RECORD) or applicant.household
    return _shown(applicant, record, values.get(_SCORE, applicant.deprivation_score_permille))


async def read_unopened(
    session: AsyncSession, caller: Caller, applicant_id: UUID
) -> contract.ApplicantRead:
    """An applicant whose household record stays sealed."""
    return _shown(await _visible(session, caller, applicant_id), None, None)


async def _visible(session: AsyncSession, caller: Caller, applicant_id: UUID) -> tables.Applicant:
    applicant = await session.get(tables.Applicant, applicant_id)
    if applicant is None:
        raise errors.ApplicantNotFound
    check_may_see(caller, applicant.division_code, applicant.entered_by)
    return applicant


def _open(privacy: Privacy, row: tables.PersonalData) -> dict[str, Any]:
    key = privacy.keys.get(row.applicant_id)
    if key is None:
        raise errors.PersonalKeyMissing
    return open_sealed(key, row.applicant_id, row.fields, row.sealed)


def _shown(
    applicant: tables.Applicant, record: dict[str, Any] | None, score_permille: int | None
) -> contract.ApplicantRead:
    return contract.ApplicantRead(
        id=applicant.id,
        external_key=applicant.external_key,
        kind=applicant.kind,
        division_code=applicant.division_code,
        name=applicant.shown_name,
        household=record,
        deprivation_score_permille=score_permille,
        entered_by=applicant.entered_by,
        created_at=applicant.created_at,
    )


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
    values = _open(privacy, row)
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
    applicant = await session.get(tables.Applicant, applicant_id)
    if applicant is None:
        raise errors.ApplicantNotFound
    if not caller.covers(applicant.division_code):
        raise errors.OutsideDivision
    # Needs before their applicant, as whoever changes a need comes to them.
    own = select(tables.Need.id).where(tables.Need.applicant_id == applicant_id)
    await session.execute(own.order_by(tables.Need.id).with_for_update())
    await session.refresh(applicant, with_for_update=True)
    # Before the commit: if that fails, the values are gone all the same and asking again ends it.
    await privacy.keys.destroy(applicant_id)
    if applicant.erased_at is not None or applicant.kind != codes.ApplicantKind.HOUSEHOLD:
        return
    for sealed in (tables.PersonalData, tables.EventDisclosures):
        await session.execute(delete(sealed).where(sealed.applicant_id == applicant_id))
    await session.execute(
        update(tables.Need).where(tables.Need.applicant_id == applicant_id).values(cause=None)
    )
    applicant.erased_at = now
    applicant.shown_name = MASK
    applicant.id_number_index = applicant.household = None
    if (score := applicant.deprivation_score_permille) is not None:
        applicant.deprivation_score_permille = band_permille(score)
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
