"""Two rounds on the same frozen data, side by side; and what a round means for one need."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from services.matching.contract.plans import FairnessLevel, OutcomeRead
from services.matching.contract.rounds import RoundTotals
from services.matching.contract.terms import RoundKind, RoundState, Urgency
from shared.bodies import Moment, ReadBody

Change = Literal["gains", "loses"]


class ComparedRound(ReadBody):
    id: UUID
    kind: RoundKind
    state: RoundState
    policy: str
    ranking: str | None
    totals: RoundTotals
    fairness: list[FairnessLevel]


class ComparisonRead(ReadBody):
    """What changes from the first round to the second, both computed on the same frozen data.

    gains, loses   needs that get more, or less, in the second
    same           needs that get something, and the same in both
    """

    first: ComparedRound
    second: ComparedRound
    gains: int
    loses: int
    same: int
    text_zh: str
    text_en: str


class ComparedNeed(ReadBody):
    """A need that gets more or less in the second round than in the first, in base units."""

    need_id: UUID
    need_title: str
    item_class: str
    urgency: Urgency
    division_code: str
    unit: str
    first_quantity: int
    second_quantity: int
    first_code: str | None = Field(description="Why not (all) in the first; None when it got all.")
    second_code: str | None


class NeedOutcome(ReadBody):
    """What the last approved round that considered a need means for it.

    given     what the round gave it and still stands, in base units: not what was declined,
              expired, was cancelled or came back since
    outcome   why not all it lacked; None when the round gives all
    """

    need_id: UUID
    round_id: UUID
    policy: str
    ranking: str | None
    approved_at: Moment
    given: int
    unit: str
    outcome: OutcomeRead | None
    text_zh: str
    text_en: str
