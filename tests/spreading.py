"""How the tests are spread over several processes (`make test`; pytest-xdist).

A file's tests stay together, for they share a service or a whole platform; so do the files that
share the session's platform. What takes longest begins first: begun last, it would be waited for
alone. The order matters to nothing but the duration.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# These share the platform of tests/system/conftest.py, which takes longer to start than most
# files to run.
PLATFORM = "tests/system"
_OF_THEIR_OWN = ("test_crash.py", "test_story.py")
# Files that start processes and wait for them, longest first.
LONGEST_FIRST: tuple[str, ...] = (
    "tests/system/test_crash.py",
    PLATFORM,
    "tests/system/test_story.py",
    "tests/matching/test_driver.py",
    "tests/deploy/test_launch.py",
    "tests/loading/test_emergency.py",
    "tests/audit/test_faults.py",
    "tests/audit/test_kills.py",
    "tests/audit/test_witnesses.py",
    "tests/audit/test_keys.py",
    "tests/audit/test_totals.py",
)


def place_of(nodeid: str) -> str:
    """What a test is kept together with: its file, or the platform it shares with other files."""
    file = nodeid.split("::", 1)[0]
    shares = file.startswith(f"{PLATFORM}/") and not file.endswith(_OF_THEIR_OWN)
    return PLATFORM if shares else file


def in_order(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The longest first, the others as they were collected."""
    rank = {place: number for number, place in enumerate(LONGEST_FIRST)}
    return sorted(items, key=lambda item: rank.get(place_of(item.nodeid), len(rank)))


class Spreading(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no annotations
    """Gives each process one place after the other."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False  # not by the number of tests: by `in_order`
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return place_of(nodeid)
