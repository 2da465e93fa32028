"""Publishing, suspending and expiring needs: what falls due, and what follows from decisions."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.needs import contract, tables
from services.needs.domain.policy import band_permille
from services.needs.domain.verification import state_after_suspension
from services.needs.operations.policies import read_policies
from services.needs.operations.rows import CLOCK, Actor, read_applicants, set_state, told
from services.needs.privacy import Privacy, programme_year
from shared.events import Emission, emit_all
from shared.vocabulary.codes import Level, NeedState

# Needs one turn of a clock takes, so that no transaction grows with the backlog.
DUE_MAX = 500


async def publish(
    session: AsyncSession,
    privacy: Privacy,
    needs: Sequence[tables.Need],
    actor: Actor,
    now: datetime,
) -> None:
    """Make needs public, or public again; what was published keeps its dates."""
    if not needs:
        return
    policies = await read_policies(session, now)
    for need in needs:
        set_state(need, NeedState.PUBLISHED)
        need.published_at = need.published_at or now
        need.expires_at = need.expires_at or now + policies.of(need.division_code).freshness
    await tell_published(session, privacy, needs, actor)


async def tell_published(
    session: AsyncSession,
    privacy: Privacy,
    needs: Sequence[tables.Need],
    actor: Actor,
) -> None:
    """Emit `needs.need_published` for needs that are (again) open to be met."""
    await session.flush()
    applicants = await read_applicants(session, (need.applicant_id for need in needs))
    verified_by = await read_verified_by(session, needs)
    recused = await read_recused(session, [need.id for need in needs])
    await emit_all(
        session,
        [
            told(
                need,
                _published(
                    need,
                    applicants[need.applicant_id],
                    # Of the year it was entered in: two pseudonyms of one need join two years.
                    privacy.pseudonym(need.applicant_id, programme_year(need.created_at)),
                    verified_by[need.id],
                    sorted(recused[need.id]),
                ),
                actor,
            )
            for need in needs
        ],
    )


def _published(
    need: tables.Need,
    applicant: tables.Applicant,
    pseudonym: str,
    verified_by: list[str],
    recused: list[str],
) -> contract.NeedPublished:
    copied = (
        "category item_class title item specification quantity unit base_quantity base_unit"
        " headcount urgency needed_by published_at expires_at publish_first review_due_at"
        " entered_by policy"
    ).split()
    facts = {name: getattr(need, name) for name in copied}
    score = applicant.deprivation_score_permille
    facts |= {
        "applicant_kind": applicant.kind,
        "household_class": applicant.household_class,
        # Rows from before have the exact score.
        "deprivation_score_permille": None if score is None else band_permille(score),
    }
    return contract.NeedPublished(
        need_id=need.id,
        applicant=pseudonym,
        verified_by=verified_by,
        recused=recused,
        **facts,
    )


async def read_verified_by(
    session: AsyncSession, needs: Sequence[tables.Need]
) -> dict[UUID, list[str]]:
    """Who passed each need in its present submission, lowest level first."""
    rows = await session.execute(
        select(tables.Verification.need_id, tables.Verification.officer)
        .join(tables.Need, tables.Need.id == tables.Verification.need_id)
        .where(
            tables.Verification.need_id.in_([need.id for need in needs]),
            tables.Verification.submission == tables.Need.submission,
            tables.Verification.outcome == "passed",
        )
        .order_by(tables.Verification.at, tables.Verification.id)
    )
    found: dict[UUID, list[str]] = defaultdict(list)
    for need_id, officer in rows:
        found[need_id].append(officer)
    return found


async def read_recused(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, set[str]]:
    """Who declared a relation to each need's applicant, at whichever of the applicant's needs."""
    declared_at = aliased(tables.Need)
    rows = await session.execute(
        select(tables.Need.id, tables.Recusal.officer)
        .join(declared_at, declared_at.applicant_id == tables.Need.applicant_id)
        .join(tables.Recusal, tables.Recusal.need_id == declared_at.id)
        .where(tables.Need.id.in_(ids))
    )
    found: dict[UUID, set[str]] = defaultdict(set)
    for need_id, officer in rows:
        found[need_id].add(officer)
    return found


async def count_open_objections(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, int]:
    rows = await session.execute(
        select(tables.Objection.need_id, func.count())
        .where(tables.Objection.need_id.in_(ids), tables.Objection.state == "open")
        .group_by(tables.Objection.need_id)
    )
    return defaultdict(int, iter(rows))


async def take_up_again(
    session: AsyncSession,
    privacy: Privacy,
    need: tables.Need,
    objections_open: int,
    actor: Actor,
    now: datetime,
) -> None:
    """Leave suspension when no reason for it lasts; a need that is not suspended stays."""
    if need.state != NeedState.SUSPENDED:
        return
    after = state_after_suspension(
        publish_first=need.publish_first,
        next_level=None if need.next_level is None else Level(need.next_level),
        review_due_at=need.review_due_at,
        notice_ends_at=need.notice_ends_at,
        objections_open=objections_open,
        now=now,
    )
    if after is NeedState.PUBLISHED:
        await publish(session, privacy, [need], actor, now)
    elif after is NeedState.NOTICED:
        set_state(need, after)


# ---------------------------------------------------------------- what falls due


async def publish_due(session: AsyncSession, privacy: Privacy, now: datetime) -> int:
    """Publish what has come to the end of its notice without an open objection."""
    objected = exists().where(
        tables.Objection.need_id == tables.Need.id, tables.Objection.state == "open"
    )
    due = await _due(
        session,
        select(tables.Need)
        .where(
            tables.Need.state == NeedState.NOTICED,
            tables.Need.notice_ends_at <= now,
            ~objected,
        )
        .order_by(tables.Need.notice_ends_at),
    )
    await publish(session, privacy, due, CLOCK, now)
    return len(due)


async def suspend_overdue(session: AsyncSession, now: datetime) -> int:
    """Suspend what was published first and has not passed its verification in time."""
    due = await _due(
        session,
        select(tables.Need).where(
            tables.Need.state == NeedState.PUBLISHED,
            tables.Need.publish_first,
            tables.Need.next_level.is_not(None),
            tables.Need.review_due_at <= now,
        ),
    )
    for need in due:
        set_state(need, NeedState.SUSPENDED)
    await emit_all(session, [_suspended(need, "review_overdue", CLOCK) for need in due])
    return len(due)


async def expire_due(session: AsyncSession, now: datetime) -> int:
    """Expire what was published and not renewed."""
    due = await _due(
        session,
        select(tables.Need).where(
            tables.Need.state == NeedState.PUBLISHED, tables.Need.expires_at <= now
        ),
    )
    for need in due:
        set_state(need, NeedState.EXPIRED)
        need.next_level = None
    await emit_all(
        session, [told(need, contract.NeedExpired(need_id=need.id), CLOCK) for need in due]
    )
    return len(due)


async def suspend_for_objection(session: AsyncSession, need: tables.Need, actor: Actor) -> None:
    set_state(need, NeedState.SUSPENDED)
    await emit_all(session, [_suspended(need, "objection_open", actor)])


def _suspended(need: tables.Need, reason_code: str, actor: Actor) -> Emission:
    event = contract.NeedSuspended.model_validate({"need_id": need.id, "reason_code": reason_code})
    return told(need, event, actor)


async def _due(session: AsyncSession, statement: Select[tables.Need]) -> list[tables.Need]:
    # Rows that an officer works on right now are left for the next turn.
    limited = statement.limit(DUE_MAX).with_for_update(skip_locked=True)
    return list(await session.scalars(limited))
