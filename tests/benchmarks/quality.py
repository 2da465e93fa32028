"""Ranking quality on the sets of ../shared/data/matching-*: our text model beside plain BM25.

`python -m tests.benchmarks.quality [set …]` prints a table and one JSON line of ratios; with
MATCHING_ENCODER_PATH, rows for the word vectors of that file stand beside the default's.

BM25 is the usual one, written apart from ours on purpose: words in lower case and Chinese 1- and
2-grams, no stems, no stop words, no synonyms, k1 = 1.2, b = 0.75.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.matching.text.likeness import Likeness, TextModel
from services.matching.text.word_vectors import WordVectors

DATA = Path(__file__).parents[3] / "shared" / "data"
TOP = 10
DEEP = 50
# One row of scores (documents,) per query; a higher score is a better document, ties go to the
# document that comes first in its file.
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class RelevanceSet:
    """Queries, documents and what people judged: relevant[q] is row of a document -> grade."""

    name: str
    documents: tuple[str, ...]
    queries: tuple[str, ...]
    relevant: tuple[Mapping[int, int], ...]


@dataclass(frozen=True)
class Quality:
    """Means over queries; per_query holds nDCG@10 of each."""

    ndcg: float
    average_precision: float
    recall: float
    per_query: tuple[float, ...]


def relevance_sets(data: Path = DATA) -> Iterator[RelevanceSet]:
    """The sets that are there, by name; queries without any judged document are left out."""
    for folder in sorted(data.glob("matching-*")):
        yield relevance_set(folder)


def relevance_set(folder: Path) -> RelevanceSet:
    documents = _texts(folder / "documents.jsonl")
    queries = _texts(folder / "queries.jsonl")
    row_of = {key: row for row, key in enumerate(documents)}
    relevant: dict[str, dict[int, int]] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines():
        query, document, grade = line.split("\t")
        if document in row_of and int(grade) > 0:
            relevant.setdefault(query, {})[row_of[document]] = int(grade)
    judged = [key for key in queries if key in relevant]
    return RelevanceSet(
        folder.name,
        tuple(documents.values()),
        tuple(queries[key] for key in judged),
        tuple(relevant[key] for key in judged),
    )


def _texts(path: Path) -> dict[str, str]:
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {line["id"]: line["text"] for line in lines}


def runs(given: RelevanceSet, trained: WordVectors | None = None) -> dict[str, Scores]:
    """Scores by name, each (queries, documents): our text model's parts and what it orders by."""
    found = list(likenesses(given, trained))
    parts = {
        name: np.array([getattr(one, name) for one in found], dtype=np.float64)
        for name in ("lexical", "latent", "dense")
    }
    return {**parts, "fused": ranked(given, trained=trained)}


def likenesses(given: RelevanceSet, trained: WordVectors | None = None) -> Iterator[Likeness]:
    """Every query against every document, query by query: the text features of each pair."""
    model = TextModel.of(given.documents, trained)
    rows = np.arange(len(given.documents), dtype=np.int64)
    for query in given.queries:
        yield model.likeness([query], np.zeros_like(rows), rows)


def ranked(given: RelevanceSet, k: int | None = None, trained: WordVectors | None = None) -> Scores:
    """What TextModel.rank orders, as scores: the full order (or its first k), finer than
    thousandths."""
    model = TextModel.of(given.documents, trained)
    k = k or len(given.documents)
    scores = np.full((len(given.queries), len(given.documents)), -np.inf)
    for row, query in enumerate(given.queries):
        best = [document for document, _ in model.rank(query, k)]
        scores[row, best] = -np.arange(len(best))
    return scores


