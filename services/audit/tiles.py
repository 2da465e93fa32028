"""Tiles of C2SP tlog-tiles: their paths, and which of them a tree of a size has.

A tile of level L is 256 hashes of tree level 8L; a bundle is 256 entries. A partial tile is a
prefix of the full one. Pure.
"""

import re
from dataclasses import dataclass

from shared.tlog.merkle import TILE_WIDTH

LEVEL_MAX = 63
# SPEC: tlog-tiles: N is encoded in 3-digit groups, all but the last prefixed with x: x001/x234/067.
_INDEX = re.compile(r"^((?:x[0-9]{3}/){0,5})([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?$")


class BadTilePath(ValueError):
    """Not the path of a tile."""


@dataclass(frozen=True)
class TileSpan:
    """Which tile of a row: its index, and how many of its 256 places are asked for."""

    index: int
    width: int = TILE_WIDTH

    @property
    def first(self) -> int:
        return self.index * TILE_WIDTH

    @property
    def path(self) -> str:
        groups = [f"{self.index % 1000:03d}"]
        rest = self.index // 1000
        while rest:
            groups.append(f"x{rest % 1000:03d}")
            rest //= 1000
        path = "/".join(reversed(groups))
        return path if self.width == TILE_WIDTH else f"{path}.p/{self.width}"


def parse_span(path: str) -> TileSpan:
    """Read what follows `/tile/<L>/` or `/tile/entries/`; raises BadTilePath."""
    match = _INDEX.match(path)
    if match is None:
        raise BadTilePath("the path does not name a tile")
    digits = match[1].replace("x", "").replace("/", "") + match[2]
    width = int(match[3]) if match[3] else TILE_WIDTH
    span = TileSpan(int(digits), width)
    # One tile has one address: no leading zero groups, and 256 is never written as a width.
    if (match[3] and width >= TILE_WIDTH) or span.path != path:
        raise BadTilePath("the path is not written in its one form")
    return span


def hashes_at(level: int, size: int) -> int:
    """How many complete hashes row `level` of tiles holds in a tree of `size`."""
    return size >> (8 * level)


def spans_of(level: int, size: int) -> list[TileSpan]:
    """All tiles of row `level` of a tree of `size`, the last one partial; none is empty."""
    full, rest = divmod(hashes_at(level, size), TILE_WIDTH)
    spans = [TileSpan(index) for index in range(full)]
    return [*spans, TileSpan(full, rest)] if rest else spans


def is_published(level: int, span: TileSpan, size: int) -> bool:
    """May this tile be served when the last checkpoint has `size`?

    SPEC: tlog-tiles: partial tiles exist for the sizes of checkpoints; a wider one holds the
    narrower ones, so every prefix of what is signed may be asked for. Empty tiles MUST NOT be
    served.
    """
    return span.width > 0 and span.first + span.width <= hashes_at(level, size)
