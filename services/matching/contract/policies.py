"""What a matching policy decides; bodies of `GET /v1/policies` and of the documents themselves."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from services.matching.contract.terms import PolicyName, Urgency
from shared.bodies import Body, ReadBody

Weight = Annotated[int, Field(ge=0, le=1_000)]
Permille = Annotated[int, Field(ge=0, le=1_000)]
Seconds = Annotated[int, Field(ge=0, le=366 * 86_400)]
Level = Literal["province", "city", "county", "township"]


class Deadlines(Body):
    """How long an allocation may stay in a state before its quantities are given back."""

    reserved: Seconds
    accepted: Seconds
    approved: Seconds


class Welfare(Body):
    """What an edge's value is the weighted mean of, each in thousandths.

    fit           how well the line suits the need, by the ranking in force
    poverty       the household's degree of deprivation
    waiting_time  days since publication, against waiting_days_full
    acceptance    how often this organization took what was proposed to it in this class
    """

    fit: Weight
    poverty: Weight
    waiting_time: Weight
    acceptance: Weight


class Diversity(Body):
    """An organization's further units count less, so that help does not come from one shelf alone.

    The first free_permille of what a class offers costs nothing to whoever offers it; what one
    organization gives beyond is cut into `steps` equal parts, each dearer than the last, the last
    of points_max thousandths a unit. points_max 0 = off.
    """

    free_permille: Permille
    steps: Annotated[int, Field(ge=1, le=20)]
    points_max: Permille


class Fairness(Body):
    """How a division's service rate counts within a tier; stronger than fit, weaker than tiers.

    levels             of the division tree that are balanced, coarse to fine; empty = none
    curve              of a division's utility in its rate: utilitarian (straight), proportional
                       (logarithm), alpha (see alpha_permille)
    alpha_permille     2000 = alpha 2: the less a division has, the far more its next unit counts
    strength_permille  how much of the curve is added to welfare
    segments           linear parts the curve is cut into
    floor_permille     each division of each level is brought to this rate first, if it can be
    cap_permille       nobody above this rate while others may have it; 1000 = no cap
    """

    levels: list[Level]
    curve: Literal["utilitarian", "proportional", "alpha"]
    alpha_permille: Annotated[int, Field(ge=0, le=8_000)]
    strength_permille: Annotated[int, Field(ge=0, le=10_000)]
    segments: Annotated[int, Field(ge=1, le=100)]
    floor_permille: Permille
    cap_permille: Annotated[int, Field(ge=1, le=1_000)]


class Solver(Body):
    """An item class with more than exact_edges_max candidate pairs is solved by prices; one with
    divisions to balance, with more than ten times as many.

    gap_ppm  the certified distance from the optimum at which prices are good enough
    """

    exact_edges_max: Annotated[int, Field(ge=0, le=20_000_000)]
    gap_ppm: Annotated[int, Field(ge=1, le=1_000_000)]


class Unsplittable(Body):
    """Needs that are met whole, from one line, or not at all."""

    units: list[str]
    item_classes: list[str]


class WithoutQuorum(Body):
    """What goes on while too few witnesses cosign the log.

    dispatch  urgencies that are still dispatched; what threatens life always is
    """

    dispatch: list[Urgency]

    @field_validator("dispatch")
    @classmethod
    def _life_first(cls, dispatch: list[Urgency]) -> list[Urgency]:
        if "life_threatening" not in dispatch:
            raise ValueError("what threatens life is never held back by the log")
        return dispatch


# What a policy of before, in a frozen round, says by being silent.
_ALL_GOES_ON = WithoutQuorum(dispatch=["life_threatening", "urgent", "normal"])


class Policy(Body):
    """Everything a round and its allocations are decided by.

    tiers                     most urgent first; served strictly in this order
    repeat_penalty            points off when the applicant had the item class before, outside the
                              period in which that excludes another
    candidates_per_need_max   lines a need is compared with, the likest in text first
    waiting_days_full         days of waiting that count in full
    one_aid_days              how long one aid of an item class excludes another; 0 = never
    forecast_days             of earlier demand, from which placements between rounds judge what
                              is to come
    forecast_permille         of that demand, what is expected again before the next round
    close_after_s             from the household's confirmation to `closed`
    """

    name: PolicyName
    description_zh: str
    description_en: str
    tiers: list[Urgency]
    welfare: Welfare
    repeat_penalty: Permille
    diversity: Diversity
    fairness: Fairness
    solver: Solver
    unsplittable: Unsplittable
    candidates_per_need_max: Annotated[int, Field(ge=1, le=1_000)]
    waiting_days_full: Annotated[int, Field(ge=1, le=3_650)]
    one_aid_days: Annotated[int, Field(ge=0, le=3_650)]
    one_aid_applicant_kinds: list[Literal["household", "village", "institution"]]
    forecast_days: Annotated[int, Field(ge=1, le=365)]
    forecast_permille: Annotated[int, Field(ge=0, le=10_000)]
    deadlines_s: Deadlines
    close_after_s: Seconds
    without_quorum: WithoutQuorum = _ALL_GOES_ON
    slip_attempts_max: Annotated[int, Field(ge=1, le=10)]


class Power(ReadBody):
    """One step of the order of power: it decides before the next is looked at."""

    place: int
    code: str
    text_zh: str
    text_en: str


class PolicyRead(ReadBody):
    """A policy, in what order of power it decides, and what the log's witnesses may hold back."""

    order_of_power: list[Power]
    without_quorum_zh: str
    without_quorum_en: str
    policy: Policy


class PolicyList(ReadBody):
    data: list[PolicyRead]
