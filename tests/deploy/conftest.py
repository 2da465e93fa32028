"""Servers and launchers of these tests' own: each test breaks one."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy import housing


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that the server's account may enter, unlike pytest's tmp_path for root."""
    with enterable() as made:
        yield made


@pytest.fixture(scope="module")
def module_folder() -> Iterator[Path]:
    with enterable() as made:
        yield made


@contextmanager
def enterable() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="duijie-deploy-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o711)
        yield Path(made)


@pytest.fixture
def elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a server goes that cannot stay in its folder."""
    place = folder / "elsewhere"
    place.mkdir()
    place.chmod(0o711)
    monkeypatch.setattr(housing, "ELSEWHERE", place)
    return place
