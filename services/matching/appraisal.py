"""What pairs of live needs and lines are worth, as a round would value them; a few at a time.

The statistics of words are those of all open lines now (`index.words`), where a round takes those
of its snapshot; and hashed vectors stand where it has the snapshot's latent directions. So a fit
may differ by a few thousandths between here and there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from services.matching.domain import LineTerms, NeedTerms, text_of
from services.matching.index import WordIndex
from services.matching.planning.candidates import (
    LineColumns,
    NeedColumns,
    covering,
    given_terms,
    significant,
    term_points,
)
from services.matching.policies import Policy
from services.matching.ranking import features
from services.matching.ranking.memory import AcceptanceFacts, memory, whole_vectors
from services.matching.ranking.scorecard import Scorecard
from services.matching.text.configured import configured
from services.matching.text.likeness import are_chinese, fuse, pair_cosines, whole
from services.matching.text.tokens import tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

PERMILLE = 1_000


@dataclass(frozen=True, slots=True)
class Judge:
    """What pairs are judged by."""

    policy: Policy
    card: Scorecard
    facts: AcceptanceFacts
    at: datetime


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of one item class that fulfil every hard condition: all of needs with all of lines,
    where one of both is single.

    similarities  (e,) cosines of the texts
    lexical       (e,) thousandths, from `lexical_of`
    """

    needs: Sequence[NeedTerms]
    lines: Sequence[LineTerms]
    similarities: NDArray[np.float32]
    lexical: IntArray

    @property
    def need(self) -> IntArray:
        return np.arange(len(self)) if len(self.needs) > 1 else np.zeros(len(self), np.int64)

    @property
    def line(self) -> IntArray:
        return np.arange(len(self)) if len(self.lines) > 1 else np.zeros(len(self), np.int64)

    def __len__(self) -> int:
        return len(self.similarities)


@dataclass(frozen=True, slots=True)
class Appraised:
    """values (e, features), fit and value (e,), given and points (e, terms): as of
    `planning.candidates.Edges`; served (e,) division codes as numbers."""

    values: IntArray
    fit: IntArray
    value: IntArray
    given: IntArray
    points: IntArray
    served: IntArray


def appraise(pairs: Pairs, judge: Judge) -> Appraised:
    need, line = pairs.need, pairs.line
    needs, lines = NeedColumns(pairs.needs, judge.at), LineColumns(pairs.lines, judge.at)
    served = covering(needs, lines, need, line)
    asked, met = features.specification_counts(
        [frozenset(tokens(n.specification or "")) for n in pairs.needs],
        [_stated(pairs, m) for m in pairs.lines],
        need,
        line,
    )
    decisions = _decisions(pairs, judge)
    texts = [text_of(n) for n in pairs.needs]
    dense = np.clip(np.rint(pairs.similarities * PERMILLE).astype(np.int64), 0, PERMILLE)
    values = features.values(
        features.Pairs(
            lexical=pairs.lexical,
            dense=dense,
            fused=fused(texts, need, pairs.lexical, dense, _trained(texts, pairs)),
            specification_asked=asked,
            specification_met=met,
            required=needs.remaining[need],
            available=lines.available[line],
            served_digits=significant(served),
            verified=lines.verified[line],
            accepted=decisions[line, 0],
            declined=decisions[line, 1],
            memory=_memory(pairs, judge),
            valid_days=lines.valid_days[line],
            needed_days=needs.needed_days[need],
        )
    )
    fit = judge.card.fit(values)
    given = given_terms(judge.policy, judge.card, fit, needs, need)
    points = term_points(judge.policy, given)
    return Appraised(values, fit, points.sum(axis=1), given, points, served)


def lexical_of(words: WordIndex, queries: Sequence[str], serials: IntArray) -> IntArray:
    """Shares of each query's greatest possible BM25, thousandths.

    queries   one, for all serials, or one for each
    serials   (e,) of the documents in `words`, whose gate the caller holds
    """
    asked = [words.query(text) for text in queries]
    if len(asked) == 1:
        return _share(words.scores_of(asked[0], serials), asked[0].greatest)
    shares = [
        _share(words.scores_of(query, serials[place : place + 1]), query.greatest)
        for place, query in enumerate(asked)
    ]
    return np.concatenate([np.zeros(0, dtype=np.int64), *shares])


def fused(
    queries: Sequence[str],
    query: IntArray,
    lexical: IntArray,
    dense: IntArray,
    trained: IntArray | None = None,
) -> IntArray:
    """As `text.likeness` fuses, with vectors in the place of the collection's latent directions,
    which are learned of collections that do not change.

    query  (e,) rows of queries;  lexical, dense, trained  (e,) thousandths
    """
    return fuse(are_chinese(queries)[query], lexical, dense, trained)


def _trained(texts: Sequence[str], pairs: Pairs) -> IntArray | None:
    """(e,) thousandths by the word vectors this process was configured with, if any."""
    words = configured()
    if words is None:
        return None
    needs, lines = (
        whole(words.encode(some)) for some in (texts, [text_of(m) for m in pairs.lines])
    )
    return pair_cosines(needs, lines, pairs.need, pairs.line) // PERMILLE


def _share(scores: IntArray, greatest: int) -> IntArray:
    return np.clip(scores * PERMILLE // max(1, greatest), 0, PERMILLE)


def _stated(pairs: Pairs, line: LineTerms) -> frozenset[str]:
    if not any(need.specification for need in pairs.needs):
        return frozenset()
    return frozenset(tokens(f"{line.item} {line.specification or ''}"))


def _decisions(pairs: Pairs, judge: Judge) -> IntArray:
    counts = judge.facts.counts_of
    found = [counts.get((m.organization_id, m.item_class), (0, 0)) for m in pairs.lines]
    return np.array(found, dtype=np.int64).reshape(len(pairs.lines), 2)


def _memory(pairs: Pairs, judge: Judge) -> IntArray:
    precedents = judge.facts.precedents_of(pairs.lines[0].item_class) if len(pairs) else ()
    if not precedents:
        return np.full(len(pairs), features.UNKNOWN, dtype=np.int64)
    return memory(
        precedents,
        [n.need_id for n in pairs.needs],
        whole_vectors([text_of(n) for n in pairs.needs]),
        [m.line_id for m in pairs.lines],
        [m.organization_id for m in pairs.lines],
        whole_vectors([text_of(m) for m in pairs.lines]),
        pairs.need,
        pairs.line,
    )
