"""The lines each need is compared with, and what each pair is worth, in columns of whole numbers.

Vectors are taken in whole numbers too: their products stay below 2^24, where 32-bit floats are
exact, so that the likest lines are the same on every machine and in any order of adding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.matching.domain import LineTerms, NeedTerms, text_of
from services.matching.index import Asks, LineEntry, OfferIndex, id_words
from services.matching.planning.snapshot import Snapshot
from services.matching.policies import Policy
from services.matching.ranking import features
from services.matching.ranking.memory import memory, whole_vectors
from services.matching.ranking.scorecard import Scorecard
from services.matching.text import encoder
from services.matching.text.configured import configured
from services.matching.text.likeness import TextModel
from services.matching.text.tokens import tokens

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

PERMILLE = 1_000
# A household that was not assessed, or an applicant that is none: neither for nor against.
POVERTY_UNKNOWN = 500
# What the value of a pair is the sum of, in this order.
TERMS = ("fit", "poverty", "waiting_time", "acceptance", "repeat")
CODE_END = 10**12


@dataclass(frozen=True)
class Edges:
    """Pairs of needs and lines of one item class that fulfil every hard condition.

    needs, lines  of the class, sorted by id
    need, line    (e,) rows of those; sorted by both, each pair once
    values        (e, features) in thousandths, UNKNOWN where unknown
    points        (e, features) of the fit
    fit, value    (e,) thousandths, 0..1000
    given         (e, terms) thousandths of each welfare term
    terms         (e, terms) points; a row's sum is the value
    served        (e,) the served division that covers the need, as a number
    cut           (n,) the need had more lines than the policy compares
    """

    needs: Sequence[NeedTerms]
    lines: Sequence[LineTerms]
    need: IntArray
    line: IntArray
    values: IntArray
    points: IntArray
    fit: IntArray
    value: IntArray
    given: IntArray
    terms: IntArray
    served: IntArray
    cut: BoolArray

    def __len__(self) -> int:
        return len(self.need)


class Comparison:
    """All lines of a snapshot, ready to be compared with its needs, class by class."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._policy = snapshot.policy
        self._card = snapshot.card
        self._at = snapshot.taken_at
        self._acceptance = snapshot.acceptance
        self._lines = snapshot.lines
        rows: dict[str, list[int]] = {}
        for row, line in enumerate(snapshot.lines):
            rows.setdefault(line.item_class, []).append(row)
        self._rows_of_class = {code: np.array(of, dtype=np.int64) for code, of in rows.items()}

    def lines_of(self, item_class: str) -> list[LineTerms]:
        return [self._lines[row] for row in self._rows(item_class).tolist()]

    def edges(self, item_class: str, needs: Sequence[NeedTerms]) -> Edges:
        """needs   of the class, sorted by id"""
        rows = self._rows(item_class)
        lines = self.lines_of(item_class)
        texts, text_of_need = _distinct([text_of(n) for n in needs])
        vectors = whole_vectors(texts)
        need, snapshot_row, cut = self._candidates(item_class, needs, vectors[text_of_need])
        line = np.searchsorted(rows, snapshot_row)
        likeness = self._texts.likeness(texts, text_of_need[need], snapshot_row)
        needs_columns, lines_columns = NeedColumns(needs, self._at), LineColumns(lines, self._at)
        served = covering(needs_columns, lines_columns, need, line)
        counts = self._acceptance.counts_of
        decisions = np.array(
            [counts.get((m.organization_id, item_class), (0, 0)) for m in lines], dtype=np.int64
        ).reshape(len(lines), 2)
        asked, met = features.specification_counts(
            _specifications([n.specification or "" for n in needs]),
            _specifications([f"{m.item} {m.specification or ''}" for m in lines]),
            need,
            line,
        )
        values = features.values(
            features.Pairs(
                lexical=likeness.lexical,
                dense=likeness.dense,
                fused=likeness.fused,
                specification_asked=asked,
                specification_met=met,
                required=needs_columns.remaining[need],
                available=lines_columns.available[line],
                served_digits=significant(served),
                verified=lines_columns.verified[line],
                accepted=decisions[line, 0],
                declined=decisions[line, 1],
                memory=memory(
                    self._acceptance.precedents_of(item_class),
                    [n.need_id for n in needs],
                    vectors[text_of_need],
                    [m.line_id for m in lines],
                    [m.organization_id for m in lines],
                    self._texts.vectors[rows],
                    need,
                    line,
                ),
                valid_days=lines_columns.valid_days[line],
                needed_days=needs_columns.needed_days[need],
            )
        )
        points = self._card.shares(values)
        fit = points.sum(axis=1)
        given = given_terms(self._policy, self._card, fit, needs_columns, need)
        terms = term_points(self._policy, given)
        return Edges(
            needs=needs,
            lines=lines,
            need=need,
            line=line,
            values=values,
            points=points,
            fit=fit,
            value=terms.sum(axis=1),
            given=given,
            terms=terms,
            served=served,
            cut=cut,
        )

    def _rows(self, item_class: str) -> IntArray:
        return self._rows_of_class.get(item_class, np.zeros(0, dtype=np.int64))

    @cached_property
    def _texts(self) -> TextModel:
        return TextModel.of([text_of(line) for line in self._lines], configured())

    @cached_property
    def _index(self) -> OfferIndex:
        index = OfferIndex(encoder.DIMENSION)
        index.put(
            [
                LineEntry(
                    line_id=m.line_id,
                    item_class=m.item_class,
                    divisions=m.served_division_codes,
                    unit=m.unit,
                    available=m.available,
                    lot=m.lot,
                    valid_from=m.valid_from,
                    valid_until=m.valid_until,
                    applicant_kinds=m.applicant_kinds,
                    household_classes=m.household_classes,
                )
                for m in self._lines
            ],
            self._texts.vectors.astype(np.float32),
        )
        return index

    def _candidates(
        self,
        item_class: str,
        needs: Sequence[NeedTerms],
        vectors: NDArray[np.float32],
    ) -> tuple[IntArray, IntArray, BoolArray]:
        """Rows of needs and of the snapshot's lines, sorted by both; and who had more."""
        if not len(needs) or not len(self._rows(item_class)):
            nothing = np.zeros(0, dtype=np.int64)
            return nothing, nothing, np.zeros(len(needs), dtype=bool)
        found = self._index.candidates(
            [item_class] * len(needs),
            [n.division_code for n in needs],
            vectors,
            self._policy.candidates_per_need_max,
            Asks(
                units=[n.unit for n in needs],
                remaining=np.array([n.remaining for n in needs], dtype=np.int64),
                applicant_kinds=[n.applicant_kind for n in needs],
                household_classes=[n.household_class for n in needs],
                at=self._at,
            ),
            # Of many lines that read alike, each need is compared with others.
            ids=id_words([n.need_id for n in needs]),
        )
        # A fresh index numbers its rows as it was given the lines.
        need, place = np.nonzero(found.rows >= 0)
        row = found.rows[need, place]
        order = np.lexsort((row, need))
        return need[order].astype(np.int64), row[order], found.cut


