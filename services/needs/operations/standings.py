"""Reading who had which part in a need, as far as deciding about it is concerned."""

from collections import defaultdict
from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.needs import tables
from services.needs.domain.verification import Standing
from services.needs.operations.publication import read_recused
from services.needs.operations.rows import read_applicants
from shared.vocabulary.codes import Level, NeedState


async def read_standings(
    session: AsyncSession, needs: Collection[tables.Need]
) -> dict[UUID, Standing]:
    """The standing of each need; the needs are locked, so it holds until the transaction ends."""
    ids = [need.id for need in needs]
    verification, objection = tables.Verification, tables.Objection
    decided_by: dict[UUID, set[str]] = defaultdict(set)
    for need_id, officer in await session.execute(
        select(verification.need_id, verification.officer).where(verification.need_id.in_(ids))
    ):
        decided_by[need_id].add(officer)
    judged_by: dict[UUID, set[str]] = defaultdict(set)
    for need_id, judge in await session.execute(
        select(objection.need_id, objection.decided_by).where(
            objection.need_id.in_(ids), objection.decided_by.is_not(None)
        )
    ):
        judged_by[need_id].add(str(judge))
    recused = await read_recused(session, ids)
    applicants = await read_applicants(session, (need.applicant_id for need in needs))
    return {
        need.id: Standing(
            division_code=need.division_code,
            state=NeedState(need.state),
            next_level=None if need.next_level is None else Level(need.next_level),
            publish_first=need.publish_first,
            entered_by=frozenset(
                {need.entered_by, applicants[need.applicant_id].entered_by, *need.edited_by}
            ),
            decided_by=frozenset(decided_by[need.id]),
            judged_by=frozenset(judged_by[need.id]),
            recused=frozenset(recused[need.id]),
        )
        for need in needs
    }
