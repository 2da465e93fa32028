"""The live index: follows the read models, and answers from memory what is alike.

The read models are the truth; their rows carry the number of the event that changed them last,
and the index reads what is newer than it has seen, as soon as a feed was applied and now and then
besides, for there may be other processes. A stored file spares encoding everything after a start;
what it holds is compared with the read models row by row (`index.stored`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from sys import intern
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import Text, cast, func, literal_column, select

from services.matching.domain import LineTerms, NeedTerms, text_of
from services.matching.index import (
    Document,
    LineEntry,
    NeedEntry,
    NeedIndex,
    OfferIndex,
    WordIndex,
)
from services.matching.queries.rankings import acceptance_facts, active_scorecard
from services.matching.ranking.memory import AcceptanceFacts
from services.matching.ranking.scorecard import Scorecard, reasoned
from services.matching.tables import LineView, NeedView
from services.matching.terms import line_terms, need_terms
from services.matching.text import encoder
from services.matching.text.tokens import counted
from shared.db import now
from shared.vocabulary.codes import Category, Urgency
from shared.vocabulary.item_classes import item_classes

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

log = logging.getLogger(__name__)

# Rows read, encoded and entered at once: no reader waits longer than for these.
ROWS_A_READ = 5_000
# What organizations accepted before is counted anew after so long at the earliest, and no more
# often than leaves the database 99 % of its time: counting reads every allocation there ever was.
FACTS_AGE_MIN = timedelta(seconds=30)
FACTS_PAUSE = 100

# The facets of documents, in this order; a code that is none (yet) is -1.
CATEGORIES = {str(code): place for place, code in enumerate(Category)}
CLASSES = {code: place for place, code in enumerate(item_classes())}
URGENCIES = {str(code): place for place, code in enumerate(Urgency)}
FACETS = (CATEGORIES, CLASSES, URGENCIES)


@dataclass(frozen=True, slots=True)
class LineDoc:
    """An open line that has something left, and what is shown of it besides.

    row_hash   of the row of the read model it was made from, as PostgreSQL computes it
    """

    terms: LineTerms
    category: str
    organization_name: str
    row_hash: int

    @property
    def id(self) -> UUID:
        return self.terms.line_id

    @property
    def text(self) -> str:
        return text_of(self.terms)

    @property
    def address(self) -> tuple[object, ...]:
        """Where it stands in the index: with another, vector and lists must be made anew."""
        return (self.terms.item_class, self.terms.served_division_codes, self.text, self.category)

    def document(self, words: Mapping[str, int]) -> Document:
        codes = tuple(int(code) for code in self.terms.served_division_codes)
        return Document(self.id, words, _facets(self, None), codes)

    def entry(self) -> LineEntry:
        line = self.terms
        return LineEntry(
            line_id=line.line_id,
            item_class=line.item_class,
            divisions=line.served_division_codes,
            unit=line.unit,
            available=line.available,
            lot=line.lot,
            valid_from=line.valid_from,
            valid_until=line.valid_until,
            applicant_kinds=line.applicant_kinds,
            household_classes=line.household_classes,
        )


@dataclass(frozen=True, slots=True)
class NeedDoc:
    """A published need that lacks something, and what is shown of it besides."""

    terms: NeedTerms
    category: str
    expires_at: datetime
    row_hash: int

    @property
    def id(self) -> UUID:
        return self.terms.need_id

    @property
    def text(self) -> str:
        return text_of(self.terms)

    @property
    def address(self) -> tuple[object, ...]:
        need = self.terms
        return (need.item_class, need.division_code, self.text, self.category, need.urgency)

    def document(self, words: Mapping[str, int]) -> Document:
        facets = _facets(self, self.terms.urgency)
        return Document(self.id, words, facets, (int(self.terms.division_code),))

    def entry(self) -> NeedEntry:
        need = self.terms
        return NeedEntry(
            need_id=need.need_id,
            item_class=need.item_class,
            division=need.division_code,
            unit=need.unit,
            remaining=need.remaining,
            applicant_kind=need.applicant_kind,
            household_class=need.household_class,
            urgency=need.urgency,
            expires_at=self.expires_at,
        )


def _facets(doc: LineDoc | NeedDoc, urgency: str | None) -> tuple[int, int, int]:
    return (
        CATEGORIES.get(doc.category, -1),
        CLASSES.get(doc.terms.item_class, -1),
        URGENCIES.get(urgency or "", -1),
    )


Doc = TypeVar("Doc", LineDoc, NeedDoc)
Index = TypeVar("Index", OfferIndex, NeedIndex)


class Shelf(Generic[Doc, Index]):
    """One side in memory: documents by id, and both indexes of them. One thread changes it.

    seq   number of the newest event it has read the effects of
    """

    def __init__(self, index: Index) -> None:
        self.docs: dict[UUID, Doc] = {}
        self.index: Index = index
        self.words = WordIndex(len(FACETS))
        self.seq = 0

    def change(self, gone: Iterable[UUID], docs: Sequence[Doc]) -> None:
        """Take out what is gone; insert or replace the documents."""
        gone = [key for key in gone if key in self.docs]
        moved: list[Any] = []
        kept: list[Any] = []
        for doc in {doc.id: doc for doc in docs}.values():
            known = self.docs.get(doc.id)
            same = known is not None and known.address == doc.address
            (kept if same else moved).append(doc)
        self.index.remove(gone)
        self.words.remove(gone)
        for key in gone:
            del self.docs[key]
        # Before the indexes lead to them.
        self.docs.update((doc.id, doc) for doc in (*kept, *moved))
        if kept:
            self.index.set_facts([doc.entry() for doc in kept])
        if moved:
            words = counted([doc.text for doc in moved])
            self.index.put([doc.entry() for doc in moved], encoder.encode_counted(words))
            self.words.put([doc.document(w) for doc, w in zip(moved, words, strict=True)])


Recall = Callable[["AsyncSession", "Retrieval"], Awaitable[None]]


class Retrieval:
    """One per process.

    card    the ranking in force
    facts   what organizations accepted and declined before
    recall  fills the shelves before anything is read, from what was stored
    ready   everything was read once
    """

    def __init__(self, recall: Recall | None = None) -> None:
        self.lines: Shelf[LineDoc, OfferIndex] = Shelf(OfferIndex(encoder.DIMENSION))
        self.needs: Shelf[NeedDoc, NeedIndex] = Shelf(NeedIndex(encoder.DIMENSION))
        self.lines_of_offer: dict[UUID, set[UUID]] = {}
        self.card: Scorecard = reasoned()
        self.facts = AcceptanceFacts()
        self._facts_due = datetime.min.replace(tzinfo=UTC)
        # How often something was applied, and how many of these times have been read.
        self._applied, self._read = 1, 0
        self._news = asyncio.Event()
        self._reading = asyncio.Lock()
        self._recall = recall
        self.ready = False

    def mark_stale(self, *_: object) -> None:
        """A feed was applied: what is asked next is answered from what it says."""
        self._applied += 1
        self._news.set()

    async def refresh(self, session: AsyncSession) -> None:
        """Read what is new, unless nothing is."""
        applied = self._applied
        if self._read < applied:
            async with self._reading:
                if self._read < applied:  # nobody has read it while we waited
                    await self._read_all(session)

    async def read(self, session: AsyncSession) -> None:
        """Read what is new, also what other processes have applied."""
        self._news.clear()
        async with self._reading:
            await self._read_all(session)

    async def news(self, timeout_s: float) -> None:
        """Wait until a feed was applied, or so long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), timeout_s)

    @contextlib.asynccontextmanager
    async def unchanging(self) -> AsyncIterator[None]:
        """Nothing is read within the block, so that all parts belong to one moment."""
        async with self._reading:
            yield

    async def _read_all(self, session: AsyncSession) -> None:
        if self._recall is not None and not self.ready:
            await self._recall(session, self)
            self._recall = None
        applied = self._applied
        await self._read_ranking(session)
        for shelf, view, doc_of, alive in self._sides():
            await self._read_side(session, shelf, view, doc_of, alive)
        self._read, self.ready = applied, True

    def note(self, lines: Iterable[LineDoc]) -> None:
        """Lines that came otherwise than by reading what is new."""
        self._note_offers([], list(lines))

    def _sides(self) -> tuple[tuple[Any, Any, Callable[[Any], Any], Callable[[Any], bool]], ...]:
        return (
            (self.lines, LineView, line_doc, line_alive),
            (self.needs, NeedView, need_doc, need_alive),
        )

    async def _read_ranking(self, session: AsyncSession) -> None:
        self.card = await active_scorecard(session)
        at = now()
        if at >= self._facts_due:
            self.facts = await acceptance_facts(session, at)
            self._facts_due = facts_due(at, now())

    async def _read_side(
        self,
        session: AsyncSession,
        shelf: Any,
        view: Any,
        doc_of: Callable[[Any], Any],
        alive: Callable[[Any], bool],
    ) -> None:
        newest = await newest_of(session, view)
        if newest < shelf.seq:
            # Another past: the database was restored, or the read models are being built again.
            log.warning("index built anew", extra={"read": shelf.seq, "there": newest})
            await asyncio.to_thread(self._change, shelf, list(shelf.docs), [])
            shelf.seq = 0
        while shelf.seq < newest:
            rows = await newer(session, view, shelf.seq)
            if not rows:
                return
            docs = [doc_of(row) for row in rows if alive(row)]
            key = next(iter(view.__table__.primary_key)).name
            gone = [getattr(row, key) for row in rows if not alive(row)]
            await asyncio.to_thread(self._change, shelf, gone, docs)
            shelf.seq = rows[-1].changed_seq

    def _change(self, shelf: Any, gone: Collection[UUID], docs: Sequence[Any]) -> None:
        if shelf is self.lines:
            self._note_offers(gone, docs)
        shelf.change(gone, docs)

    def _note_offers(self, gone: Collection[UUID], docs: Sequence[LineDoc]) -> None:
        for key in gone:
            known = self.lines.docs.get(key)
            if known is not None:
                left = self.lines_of_offer.get(known.terms.offer_id, set())
                left.discard(key)
                if not left:
                    self.lines_of_offer.pop(known.terms.offer_id, None)
        for doc in docs:
            self.lines_of_offer.setdefault(doc.terms.offer_id, set()).add(doc.id)


