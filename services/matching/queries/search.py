"""Free-text search over everything published, from memory."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from services.matching import domain
from services.matching.appraisal import fused
from services.matching.contract import search as contract
from services.matching.domain.search import CategoryUnknown, ItemClassUnknown, QueryEmpty
from services.matching.index import finding
from services.matching.index.finding import Filter, Found, Place
from services.matching.retrieval import (
    CATEGORIES,
    CLASSES,
    URGENCIES,
    LineDoc,
    NeedDoc,
    Retrieval,
)
from services.matching.text import encoder
from services.matching.text.tokens import is_chinese, tokens
from shared.paging import decode_cursor, encode_cursor
from shared.vocabulary import divisions
from shared.vocabulary.codes import Category, Urgency
from shared.vocabulary.item_classes import item_classes

_CATEGORY, _CLASS, _URGENCY = range(3)


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked; text None lists everything."""

    text: str | None
    category: str | None
    item_class: str | None
    urgency: str | None
    division_code: str | None
    limit: int
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Hits:
    """rows: at most limit + 1 documents, each with where it stands."""

    rows: list[tuple[Any, Place]]
    total: int
    facets: dict[str, list[contract.FacetRead]]


async def hits(session: AsyncSession, retrieval: Retrieval, side: str, search: Search) -> Hits:
    """side: needs or lines."""
    wanted = _filter(search)
    if search.text is not None and not tokens(search.text):
        raise QueryEmpty
    behind = None
    if search.cursor is not None:
        behind = Place(*decode_cursor(search.cursor, int, UUID))
    await retrieval.refresh(session)
    shelf = getattr(retrieval, side)
    return await asyncio.to_thread(_hits, shelf, search, wanted, behind)


def _hits(shelf: Any, search: Search, wanted: Filter, behind: Place | None) -> Hits:
    words = shelf.words
    with words.gate.reading():
        query = None if search.text is None else words.query(search.text)
        found = finding.find(words, query, wanted)
        ranked = found
        if search.text is not None:
            ranked = finding.likest(found, finding.RANKED_MAX)
            if not is_chinese(search.text):
                ranked = _with_vectors(shelf, search.text, ranked)
        places = finding.page(words, ranked, behind, search.limit + 1)
        facets = {
            "categories": _named(finding.facet(words, found, _CATEGORY), CATEGORIES, Category),
            "item_classes": _named(
                finding.facet(words, found, _CLASS), CLASSES, lambda code: item_classes()[code]
            ),
            "divisions": _divisions(words, found, search.division_code or divisions.ROOT),
            "urgencies": _named(finding.facet(words, found, _URGENCY), URGENCIES, Urgency),
        }
        # Under the gate, which whoever takes a document out must pass before it goes.
        rows = [(shelf.docs[place.id], place) for place in places]
    return Hits(rows, len(found.serials), facets)


def _with_vectors(shelf: Any, text: str, found: Found) -> Found:
    """Scored by words and vectors together."""
    ids = [shelf.words.ids[serial] for serial in found.serials.tolist()]
    cosines = shelf.index.cosines(encoder.encode([text])[0], ids)
    dense = np.clip(np.rint(cosines * 1_000), 0, 1_000).astype(np.int64)
    first = np.zeros(len(ids), dtype=np.int64)
    return replace(found, scores=fused([text], first, found.scores, dense))


def _filter(search: Search) -> Filter:
    if search.category is not None and search.category not in CATEGORIES:
        raise CategoryUnknown
    if search.item_class is not None and search.item_class not in CLASSES:
        raise ItemClassUnknown
    if search.division_code is not None and not divisions.known(search.division_code):
        raise domain.DivisionUnknown("This is not a known division code.")
    facets = (
        _number(CATEGORIES, search.category),
        _number(CLASSES, search.item_class),
        _number(URGENCIES, search.urgency),
    )
    return Filter(facets, search.division_code)


def _number(numbers: dict[str, int], code: str | None) -> int | None:
    return None if code is None else numbers[code]


def _named(
    counts: Iterable[tuple[int, int]], numbers: dict[str, int], term: Callable[[str], Any]
) -> list[contract.FacetRead]:
    codes = list(numbers)
    return [
        contract.FacetRead(
            code=codes[value],
            name_zh=term(codes[value]).name_zh,
            name_en=term(codes[value]).name_en,
            count=count,
        )
        for value, count in counts
    ]


def _divisions(words: Any, found: Found, division: str) -> list[contract.FacetRead]:
    rows: list[contract.FacetRead] = []
    for code, count in finding.division_facet(words, found, division):
        name_zh, name_en = _name_of(code)
        rows.append(
            contract.DivisionFacetRead(code=code, name_zh=name_zh, name_en=name_en, count=count)
        )
    return rows


def _name_of(code: str) -> tuple[str, str]:
    # A feed may know divisions that this copy of the list does not.
    return divisions.names(code) if divisions.known(code) else (code, code)


def cursor_of(row: tuple[Any, Place]) -> str:
    return encode_cursor(row[1].score, row[1].id)


def need_read(row: tuple[NeedDoc, Place], scored: bool) -> contract.NeedHit:
    doc, place = row
    need = doc.terms
    name_zh, name_en = _name_of(need.division_code)
    return contract.NeedHit(
        need_id=need.need_id,
        title=need.title,
        category=doc.category,
        item_class=need.item_class,
        item=need.item,
        specification=need.specification,
        urgency=need.urgency,
        division_code=need.division_code,
        division_zh=name_zh,
        division_en=name_en,
        remaining=need.remaining,
        unit=need.unit,
        published_at=need.published_at,
        expires_at=doc.expires_at,
        score_permille=place.score if scored else None,
    )


def line_read(row: tuple[LineDoc, Place], scored: bool) -> contract.OfferHit:
    doc, place = row
    line = doc.terms
    return contract.OfferHit(
        line_id=line.line_id,
        offer_id=line.offer_id,
        organization_id=line.organization_id,
        organization_name=doc.organization_name,
        organization_verified=line.organization_verified,
        title=line.title,
        category=doc.category,
        item_class=line.item_class,
        item=line.item,
        specification=line.specification,
        served_division_codes=list(line.served_division_codes),
        available=line.available,
        unit=line.unit,
        valid_from=line.valid_from,
        valid_until=line.valid_until,
        score_permille=place.score if scored else None,
    )
