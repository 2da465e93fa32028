"""Versioned clocks and lists of practice, and which of them is in force for a division."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.vocabulary import divisions
from shared.vocabulary.codes import Urgency

DEFAULT_POLICY = "national-1"


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of practice; its code is stored with every decision taken under it.

    notice          how long the public notice lasts
    freshness       how long a published need stays so unless it is renewed
    review          how soon a need published first must have passed its verification
    publish_first   urgencies that are published at once and verified afterwards
    city_level      whether every need is verified by the city as well
    """

    code: str
    name_zh: str
    name_en: str
    says_zh: str
    says_en: str
    notice: timedelta
    freshness: timedelta
    review: timedelta
    publish_first: frozenset[Urgency]
    city_level: bool

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> "Policy":
        """Raise KeyError or ValueError when the document is not a whole policy."""
        clocks = {name: int(document[f"{name}_s"]) for name in ("notice", "freshness", "review")}
        if min(clocks.values()) < 1:
            raise ValueError(f"{document['code']}: every clock is at least one second")
        return cls(
            code=document["code"],
            name_zh=document["name_zh"],
            name_en=document["name_en"],
            says_zh=document["says_zh"],
            says_en=document["says_en"],
            notice=timedelta(seconds=clocks["notice"]),
            freshness=timedelta(seconds=clocks["freshness"]),
            review=timedelta(seconds=clocks["review"]),
            publish_first=frozenset(Urgency(u) for u in document["publish_first"]),
            city_level=bool(document["city_level"]),
        )


@dataclass(frozen=True, slots=True)
class Activation:
    """A policy put into force for a division and what it covers, from one moment to another."""

    policy: str
    division_code: str
    valid_from: datetime
    valid_until: datetime | None


def in_force(division_code: str, activations: Iterable[Activation], now: datetime) -> str:
    """The policy of the most specific valid activation that covers the division.

    Of two for the same division the later one holds; without any, the national default.
    """
    valid = [
        a
        for a in activations
        if a.valid_from <= now
        and (a.valid_until is None or now < a.valid_until)
        and divisions.covers(a.division_code, division_code)
    ]
    if not valid:
        return DEFAULT_POLICY
    # Fewer ancestors = coarser.
    best = max(valid, key=lambda a: (len(divisions.ancestors(a.division_code)), a.valid_from))
    return best.policy


@dataclass(frozen=True, slots=True)
class DeprivationIndex:
    """Weights of the household index, in permille; they sum to 1,000.

    Alkire and Foster (2011), "Counting and multidimensional poverty measurement",
    doi:10.1016/j.jpubeco.2010.11.006: a household's score is the sum of the weights of what it
    is deprived of.
    """

    version: str
    weights_permille: Mapping[str, int]

    def __post_init__(self) -> None:
        if sum(self.weights_permille.values()) != 1000:
            raise ValueError(f"{self.version}: the weights do not sum to 1,000")

    def score_permille(self, deprivations: Iterable[str]) -> int:
        """Sum of the weights; raises KeyError for what is not an indicator of this version."""
        return sum(self.weights_permille[code] for code in set(deprivations))


# Exact scores tell households of one township apart: what leaves the service is a band.
BAND_PERMILLE = 100


def band_permille(score_permille: int) -> int:
    """The score rounded down to the begin of its band."""
    return score_permille // BAND_PERMILLE * BAND_PERMILLE
