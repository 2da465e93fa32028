"""Free-text search over what is published: hits and facets."""

from uuid import UUID

from pydantic import Field

from services.matching.contract.terms import Urgency
from shared.bodies import Moment, ReadBody
from shared.paging import Page


class FacetRead(ReadBody):
    """How many of all hits are of this code."""

    code: str
    name_zh: str
    name_en: str
    count: int


class DivisionFacetRead(FacetRead):
    """Needs: hits that lie in the division. Offers: hits that serve part of it, but for those that
    serve all of the division searched, which are counted there."""


class Facets(ReadBody):
    """Of all hits, whatever page is shown; most first. Codes without a hit are left out.

    divisions  those directly below the division searched (the nation, when none is given); what is
               of the division itself, and not of one below, is counted under its own code
    """

    categories: list[FacetRead]
    item_classes: list[FacetRead]
    divisions: list[DivisionFacetRead]


class NeedFacets(Facets):
    urgencies: list[FacetRead]


class NeedHit(ReadBody):
    """A published need that still lacks something."""

    need_id: UUID
    title: str
    category: str
    item_class: str
    item: str
    specification: str | None
    urgency: Urgency
    division_code: str
    division_zh: str
    division_en: str
    remaining: int
    unit: str
    published_at: Moment
    expires_at: Moment
    score_permille: int | None = Field(description="Likeness to `q`; None without it.")


class OfferHit(ReadBody):
    """A line of an open offer that still has something."""

    line_id: UUID
    offer_id: UUID
    organization_id: UUID
    organization_name: str
    organization_verified: bool
    title: str
    category: str
    item_class: str
    item: str
    specification: str | None
    served_division_codes: list[str]
    available: int
    unit: str
    valid_from: Moment
    valid_until: Moment
    score_permille: int | None = Field(description="Likeness to `q`; None without it.")


class NeedHits(Page[NeedHit]):
    """total: all hits. With `q`, the likest 2,000 of them can be paged through."""

    total: int
    facets: NeedFacets


class OfferHits(Page[OfferHit]):
    """total: all hits. With `q`, the likest 2,000 of them can be paged through."""

    total: int
    facets: Facets
