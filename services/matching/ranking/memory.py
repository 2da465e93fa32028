"""What was accepted before: counts by organization, and what similar past needs accepted; pure.

A line resembles the precedents of a need when the past needs likest to it accepted that line, or
lines that read alike. The likest few of them speak, each for itself: two weak precedents count
more than one, and none can speak against.

Nearest-neighbour recommendation after Resnick et al. (1994), "GroupLens",
doi:10.1145/192844.192905.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from services.matching.ranking.features import PERMILLE, UNKNOWN
from services.matching.text import encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    # Whole numbers whatever the type: encoded vectors times WHOLE, rounded.
    Vectors = NDArray[np.int8] | NDArray[np.float32]

# As text.likeness: sums of products of such components are exact in 32-bit floats, in any order.
WHOLE = 127
SPEAKING = 5
# Past needs less like than this say nothing: two texts of one class share some words anyhow.
LIKENESS_MIN = 300
# A precedent speaks for another line by the square of its likeness, for most lines are a little
# alike; and what one organization gave is no promise of another's.
OTHER_LINE, OTHER_ORGANIZATION = 900, 700
# Bounds what a snapshot holds and what comparing costs; the newest are kept.
PRECEDENTS_PER_CLASS_MAX = 200
PRECEDENTS_MAX = 10_000
# Needs or lines compared with all precedents at once: bounds memory.
ROWS_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Precedent:
    """A pair that both sides accepted."""

    item_class: str
    need_id: UUID
    need_text: str
    line_id: UUID
    line_text: str
    organization_id: UUID


@dataclass(frozen=True, slots=True)
class OrganizationCount:
    """What an organization did with the allocations of an item class offered to it."""

    organization_id: UUID
    item_class: str
    accepted: int
    declined: int


@dataclass(frozen=True)
class AcceptanceFacts:
    """Frozen with a round. Both are sorted: counts by organization and class, precedents by class,
    need and line."""

    counts: tuple[OrganizationCount, ...] = ()
    precedents: tuple[Precedent, ...] = ()

    @cached_property
    def counts_of(self) -> Mapping[tuple[UUID, str], tuple[int, int]]:
        """(organization, item class) -> (accepted, declined)."""
        return {
            (one.organization_id, one.item_class): (one.accepted, one.declined)
            for one in self.counts
        }

    @cached_property
    def _by_class(self) -> Mapping[str, list[Precedent]]:
        found: dict[str, list[Precedent]] = defaultdict(list)
        for precedent in self.precedents:
            found[precedent.item_class].append(precedent)
        return found

    def precedents_of(self, item_class: str) -> Sequence[Precedent]:
        return self._by_class.get(item_class, ())

    def plain(self) -> dict[str, Any]:
        """Ready for JSON but for the ids; `acceptance_facts` reads it back."""
        return asdict(self)


def acceptance_facts(plain: Mapping[str, Any]) -> AcceptanceFacts:
    """From JSON, in which ids are strings."""
    ids = {"organization_id", "need_id", "line_id"}

    def revived(row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: UUID(value) if name in ids else value for name, value in row.items()}

    return AcceptanceFacts(
        tuple(OrganizationCount(**revived(row)) for row in plain["counts"]),
        tuple(Precedent(**revived(row)) for row in plain["precedents"]),
    )


def memory(
    precedents: Sequence[Precedent],
    need_ids: Sequence[UUID],
    need_vectors: Vectors,
    line_ids: Sequence[UUID],
    organization_ids: Sequence[UUID],
    line_vectors: Vectors,
    need: IntArray,
    line: IntArray,
) -> IntArray:
    """(e,) thousandths for the pairs (need[k], line[k]) of one item class; UNKNOWN where no past
    need is similar.

    precedents        of the item class; a need's own never speak for it
    need_ids          (n,) with need_vectors (n, D) in whole numbers
    line_ids          (m,) with organization_ids (m,) and line_vectors (m, D)
    need, line        (e,) rows of both
    """
    if not precedents or not len(need):
        return np.full(len(need), UNKNOWN, dtype=np.int64)
    past = list(dict.fromkeys(p.need_id for p in precedents))
    place = {need_id: row for row, need_id in enumerate(past)}
    text_of = {p.need_id: p.need_text for p in precedents}
    past_vectors = whole_vectors([text_of[need_id] for need_id in past])
    kept = min(SPEAKING, len(past))
    speaking = np.zeros((len(need_ids), kept), dtype=np.int64)
    weight = np.zeros((len(need_ids), kept), dtype=np.int64)
    for start in range(0, len(need_ids), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        near = likeness(need_vectors[part], past_vectors)
        for row, need_id in enumerate(need_ids[part]):
            if need_id in place:
                near[row, place[need_id]] = 0
        speaking[part], weight[part] = speakers(near)
    given = _given(precedents, place, line_ids, organization_ids, line_vectors)
    return resemblance(speaking, weight, given, need, line)


def _given(
    precedents: Sequence[Precedent],
    place: Mapping[UUID, int],
    line_ids: Sequence[UUID],
    organization_ids: Sequence[UUID],
    line_vectors: Vectors,
) -> NDArray[np.int16]:
    """(past needs, m) thousandths: how like each line is to the likest that the past need
    accepted."""
    accepted = whole_vectors([p.line_text for p in precedents])
    organizations = {one: number for number, one in enumerate(dict.fromkeys(organization_ids))}
    of_line = np.array([organizations[one] for one in organization_ids], dtype=np.int64)
    found = np.zeros((len(place), len(line_ids)), dtype=np.int16)
    for start in range(0, len(line_ids), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        squared = likeness(accepted, line_vectors[part]) ** 2 // PERMILLE
        for row, precedent in enumerate(precedents):
            same = of_line[part] == organizations.get(precedent.organization_id, -1)
            resembles = squared[row] * np.where(same, OTHER_LINE, OTHER_ORGANIZATION) // PERMILLE
            of_need = found[place[precedent.need_id], part]
            np.maximum(of_need, resembles.astype(np.int16), out=of_need)
    row_of_line = {line_id: row for row, line_id in enumerate(line_ids)}
    for precedent in precedents:
        if (itself := row_of_line.get(precedent.line_id)) is not None:
            found[place[precedent.need_id], itself] = PERMILLE
    return found


def speakers(near: IntArray) -> tuple[IntArray, IntArray]:
    """The past needs that speak for each need, and how loud: (n, up to SPEAKING) each.

    near   (n, p) likeness of needs to past needs, thousandths; below LIKENESS_MIN they are silent
    """
    speaking = _likest(near)
    weight = np.take_along_axis(near, speaking, axis=1)
    weight[weight < LIKENESS_MIN] = 0
    return speaking, weight


def resemblance(
    speaking: IntArray,
    weight: IntArray,
    given: IntArray | NDArray[np.int16],
    need: IntArray,
    line: IntArray,
) -> IntArray:
    """(e,) thousandths that at least one of those who speak for the need speaks for the line;
    UNKNOWN where all are silent.

    speaking, weight   as `speakers` gives them, the loudest first
    given              (p, m) how far each past need speaks for each line, thousandths
    """
    silent = np.full(len(need), PERMILLE, dtype=np.int64)
    for column in range(speaking.shape[1]):
        says = weight[need, column] * given[speaking[need, column], line] // PERMILLE
        silent = silent * (PERMILLE - says) // PERMILLE
    known = weight[:, 0] > 0
    return np.where(known[need], PERMILLE - silent, UNKNOWN)


def _likest(near: IntArray) -> IntArray:
    """(n, SPEAKING or p) columns of the greatest, the greatest first, the first among equals."""
    count = near.shape[1]
    kept = min(SPEAKING, count)
    # No two keys are equal, so that a partition is as good as a stable sort.
    keys = near * count + np.arange(count - 1, -1, -1)
    if kept < count:
        keys = np.partition(keys, count - kept, axis=1)[:, count - kept :]
    likest: IntArray = count - 1 - np.sort(keys, axis=1)[:, ::-1] % count
    return likest


def whole_vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    whole: NDArray[np.float32] = np.rint(encoder.encode(texts) * WHOLE).astype(np.float32)
    return whole


def likeness(left: Vectors, right: Vectors) -> IntArray:
    """(rows of left, rows of right) cosines in thousandths; opposite directions count as 0."""
    products = left.astype(np.float32) @ right.astype(np.float32).T
    return np.clip(products.astype(np.int64) * PERMILLE // WHOLE**2, 0, PERMILLE)
