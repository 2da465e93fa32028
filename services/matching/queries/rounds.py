"""Rounds with their proposals."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching import contract, domain
from services.matching.domain import Stage
from services.matching.planning import wording
from services.matching.queries.rankings import card_of, ranking_of
from services.matching.ranking.scorecard import Scorecard
from services.matching.tables import Proposal, Round
from shared.callers import Caller
from shared.paging import decode_cursor

STAGES = {
    Stage.WAITING: ("等待计算", "Waiting to be computed"),
    Stage.READING: ("读取冻结数据", "Reading the frozen data"),
    Stage.COMPARING: ("比较需求与供给", "Comparing needs with offers"),
    Stage.SOLVING: ("逐类求解分配", "Solving, item class by item class"),
    Stage.EXPLAINING: ("写明理由", "Writing down the reasons"),
    Stage.STORING: ("保存结果", "Storing the result"),
    Stage.DONE: ("已结束", "Ended"),
}


@dataclass(frozen=True)
class RoundFilter:
    """None is no restriction."""

    state: str | None = None
    kind: str | None = None
    division_code: str | None = None


async def list_rounds(
    session: AsyncSession, wanted: RoundFilter, limit: int, cursor: str | None
) -> Sequence[Round]:
    """Newest first, limit + 1 rows."""
    query = select(Round).order_by(Round.id.desc()).limit(limit + 1)
    for name in ("state", "kind", "division_code"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(getattr(Round, name) == value)
    if cursor is not None:
        query = query.where(Round.id < decode_cursor(cursor, UUID)[0])
    return (await session.scalars(query)).all()


async def round_of(session: AsyncSession, round_id: UUID) -> Round:
    found = await session.get(Round, round_id)
    if found is None:
        raise domain.RoundNotFound("There is no such round.")
    return found


async def round_for(session: AsyncSession, caller: Caller, round_id: UUID) -> Round:
    """What a round found is for auditors, and for those whose division covers the round's."""
    found = await round_of(session, round_id)
    if "trail:read" not in caller.scopes and not caller.covers(found.division_code):
        raise domain.DivisionNotYours("Your division does not cover the round's.")
    return found


def round_read(row: Round) -> contract.RoundRead:
    snapshot = contract.SnapshotRead(
        needs_seq=row.needs_seq,
        donors_seq=row.donors_seq,
        taken_at=row.taken_at,
        needs=row.needs,
        lines=row.lines,
        sha256=row.snapshot_sha256,
    )
    fields = {
        name: getattr(row, name)
        for name in contract.RoundRead.model_fields
        if name not in {"snapshot", "totals", "progress"}
    }
    totals = None if row.totals is None else contract.RoundTotals.model_validate(row.totals)
    stage = Stage(row.stage)
    zh, en = STAGES[stage]
    progress = contract.Progress(
        stage=stage.value, permille=row.progress_permille, text_zh=zh, text_en=en
    )
    return contract.RoundRead(**fields, snapshot=snapshot, progress=progress, totals=totals)


async def card_for(session: AsyncSession, found: Round) -> Scorecard | None:
    """The card the round's fits are of; None for rounds from before there were any."""
    return None if found.ranking is None else card_of(await ranking_of(session, found.ranking))


async def list_proposals(
    session: AsyncSession, round_id: UUID, need_id: UUID | None, limit: int, cursor: str | None
) -> Sequence[Proposal]:
    """In the order of needs, limit + 1 rows."""
    query = (
        select(Proposal).where(Proposal.round_id == round_id).order_by(Proposal.id).limit(limit + 1)
    )
    if need_id is not None:
        query = query.where(Proposal.need_id == need_id)
    if cursor is not None:
        query = query.where(Proposal.id > decode_cursor(cursor, UUID)[0])
    return (await session.scalars(query)).all()


def proposal_read(row: Proposal, card: Scorecard | None) -> contract.ProposalRead:
    """card   the one the round's fits are of"""
    explained = None
    if row.explanation is not None and card is not None:
        explained = wording.explanation(
            row.explanation, row.features, row.score_permille, row.value_permille, card
        )
    fields = {
        name: getattr(row, name)
        for name in contract.ProposalRead.model_fields
        if name != "explanation"
    }
    return contract.ProposalRead.model_validate({**fields, "explanation": explained})
