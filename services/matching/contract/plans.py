"""What a round found, as it is read: explanations, reasons of unmet needs, fairness, overview.

Sentences are made when read, from the stored facts, by `planning.wording`: what is stored are
numbers and codes only.
"""

from typing import Literal
from uuid import UUID

from pydantic import Field

from services.matching.contract.terms import Urgency
from shared.bodies import ReadBody

OutcomeCode = Literal[
    "no_offer_of_class",
    "no_offer_serves_division",
    "no_eligible_offer",
    "not_enough_offered",
    "one_aid_in_period",
    "one_aid_in_round",
    "gone_to_more_urgent",
    "gone_to_better_matches",
    "fairness_cap",
    "smallest_lot",
    "unsplittable",
    "kept_back",
]
KeptBy = Literal[
    "more_urgent",
    "better_matches",
    "others_served",
    "fairness",
    "diversity",
    "smallest_lot",
    "unsplittable",
    "kept_back",
    "gap",
]


class FeatureRead(ReadBody):
    """How one feature counted towards the fit; the points of all features sum to the fit."""

    feature: str
    name_zh: str
    name_en: str
    value_permille: int | None = Field(description="None when nothing is known of it.")
    points: int
    points_max: int
    text_zh: str
    text_en: str


class TermRead(ReadBody):
    """How one term of the policy's welfare counted; the points of all terms sum to the value."""

    term: Literal["fit", "poverty", "waiting_time", "acceptance", "repeat"]
    value_permille: int
    points: int
    text_zh: str
    text_en: str


class TakenRead(ReadBody):
    """What needs of one urgency were given."""

    urgency: Urgency
    allocations: int
    quantity: int


class RunnerUpRead(ReadBody):
    """The next best line among those the need was compared with."""

    line_id: UUID
    by: int = Field(description="Points of value by which the proposed line is better.")


class BetterRead(ReadBody):
    """The best line the need did not get (enough of), and what kept it from the need."""

    line_id: UUID
    by: int = Field(description="Points of value by which it would have been better.")
    kept_by: KeptBy
    taken: list[TakenRead] = Field(description="Who took its quantities, most urgent first.")
    price_permille: int = Field(
        description="What the whole need from that line would have cost others, in points of value"
        " at the round's prices."
    )


class ExplanationRead(ReadBody):
    """Why this line was proposed for this need."""

    features: list[FeatureRead]
    terms: list[TermRead]
    fit_permille: int
    value_permille: int
    level: str = Field(description="Level of the served division the need lies in.")
    served_division_code: str
    compared: int = Field(description="Lines the need was compared with.")
    runner_up: RunnerUpRead | None
    better: BetterRead | None
    text_zh: str
    text_en: str


class FailedCondition(ReadBody):
    """Lines that serve the division but may not serve the need, by the first condition failed."""

    condition: Literal["unit", "applicant_kind", "household_class", "lot", "used_up", "validity"]
    lines: int


class OutcomeRead(ReadBody):
    """Why a need was not, or not fully, met.

    lacking    what it lacked before the round
    given      what the round gives
    eligible   lines it could have been given from
    taken      who took the quantities of those lines, the most urgent first
    left       what of those lines nobody took
    """

    need_id: UUID
    code: OutcomeCode
    need_title: str
    item_class: str
    unit: str
    urgency: Urgency
    division_code: str
    lacking: int
    given: int
    eligible: int
    taken: list[TakenRead]
    left: int
    failed: list[FailedCondition]
    best_line_id: UUID | None
    text_zh: str
    text_en: str


class TierRead(ReadBody):
    """One urgency. Quantities of different units are never added: needs are counted.

    rate_permille        mean share of a need that is met
    asked, most, served  sums over item classes of base units; only their equality means anything:
                         `most` is the maximum flow beside the earlier tiers' amounts
    gap_ppm              certified: welfare is below the optimum by no more than this; None of a
                         placement, which is none
    """

    urgency: Urgency
    needs: int
    fully_met: int
    partly_met: int
    unmet: int
    rate_permille: int
    asked: int
    most: int
    served: int
    gap_ppm: int | None


class DivisionRate(ReadBody):
    """How well one division's needs are served; rate_ppm = mean share of a need that is met."""

    division_code: str
    name_zh: str
    name_en: str
    needs: int
    met: int
    rate_ppm: int


class FairnessFigures(ReadBody):
    """The divisions of one level, each counting as one."""

    gini_ppm: int
    lowest: DivisionRate | None
    highest: DivisionRate | None


class DivisionChange(ReadBody):
    division_code: str
    name_zh: str
    name_en: str
    needs: int
    before_ppm: int
    after_ppm: int


class FairnessLevel(ReadBody):
    """One level of the division tree before (welfare alone) and after (with the policy's fairness).

    table   a row for each division, the worst served before first; of very many the worst 400
    """

    level: str
    divisions: int
    before: FairnessFigures
    after: FairnessFigures
    table: list[DivisionChange]


class CodeCount(ReadBody):
    code: str
    needs: int


class SampleRead(ReadBody):
    """A proposal picked by lot, explained."""

    need_id: UUID
    line_id: UUID
    need_title: str
    offer_title: str
    item_class: str
    urgency: Urgency
    division_code: str
    quantity: int
    lacking: int
    unit: str
    explanation: ExplanationRead


class OverviewRead(ReadBody):
    """A round as a coordinator reads it before approving.

    welfare                 sum of value x share of the need met, in millionths; without bonuses
    price_of_fairness_ppm   welfare given up for fairness, of the welfare without it
    kept_back               placements: needs that got less for the sake of needs to come, of which
                            for later ones as urgent, and for more urgent ones
    welfare_without_reserves  placements: what it would be if nothing were kept back
    """

    kind: Literal["round", "dry_run", "placement"]
    needs: int
    lines: int
    proposals: int
    needs_met: int
    lines_used: int
    tiers: list[TierRead]
    welfare: int
    welfare_without_lots: int
    welfare_without_fairness: int
    price_of_fairness_ppm: int
    gap_ppm: int | None
    methods: dict[str, int] = Field(description="Item classes by the method that solved them.")
    pairs: int = Field(description="Pairs of needs and lines compared.")
    candidates_cut: int = Field(description="Needs that had more candidates than the policy reads.")
    lot_repairs: int
    kept_back: int
    kept_for_later: int
    kept_for_more_urgent: int
    welfare_without_reserves: int
    set_aside: list[CodeCount]
    outcomes: list[CodeCount]
    fairness: list[FairnessLevel]
    samples: list[SampleRead]
    unmet_samples: list[OutcomeRead]
    text_zh: str
    text_en: str