def _distinct(texts: Sequence[str]) -> tuple[list[str], IntArray]:
    """The different texts in order of appearance, and the row of each: many needs read alike."""
    place: dict[str, int] = {}
    rows = [place.setdefault(text, len(place)) for text in texts]
    return list(place), np.array(rows, dtype=np.int64)


def _specifications(texts: Sequence[str]) -> list[frozenset[str]]:
    different, rows = _distinct(texts)
    words = [frozenset(tokens(text)) for text in different]
    return [words[row] for row in rows.tolist()]


# ------------------------------------------------------------------- columns


class NeedColumns:
    """Needs as whole numbers, one row each."""

    def __init__(self, needs: Sequence[NeedTerms], at: datetime) -> None:
        def column(values: Sequence[int]) -> IntArray:
            return np.array(values, dtype=np.int64)

        today = at.date()
        self.remaining = column([n.remaining for n in needs])
        self.division = column([int(n.division_code) for n in needs])
        self.needed_days = column(
            [
                features.NO_DATE if n.needed_by is None else max(1, (n.needed_by - today).days)
                for n in needs
            ]
        )
        self.waiting_days = column([max(0, (at - n.published_at).days) for n in needs])
        self.poverty = column(
            [POVERTY_UNKNOWN if n.poverty_permille is None else n.poverty_permille for n in needs]
        )
        self.aided = column([n.aided_at is not None for n in needs])


