"""The history tree of RFC 6962: hashes, appending, roots, proofs and their verification.

Pure: no database, no files. A proof is planned as ranges of entries (`inclusion_ranges`,
`consistency_ranges`); whoever holds hashes folds each range with `fold`. Verification is that of
RFC 9162, which is iterative and needs nothing but the proof.
Appending keeps a *compact range*: the roots of the perfect subtrees that make up the tree, largest
first (transparency-dev/merkle, docs/compact_ranges.md).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
STORED_LEVELS = (8, 16, 24)  # roots of full tiles; a tile is 8 levels high (C2SP tlog-tiles)
TILE_WIDTH = 256

Range = tuple[int, int]


def leaf_hash(body: bytes) -> bytes:
    # SPEC: RFC 6962 2.1: MTH({d(0)}) = SHA-256(0x00 || d(0)).
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    # SPEC: RFC 6962 2.1: MTH(D[n]) = SHA-256(0x01 || MTH(D[0:k]) || MTH(D[k:n])).
    return hashlib.sha256(b"\x01" + left + right).digest()


class BadProof(ValueError):
    """The proof does not lead to the root; the message says where it broke."""


@dataclass(frozen=True)
class Node:
    """A perfect subtree: entries [index << level, (index + 1) << level)."""

    level: int
    index: int


@dataclass(frozen=True)
class Frontier:
    """All that is needed to append: the size, and a root for each set bit of it, largest first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or self.size.bit_count() != len(self.peaks):
            raise ValueError("a frontier has one root for each set bit of its size")

    @property
    def root(self) -> bytes:
        return fold(self.peaks) if self.peaks else EMPTY_ROOT

    def to_bytes(self) -> bytes:
        return b"".join(self.peaks)

    @classmethod
    def from_bytes(cls, size: int, joined: bytes) -> "Frontier":
        if len(joined) % HASH_BYTES:
            raise ValueError("a frontier is a whole number of hashes")
        steps = range(0, len(joined), HASH_BYTES)
        return cls(size, tuple(joined[at : at + HASH_BYTES] for at in steps))


