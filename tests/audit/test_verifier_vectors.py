"""The verifier's own mathematics against the vectors of test_vectors.py: it shares no code."""

import base64

import pytest

from services.audit import verifier
from tests.audit.test_vectors import C2SP, FORMATS, HASHES, NOTES, PROOFS, TLOG, VECTORS, _cases

pytestmark = pytest.mark.skipif(
    not VECTORS.exists(), reason="the reference vectors (../shared/vectors) are not here"
)


def _bytes(text):
    return base64.b64decode(text or "")


def _proof(case):
    return [_bytes(each) for each in case["proof"] or []]


# Of the 518 proofs the 98 of inclusion are for the verifier. It needs no consistency proofs: it has
# all entries, and computes each root itself. Subtree proofs are of a draft that nobody here speaks.
# ---------------------------------------------------------------- transparency-dev/merkle


@pytest.mark.parametrize("case", _cases(PROOFS, "inclusion"), ids=lambda case: case["file"])
def test_inclusion_proof_of_transparency_dev(case):
    def verify():
        leaf, root = _bytes(case["leafHash"]), _bytes(case["root"])
        verifier.prove_inclusion(case["leafIdx"], case["treeSize"], leaf, _proof(case), root)

    if case["wantErr"]:
        with pytest.raises(verifier.Bad):
            verify()
    else:
        verify()


def test_hashes_of_rfc6962_tests():
    assert verifier.Tree().root().hex() == HASHES["hash"]["empty_root"]
    for body, digest in HASHES["hash"]["leaf"]:
        assert verifier.leaf_hash(bytes.fromhex(body)).hex() == digest
    for left, right, digest in HASHES["hash"]["node"]:
        assert verifier.node_hash(bytes.fromhex(left), bytes.fromhex(right)).hex() == digest


# ---------------------------------------------------------------- notes, checkpoints, receipts


@pytest.mark.parametrize("case", _cases(NOTES, "open"), ids=lambda case: case["desc"])
def test_opening_a_note_finds_what_go_finds(case):
    keys = [verifier.Key.parse(each) for each in case["vkeys"]]
    try:
        note = verifier.open_note(case["note"], keys)
        assert note.signatures, "no known key signed"
    except (verifier.Bad, AssertionError):
        assert "error" in case
        return
    assert list(dict.fromkeys(each.key.name for each in note.signatures)) == case["verified"]
    assert list(note.not_known) == case["unverified"]


def test_the_real_checkpoint_of_sum_golang_org_verifies():
    case = TLOG["sumdb_checkpoint"]
    note = verifier.open_note(case["note"], [verifier.Key.parse(case["vkey"])])
    assert verifier.Checkpoint.parse(note.text).size == 35_225_469
    assert len(note.signatures) == 1


def test_the_note_of_the_c2sp_specification_verifies():
    case = C2SP["signed_note"]
    key = verifier.Key.parse(case["vkey"])
    assert [each.key for each in verifier.open_note(case["note"], [key]).signatures] == [key]


@pytest.mark.parametrize("case", _cases(FORMATS, "checkpoint_body"), ids=lambda case: case["desc"])
def test_checkpoint_body_of_transparency_dev_formats(case):
    if case["ok"]:
        assert verifier.Checkpoint.parse(case["m"]).size == int(case["m"].split("\n")[1])
    else:
        with pytest.raises(verifier.Bad):
            verifier.Checkpoint.parse(case["m"])


@pytest.mark.parametrize("case", _cases(FORMATS, "tlog_proof"), ids=lambda case: case["desc"])
def test_receipt_of_transparency_dev_formats(case):
    if case["ok"]:
        assert (
            str(verifier.Receipt.parse(case["m"]).index)
            == case["m"].split("index ")[1].split("\n")[0]
        )
    else:
        with pytest.raises(verifier.Bad):
            verifier.Receipt.parse(case["m"])
