"""Reads stored hashes: the roots of ranges for proofs, and the frontier of any prefix.

A perfect subtree is computed from the next stored level below it, so a proof reads at most some
hundred rows of each of the four levels, whatever the size of the log. Proofs of many entries are
read together: a row, and a hash that is computed on the way, serves all of them.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.domain import EntriesMissing
from shared.tlog.merkle import (
    STORED_LEVELS,
    Frontier,
    Node,
    Range,
    fold,
    inclusion_ranges,
    node_hash,
)
from shared.tlog.merkle import perfect_parts as parts_of

_ENTRIES = text(
    "SELECT e.index, e.leaf"
    " FROM unnest(CAST(:los AS bigint[]), CAST(:his AS bigint[])) AS r(lo, hi)"
    " JOIN entry e ON e.index >= r.lo AND e.index < r.hi"
)
_NODES = text(
    "SELECT n.index, n.hash"
    " FROM unnest(CAST(:los AS bigint[]), CAST(:his AS bigint[])) AS r(lo, hi)"
    " JOIN node n ON n.level = :level AND n.index >= r.lo AND n.index < r.hi"
)


async def frontier_at(session: AsyncSession, size: int) -> Frontier:
    """The frontier of the first `size` entries as they are stored; raises EntriesMissing."""
    parts = parts_of((0, size))
    held = await _read(session, parts)
    return Frontier(size, tuple(_root(part, held) for part in parts))


async def roots(session: AsyncSession, ranges: Sequence[Range]) -> list[bytes]:
    """The root of each range; raises EntriesMissing."""
    split = [parts_of(each) for each in ranges]
    held = await _read(session, [part for parts in split for part in parts])
    return [fold([_root(part, held) for part in parts]) for parts in split]


async def inclusion_paths(
    session: AsyncSession, indexes: Sequence[int], size: int
) -> list[list[bytes]]:
    """The inclusion proof of each entry in the tree of `size`, in at most four statements.

    Every index must be below `size`. Raises EntriesMissing.
    """
    planned = [inclusion_ranges(index, size) for index in indexes]
    hashes = iter(await roots(session, [each for ranges in planned for each in ranges]))
    return [[next(hashes) for _ in ranges] for ranges in planned]


def _base(level: int) -> int:
    return max((stored for stored in STORED_LEVELS if stored <= level), default=0)


def _span(part: Node) -> Range:
    height = part.level - _base(part.level)
    return part.index << height, (part.index + 1) << height


async def _read(session: AsyncSession, parts: Iterable[Node]) -> dict[Node, bytes]:
    spans: dict[int, set[Range]] = {}
    for part in parts:
        spans.setdefault(_base(part.level), set()).add(_span(part))
    held: dict[Node, bytes] = {}
    for base, wanted in spans.items():
        merged = _merged(wanted)
        arguments = {"los": [lo for lo, _ in merged], "his": [hi for _, hi in merged]}
        if base:
            rows = await session.execute(_NODES, {**arguments, "level": base})
        else:
            rows = await session.execute(_ENTRIES, arguments)
        held |= {Node(base, index): digest for index, digest in rows}
    return held


def _merged(spans: Iterable[Range]) -> list[Range]:
    """The same numbers, in order and each once."""
    merged: list[Range] = []
    for lo, hi in sorted(spans):
        if merged and lo <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(hi, merged[-1][1]))
        else:
            merged.append((lo, hi))
    return merged


def _root(part: Node, held: dict[Node, bytes]) -> bytes:
    """The root of a perfect subtree; what is computed is kept in `held` for the next one."""
    if (digest := held.get(part)) is None:
        if part.level == _base(part.level):
            raise EntriesMissing(part.index << part.level)
        below, left = part.level - 1, 2 * part.index
        digest = node_hash(_root(Node(below, left), held), _root(Node(below, left + 1), held))
        held[part] = digest
    return digest
