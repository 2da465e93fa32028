"""The live index over a restart: a file of it now and then, and what of a file may be believed.

The file spares tokens and vectors of every text; it never decides. Each row of the read models is
read at a start and compared by PostgreSQL's hash of it with the row the entry was made from: what
is equal is taken, everything else is made anew. So a file that is missing, damaged, of another
database or encoder, or newer than a restored database costs time and changes no result.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import text

from services.matching.index import INDEX_VERSION, NeedIndex, OfferIndex, WordIndex
from services.matching.index.offers import id_words, part_of, uuids_of
from services.matching.index.stored import Unusable, only_writer, put_aside, read, write
from services.matching.retrieval import FACETS, Retrieval, Shelf, documents, newest_of
from services.matching.tables import LineView, NeedView
from services.matching.text import encoder
from services.matching.text.likeness import LIKENESS_VERSION

if TYPE_CHECKING:
    from fastapi import FastAPI
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncSession

log = logging.getLogger(__name__)

FILE_NAME = "index.bin"
# For what other processes apply, and what is switched on.
POLL_S = 0.5
VERSIONS: dict[str, str | int] = {
    "index": INDEX_VERSION,
    "encoder": encoder.ENCODER_VERSION,
    "likeness": LIKENESS_VERSION,
    "dimension": encoder.DIMENSION,
    # Documents hold the places of their codes in these lists.
    "facets": hashlib.sha256(
        "|".join(code for facet in FACETS for code in facet).encode()
    ).hexdigest(),
}
_SIDES = ("lines", "needs")
_VIEWS: dict[str, Any] = {"lines": LineView, "needs": NeedView}
_INDEXES: dict[str, Any] = {"lines": OfferIndex, "needs": NeedIndex}


class Keeper:
    """Keeps the live index up with the read models, and a file of it in the state directory."""

    def __init__(self, state_dir: Path, save_every_s: float) -> None:
        self._path = state_dir / FILE_NAME
        self._every_s = save_every_s
        self._saved = (0, 0)
        self._identity: str | None = None
        self.retrieval = Retrieval(self._recall)

    async def run(self, app: FastAPI) -> None:
        """Follow for ever; write the file now and then, and at the end."""
        # The first text reads the lists of synonyms and measures: before the first who waits.
        await asyncio.to_thread(encoder.encode, ["."])
        due = time.monotonic() + self._every_s
        try:
            while True:
                async with app.state.reading_sessions() as session:
                    await self.retrieval.read(session)
                    if time.monotonic() > due:
                        await self.save()
                        due = time.monotonic() + self._every_s
                await self.retrieval.news(POLL_S)
        finally:
            # Also when cancelled, which is how a service ends.
            await self.save()

    @property
    def not_ready(self) -> str | None:
        return None if self.retrieval.ready else "index not read yet"

    async def save(self) -> bool:
        """Write the file, unless it would be the same; whether it was written."""
        retrieval = self.retrieval
        if not retrieval.ready or self._identity is None or self._reached() == self._saved:
            return False
        async with retrieval.unchanging():
            reached = self._reached()
            facts = {
                "versions": VERSIONS,
                "database": self._identity,
                "seq": dict(zip(_SIDES, reached, strict=True)),
            }
            arrays = await asyncio.to_thread(_arrays_of, retrieval)
        written = await asyncio.to_thread(self._write, facts, arrays)
        if written:
            self._saved = reached
        return written

    def _reached(self) -> tuple[int, int]:
        return self.retrieval.lines.seq, self.retrieval.needs.seq

    def _write(self, facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> bool:
        with only_writer(self._path.parent) as alone:
            if not alone:
                log.info("index file is being written by another process")
                return False
            try:
                write(self._path, facts, arrays)
            except OSError as error:
                # Without the file a start takes longer; nothing else depends on it.
                log.warning("index file not written", extra={"error": str(error)})
                return False
        return True

    async def _recall(self, session: AsyncSession, retrieval: Retrieval) -> None:
        self._identity = await identity_of(session)
        try:
            facts, arrays = await asyncio.to_thread(read, self._path)
            if (reason := await self._unfit(session, facts)) is not None:
                raise Unusable(reason)
            shelves = {name: await asyncio.to_thread(_shelf, name, arrays) for name in _SIDES}
        except FileNotFoundError:
            log.info("no index file; everything is read")
            return
        # RuntimeError is what FAISS raises.
        except (Unusable, ValueError, KeyError, TypeError, RuntimeError) as error:
            aside = put_aside(self._path)
            log.warning("index file put aside", extra={"reason": str(error), "as": aside.name})
            return
        for name in _SIDES:
            await _compare(session, name, shelves[name], arrays)
        retrieval.lines, retrieval.needs = shelves["lines"], shelves["needs"]
        retrieval.note(retrieval.lines.docs.values())
        self._saved = (facts["seq"]["lines"], facts["seq"]["needs"])

    async def _unfit(self, session: AsyncSession, facts: dict[str, Any]) -> str | None:
        """Why this file is not to be used."""
        if facts["versions"] != VERSIONS:
            return "made by another version"
        if facts["database"] != self._identity:
            return "of another database"
        for name in _SIDES:
            if await newest_of(session, _VIEWS[name]) < facts["seq"][name]:
                return f"newer than the database's {name}"
        return None


async def identity_of(session: AsyncSession) -> str:
    """What tells this database from others, also of a copy of its server."""
    return str(
        await session.scalar(
            text(
                "SELECT (SELECT system_identifier FROM pg_control_system()) || ' ' || oid || ' ' ||"
                " datname FROM pg_database WHERE datname = current_database()"
            )
        )
    )


def _arrays_of(retrieval: Retrieval) -> dict[str, NDArray[Any]]:
    """Copies: while they are written, the index goes on."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in _SIDES:
        shelf: Shelf[Any, Any] = getattr(retrieval, name)
        docs = list(shelf.docs.values())
        arrays[f"{name}.ids"] = id_words([doc.id for doc in docs])
        arrays[f"{name}.hashes"] = np.array([doc.row_hash for doc in docs], dtype=np.int64)
        for part in ("index", "words"):
            state = getattr(shelf, part).state()
            arrays |= {f"{name}.{part}.{key}": array.copy() for key, array in state.items()}
    return arrays