def bm25(given: RelevanceSet, k1: float = 1.2, b: float = 0.75) -> Scores:
    counts = [Counter(_plain(text)) for text in given.documents]
    lengths = np.array([sum(count.values()) for count in counts], dtype=np.float64)
    slack = k1 * (1 - b + b * lengths / lengths.mean())
    postings: dict[str, list[tuple[int, int]]] = {}
    for row, count in enumerate(counts):
        for word, times in count.items():
            postings.setdefault(word, []).append((row, times))
    scores = np.zeros((len(given.queries), len(counts)))
    for at, text in enumerate(given.queries):
        for word in _plain(text):
            if word in postings:
                rows, times = np.array(postings[word]).T
                rare = math.log(1 + (len(counts) - len(rows) + 0.5) / (len(rows) + 0.5))
                scores[at, rows] += rare * times * (k1 + 1) / (times + slack[rows])
    return scores


_PLAIN = re.compile(r"[\u3400-\u9fff]+|[^\W_\u3400-\u9fff]+")


def _plain(text: str) -> list[str]:
    found: list[str] = []
    for run in _PLAIN.findall(unicodedata.normalize("NFKC", text).lower()):
        if "\u3400" <= run[0] <= "\u9fff":
            found.extend(run)
            found.extend(run[at : at + 2] for at in range(len(run) - 1))
        else:
            found.append(run)
    return found


def quality(scores: Scores, given: RelevanceSet) -> Quality:
    """Järvelin and Kekäläinen (2002), gains 2**grade - 1; average precision over all relevant."""
    found = [
        _of_query(np.argsort(-row, kind="stable"), relevant)
        for row, relevant in zip(scores, given.relevant, strict=True)
    ]
    ndcg, precision, recall = (float(np.mean(column)) for column in zip(*found, strict=True))
    return Quality(ndcg, precision, recall, tuple(one[0] for one in found))


def _of_query(order: NDArray[np.intp], relevant: Mapping[int, int]) -> tuple[float, float, float]:
    best = sorted(relevant.values(), reverse=True)
    grades = [relevant.get(int(row), 0) for row in order]
    places = [place for place, grade in enumerate(grades, start=1) if grade > 0]
    precisions = [hits / place for hits, place in enumerate(places, start=1)]
    return (
        _gain(grades) / _gain(best),
        sum(precisions) / len(relevant),
        sum(place <= DEEP for place in places) / len(relevant),
    )


def _gain(grades: Sequence[int]) -> float:
    return math.fsum(
        (2**grade - 1) / math.log2(place + 1) for place, grade in enumerate(grades[:TOP], 1)
    )


def main(names: Sequence[str]) -> None:
    given_sets = [one for one in relevance_sets() if not names or one.name in names]
    if not given_sets:
        print("quality: no relevance sets at ../shared/data/matching-*; nothing measured")
        return
    path = os.environ.get("MATCHING_ENCODER_PATH")
    heavier = WordVectors.read(Path(path)) if path else None
    ratios: dict[str, dict[str, float]] = {}
    for given in given_sets:
        scores = {"BM25": bm25(given), **runs(given)}
        if heavier is not None:
            cosines = heavier.encode(given.queries) @ heavier.encode(given.documents).T
            scores["word vectors"] = cosines.astype(np.float64)
            scores["fused with them"] = ranked(given, trained=heavier)
        ratios[given.name] = _table(given, {n: quality(s, given) for n, s in scores.items()})
    print(json.dumps({"quality": ratios}))


def _table(given: RelevanceSet, found: Mapping[str, Quality]) -> dict[str, float]:
    """Print one set's figures; return nDCG@10 of each as a ratio to BM25, which is the first."""
    print(f"{given.name}: {len(given.queries)} queries, {len(given.documents)} documents")
    print(f"  {'':15}  nDCG@{TOP}     MAP    R@{DEEP}  of BM25")
    ratios = {name: round(one.ndcg / found["BM25"].ndcg, 4) for name, one in found.items()}
    for name, one in found.items():
        figures = f"{one.ndcg:8.4f}{one.average_precision:8.4f}{one.recall:8.4f}"
        print(f"  {name:15}{figures}{ratios[name]:8.3f}")
    return ratios


if __name__ == "__main__":
    main(sys.argv[1:])
