"""Offers for a need, needs for an offer, and why."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from services.matching.contract.terms import Urgency
from shared.bodies import ReadBody
from shared.paging import Page


class MatchReason(ReadBody):
    """How one feature counted towards the fit; the points of all sum to the fit."""

    feature: str
    name_zh: str
    name_en: str
    value_permille: int | None = Field(description="None: not known.")
    points: int
    points_max: int
    text_zh: str
    text_en: str


class MatchTerm(ReadBody):
    """How one term of the policy's welfare counted; the points of all sum to the score."""

    term: Literal["fit", "poverty", "waiting_time", "acceptance", "repeat"]
    value_permille: int
    points: int


class Scored(ReadBody):
    """What every score carries: what it was computed by, and why."""

    score_permille: int
    fit_permille: int
    policy: str
    ranking: str
    reasons: list[MatchReason]
    terms: list[MatchTerm]


class ScoredOffer(Scored):
    """An offer line that may serve the need, best first."""

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
    served_division_code: str = Field(description="The served division the need lies in.")
    available: int
    quantity: int = Field(description="What of the need this line could cover now.")
    unit: str


class ScoredNeed(Scored):
    """A need that a line of the offer may serve, best first."""

    line_id: UUID
    need_id: UUID
    title: str
    category: str
    item_class: str
    item: str
    specification: str | None
    urgency: Urgency
    division_code: str
    remaining: int
    quantity: int
    unit: str


class ScoredOffers(Page[ScoredOffer]):
    """compared: lines, the likest in text, that were scored; cut: there were more."""

    compared: int
    cut: bool


class ScoredNeeds(Page[ScoredNeed]):
    """compared: needs, the likest in text, that were scored; cut: there were more."""

    compared: int
    cut: bool
