"""Live pairs are appraised as a round would: the same features but for the collection's own."""

from pathlib import Path

import numpy as np
import pytest

from services.matching.appraisal import Judge, Pairs, appraise, lexical_of
from services.matching.domain import LineTerms, NeedTerms, text_of
from services.matching.index import Document, WordIndex
from services.matching.planning.candidates import Comparison
from services.matching.ranking.features import CODES
from services.matching.ranking.memory import AcceptanceFacts
from services.matching.ranking.scorecard import reasoned
from services.matching.text.configured import configure
from services.matching.text.encoder import encode
from services.matching.text.tokens import counted
from tests.matching.test_planning import AT, POLICY, a_line, a_need, a_snapshot

WORDS = "shelter 1.0 0.1\ntent 0.9 0.2\nrice 0.1 1.0\nfood 0.2 1.0\n"
LINES = [
    a_line(1, title="bags of rice", item="rice", specification=None),
    a_line(2, title="family tent", item="tent", specification=None),
]


@pytest.fixture
def word_vectors(tmp_path: Path):
    path = tmp_path / "words.vec"
    path.write_text(WORDS, encoding="utf-8")
    configure(path)
    yield
    configure(None)


def live(need: NeedTerms, lines: list[LineTerms]) -> np.ndarray:
    words = WordIndex(0)
    for line, counts in zip(lines, counted([text_of(m) for m in lines]), strict=True):
        words.put([Document(line.line_id, counts, (), ())])
    pairs = Pairs(
        [need],
        lines,
        encode([text_of(m) for m in lines]) @ encode([text_of(need)])[0],
        lexical_of(words, [text_of(need)], np.arange(len(lines))),
    )
    return appraise(pairs, Judge(POLICY, reasoned(), AcceptanceFacts(), AT)).values


def in_a_round(need: NeedTerms, lines: list[LineTerms]) -> np.ndarray:
    return Comparison(a_snapshot([need], lines)).edges(need.item_class, [need]).values


@pytest.mark.parametrize("title", ["shelter", "food and shelter", "帐篷", "rice"])
def test_configured_word_vectors_count_live_as_in_a_round(word_vectors: None, title: str):
    need = a_need(1, title=title, item=title)
    here, there = live(need, LINES), in_a_round(need, LINES)
    fused = CODES.index("text_fused")
    others = [column for column, code in enumerate(CODES) if not code.startswith("text_")]
    assert (here[:, others] == there[:, others]).all()
    # Without latent directions, of which a round of two lines has none.
    vectors = here[:, CODES.index("text_dense")] * (title.isascii()) * 200 // 1400
    assert np.abs(here[:, fused] - vectors - there[:, fused]).max() <= 2


def test_without_word_vectors_only_words_and_hashed_vectors_count():
    need = a_need(1, title="shelter", item="shelter")
    assert live(need, LINES)[:, CODES.index("text_fused")].max() <= 200
