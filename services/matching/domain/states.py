"""States of rounds and allocations, what may become what, and what falls due; pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from services.matching.domain.errors import NotFromHere, RoundNotThere
from shared.vocabulary.movements import MAY_BECOME as MAY_MOVE
from shared.vocabulary.movements import MovementState


class RoundKind(StrEnum):
    """round      the needs of a division with the offers that serve it
    dry_run    the same, to be looked at: never approved
    placement  needs and lines that came since the last round, at the prices it left
    """

    ROUND = "round"
    DRY_RUN = "dry_run"
    PLACEMENT = "placement"


class RoundState(StrEnum):
    COMPUTING = "computing"
    COMPUTED = "computed"
    APPROVED = "approved"
    DISCARDED = "discarded"
    CANCELLED = "cancelled"


class Stage(StrEnum):
    """What a computation is doing."""

    WAITING = "waiting"
    READING = "reading"
    COMPARING = "comparing"
    SOLVING = "solving"
    EXPLAINING = "explaining"
    STORING = "storing"
    DONE = "done"


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
    RoundState.COMPUTING: {RoundState.COMPUTED, RoundState.DISCARDED, RoundState.CANCELLED},
    RoundState.COMPUTED: {RoundState.APPROVED, RoundState.DISCARDED},
    RoundState.APPROVED: set[RoundState](),
    RoundState.DISCARDED: set[RoundState](),
    RoundState.CANCELLED: set[RoundState](),
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


def aided_since(at: datetime, one_aid_days: int) -> datetime:
    return at - timedelta(days=one_aid_days)


def due_at(state: State, at: datetime, deadlines_s: dict[str, int]) -> datetime | None:
    """When the state runs out, if the policy gives it a deadline."""
    seconds = deadlines_s.get(state.value)
    return None if seconds is None else at + timedelta(seconds=seconds)
