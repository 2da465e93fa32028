"""How a quantity held by one allocation moves through the ledgers of both sides; pure.

The offer side keeps `available + reserved + in_transit + delivered + written_off = total`;
the need side keeps `reserved + in_transit + delivered <= required`. One table serves both, so
that the two ledgers cannot disagree about what a movement means.
"""

from enum import StrEnum
from typing import NamedTuple


class MovementState(StrEnum):
    """How far the quantity of one allocation has moved."""

    RESERVED = "reserved"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    RETURNED = "returned"
    RELEASED = "released"
    WRITTEN_OFF = "written_off"


class MovementRefused(Exception):
    """The quantity may not move that way: backward, out of an end, or past a step."""

    def __init__(self, before: MovementState | None, after: MovementState) -> None:
        self.before = before
        self.after = after
        super().__init__(f"A quantity cannot move from {before or 'nothing'} to {after}.")


class Effects(NamedTuple):
    """What one movement adds to each column of a ledger.

    The need side has no `available` and no `written_off` column and ignores those two.
    """

    available: int = 0
    reserved: int = 0
    in_transit: int = 0
    delivered: int = 0
    written_off: int = 0


# Released from nothing is the compensation of a reservation that never arrived: it leaves a mark,
# so that the late reservation is refused when it comes after all.
MAY_BECOME: dict[MovementState | None, frozenset[MovementState]] = {
    None: frozenset({MovementState.RESERVED, MovementState.RELEASED}),
    MovementState.RESERVED: frozenset(
        {MovementState.DISPATCHED, MovementState.RELEASED, MovementState.WRITTEN_OFF}
    ),
    MovementState.DISPATCHED: frozenset(
        {MovementState.DELIVERED, MovementState.RETURNED, MovementState.WRITTEN_OFF}
    ),
    MovementState.DELIVERED: frozenset({MovementState.RETURNED}),
    MovementState.RETURNED: frozenset(),
    MovementState.RELEASED: frozenset(),
    MovementState.WRITTEN_OFF: frozenset(),
}

# The column in which a quantity lies while it is in a state. What is returned or released is
# available again on the offer side and no longer held on the need side.
_COLUMN: dict[MovementState | None, str] = {
    None: "available",
    MovementState.RESERVED: "reserved",
    MovementState.DISPATCHED: "in_transit",
    MovementState.DELIVERED: "delivered",
    MovementState.RETURNED: "available",
    MovementState.RELEASED: "available",
    MovementState.WRITTEN_OFF: "written_off",
}


def is_end(state: MovementState) -> bool:
    return not MAY_BECOME[state]


def effects(before: MovementState | None, after: MovementState, quantity: int = 1) -> Effects:
    """Return what moving `quantity` (base units, >= 1) from one state to another adds.

    before  None when the ledger has not seen the allocation yet

    A move to the state it already has changes nothing. The five deltas always sum to 0.
    Raises MovementRefused for a move that is not in MAY_BECOME.
    """
    if before == after:
        return Effects()
    if after not in MAY_BECOME[before]:
        raise MovementRefused(before, after)
    source, target = _COLUMN[before], _COLUMN[after]
    if source == target:
        return Effects()
    return Effects(**{source: -quantity, target: quantity})
