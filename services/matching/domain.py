"""States, moves and rules of matching; pure: values in, values or errors out."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from shared.errors import Conflict, Forbidden, Invalid, NotFound, TooManyRequests
from shared.vocabulary import divisions
from shared.vocabulary.movements import MAY_BECOME as MAY_MOVE
from shared.vocabulary.movements import MovementState


class RoundState(StrEnum):
    COMPUTING = "computing"
    COMPUTED = "computed"
    APPROVED = "approved"
    DISCARDED = "discarded"


class State(StrEnum):
    PROPOSED = "proposed"
    RESERVED = "reserved"
    ACCEPTED = "accepted"
    APPROVED = "approved"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    CONFIRMED = "confirmed"
    CLOSED = "closed"
    DECLINED = "declined"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    RETURNED = "returned"


class Action(StrEnum):
    ACCEPT = "accept"
    DECLINE = "decline"
    APPROVE = "approve"
    DISPATCH = "dispatch"
    DELIVER = "deliver"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    RETURN = "return"


_ROUND_MAY_BECOME = {
    RoundState.COMPUTING: {RoundState.COMPUTED, RoundState.DISCARDED},
    RoundState.COMPUTED: {RoundState.APPROVED, RoundState.DISCARDED},
    RoundState.APPROVED: set[RoundState](),
    RoundState.DISCARDED: set[RoundState](),
}

_MAY_BECOME = {
    State.PROPOSED: {State.RESERVED, State.CANCELLED},
    State.RESERVED: {State.ACCEPTED, State.DECLINED, State.EXPIRED, State.CANCELLED},
    State.ACCEPTED: {State.APPROVED, State.DECLINED, State.EXPIRED, State.CANCELLED},
    State.APPROVED: {State.DISPATCHED, State.EXPIRED, State.CANCELLED},
    State.DISPATCHED: {State.DELIVERED, State.RETURNED},
    State.DELIVERED: {State.CONFIRMED, State.RETURNED},
    State.CONFIRMED: {State.CLOSED},
    State.CLOSED: set[State](),
    State.DECLINED: set[State](),
    State.EXPIRED: set[State](),
    State.CANCELLED: set[State](),
    State.RETURNED: set[State](),
}

LEADS_TO = {
    Action.ACCEPT: State.ACCEPTED,
    Action.DECLINE: State.DECLINED,
    Action.APPROVE: State.APPROVED,
    Action.DISPATCH: State.DISPATCHED,
    Action.DELIVER: State.DELIVERED,
    Action.CONFIRM: State.CONFIRMED,
    Action.CANCEL: State.CANCELLED,
    Action.RETURN: State.RETURNED,
}

# One of these scopes lets a caller ask for the action at all; the checks below decide the case.
SCOPES_OF = {
    Action.ACCEPT: ("allocations:accept",),
    Action.DECLINE: ("allocations:accept",),
    Action.APPROVE: ("allocations:approve",),
    Action.DISPATCH: ("allocations:deliver",),
    Action.DELIVER: ("allocations:deliver",),
    Action.CONFIRM: ("allocations:confirm", "allocations:deliver"),
    Action.CANCEL: ("allocations:approve", "allocations:deliver"),
    Action.RETURN: ("allocations:approve", "allocations:confirm", "allocations:deliver"),
}

# What both ledgers must hold when an allocation is in a state; the driver carries them there.
LEDGER_TARGET = {
    State.PROPOSED: MovementState.RESERVED,
    State.RESERVED: MovementState.RESERVED,
    State.ACCEPTED: MovementState.RESERVED,
    State.APPROVED: MovementState.RESERVED,
    State.DISPATCHED: MovementState.DISPATCHED,
    State.DELIVERED: MovementState.DELIVERED,
    State.CONFIRMED: MovementState.DELIVERED,
    State.CLOSED: MovementState.DELIVERED,
    State.DECLINED: MovementState.RELEASED,
    State.EXPIRED: MovementState.RELEASED,
    State.CANCELLED: MovementState.RELEASED,
    State.RETURNED: MovementState.RETURNED,
}
# Help that was given or is on its way; what ended otherwise excludes nobody from another aid.
AIDING = frozenset(State) - {State.DECLINED, State.EXPIRED, State.CANCELLED, State.RETURNED}


# ------------------------------------------------------------------- errors


class NeedNotFound(NotFound):
    code = "need_not_found"


class OfferNotFound(NotFound):
    code = "offer_not_found"


class RoundNotFound(NotFound):
    code = "round_not_found"


class AllocationNotFound(NotFound):
    code = "allocation_not_found"


class PolicyNotFound(Invalid):
    code = "policy_not_found"


class DivisionUnknown(Invalid):
    code = "division_unknown"


class DivisionNotYours(Forbidden):
    code = "division_not_yours"


class RoundNotThere(Conflict):
    """The round is not in a state from which it may go there."""

    code = "round_state"

    def __init__(self, state: RoundState) -> None:
        super().__init__(f"The round is {state}.")


class NotFromHere(Conflict):
    code = "allocation_state"

    def __init__(self, state: State, wanted: State) -> None:
        super().__init__(f"The allocation is {state} and cannot become {wanted}.")


class DeadlinePassed(Conflict):
    code = "deadline_passed"


class ApprovalNotInLog(Conflict):
    """Nothing moves that is not in the log."""

    code = "approval_not_in_log"


class NotYourAllocation(Forbidden):
    code = "not_your_allocation"


class TookPart(Forbidden):
    """Duties are apart: the caller had a hand in this before."""

    code = "took_part"


class ReasonMissing(Invalid):
    code = "reason_missing"


class NeedSuspended(Conflict):
    """An objection to the need is open, or its review is overdue: nothing is decided or moved."""

    code = "need_suspended"


class SlipNotIssued(Conflict):
    code = "slip_not_issued"


class SlipWrong(Forbidden):
    code = "slip_wrong"


class SlipLocked(TooManyRequests):
    """Too many wrong codes; it can still be confirmed before an officer."""

    code = "slip_locked"


# -------------------------------------------------------------------- moves


def move_round(state: RoundState, wanted: RoundState) -> RoundState:
    if wanted not in _ROUND_MAY_BECOME[state]:
        raise RoundNotThere(state)
    return wanted


def move(state: State, wanted: State) -> State:
    if wanted not in _MAY_BECOME[state]:
        raise NotFromHere(state, wanted)
    return wanted


def reachable(state: State) -> frozenset[State]:
    """The states it may become in one move."""
    return frozenset(_MAY_BECOME[state])


def next_movement(known: str | None, target: MovementState) -> MovementState | None:
    """The next step on the shortest way from what a ledger is known to hold to the target.

    None when there is nothing to do, or no way: an end other than the target was reached.
    """
    start = None if known is None else MovementState(known)
    if start == target:
        return None
    paths: list[tuple[MovementState, MovementState]] = [
        (step, step) for step in sorted(MAY_MOVE[start])
    ]
    seen = {step for step, _ in paths}
    while paths:
        first, at = paths.pop(0)
        if at == target:
            return first
        for further in sorted(MAY_MOVE[at] - seen):
            seen.add(further)
            paths.append((first, further))
    return None


# --------------------------------------------------------------- who may act


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
    """

    state: State
    due_at: datetime | None
    division_code: str
    organization_id: UUID
    took_part: frozenset[str]
    handled_by: frozenset[str]
    approval_log_index: int | None
    slip_hash: bytes | None
    slip_attempts: int
    need_suspended: bool


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


