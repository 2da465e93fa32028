"""The sentence of a comparison, whatever the numbers."""

from types import SimpleNamespace
from typing import Any

import pytest

from services.matching.queries.comparison import sentence


def of(policy: str, met: int) -> Any:
    return SimpleNamespace(policy=policy, totals={"needs_met": met})


@pytest.mark.parametrize(
    ("first", "second", "gains", "loses", "zh", "en"),
    [
        (
            of("a-1", 5),
            of("b-1", 9),
            7,
            3,
            "由 a-1 改用 b-1：7 项需求所得增加，3 项减少，获得帮助的需求增加 4 项。",
            "From a-1 to b-1: 7 needs get more, 3 get less; 4 more needs are helped.",
        ),
        (
            of("a-1", 5),
            of("b-1", 4),
            1,
            1,
            "由 a-1 改用 b-1：1 项需求所得增加，1 项减少，获得帮助的需求减少 1 项。",
            "From a-1 to b-1: 1 need gets more, 1 gets less; 1 fewer need is helped.",
        ),
        (
            of("a-1", 5),
            of("a-1", 5),
            0,
            0,
            "策略同为 a-1：0 项需求所得增加，0 项减少，获得帮助的需求一样多。",
            "Both by a-1: 0 needs get more, 0 get less; as many needs are helped.",
        ),
    ],
)
def test_a_comparison_is_said_in_words(first, second, gains, loses, zh, en):
    assert sentence(first, second, gains, loses) == (zh, en)