def facts_due(began: datetime, ended: datetime) -> datetime:
    """When to count again what was accepted, after a count between these times."""
    return ended + max(FACTS_AGE_MIN, FACTS_PAUSE * (ended - began))


def line_alive(row: Any) -> bool:
    return bool(row.state == "open" and row.available > 0)


def need_alive(row: Any) -> bool:
    return bool(row.state == "published" and row.remaining > 0)


def line_doc(row: Any) -> LineDoc:
    terms = line_terms(row, row.available)
    return LineDoc(terms, intern(row.category), row.organization_name, row.row_hash)


def need_doc(row: Any) -> NeedDoc:
    terms = need_terms(row, row.remaining)
    return NeedDoc(terms, intern(row.category), row.expires_at, row.row_hash)


def row_hash(view: type[LineView | NeedView]) -> Any:
    """PostgreSQL's own hash of a row as text, under the name `row_hash`."""
    whole = cast(literal_column(view.__tablename__), Text)
    return func.hashtextextended(whole, 0).label("row_hash")


async def newest_of(session: AsyncSession, view: type[LineView | NeedView]) -> int:
    return await session.scalar(select(func.max(view.changed_seq))) or 0


async def newer(session: AsyncSession, view: type[LineView | NeedView], seq: int) -> Sequence[Any]:
    """Rows changed after seq, in order; rows of one event are never parted."""
    query = select(view.__table__, row_hash(view)).where(view.changed_seq > seq)
    ordered = query.order_by(view.changed_seq)
    first = (await session.execute(ordered.limit(ROWS_A_READ))).all()
    if len(first) < ROWS_A_READ:
        return first
    last: int = first[-1].changed_seq
    return (await session.execute(ordered.where(view.changed_seq <= last))).all()


async def documents(
    session: AsyncSession, view: type[LineView | NeedView]
) -> AsyncIterator[list[Any]]:
    """All that is alive, a portion at a time, in the order of the ids."""
    alive, doc_of = (line_alive, line_doc) if view is LineView else (need_alive, need_doc)
    key = next(iter(view.__table__.primary_key))
    query = select(view.__table__, row_hash(view)).order_by(key).limit(ROWS_A_READ)
    rows = (await session.execute(query)).all()
    while rows:
        yield [doc_of(row) for row in rows if alive(row)]
        rows = (await session.execute(query.where(key > getattr(rows[-1], key.name)))).all()
