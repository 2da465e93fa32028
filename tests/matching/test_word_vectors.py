"""A heavier encoder by path: trained word vectors from a file, here a tiny one."""

from pathlib import Path

import numpy as np
import pytest

from services.matching.text.configured import configure, configured, likeness_version
from services.matching.text.likeness import LIKENESS_VERSION, TextModel
from services.matching.text.word_vectors import BadVectors, WordVectors

TINY = """7 2
the 0.9 0.1
shelter 1.0 0.1
tent 0.9 0.2
rice 0.1 1.0
food 0.2 1.0
口罩 -1.0 0.1
口 0.0 -1.0
"""


@pytest.fixture
def vectors(tmp_path: Path) -> WordVectors:
    path = tmp_path / "tiny.vec"
    path.write_text(TINY, encoding="utf-8")
    return WordVectors.read(path)


def test_words_of_like_meaning_are_near(vectors: WordVectors):
    shelter, tent, rice = vectors.encode(["the Shelter", "tent", "rice"])
    assert shelter @ tent > 0.9 > 0.5 > shelter @ rice


def test_rows_have_length_one_alone_and_in_a_batch_and_unknown_words_none(vectors: WordVectors):
    texts = ["tent rice", "口罩", "unheard"]
    rows = vectors.encode(texts)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 0], atol=1e-6)
    assert vectors.encode(texts[:1]).tobytes() == rows[0].tobytes()
    assert vectors.encode([]).shape == (0, vectors.dimension)


def test_words_that_say_nothing_do_not_count_and_rare_ones_count_more(
    tmp_path: Path, vectors: WordVectors
):
    np.testing.assert_array_equal(vectors.encode(["the tent"]), vectors.encode(["tent"]))
    path = tmp_path / "long.vec"
    between = "".join(f"word{number} 1 1\n" for number in range(200))
    path.write_text(f"common 1 0\n{between}rare 0 1\n", encoding="utf-8")
    [both] = WordVectors.read(path).encode(["common rare"])
    assert both[1] > 3 * both[0] > 0


def test_a_chinese_run_is_cut_into_the_longest_words_known(vectors: WordVectors):
    np.testing.assert_array_equal(vectors.encode(["新口罩"]), vectors.encode(["口罩"]))


def test_another_file_is_another_version(tmp_path: Path, vectors: WordVectors):
    path = tmp_path / "other.vec"
    path.write_text(TINY.replace("0.9 0.2", "0.9 0.3"), encoding="utf-8")
    assert WordVectors.read(path).version != vectors.version


@pytest.mark.parametrize("text", ["", "tent", "tent 1 2\nrice 1\n", "tent one two", "tent nan 1"])
def test_a_malformed_file_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "bad.vec"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadVectors):
        WordVectors.read(path)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path):
    path = tmp_path / "latin.vec"
    path.write_bytes(b"caf\xe9 1 2\n")
    with pytest.raises(BadVectors, match="line 1"):
        WordVectors.read(path)


def test_a_word_that_is_a_space_of_another_kind_is_a_word(tmp_path: Path):
    path = tmp_path / "spaces.vec"
    path.write_text("tent 1 2\n\u00a0 3 4\r\n", encoding="utf-8")
    assert list(WordVectors.read(path).rows) == ["tent", "\u00a0"]


def test_trained_vectors_order_what_words_cannot(vectors: WordVectors):
    lines = ["bag of rice", "family tent"]
    assert TextModel.of(lines, vectors).rank("shelter", 1)[0][0] == 1
    pairs = np.array([0, 0]), np.array([0, 1])
    found = TextModel.of(lines, vectors).likeness(["shelter"], *pairs)
    assert found.fused[1] > found.fused[0]


def test_chinese_needs_are_ordered_by_words_alone_whatever_the_encoder(vectors: WordVectors):
    lines = ["口罩", "大米 rice", "tent 口"]
    assert TextModel.of(lines, vectors).rank("口罩", 3) == TextModel.of(lines).rank("口罩", 3)


def test_a_process_is_configured_once_and_says_with_what(tmp_path: Path):
    path = tmp_path / "tiny.vec"
    path.write_text(TINY, encoding="utf-8")
    try:
        configure(path)
        assert configured() is not None
        assert likeness_version() != LIKENESS_VERSION
    finally:
        configure(None)
    assert configured() is None
    assert likeness_version() == LIKENESS_VERSION
    with pytest.raises(OSError, match="missing"):
        configure(tmp_path / "missing.vec")