# ------------------------------------------------- what a round is computed of


@dataclass(frozen=True, slots=True)
class NeedTerms:
    """A published need, frozen for a round; quantities in base units."""

    need_id: UUID
    applicant: str
    applicant_kind: str
    household_class: str | None
    poverty_permille: int | None
    item_class: str
    title: str
    item: str
    specification: str | None
    unit: str
    remaining: int
    urgency: str
    division_code: str
    published_at: datetime
    needed_by: date | None


@dataclass(frozen=True, slots=True)
class LineTerms:
    """An open offer line, frozen for a round; quantities in base units.

    lot   the smallest quantity it gives to one need: the offer's own, or all that is left when that
          is less, so that a remainder is not stranded
    """

    line_id: UUID
    offer_id: UUID
    organization_id: UUID
    organization_verified: bool
    item_class: str
    title: str
    item: str
    specification: str | None
    unit: str
    available: int
    lot: int
    served_division_codes: tuple[str, ...]
    applicant_kinds: tuple[str, ...]
    household_classes: tuple[str, ...]
    valid_from: datetime
    valid_until: datetime


def may_serve(line: LineTerms, need: NeedTerms, at: datetime) -> bool:
    """Hard conditions but the division, which the index's lists are: class, unit, time, rules."""
    return (
        line.item_class == need.item_class
        and line.unit == need.unit
        and line.valid_from <= at < line.valid_until
        and (not line.applicant_kinds or need.applicant_kind in line.applicant_kinds)
        and (not line.household_classes or need.household_class in line.household_classes)
        and line.lot <= need.remaining
        and line.available > 0
    )


def aided_since(at: datetime, one_aid_days: int) -> datetime:
    return at - timedelta(days=one_aid_days)


def due_at(state: State, at: datetime, deadlines_s: dict[str, int]) -> datetime | None:
    """When the state runs out, if the policy gives it a deadline."""
    seconds = deadlines_s.get(state.value)
    return None if seconds is None else at + timedelta(seconds=seconds)
