"""Keeps the sums of what was moved, and what each side says of each allocation."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.reckoning.movements import Key, Movement

Deltas = Mapping[Key, tuple[int, int]]

_ADD = text(
    "INSERT INTO ledger_sum AS s (producer, division_code, item_class, unit, state, quantity,"
    " allocations)"
    " SELECT :producer, * FROM unnest(CAST(:divisions AS text[]), CAST(:item_classes AS text[]),"
    " CAST(:units AS text[]), CAST(:states AS text[]), CAST(:quantities AS numeric[]),"
    " CAST(:counts AS bigint[]))"
    " ON CONFLICT (producer, division_code, item_class, unit, state) DO UPDATE"
    " SET quantity = s.quantity + excluded.quantity,"
    " allocations = s.allocations + excluded.allocations"
)
_SAY = (
    "INSERT INTO side (allocation_id, {producer}_state, {producer}_quantity)"
    " SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:states AS text[]),"
    " CAST(:quantities AS bigint[]))"
    " ON CONFLICT (allocation_id) DO UPDATE SET {producer}_state = excluded.{producer}_state,"
    " {producer}_quantity = excluded.{producer}_quantity"
)
# Whoever has never heard of an allocation holds nothing for it, as one who has released it.
_AGREES = """
    coalesce(needs_state, 'released') = coalesce(matching_state, 'released')
    AND coalesce(donors_state, 'released') = coalesce(matching_state, 'released')
    AND (coalesce(matching_state, 'released') = 'released'
         OR (needs_quantity = matching_quantity AND donors_quantity = matching_quantity))
"""
_COMPARE_SIDES = text(
    "UPDATE side SET"  # noqa: S608 - an expression of our own
    f" differs_since = CASE WHEN {_AGREES} THEN NULL ELSE coalesce(differs_since, :moment) END,"
    f" alarmed = alarmed AND NOT ({_AGREES})"
    " WHERE allocation_id = ANY(CAST(:ids AS uuid[]))"
)


class Fold:
    """The movements of a stretch of the log, in memory until they are written."""

    def __init__(self, session: AsyncSession, moment: datetime) -> None:
        self._session = session
        self._moment = moment
        self._sums: defaultdict[str, defaultdict[Key, tuple[int, int]]] = defaultdict(_sums)
        self._said: defaultdict[str, dict[UUID, tuple[str, int]]] = defaultdict(dict)

    def add(self, movement: Movement) -> None:
        move(self._sums[movement.producer], movement)
        said = self._said[movement.producer]
        said[movement.allocation_id] = (movement.side_state, movement.quantity)

    async def write(self) -> None:
        """What was added so far is in the tables afterwards."""
        touched: set[UUID] = set()
        for producer, sums in self._sums.items():
            await self._session.execute(_ADD, {"producer": producer, **columns(sums)})
        for producer, said in self._said.items():
            values = {
                "ids": list(said),
                "states": [state for state, _ in said.values()],
                "quantities": [quantity for _, quantity in said.values()],
            }
            await self._session.execute(text(_SAY.format(producer=producer)), values)
            touched |= said.keys()
        if touched:
            await self._session.execute(
                _COMPARE_SIDES, {"ids": list(touched), "moment": self._moment}
            )
        self._sums.clear()
        self._said.clear()


def _sums() -> defaultdict[Key, tuple[int, int]]:
    return defaultdict(lambda: (0, 0))


def move(sums: defaultdict[Key, tuple[int, int]], movement: Movement, sign: int = 1) -> None:
    """Add what the movement adds to each sum, or take it away (`sign` -1)."""
    for key, way in ((movement.before, -sign), (movement.after, sign)):
        if key is not None:
            quantity, count = sums[key]
            sums[key] = (quantity + way * movement.quantity, count + way)


def columns(sums: Deltas) -> dict[str, list[str] | list[int]]:
    """The sums as arrays for `unnest`, in the order of their keys."""
    ordered = sorted(sums)
    return {
        "divisions": [key.division_code for key in ordered],
        "item_classes": [key.item_class for key in ordered],
        "units": [key.unit for key in ordered],
        "states": [key.state for key in ordered],
        "quantities": [sums[key][0] for key in ordered],
        "counts": [sums[key][1] for key in ordered],
    }