class LineColumns:
    """Lines as whole numbers, one row each; served divisions as sorted (row, code) keys."""

    def __init__(self, lines: Sequence[LineTerms], at: datetime) -> None:
        def column(values: Sequence[int]) -> IntArray:
            return np.array(values, dtype=np.int64)

        self.available = column([m.available for m in lines])
        self.lot = column([m.lot for m in lines])
        self.verified = column([m.organization_verified for m in lines])
        self.valid_days = column([max(0, (m.valid_until - at).days) for m in lines])
        self.served = np.sort(
            column(
                [
                    row * CODE_END + int(code)
                    for row, m in enumerate(lines)
                    for code in m.served_division_codes
                ]
            )
        )


_DIGITS = (12, 9, 6, 4, 2, 0)


def covering(needs: NeedColumns, lines: LineColumns, need: IntArray, line: IntArray) -> IntArray:
    """(e,) the finest division the line serves that covers the need, as a number; -1: none."""
    found = np.full(len(need), -1, dtype=np.int64)
    if not len(lines.served):
        return found
    open_ = np.arange(len(need))
    for digits in _DIGITS:
        unit = 10 ** (12 - digits)
        code = needs.division[need[open_]] // unit * unit
        key = line[open_] * CODE_END + code
        place = np.searchsorted(lines.served, key)
        hit = lines.served[np.minimum(place, len(lines.served) - 1)] == key
        found[open_[hit]] = code[hit]
        open_ = open_[~hit]
    return found


def significant(codes: IntArray) -> IntArray:
    """How many leading digits of division codes, as numbers, say something: 0, 2, 4, 6, 9, 12."""
    digits = np.zeros(len(codes), dtype=np.int64)
    for length in reversed(_DIGITS[:-1]):
        # What is left of the digits before must not be all zeros.
        shorter = _DIGITS[_DIGITS.index(length) + 1]
        digits[codes % 10 ** (12 - shorter) > 0] = length
    return digits


# --------------------------------------------------------------------- value


def given_terms(
    policy: Policy, card: Scorecard, fit: IntArray, needs: NeedColumns, need: IntArray
) -> IntArray:
    """(e, terms) thousandths; `repeat` is 1000 when the applicant had an aid of the class."""
    full = policy.waiting_days_full
    waiting = np.minimum(needs.waiting_days, full) * PERMILLE // full
    return np.stack(
        [
            fit,
            np.clip(needs.poverty, 0, PERMILLE)[need],
            waiting[need],
            card.chance_of(fit),
            needs.aided[need] * PERMILLE,
        ],
        axis=1,
    )


def term_points(policy: Policy, given: IntArray) -> IntArray:
    """(e, terms) points. Each term is rounded down by itself, so that they sum to the value."""
    welfare = policy.welfare
    weight = np.array(
        [welfare.fit, welfare.poverty, welfare.waiting_time, welfare.acceptance], dtype=np.int64
    )
    points = np.zeros(given.shape, dtype=np.int64)
    points[:, :4] = given[:, :4] * weight // max(1, int(weight.sum()))
    penalty = given[:, 4] * policy.repeat_penalty // PERMILLE
    points[:, 4] = -np.minimum(penalty, points[:, :4].sum(axis=1))
    return points
