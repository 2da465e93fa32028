"""The live index: follows the read models and answers which lines and needs are alike.

Nothing of it is stored. The read models are the truth, rows carry the number of the event that
changed them last, and the index reads what is newer than it has seen: from zero after a start, so
that a lost index is the ordinary case and no file can be stale or damaged. (A million lines would
take half a minute; then vectors are worth keeping, by text and ENCODER_VERSION.)
"""

import asyncio
from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching.index import Hit, LineEntry, NeedIndex, OfferIndex
from services.matching.planning import need_text
from services.matching.tables import LineView, NeedView
from services.matching.text import encoder

ROWS_A_READ = 5_000
Row = TypeVar("Row", LineView, NeedView)


class Retrieval:
    """One per process."""

    def __init__(self) -> None:
        self._lines = OfferIndex(encoder.DIMENSION)
        self._needs = NeedIndex(encoder.DIMENSION)
        self._lines_seq = self._needs_seq = 0
        # What an entry was made of: a change of quantity alone encodes nothing again.
        self._line_keys: dict[UUID, tuple[object, ...]] = {}
        self._need_keys: dict[UUID, tuple[object, ...]] = {}
        self._refreshing = asyncio.Lock()

    async def offers_for(self, session: AsyncSession, need: NeedView, k: int) -> list[Hit]:
        """Lines of the need's class that serve its division, the likest first."""
        await self._refresh(session)
        text = need_text(need.title, need.item, need.specification)

        def search() -> list[Hit]:
            vectors = encoder.encode([text])
            return self._lines.search([need.item_class], [need.division_code], vectors, k)[0]

        return await asyncio.to_thread(search)

    async def needs_for(self, session: AsyncSession, line: LineView, k: int) -> list[Hit]:
        """Needs of the line's class in all it serves, the likest first."""
        await self._refresh(session)
        text = need_text(line.title, line.item, line.specification)

        def search() -> list[Hit]:
            vector = encoder.encode([text])[0]
            return self._needs.search(line.item_class, line.served_division_codes, vector, k)

        return await asyncio.to_thread(search)

    @property
    def lines(self) -> int:
        return len(self._lines)

    async def _refresh(self, session: AsyncSession) -> None:
        async with self._refreshing:
            while await self._read_lines(session):
                pass
            while await self._read_needs(session):
                pass

    async def _read_lines(self, session: AsyncSession) -> bool:
        rows = await _newer(session, LineView, self._lines_seq)
        if not rows:
            return False
        gone = [r.line_id for r in rows if r.state != "open" or r.available <= 0]
        keys = {
            r.line_id: (r.item_class, tuple(r.served_division_codes), _text(r))
            for r in rows
            if r.state == "open" and r.available > 0
        }
        new = [
            r
            for r in rows
            if r.line_id in keys and self._line_keys.get(r.line_id) != keys[r.line_id]
        ]

        def change() -> None:
            self._lines.remove(gone)
            self._lines.put(
                [LineEntry(r.line_id, r.item_class, tuple(r.served_division_codes)) for r in new],
                encoder.encode([_text(r) for r in new]),
            )

        for line_id in gone:
            self._line_keys.pop(line_id, None)
        await asyncio.to_thread(change)
        self._line_keys.update(keys)
        self._lines_seq = rows[-1].changed_seq
        return len(rows) >= ROWS_A_READ

    async def _read_needs(self, session: AsyncSession) -> bool:
        rows = await _newer(session, NeedView, self._needs_seq)
        if not rows:
            return False
        gone = [r.need_id for r in rows if r.state != "published" or r.remaining <= 0]
        keys = {
            r.need_id: (r.item_class, r.division_code, _text(r))
            for r in rows
            if r.state == "published" and r.remaining > 0
        }
        new = [
            r
            for r in rows
            if r.need_id in keys and self._need_keys.get(r.need_id) != keys[r.need_id]
        ]

        def change() -> None:
            self._needs.remove(gone)
            self._needs.put(
                [(r.need_id, r.item_class, r.division_code) for r in new],
                encoder.encode([_text(r) for r in new]),
            )

        for need_id in gone:
            self._need_keys.pop(need_id, None)
        await asyncio.to_thread(change)
        self._need_keys.update(keys)
        self._needs_seq = rows[-1].changed_seq
        return len(rows) >= ROWS_A_READ


def _text(row: LineView | NeedView) -> str:
    return need_text(row.title, row.item, row.specification)


async def _newer(session: AsyncSession, table: type[Row], seq: int) -> Sequence[Row]:
    """Rows changed after seq, in order; rows of one event are never parted."""
    first = (
        await session.scalars(
            select(table)
            .where(table.changed_seq > seq)
            .order_by(table.changed_seq)
            .limit(ROWS_A_READ)
        )
    ).all()
    if len(first) < ROWS_A_READ:
        return first
    last = first[-1].changed_seq
    return (
        await session.scalars(
            select(table)
            .where(table.changed_seq > seq, table.changed_seq <= last)
            .order_by(table.changed_seq)
        )
    ).all()
