"""What a plan is made of: values only, and the shapes of what is stored of them.

Stored are numbers and codes; names and sentences are made when read, by `wording`.

Explanation, of a proposal (a JSON object; `contract.ExplanationRead` is what it is read as):
    level     level of the served division that covers the need
    served    that division
    compared  lines the need was compared with
    rank      its place among them by value, from 1; learning weighs decisions by it
    points    points of the fit by feature, in the order of the ranking's features
    terms     {term: [value, points]} of the welfare; the points sum to the proposal's value
    second    {line, by} the next best line it was compared with and by how many points of value
    better    {line, by, kept_by, taken, price} the best line of greater value that it did not get
              (enough of), what kept it away, and what the whole need from it would have cost
              others at the round's prices, in points of value
The last two may be null. `taken` is [[urgency, allocations, quantity], …], most urgent first.

Counts, of an outcome (`contract.OutcomeRead`):
    eligible  lines it could have been given from, after all hard conditions
    taken     what others took of those lines, as above
    left      what of those lines nobody took
    without_fairness   what it would have by welfare alone, where that is more
    cut       true where there were more lines than the policy compares
    failed    {condition: lines} that serve the division and fail; the first that fails counts
    of_class, serving   lines of the class; of those, lines that serve the division
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from services.matching.domain import LineTerms, NeedTerms

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Proposal:
    """quantity in base units; features, fit and value in thousandths."""

    need: NeedTerms
    line: LineTerms
    quantity: int
    features: tuple[int, ...]
    fit: int
    value: int
    explanation: Json


@dataclass(frozen=True, slots=True)
class Outcome:
    """Why a need was not, or not fully, met: one for each such need.

    code          a word of `contract.OutcomeCode`
    given         what the round gives it all the same, base units
    best_line_id  the line of the greatest value it did not get (enough of)
    """

    need: NeedTerms
    code: str
    given: int
    counts: Json
    best_line_id: UUID | None


@dataclass(frozen=True)
class Part:
    """One item class, solved: a round that was broken off goes on from its parts.

    totals     what the overview adds up
    prices     line id -> price, where not 0
    """

    item_class: str
    proposals: tuple[Proposal, ...]
    outcomes: tuple[Outcome, ...]
    totals: Json
    prices: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """proposals sorted by need and line, outcomes by need.

    totals   as `contract.OverviewRead`, without sentences
    prices   line id -> what a unit is worth at the margin, where not 0, in `classes.PRICE_SCALE`
             parts of a point: start prices of the next round
    """

    proposals: tuple[Proposal, ...]
    outcomes: tuple[Outcome, ...]
    totals: Json
    prices: dict[str, int]

    def sha256(self) -> str:
        """Over what was decided, in order: `[[need, line, quantity, value], …]` of the proposals
        and `[[need, code, given], …]` of the outcomes, as one JSON array without spaces."""
        body = json.dumps(
            [
                [
                    [str(p.need.need_id), str(p.line.line_id), p.quantity, p.value]
                    for p in self.proposals
                ],
                [[str(o.need.need_id), o.code, o.given] for o in self.outcomes],
            ],
            separators=(",", ":"),
        )
        return hashlib.sha256(body.encode()).hexdigest()
