"""The heavier encoder of this process, chosen once when it starts; none by default."""

from __future__ import annotations

from pathlib import Path

from services.matching.text.likeness import LIKENESS_VERSION
from services.matching.text.word_vectors import WordVectors

_chosen: WordVectors | None = None


def configure(path: Path | None) -> None:
    """Read the word vectors of the setting MATCHING_ENCODER_PATH; without a path, use none.

    Raises BadVectors or OSError: a service with a wrong path is not to start.
    """
    # One choice a process, made before anything is compared.
    global _chosen
    _chosen = None if path is None else WordVectors.read(path)


def configured() -> WordVectors | None:
    return _chosen


def likeness_version() -> str:
    """Changes whenever the same texts could give other thousandths in this process."""
    return LIKENESS_VERSION if _chosen is None else f"{LIKENESS_VERSION}+{_chosen.version}"
