"""Matching policies: versioned data beside this file, one JSON document a policy.

A policy is never edited once a round ran under it: a change is a new name (`national-2`).
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from shared.bodies import Body

Urgency = Literal["life_threatening", "urgent", "normal"]
Weight = Annotated[int, Field(ge=0, le=1_000)]
Seconds = Annotated[int, Field(ge=0, le=366 * 86_400)]


class Weights(Body):
    """What each feature counts for; the score is their weighted mean in thousandths."""

    text_similarity: Weight
    specification_overlap: Weight
    quantity_fit: Weight
    level_of_match: Weight
    waiting_time: Weight
    poverty: Weight
    verified_organization: Weight


class Deadlines(Body):
    """How long an allocation may stay in a state before its quantities are given back."""

    reserved: Seconds
    accepted: Seconds
    approved: Seconds


class Policy(Body):
    """Everything a round and its allocations are decided by.

    tiers                     most urgent first; served strictly in this order
    candidates_per_need_max   lines a need is compared with, the likest in text first
    waiting_days_full         days of waiting that count in full
    one_aid_days              how long one aid of an item class excludes another; 0 = never
    close_after_s             from the household's confirmation to `closed`
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    description_zh: str
    description_en: str
    weights: Weights
    tiers: list[Urgency]
    candidates_per_need_max: Annotated[int, Field(ge=1, le=1_000)]
    waiting_days_full: Annotated[int, Field(ge=1, le=3_650)]
    one_aid_days: Annotated[int, Field(ge=0, le=3_650)]
    one_aid_applicant_kinds: list[Literal["household", "village", "institution"]]
    deadlines_s: Deadlines
    close_after_s: Seconds
    slip_attempts_max: Annotated[int, Field(ge=1, le=10)]


@cache
def policies() -> dict[str, Policy]:
    """All policies by name; a document whose name is not its file's is a mistake of ours."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.json")):
        policy = Policy.model_validate_json(path.read_bytes())
        if policy.name != path.stem or sorted(policy.tiers) != sorted(set(policy.tiers)):
            raise ValueError(f"{path.name}: wrong name or a tier twice")
        found[policy.name] = policy
    return found
