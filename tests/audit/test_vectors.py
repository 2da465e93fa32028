"""The formats against vectors none of which we wrote (../shared/vectors/SOURCE.md names each)."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.tiles import TileSpan, parse_span, spans_of
from shared.tlog import merkle
from shared.tlog.checkpoints import Checkpoint, Receipt, open_checkpoint
from shared.tlog.merkle import BadProof
from shared.tlog.notes import MalformedNote, Signer, UntrustedNote, VerifierKey, open_note

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"
pytestmark = pytest.mark.skipif(
    not VECTORS.exists(), reason="the reference vectors (../shared/vectors) are not here"
)


def _vectors(path):
    file = VECTORS / path
    return json.loads(file.read_text()) if file.exists() else {}


def _cases(vectors, *keys):
    for key in keys:
        vectors = vectors.get(key, {})
    return vectors or []


PROOFS = _vectors("merkle-proofs/packed.json")
HASHES = _vectors("rfc6962-hashes/hashes.json")
NOTES = _vectors("go-sumdb/note.json")
TLOG = _vectors("go-sumdb/tlog.json")
C2SP = _vectors("c2sp-examples/examples.json")
FORMATS = _vectors("formats/formats.json")


def _bytes(text):
    return base64.b64decode(text or "")


def _hashes(proof):
    return [_bytes(each) for each in proof or []]


# ---------------------------------------------------------------- transparency-dev/merkle


@pytest.mark.parametrize("case", _cases(PROOFS, "inclusion"), ids=lambda case: case["file"])
def test_inclusion_proof_of_transparency_dev(case):
    def verify():
        merkle.verify_inclusion(
            case["leafIdx"],
            case["treeSize"],
            _bytes(case["leafHash"]),
            _hashes(case["proof"]),
            _bytes(case["root"]),
        )

    if case["wantErr"]:
        with pytest.raises(BadProof):
            verify()
    else:
        verify()


@pytest.mark.parametrize("case", _cases(PROOFS, "consistency"), ids=lambda case: case["file"])
def test_consistency_proof_of_transparency_dev(case):
    def verify():
        merkle.verify_consistency(
            case["size1"],
            case["size2"],
            _bytes(case["root1"]),
            _bytes(case["root2"]),
            _hashes(case["proof"]),
        )

    if case["wantErr"]:
        with pytest.raises(BadProof):
            verify()
    else:
        verify()


@pytest.mark.parametrize(("body", "digest"), _cases(HASHES, "hash", "leaf"))
def test_leaf_hash_of_rfc6962_tests(body, digest):
    assert merkle.leaf_hash(bytes.fromhex(body)).hex() == digest


@pytest.mark.parametrize(("left", "right", "digest"), _cases(HASHES, "hash", "node"))
def test_node_hash_of_rfc6962_tests(left, right, digest):
    assert merkle.node_hash(bytes.fromhex(left), bytes.fromhex(right)).hex() == digest


def test_empty_root_of_rfc6962_tests():
    assert merkle.Frontier().root.hex() == HASHES["hash"]["empty_root"]


# ---------------------------------------------------------------- golang.org/x/mod/sumdb/note


@pytest.mark.parametrize("case", _cases(NOTES, "sign"), ids=lambda case: case["text"][:20])
def test_signing_a_note_gives_the_bytes_go_gives(case):
    name, _, encoded = case["skey"].removeprefix("PRIVATE+KEY+").split("+", 2)
    seed = _bytes(encoded)[1:]
    signer = Signer(name, Ed25519PrivateKey.from_private_bytes(seed))
    assert signer.sign(case["text"]) == case["note"]


@pytest.mark.parametrize("case", _cases(NOTES, "open"), ids=lambda case: case["desc"])
def test_opening_a_note_finds_what_go_finds(case):
    keys = [VerifierKey.parse(each) for each in case["vkeys"]]
    if "error" in case:
        expected = MalformedNote if case["error"] == "malformed" else UntrustedNote
        with pytest.raises(expected):
            open_note(case["note"], keys)
        return
    note = open_note(case["note"], keys)
    assert list(note.verified) == case["verified"]
    assert list(note.unverified) == case["unverified"]


# ---------------------------------------------------------------- golang.org/x/mod/sumdb/tlog


def test_formatting_a_tree_gives_the_text_go_gives():
    tree = TLOG["format_tree"]
    root = base64.b64decode(tree["text"].split("\n")[2])
    # Go's case hashes the words without the leaf prefix.
    assert str(Checkpoint(tree["origin"], tree["size"], root)) == tree["text"]
    assert Checkpoint.parse(tree["text"]) == Checkpoint(tree["origin"], tree["size"], root)


@pytest.mark.parametrize("text", _cases(TLOG, "bad_trees"))
def test_trees_go_refuses_are_not_checkpoints_of_that_log(text):
    signer = Signer("go.sum-database-tree", Ed25519PrivateKey.generate())
    with pytest.raises(MalformedNote):
        open_checkpoint(signer.sign(text), signer.key)


def test_the_real_checkpoint_of_sum_golang_org_verifies():
    case = TLOG["sumdb_checkpoint"]
    note = open_note(case["note"], [VerifierKey.parse(case["vkey"])])
    assert Checkpoint.parse(note.text).size == 35_225_469


# ---------------------------------------------------------------- C2SP


def test_the_note_of_the_c2sp_specification_verifies():
    case = C2SP["signed_note"]
    key = VerifierKey.parse(case["vkey"])
    assert open_note(case["note"], [key]).verified == (key.name,)
    assert str(key) == case["vkey"]


@pytest.mark.parametrize(("index", "path"), _cases(C2SP, "tile_path"))
def test_tile_path_of_the_c2sp_specification(index, path):
    assert TileSpan(index).path == path
    assert parse_span(path) == TileSpan(index)


@pytest.mark.parametrize("size", _cases(C2SP, "tiles_of_size"))
def test_tiles_of_a_size_of_the_c2sp_specification(size):
    expected = C2SP["tiles_of_size"][size]
    for level in range(4):
        spans = spans_of(level, int(size))
        full = [span for span in spans if span.width == 256]
        partial = [span.width for span in spans if span.width < 256]
        assert len(full) == expected["full"].get(str(level), 0)
        assert partial == [width for at, width in expected["partial"].items() if at == str(level)]


def test_the_cosigned_checkpoint_of_the_c2sp_specification_parses():
    text = C2SP["checkpoint"].partition("\n\n")[0] + "\n"
    assert Checkpoint.parse(text).size == 20_852_163
    assert C2SP["cosigned_message"].endswith(str(Checkpoint.parse(text)))


# ---------------------------------------------------------------- transparency-dev/formats


@pytest.mark.parametrize("case", _cases(FORMATS, "checkpoint_body"), ids=lambda case: case["desc"])
def test_checkpoint_body_of_transparency_dev_formats(case):
    if case["ok"]:
        assert Checkpoint.parse(case["m"]).size == int(case["m"].split("\n")[1])
    else:
        with pytest.raises(MalformedNote):
            Checkpoint.parse(case["m"])


@pytest.mark.parametrize("case", _cases(FORMATS, "tlog_proof"), ids=lambda case: case["desc"])
def test_receipt_of_transparency_dev_formats(case):
    if case["ok"]:
        assert str(Receipt.parse(case["m"])) == case["m"]
    else:
        with pytest.raises(MalformedNote):
            Receipt.parse(case["m"])
