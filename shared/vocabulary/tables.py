"""Reads the tab-separated files of the vocabulary."""

from collections.abc import Iterator
from importlib.resources import files


def rows(file_name: str, columns: int) -> Iterator[tuple[str, ...]]:
    """Yield the rows below the heading of a file of this package.

    Raises ValueError when a row has not exactly `columns` cells: the file is part of the code.
    """
    text = files("shared.vocabulary").joinpath(file_name).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines()[1:], start=2):
        cells = tuple(line.split("\t"))
        if len(cells) != columns:
            raise ValueError(f"{file_name}:{number} has {len(cells)} cells, not {columns}")
        yield cells
