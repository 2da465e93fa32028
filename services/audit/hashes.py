"""Reads stored hashes: the roots of ranges for proofs, and the frontier of any prefix.

A perfect subtree is computed from the next stored level below it, so a proof reads at most some
hundred rows of each of the four levels, whatever the size of the log.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit.domain import EntriesMissing
from shared.tlog.merkle import STORED_LEVELS, Frontier, Node, Range, fold, node_hash
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


def _base(level: int) -> int:
    return max((stored for stored in STORED_LEVELS if stored <= level), default=0)


def _span(part: Node) -> Range:
    height = part.level - _base(part.level)
    return part.index << height, (part.index + 1) << height


async def _read(session: AsyncSession, parts: Iterable[Node]) -> dict[Node, bytes]:
    spans: dict[int, list[Range]] = {}
    for part in parts:
        spans.setdefault(_base(part.level), []).append(_span(part))
    held: dict[Node, bytes] = {}
    for base, wanted in spans.items():
        arguments = {"los": [lo for lo, _ in wanted], "his": [hi for _, hi in wanted]}
        if base:
            rows = await session.execute(_NODES, {**arguments, "level": base})
        else:
            rows = await session.execute(_ENTRIES, arguments)
        held |= {Node(base, index): digest for index, digest in rows}
    return held


def _root(part: Node, held: dict[Node, bytes]) -> bytes:
    base = _base(part.level)
    hashes = []
    for index in range(*_span(part)):
        if (digest := held.get(Node(base, index))) is None:
            raise EntriesMissing(index << base)
        hashes.append(digest)
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=True)
        hashes = [node_hash(left, right) for left, right in pairs]
    return hashes[0]