def _shelf(name: str, arrays: dict[str, NDArray[Any]]) -> Shelf[Any, Any]:
    state = part_of(arrays, name)
    shelf: Shelf[Any, Any] = Shelf(
        _INDEXES[name].restored(encoder.DIMENSION, part_of(state, "index"))
    )
    shelf.words = WordIndex.restored(len(FACETS), part_of(state, "words"))
    return shelf


async def _compare(
    session: AsyncSession, name: str, shelf: Shelf[Any, Any], arrays: dict[str, NDArray[Any]]
) -> None:
    """Give the shelf its documents; make anew what is not as the read models have it."""
    view = _VIEWS[name]
    reached = await newest_of(session, view)  # before the rows: what comes after is read again
    hashes = arrays[f"{name}.hashes"].tolist()
    stored = dict(zip(uuids_of(arrays[f"{name}.ids"]), hashes, strict=True))
    renewed = 0
    async for docs in documents(session, view):
        known = {doc.id: doc for doc in docs if stored.get(doc.id) == doc.row_hash}
        others = [doc for doc in docs if doc.id not in known]
        shelf.docs.update(known)
        renewed += len(others)
        await asyncio.to_thread(shelf.change, [], others)
        for doc in docs:
            stored.pop(doc.id, None)
    shelf.index.remove(stored)
    shelf.words.remove(stored)
    shelf.seq = reached
    log.info(
        "index file read",
        extra={"side": name, "rows": len(shelf.docs), "renewed": renewed, "gone": len(stored)},
    )
