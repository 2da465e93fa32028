"""Telling that somebody was shown what is not public: one event a request that shows anything.

It says how much was shown and by which codes it was chosen, never of whom a list was. What a caller
has just written is not told again: the change is an event of its own, by the same person.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.needs import contract
from services.needs.operations.rows import Actor
from services.needs.privacy import Privacy, programme_year
from shared.callers import Caller
from shared.events import emit


async def tell_list(
    session: AsyncSession,
    caller: Caller,
    view: Literal["needs", "objections"],
    count: int,
    *,
    level: str | None = None,
    state: str | None = None,
    mine: bool | None = None,
) -> None:
    """A page of a list that showed `count` rows; an empty one showed nothing."""
    if count:
        fact = contract.RecordsRead(view=view, count=count, level=level, state=state, mine=mine)
        await _tell(session, caller, fact, f"work/{view}", caller.division)


async def tell_need(session: AsyncSession, caller: Caller, need: contract.NeedDetail) -> None:
    fact = contract.RecordsRead(view="need", count=1, need_id=need.id)
    await _tell(session, caller, fact, f"need/{need.id}", need.division_code)


async def tell_applicant(
    session: AsyncSession,
    privacy: Privacy,
    caller: Caller,
    applicant_id: UUID,
    division_code: str,
    now: datetime,
) -> None:
    pseudonym = privacy.pseudonym(applicant_id, programme_year(now))
    fact = contract.RecordsRead(view="applicant", count=1, applicant=pseudonym)
    await _tell(session, caller, fact, f"applicant/{pseudonym}", division_code)


async def _tell(
    session: AsyncSession,
    caller: Caller,
    fact: contract.RecordsRead,
    subject: str,
    division: str | None,
) -> None:
    actor = Actor.of(caller)
    await emit(
        session, fact, subject=subject, actor=actor.subject, role=actor.role, division=division
    )