def extend(frontier: Frontier, leaves: Iterable[bytes]) -> tuple[Frontier, dict[Node, bytes]]:
    """Append leaf hashes; return the new frontier and the nodes of stored levels just completed."""
    peaks = list(frontier.peaks)
    size = frontier.size
    completed: dict[Node, bytes] = {}
    for leaf in leaves:
        top, level, index = leaf, 0, size
        while index & 1:
            top = node_hash(peaks.pop(), top)
            index >>= 1
            level += 1
            if level in STORED_LEVELS:
                completed[Node(level, index)] = top
        peaks.append(top)
        size += 1
    return Frontier(size, tuple(peaks)), completed


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees given largest first; at least one."""
    top = hashes[-1]
    for left in reversed(hashes[:-1]):
        top = node_hash(left, top)
    return top


def perfect_parts(part: Range) -> list[Node]:
    """The perfect subtrees that make up [lo, hi), largest first.

    `lo` must be a multiple of a power of two not below hi - lo, as all ranges planned here are.
    """
    lo, hi = part
    parts = []
    while lo < hi:
        level = (hi - lo).bit_length() - 1
        if lo & ((1 << level) - 1):
            raise ValueError(f"[{lo}, {hi}) is not aligned")
        parts.append(Node(level, lo >> level))
        lo += 1 << level
    return parts


def _split(size: int) -> int:
    # SPEC: RFC 6962 2.1: k is the largest power of two smaller than n (k < n <= 2k).
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The ranges whose roots are the proof of entry `index` in the tree of `size`, lowest first.

    SPEC: RFC 9162 2.1.3.1 PATH(m, D[n]). Raises ValueError unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise ValueError("the index lies outside the tree")
    lo, hi, path = 0, size, []
    while hi - lo > 1:
        middle = lo + _split(hi - lo)
        if index < middle:
            path.append((middle, hi))
            hi = middle
        else:
            path.append((lo, middle))
            lo = middle
    return path[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """The ranges whose roots prove that the tree of `first` is a prefix of the one of `second`.

    SPEC: RFC 9162 2.1.4.1 SUBPROOF(m, D[n], b). Empty when the sizes are equal.
    Raises ValueError unless 0 < first <= second.
    """
    if not 0 < first <= second:
        raise ValueError("it must be: 0 < first <= second")
    if first == second:
        return []
    lo, hi, whole, path = 0, second, True, []
    while hi != first:
        middle = lo + _split(hi - lo)
        if first <= middle:
            path.append((middle, hi))
            hi = middle
        else:
            path.append((lo, middle))
            lo, whole = middle, False
    if not whole:
        path.append((lo, hi))
    return path[::-1]


def verify_inclusion(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """SPEC: RFC 9162 2.1.3.2. Raises BadProof."""
    if any(len(each) != HASH_BYTES for each in (leaf, root, *proof)):
        raise BadProof("not SHA-256 hashes")
    # SPEC: 1. "If leaf_index is greater than or equal to tree_size, then fail".
    if not 0 <= index < size:
        raise BadProof("the index lies outside the tree")
    # SPEC: 2. "Set fn to leaf_index and sn to tree_size - 1." 3. "Set r to hash."
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        # SPEC: 4.a "If sn is 0, then stop the iteration and fail".
        if sn == 0:
            raise BadProof("the proof is too long")
        # SPEC: 4.b "If LSB(fn) is set, or if fn is equal to sn": r = HASH(0x01 || p || r), and
        # "if LSB(fn) is not set, then right-shift both until LSB(fn) is set or fn is 0".
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            r = node_hash(r, p)
        # SPEC: 4.c "Finally, right-shift both fn and sn one time."
        fn >>= 1
        sn >>= 1
    # SPEC: 5. "Compare sn to 0. Compare r against the root_hash."
    if sn != 0:
        raise BadProof("the proof is too short")
    if r != root:
        raise BadProof("the proof leads to another root")


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """SPEC: RFC 9162 2.1.4.2. Raises BadProof."""
    if not 0 <= first <= second:
        raise BadProof("the first size exceeds the second")
    if first == second:
        # SPEC: RFC 9162 2.1.4.1 is for 0 < first < second; equal trees need no proof.
        if proof:
            raise BadProof("the proof must be empty")
        if first_root != second_root:
            raise BadProof("equal sizes with different roots")
        if first == 0 and first_root != EMPTY_ROOT:
            raise BadProof("the empty tree has another root")
        return
    if first == 0:
        raise BadProof("every tree goes on from the empty one: nothing is proved")
    # SPEC: 1. "If consistency_path is an empty array, stop and fail".
    if not proof:
        raise BadProof("the proof is empty")
    # SPEC: 2. "If first is an exact power of 2, then prepend first_hash to the path".
    path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    # SPEC: 3. "Set fn to first - 1 and sn to second - 1."
    # SPEC: 4. "If LSB(fn) is set, then right-shift both equally until LSB(fn) is not set."
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    # SPEC: 5. "Set both fr and sr to the first value in the array."
    fr = sr = path[0]
    for c in path[1:]:
        # SPEC: 6.a "If sn is 0, then stop the iteration and fail".
        if sn == 0:
            raise BadProof("the proof is too long")
        # SPEC: 6.b "If LSB(fn) is set, or if fn is equal to sn": both get c on the left.
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            sr = node_hash(sr, c)
        # SPEC: 6.c "Finally, right-shift both fn and sn one time."
        fn >>= 1
        sn >>= 1
    # SPEC: 7. "fr is equal to first_hash, sr is equal to second_hash and sn is 0."
    if fr != first_root:
        raise BadProof("the proof leads to another first root")
    if sr != second_root:
        raise BadProof("the proof leads to another second root")
    if sn != 0:
        raise BadProof("the proof is too short")
