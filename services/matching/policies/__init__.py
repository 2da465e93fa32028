"""Matching policies: versioned data beside this file, one JSON document a policy.

A policy is never edited once a round ran under it: a change is a new name (`national-2`).
"""

from functools import cache
from pathlib import Path

from services.matching.contract.policies import (
    Deadlines,
    Diversity,
    Fairness,
    Level,
    Policy,
    Solver,
    Unsplittable,
    Welfare,
)
from shared.vocabulary import item_classes, units

__all__ = [
    "Deadlines",
    "Diversity",
    "Fairness",
    "Level",
    "Policy",
    "Solver",
    "Unsplittable",
    "Welfare",
    "policies",
]


@cache
def policies() -> dict[str, Policy]:
    """All policies by name; a document whose name is not its file's is a mistake of ours."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.json")):
        policy = Policy.model_validate_json(path.read_bytes())
        if policy.name != path.stem or sorted(policy.tiers) != sorted(set(policy.tiers)):
            raise ValueError(f"{path.name}: wrong name or a tier twice")
        if unknown := _unknown(policy.unsplittable):
            raise ValueError(f"{path.name}: no such unit or item class: {unknown}")
        found[policy.name] = policy
    return found


def _unknown(named: Unsplittable) -> list[str]:
    known = {*units.units(), *item_classes.item_classes()}
    return [name for name in (*named.units, *named.item_classes) if name not in known]
