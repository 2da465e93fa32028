"""What learning adds: nDCG@10 of learned re-ranking beside BM25, on ../shared/data/matching-*.

`python -m tests.benchmarks.reranking [set …]` prints a table and one JSON line of ratios. Queries
are needs, documents are the lines of as many organizations, judged pairs are what was accepted.
Five folds by need: text is known of all, decisions of four folds, and what is measured is the order
on the fifth, over the whole collection. A need's own decisions never reach its features: neither
its precedents nor the acceptance of what it accepted.

text        no decision known
popularity  the organizations' past acceptance alone: a bar, for some sets reward little else
reasoned    a card written down before any decision is known
learned     an additive card of text, past acceptance and precedents
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from services.matching.ranking import features, learning
from services.matching.ranking.features import CODES, UNKNOWN
from services.matching.ranking.memory import Precedent, memory, whole_vectors
from services.matching.ranking.scorecard import Curve, Scorecard
from tests.benchmarks.quality import (
    RelevanceSet,
    Scores,
    bm25,
    likenesses,
    quality,
    ranked,
    relevance_sets,
)

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

# Lines compared per need, the likest in text; and those a precedent speaks for more than this.
COMPARED = 100
SPOKEN_FOR = 150
# Lines shown to a need, in the order of text: what it did not accept of these, it declined.
SHOWN = 10
FOLDS = 5
DRAWS = 1_000
TITLE = learning.Title("learned", "bench", "", seed=0)
# Text first, a precedent helps: what one would write down before any decision is known of such
# sets, which have neither quantities nor divisions.
BEFORE = Scorecard(
    name="reasoned-text",
    description_zh="仅文字与先例",
    description_en="Text and precedents only",
    curves=[
        Curve(feature="text_fused", knots=[0, 500, 1000], points=[0, 500, 600], unknown=0),
        Curve(feature="acceptance_memory", knots=[0, 1000], points=[0, 250], unknown=0),
        Curve(feature="organization_acceptance", knots=[0, 1000], points=[0, 150], unknown=75),
    ],
    chance=[10, 20, 50, 100, 200, 300, 400, 500, 600, 700, 800],
)


@dataclass(frozen=True)
class Material:
    """Needs x lines: what is known of every pair without any decision, and the decisions."""

    lexical: IntArray
    dense: IntArray
    fused: IntArray
    order: IntArray
    shown: BoolArray
    accepted: BoolArray
    need_vectors: NDArray[np.float32]
    line_vectors: NDArray[np.float32]
    queries: Sequence[str]
    documents: Sequence[str]


def material(given: RelevanceSet) -> Material:
    found = list(likenesses(given))
    accepted = np.zeros((len(given.queries), len(given.documents)), dtype=bool)
    for row, relevant in enumerate(given.relevant):
        accepted[row, list(relevant)] = True
    order = np.argsort(-ranked(given), axis=1, kind="stable")
    shown = np.zeros_like(accepted)
    np.put_along_axis(shown, order[:, :SHOWN], True, axis=1)
    return Material(
        lexical=np.stack([one.lexical for one in found]),
        dense=np.stack([one.dense for one in found]),
        fused=np.stack([one.fused for one in found]),
        order=order,
        shown=shown,
        accepted=accepted,
        need_vectors=whole_vectors(given.queries),
        line_vectors=whole_vectors(given.documents),
        queries=given.queries,
        documents=given.documents,
    )


def values(known: Material, needs: IntArray, seen: IntArray) -> IntArray:
    """(needs, lines, F) from text and from the decisions of the needs in `seen`, without a need's
    own."""
    lines = known.accepted.shape[1]
    taken, left = known.accepted[seen], known.shown[seen] & ~known.accepted[seen]
    own = np.isin(needs, seen)[:, np.newaxis]
    accepted = taken.sum(axis=0) - (known.accepted[needs] & own)
    declined = left.sum(axis=0) - (known.shown[needs] & ~known.accepted[needs] & own)
    found = np.full((len(needs), lines, len(CODES)), UNKNOWN, dtype=np.int64)
    columns = {
        "text_lexical": known.lexical[needs],
        "text_dense": known.dense[needs],
        "text_fused": known.fused[needs],
        "organization_acceptance": features.acceptance(accepted, declined),
        "acceptance_memory": _memory(known, needs, seen),
    }
    for code, column in columns.items():
        found[:, :, CODES.index(code)] = column
    return found


def _memory(known: Material, needs: IntArray, seen: IntArray) -> IntArray:
    lines = known.accepted.shape[1]
    ids = [UUID(int=line) for line in range(lines)]
    need, line = np.nonzero(known.accepted[seen])
    remembered = memory(
        [_precedent(known, int(seen[n]), m) for n, m in zip(need, line.tolist(), strict=True)],
        [UUID(int=int(one)) for one in needs],
        known.need_vectors[needs],
        ids,
        ids,
        known.line_vectors,
        np.repeat(np.arange(len(needs)), lines),
        np.tile(np.arange(lines), len(needs)),
    )
    return remembered.reshape(len(needs), lines)


def _precedent(known: Material, need: int, line: int) -> Precedent:
    return Precedent(
        "",
        UUID(int=int(need)),
        known.queries[need],
        UUID(int=line),
        known.documents[line],
        UUID(int=line),
    )


def compared(known: Material, needs: IntArray, found: IntArray) -> BoolArray:
    """(needs, lines) which pairs a card orders; the others follow in the order of text."""
    asked = found[:, :, CODES.index("acceptance_memory")] > SPOKEN_FOR
    np.put_along_axis(asked, known.order[needs, :COMPARED], True, axis=1)
    return asked


def card_of(known: Material, seen: IntArray, found: IntArray) -> Scorecard:
    """Learned from the pairs compared of the needs seen, and those they accepted."""
    pairs = compared(known, seen, found) | known.accepted[seen]
    need, line = np.nonzero(pairs)
    return learning.fit(
        learning.Decisions(
            values=found[pairs],
            accepted=known.accepted[seen][pairs],
            need=need,
            organization=line,
            rank=np.ones(len(need), dtype=np.int64),
        ),
        BEFORE,
        TITLE,
    )


def ordered(known: Material, needs: IntArray, found: IntArray, card: Scorecard) -> Scores:
    """(needs, lines): by fit, equal fits in the order of text."""
    place = np.empty_like(known.order[needs])
    np.put_along_axis(place, known.order[needs], np.arange(place.shape[1])[np.newaxis], axis=1)
    pairs = compared(known, needs, found)
    fit = np.full(pairs.shape, -1, dtype=np.int64)
    fit[pairs] = card.fit(found[pairs])
    scores: Scores = (fit * place.shape[1] - place).astype(np.float64)
    return scores


def held_out(known: Material) -> dict[str, Scores]:
    """Orders of every need by decisions of needs of other folds."""
    from sklearn.model_selection import KFold

    names = ("popularity", "reasoned", "learned")
    scores = {name: np.zeros(known.accepted.shape) for name in names}
    folds = KFold(FOLDS, shuffle=True, random_state=TITLE.seed)
    for seen, needs in folds.split(known.accepted):
        card = card_of(known, seen, values(known, seen, seen))
        found = values(known, needs, seen)
        popular = found[:, :, CODES.index("organization_acceptance")]
        scores["popularity"][needs] = popular
        scores["reasoned"][needs] = ordered(known, needs, found, BEFORE)
        scores["learned"][needs] = ordered(known, needs, found, card)
    return scores


def interval(of: Sequence[float], base: Sequence[float]) -> tuple[float, float]:
    """95 % of the ratio of two means, by drawing queries anew."""
    chance = np.random.Generator(np.random.PCG64(0))
    rows = chance.integers(0, len(of), (DRAWS, len(of)))
    ratio = np.array(of)[rows].mean(axis=1) / np.maximum(np.array(base)[rows].mean(axis=1), 1e-9)
    low, high = np.quantile(ratio, (0.025, 0.975))
    return float(low), float(high)


def main(names: Sequence[str]) -> None:
    ratios: dict[str, dict[str, float]] = {}
    for given in relevance_sets():
        if names and given.name not in names:
            continue
        print(f"{given.name}: {len(given.queries)} needs, {len(given.documents)} lines, five folds")
        print(f"  {'':12} nDCG@10   of BM25   95 %")
        started = time.perf_counter()
        base = quality(bm25(given), given)
        known = material(given)
        runs = {"BM25": bm25(given), "text": ranked(given)} | held_out(known)
        for name, scores in runs.items():
            found = quality(scores, given)
            low, high = interval(found.per_query, base.per_query)
            ratio = found.ndcg / base.ndcg
            ratios.setdefault(given.name, {})[name] = round(ratio, 4)
            print(f"  {name:12} {found.ndcg:7.4f}   {ratio:6.3f}   {low:.3f} to {high:.3f}")
        print(f"  {time.perf_counter() - started:.1f} s")
    if not ratios:
        print("reranking: no relevance sets at ../shared/data/matching-*; nothing measured")
        return
    print(json.dumps({"reranking": ratios}))


if __name__ == "__main__":
    main(sys.argv[1:])
