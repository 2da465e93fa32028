"""Rankings: how well lines suit needs is counted, and where that was learned."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from shared.bodies import Body, LongText, Moment, ReadBody
from shared.events.model import Event

RankingState = Literal["training", "failed", "proposed", "active", "retired"]
RankingName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$"),
    Field(examples=["learned-2026-11"]),
]


class RankingCreate(Body):
    """Train a ranking from what was decided until now; it is compared with the one in force."""

    name: RankingName
    note: LongText | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class RankingActivate(Body):
    reason: LongText


class MetricRead(ReadBody):
    """In millionths, over needs that were held out. low and high bound the difference with 95 %
    confidence, by drawing needs anew."""

    learned: int
    previous: int
    difference: int
    low: int
    high: int


class FiguresRead(ReadBody):
    """What the decisions held, and how the learned ranking did on needs it had not seen."""

    decisions: int = Field(description="Decisions that say something about fit.")
    left_out: int = Field(description="Decisions for reasons that say nothing about fit.")
    needs: int
    accepted: int
    declined: int
    folds: int
    ndcg_at_10: MetricRead | None = Field(
        description="Over needs with something accepted and something declined; None without any."
    )
    auc: MetricRead = Field(description="An accepted pair fits better than a declined one.")
    log_loss: MetricRead = Field(description="Less is better.")


class CurveRead(ReadBody):
    """Points of one feature: linear between the knots, level outside of them."""

    feature: str
    name_zh: str
    name_en: str
    doc_zh: str
    doc_en: str
    knots: list[int]
    points: list[int]
    unknown: int = Field(description="Points where the feature is not known.")


class RankingRead(ReadBody):
    name: str
    state: RankingState
    built_in: bool = Field(description="Part of the program; needed no decisions.")
    note: str | None
    seed: int
    previous: str | None
    progress_permille: int
    problem: str | None = Field(description="Why training failed.")
    decisions: int
    decisions_sha256: str | None = Field(description="Over the decisions used, in order.")
    card_sha256: str | None
    figures: FiguresRead | None
    proposed_by: str
    proposed_at: Moment
    trained_at: Moment | None
    activated_by: str | None
    activated_at: Moment | None
    activation_reason: str | None
    retired_at: Moment | None


class RankingDetail(RankingRead):
    """With the scorecard: a pair's fit is the sum of its features' points, 0..1000."""

    encoder_version: str | None
    chance: list[int] = Field(
        description="Chance of acceptance in thousandths at fit 0, 100 … 1000; [] while training."
    )
    curves: list[CurveRead]


class RankingProposed(Event):
    """A ranking was trained; it counts nothing before somebody else puts it into force."""

    type: ClassVar[str] = "matching.ranking_proposed"
    ranking: str
    previous: str | None
    decisions: int
    decisions_sha256: str
    card_sha256: str


class RankingActivated(Event):
    """From now on rounds are computed with this ranking."""

    type: ClassVar[str] = "matching.ranking_activated"
    ranking: str
    replaced: str | None
    card_sha256: str | None
