"""What an event in the log moves, and what a telling of totals says; pure.

An event may hold anything: what is not a movement of the known form moves nothing here, and shows
as a difference when its producer tells its totals.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from shared.totals import CHINA, TotalsRow, TotalsTold
from shared.vocabulary.movements import MovementState

PRODUCERS = ("needs", "donors", "matching")
TOTALS_TYPES = {f"{producer}.totals_told": producer for producer in PRODUCERS}
# What both ledgers hold while an allocation is in a state of matching.
LEDGER_STATE = {
    "proposed": "reserved",
    "reserved": "reserved",
    "accepted": "reserved",
    "approved": "reserved",
    "dispatched": "dispatched",
    "delivered": "delivered",
    "confirmed": "delivered",
    "closed": "delivered",
    "declined": "released",
    "expired": "released",
    "cancelled": "released",
    "returned": "returned",
}
MOVING_TYPES = {
    "needs.commitment_moved": "needs",
    "donors.reservation_moved": "donors",
    **{f"matching.allocation_{state}": "matching" for state in LEDGER_STATE},
}
# The states that have a column in needs and in offer lines.
LINE_STATES = {
    "needs": ("reserved", "dispatched", "delivered"),
    "donors": ("reserved", "dispatched", "delivered", "written_off"),
    "matching": (),
}
_MOVEMENT_STATES = frozenset(state.value for state in MovementState)
# More may not have been numbered between the place a telling names and the telling itself.
WINDOW_MAX = 100_000
PARTS_MAX = 100_000
# Codes: four of them are the key of an index.
_CODE = re.compile(r"[ -~]{0,64}")
_QUANTITY = re.compile(r"-?[0-9]{1,40}")
_YEARS = range(1900, 2201)
_EXACT = 2**53
_COUNTED = 2**62


class Key(NamedTuple):
    """What a sum is of; the division is "" when it is not known."""

    division_code: str
    item_class: str
    unit: str
    state: str


@dataclass(frozen=True)
class Movement:
    """One allocation's quantity went from `before` (None: from nothing) to `after`."""

    producer: str
    allocation_id: UUID
    before: Key | None
    after: Key
    quantity: int

    @property
    def side_state(self) -> str:
        """What the ledgers hold by it."""
        state = self.after.state
        return LEDGER_STATE[state] if self.producer == "matching" else state


@dataclass(frozen=True)
class Telling:
    """One part of what a producer told."""

    producer: str
    seq: int
    event_id: UUID
    time: datetime
    told: TotalsTold


def movement_of(event: Mapping[str, Any]) -> Movement | None:
    """What the event moves; None when nothing, or when it is not of the known form."""
    kind, data = event.get("type"), event.get("data")
    producer = MOVING_TYPES.get(str(kind))
    if producer is None or not isinstance(data, dict):
        return None
    after, states = data.get("state"), _MOVEMENT_STATES
    if producer == "matching":
        after, states = str(kind).removeprefix("matching.allocation_"), frozenset(LEDGER_STATE)
    before, quantity = data.get("state_before"), data.get("quantity")
    # The key may be absent: a producer of the first form, or an allocation that has just begun.
    place = data.get("division_code") if producer == "donors" else event.get("division")
    named: tuple[Any, Any, Any] = (place or "", data.get("item_class"), data.get("unit") or "")
    if (
        not (isinstance(after, str) and after in states)
        or not (before is None or (isinstance(before, str) and before in states))
        or type(quantity) is not int
        or not 0 < quantity < _EXACT
        or not all(_is_plain(name) for name in named)
    ):
        return None
    try:
        allocation_id = UUID(str(data.get("allocation_id")))
    except ValueError:
        return None
    division, item_class, unit = named
    what = (county(division), str(item_class), unit)
    return Movement(
        producer,
        allocation_id,
        None if before is None else Key(*what, before),
        Key(*what, after),
        quantity,
    )


def county(code: str) -> str:
    return code and code[:6].ljust(12, "0")


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) and _CODE.fullmatch(value) is not None


class Malformed(ValueError):
    """A telling that cannot be compared, and why."""


def telling_of(event: Mapping[str, Any], producer: str, seq: int) -> Telling:
    """What the producer told in this event. Raises Malformed."""
    try:
        told = TotalsTold.model_validate(event.get("data"))
        event_id = UUID(str(event.get("id")))
        time = datetime.fromisoformat(str(event.get("time")))
    except ValidationError as error:
        raise Malformed(f"not of the form: {error.errors()[0]['loc']}") from error
    except ValueError as error:
        raise Malformed("no id or no time") from error
    if told.day.year not in _YEARS or time.year not in _YEARS or time.tzinfo is None:
        raise Malformed("the day or the time")
    if not 1 <= told.part <= told.parts <= PARTS_MAX:
        raise Malformed("part and parts")
    if not max(0, seq - WINDOW_MAX) <= told.as_of_seq < seq:
        raise Malformed(f"as_of_seq {told.as_of_seq} in event {seq}")
    # What is to come would count as told until then, and nothing would be missing.
    if told.day > time.astimezone(CHINA).date():
        raise Malformed(f"{told.day}, told before it began")
    for row in told.rows:
        _check(row)
    if len({row[:5] for row in told.rows}) != len(told.rows):
        raise Malformed("a row twice")
    return Telling(producer, seq, event_id, time, told)


def _check(row: TotalsRow) -> None:
    named = (row.division_code or "", row.item_class, row.unit, row.state)
    if row.book not in {"allocations", "lines"} or not all(_is_plain(name) for name in named):
        raise Malformed("a row's names")
    # Not known is None: the verifier takes "" for a division of its own.
    if row.division_code == "":
        raise Malformed("a row's division")
    if not _QUANTITY.fullmatch(row.quantity) or abs(row.allocations) > _COUNTED:
        raise Malformed("a row's numbers")
