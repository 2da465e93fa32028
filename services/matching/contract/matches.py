"""Offers for a need, needs for an offer, and why."""

from uuid import UUID

from pydantic import Field

from services.matching.contract.terms import Urgency
from shared.bodies import ReadBody


class ReasonRead(ReadBody):
    """How one feature counted. Values in thousandths; points = weight x value."""

    feature: str
    value_permille: int
    weight: int
    points: int
    text_zh: str
    text_en: str


class ScoredOffer(ReadBody):
    """An offer line that may serve the need, best first."""

    line_id: UUID
    offer_id: UUID
    organization_id: UUID
    organization_name: str
    organization_verified: bool
    title: str
    item_class: str
    item: str
    specification: str | None
    served_division_code: str = Field(description="The served division the need lies in.")
    available: int
    quantity: int = Field(description="What of the need this line could cover now.")
    unit: str
    score_permille: int
    policy: str
    reasons: list[ReasonRead]


class ScoredNeed(ReadBody):
    """A need that a line of the offer may serve, best first."""

    line_id: UUID
    need_id: UUID
    title: str
    item_class: str
    item: str
    specification: str | None
    urgency: Urgency
    division_code: str
    remaining: int
    quantity: int
    unit: str
    score_permille: int
    policy: str
    reasons: list[ReasonRead]


class ScoredOffers(ReadBody):
    data: list[ScoredOffer]


class ScoredNeeds(ReadBody):
    data: list[ScoredNeed]
