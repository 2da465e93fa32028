"""Who may do what to an allocation: duties are apart; pure."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.matching.domain.errors import (
    ApprovalNotInLog,
    DeadlinePassed,
    DivisionNotYours,
    LogWithoutQuorum,
    NeedSuspended,
    NotFromHere,
    NotYourAllocation,
    SlipLocked,
    SlipNotIssued,
    SlipWrong,
    TookPart,
)
from services.matching.domain.states import State
from shared.vocabulary import divisions


@dataclass(frozen=True, slots=True)
class Actor:
    """Who calls, as far as the rules of allocations look."""

    subject: str
    scopes: frozenset[str]
    division: str | None
    org: UUID | None

    def covers(self, division_code: str) -> bool:
        return self.division is not None and divisions.covers(self.division, division_code)

    def near(self, division_code: str) -> bool:
        """Covers the division, or serves a village in it.

        A need's village is not in any event, so a village officer is known by the township.
        """
        if self.division is None:
            return False
        return self.covers(division_code) or divisions.covers(division_code, self.division)


@dataclass(frozen=True, slots=True)
class Case:
    """An allocation as the rules see it.

    took_part   officers who entered, verified or recused themselves from the need
    handled_by  who computed or approved the round, approved the allocation or issued its slip
    held_back   too few witnesses cosign the log, and the policy lets such needs wait for them
    """

    state: State
    due_at: datetime | None
    division_code: str
    urgency: str
    organization_id: UUID
    took_part: frozenset[str]
    handled_by: frozenset[str]
    approval_log_index: int | None
    slip_hash: bytes | None
    slip_attempts: int
    need_suspended: bool
    held_back: bool


def check_deadline(case: Case, now: datetime) -> None:
    # The clock will expire it; until it has, nobody may act on what is over.
    if case.due_at is not None and now >= case.due_at:
        raise DeadlinePassed("The deadline of this state has passed.")


def check_organization(actor: Actor, case: Case) -> None:
    if actor.org is None or actor.org != case.organization_id:
        raise NotYourAllocation("Only the organization whose offer it is may do this.")


def side_of_decliner(actor: Actor, case: Case) -> str:
    """`organization`, or `applicant` when an officer near the need declines on its behalf."""
    if actor.org is not None:
        check_organization(actor, case)
        return "organization"
    if not actor.near(case.division_code):
        raise NotYourAllocation("Only the organization or an officer of the place may decline.")
    return "applicant"


def check_approver(actor: Actor, case: Case) -> None:
    if not actor.covers(case.division_code):
        raise DivisionNotYours("Your division does not cover this need.")
    if actor.org is not None:
        raise TookPart("An organization does not approve allocations.")
    if actor.subject in case.took_part:
        raise TookPart("Who entered or verified the need does not approve its allocation.")
    check_not_suspended(case)


def check_dispatch(actor: Actor, case: Case) -> None:
    check_organization(actor, case)
    check_not_suspended(case)
    if case.approval_log_index is None:
        raise ApprovalNotInLog("The approval is not yet in the log under a signed checkpoint.")
    if case.held_back:
        raise LogWithoutQuorum(case.urgency)


def check_not_suspended(case: Case) -> None:
    if case.need_suspended:
        raise NeedSuspended("The need is suspended.")


def check_canceller(actor: Actor, case: Case) -> str:
    """The side for whom it is cancelled: the organization's own, or an approving officer's."""
    if actor.org is not None:
        check_organization(actor, case)
        return "organization"
    if "allocations:approve" not in actor.scopes or not actor.covers(case.division_code):
        raise NotYourAllocation("Only the organization or an officer over the need may cancel.")
    return "applicant"


def check_returner(actor: Actor, case: Case) -> None:
    if actor.org is not None:
        check_organization(actor, case)
    elif not actor.near(case.division_code):
        raise NotYourAllocation("Only the organization or an officer of the place may do this.")


def check_issuer(actor: Actor, case: Case) -> None:
    """A slip may be printed again when it is lost; the code before it ends then."""
    if not actor.near(case.division_code):
        raise DivisionNotYours("Your division does not cover this need.")
    if case.state not in {State.APPROVED, State.DISPATCHED, State.DELIVERED}:
        raise NotFromHere(case.state, State.CONFIRMED)


def check_confirmer(actor: Actor, case: Case, *, with_code: bool) -> str:
    """How it would be confirmed: `slip_code` or `before_officer`; raises when it may not be."""
    if actor.subject in case.handled_by:
        raise TookPart("Who allocated, approved or printed the slip does not confirm.")
    if actor.org is not None:
        check_organization(actor, case)
        if not with_code:
            raise NotYourAllocation("Without a code only a village officer may confirm.")
    elif "allocations:confirm" not in actor.scopes:
        raise NotYourAllocation("Only the organization or a village officer may confirm.")
    elif not actor.near(case.division_code):
        raise DivisionNotYours("Your division does not cover this need.")
    return "slip_code" if with_code else "before_officer"


def check_code(case: Case, code_hash: bytes, slip_attempts_max: int) -> None:
    """`case.slip_attempts` counts this attempt already."""
    if case.slip_hash is None:
        raise SlipNotIssued("No slip was printed for this allocation.")
    if case.slip_attempts > slip_attempts_max:
        raise SlipLocked("Too many wrong codes; confirm before a village officer.")
    if not hmac.compare_digest(case.slip_hash, code_hash):
        raise SlipWrong("The code is not the one on the slip.")


def slip_hash(key: bytes, allocation_id: UUID, code: str) -> bytes:
    """Keyed, and bound to the allocation: a stolen table neither shows nor moves a code."""
    plain = code.replace("-", "").upper().encode()
    return hmac.new(key, allocation_id.bytes + plain, hashlib.sha256).digest()
