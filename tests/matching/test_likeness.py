"""Likeness: thousandths that are the same for everyone, and order documents better than BM25."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching.text.lexical import EMPHASIS, WEIGHT_SCALE, Lexical
from services.matching.text.likeness import TextModel
from services.matching.text.tokens import counted
from tests.benchmarks.quality import DATA, bm25, quality, ranked, relevance_set

LINES = [
    "N95口罩 3M 1860",
    "医用防护服 灭菌",
    "wheelchairs for the elderly",
    "winter blankets and family tents",
    "",
    "大米 50公斤",
]


def pairs(queries: int, documents: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.indices((queries, documents)).reshape(2, -1).astype(np.int64)
    return rows[0], rows[1]


@pytest.mark.parametrize(
    ("need", "line"), [("医用防护口罩", 0), ("防护服", 1), ("轮椅", 2), ("tent", 3), ("rice", 5)]
)
def test_the_line_of_the_thing_asked_for_comes_first(need: str, line: int):
    (row, fused), *_ = TextModel.of(LINES).rank(need, 3)
    assert row == line
    assert fused > 300


def test_lexical_is_the_share_of_the_best_score_any_document_could_have():
    model = TextModel.of(["tent", "tent tent blanket", "blanket"])
    found = model.likeness(["tent", "unheard"], *pairs(2, 3))
    assert found.lexical.max() == 1000
    assert found.lexical[2:].tolist() == [0, 0, 0, 0]


def test_scores_are_those_of_the_formula():
    lexical = Lexical.of(counted(["tent tent blanket", "rope", "rope ladder"]))
    counts, _ = lexical.queries(counted(["tent"]))
    idf = np.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    expected = idf * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2))
    scores = lexical.all_scores(counts)
    np.testing.assert_allclose(scores / (EMPHASIS * WEIGHT_SCALE), [expected, 0, 0], atol=1e-6)


@given(st.lists(st.text("米口罩 tent rope95ml", max_size=12), max_size=8), st.data())
@settings(max_examples=60)
def test_pairs_rank_and_bounds_agree_whatever_the_texts(documents: list[str], data: st.DataObject):
    model = TextModel.of(documents)
    queries = data.draw(st.lists(st.text("米口罩 tent rope95ml", max_size=12), max_size=4))
    found = model.likeness(queries, *pairs(len(queries), len(documents)))
    for values in (found.lexical, found.dense, found.latent, found.fused):
        assert values.dtype == np.int64
        assert ((values >= 0) & (values <= 1000)).all()
    for at, query in enumerate(queries):
        mine = found.fused.reshape(len(queries), -1)[at]
        ranking = model.rank(query, len(documents))
        assert [fused for _, fused in ranking] == sorted(mine.tolist(), reverse=True)
        assert all(mine[row] == fused for row, fused in ranking)


def test_other_words_that_stand_in_the_same_documents_are_alike():
    topics = [[f"{one}stamp", f"{one}nutrition", f"{one}meal"] for one in "abcdefgh"]
    # Two words of a topic a line, never the first with the last; as many directions as topics.
    lines = [f"{topic[at % 2]} {topic[at % 2 + 1]}" for at in range(16) for topic in topics]
    found = TextModel.of(lines).likeness(["astamp"], *pairs(1, 16))
    assert found.lexical[8] == 0
    assert found.fused[0] > found.fused[8] > 50 > np.delete(found.fused, [0, 8]).max()


def test_a_chinese_need_is_compared_by_words_alone():
    found = TextModel.of(LINES * 20).likeness(["口罩 mask"], *pairs(1, 120))
    np.testing.assert_array_equal(found.fused, found.lexical)


_DIGEST = """
import hashlib, numpy as np
from services.matching.text.likeness import TextModel
words = "tent rope rice water school food clinic bus roof seed 口罩 米 防护服".split()
texts = [" ".join(words[(i * k) % 13] for k in (1, 3, 5, i)) for i in range(200)]
rows = np.arange(200)
found = TextModel.of(texts).likeness(texts, rows, (rows * 7) % 200)
parts = (found.lexical, found.dense, found.latent, found.fused)
print(hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest())
"""


def test_the_number_of_threads_changes_no_byte():
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "4")
    }
    assert len(digests) == 1


@pytest.mark.parametrize(("name", "least"), [("matching-nepal", 1.3), ("matching-miami", 1.08)])
def test_fused_order_is_better_than_plain_bm25(name: str, least: float):
    """Margins below what bench-quality shows: a guard against breaking, not a measurement."""
    if not (DATA / name).is_dir():
        pytest.skip(f"the relevance set {name} is not at ../shared/data")
    whole = relevance_set(DATA / name)
    ours = quality(ranked(whole, k=10), whole).ndcg
    assert ours >= least * quality(bm25(whole), whole).ndcg
