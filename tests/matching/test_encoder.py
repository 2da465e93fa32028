"""The encoder: same text, same vector, whatever the script or the form of the characters."""

import numpy as np

from services.matching.text.encoder import DIMENSION, encode


def test_full_width_and_half_width_forms_are_the_same_text():
    np.testing.assert_array_equal(encode(["Ｎ９５口罩"]), encode(["n95口罩"]))


def test_rows_have_length_one_and_an_empty_text_is_zero():
    vectors = encode(["危房改造", "dilapidated house repair", "", "。。。"])
    assert vectors.shape == (4, DIMENSION)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0, 0], atol=1e-6)


def test_alike_texts_are_nearer_than_unlike_ones():
    need, like, unlike = encode(["医用防护服 一次性", "一次性医用防护服", "油茶苗木 种植技术培训"])
    assert need @ like > 0.7 > need @ unlike


def test_a_text_gives_the_same_bytes_alone_and_in_a_batch():
    texts = ["口罩", "学费资助 school fees", "饮水工程"]
    together = encode(texts)
    for row, text in enumerate(texts):
        assert encode([text]).tobytes() == together[row].tobytes()
    assert encode([]).shape == (0, DIMENSION)
