"""The tree against the definition of RFC 6962, written out recursively."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.tiles import BadTilePath, TileSpan, is_published, parse_span
from shared.tlog import merkle
from shared.tlog.merkle import BadProof, Frontier, Node, extend

sizes = st.integers(min_value=0, max_value=1_100)
positive = st.integers(min_value=1, max_value=1_100)


def leaves(count):
    return [merkle.leaf_hash(b"%d" % number) for number in range(count)]


LEAVES = leaves(1_100)


def definition(hashes):
    """MTH of RFC 6962 2.1."""
    if len(hashes) <= 1:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    middle = 1
    while middle * 2 < len(hashes):
        middle *= 2
    return merkle.node_hash(definition(hashes[:middle]), definition(hashes[middle:]))


def roots_of(ranges):
    return [definition(LEAVES[lo:hi]) for lo, hi in ranges]


@given(sizes)
def test_appending_gives_the_root_of_the_definition(size):
    frontier, nodes = extend(Frontier(), LEAVES[:size])
    assert frontier.root == definition(LEAVES[:size])
    assert set(nodes) == {Node(8, index) for index in range(size >> 8)}
    for node, digest in nodes.items():
        assert digest == definition(LEAVES[node.index << 8 : (node.index + 1) << 8])


@given(sizes, sizes)
def test_appending_in_two_steps_is_appending_in_one(first, second):
    one, more = sorted((first, second))
    half, _ = extend(Frontier(), LEAVES[:one])
    assert extend(half, LEAVES[one:more])[0] == extend(Frontier(), LEAVES[:more])[0]
    assert Frontier.from_bytes(one, half.to_bytes()) == half


@given(st.data())
def test_planned_inclusion_proof_verifies_and_nothing_else_does(data):
    size = data.draw(st.integers(1, 1_100))
    index = data.draw(st.integers(0, size - 1))
    root = definition(LEAVES[:size])
    proof = roots_of(merkle.inclusion_ranges(index, size))
    merkle.verify_inclusion(index, size, LEAVES[index], proof, root)
    other = data.draw(st.integers(0, 1_099).filter(lambda each: each != index))
    with pytest.raises(BadProof):
        merkle.verify_inclusion(index, size, LEAVES[other], proof, root)
    with pytest.raises(BadProof):
        merkle.verify_inclusion(index, size, LEAVES[index], [*proof, root], root)
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        with pytest.raises(BadProof):
            merkle.verify_inclusion(index, size, LEAVES[index], proof[:at] + proof[at + 1 :], root)


@given(positive, positive)
def test_planned_consistency_proof_verifies_and_not_with_another_root(one, other):
    first, second = sorted((one, other))
    roots = definition(LEAVES[:first]), definition(LEAVES[:second])
    proof = roots_of(merkle.consistency_ranges(first, second))
    merkle.verify_consistency(first, second, *roots, proof)
    wrong = hashlib.sha256(b"wrong").digest()
    with pytest.raises(BadProof):
        merkle.verify_consistency(first, second, wrong, roots[1], proof)
    with pytest.raises(BadProof):
        merkle.verify_consistency(first, second, roots[0], wrong, proof)


@given(positive, positive)
def test_proof_ranges_split_into_perfect_subtrees(one, other):
    first, second = sorted((one, other))
    for lo, hi in merkle.consistency_ranges(first, second):
        parts = merkle.perfect_parts((lo, hi))
        hashes = [
            definition(LEAVES[part.index << part.level : (part.index + 1) << part.level])
            for part in parts
        ]
        assert merkle.fold(hashes) == definition(LEAVES[lo:hi])


def test_a_frontier_must_fit_its_size():
    with pytest.raises(ValueError):
        Frontier(3, (LEAVES[0],))
    with pytest.raises(ValueError):
        Frontier.from_bytes(1, b"short")


@given(st.integers(0, 10**15), st.integers(1, 256))
def test_a_tile_has_one_path(index, width):
    span = TileSpan(index, width)
    assert parse_span(span.path) == span


@pytest.mark.parametrize(
    "path", ["1", "x000/001", "001.p/256", "001.p/0", "001.p/01", "001/002", "x001", "", "001.p/"]
)
def test_other_forms_of_a_tile_path_are_refused(path):
    with pytest.raises(BadTilePath):
        parse_span(path)


def test_only_prefixes_of_what_is_signed_are_published():
    assert is_published(0, TileSpan(1, 4), 260)
    assert is_published(0, TileSpan(1, 3), 260)
    assert not is_published(0, TileSpan(1, 5), 260)
    assert not is_published(0, TileSpan(1), 260)
    assert is_published(1, TileSpan(0, 1), 260)
    assert not is_published(1, TileSpan(0, 2), 260)
    assert not is_published(2, TileSpan(0, 1), 260)
