"""Cosignatures of both kinds, and policies of whose are enough."""

import base64
import json
import re
from itertools import combinations
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from shared.tlog.checkpoints import Checkpoint
from shared.tlog.notes import (
    Cosigner,
    KeyKind,
    MalformedNote,
    Signer,
    UntrustedNote,
    VerifierKey,
    _cosigned,
    encode,
    open_note,
    time_of,
)
from shared.tlog.policies import MalformedPolicy, Policy

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"
AT = 1_679_315_147
LOG = Signer("log.example", Ed25519PrivateKey.from_private_bytes(bytes(32)))
BODY = str(Checkpoint("log.example", 7, b"\x07" * 32))


def witness(number, private=None):
    seed = bytes([number]) * 32
    return Cosigner(f"w{number}.example", private or Ed25519PrivateKey.from_private_bytes(seed))


@pytest.mark.parametrize(
    "private",
    [Ed25519PrivateKey.generate(), MLDSA44PrivateKey.generate()],
    ids=["ed25519", "mldsa"],
)
def test_a_cosignature_holds_for_its_checkpoint_and_time_only(private):
    cosigner = witness(1, private)
    note = LOG.sign(BODY) + cosigner.cosign(BODY, AT)
    opened = open_note(note, [LOG.key, cosigner.key])
    assert [(s.key, s.at) for s in opened.signatures] == [(LOG.key, None), (cosigner.key, AT)]
    other = str(Checkpoint("log.example", 8, b"\x07" * 32))
    with pytest.raises(UntrustedNote):
        open_note(LOG.sign(other) + cosigner.cosign(BODY, AT), [LOG.key, cosigner.key])
    line = cosigner.cosign(BODY, AT)
    content = bytearray(base64.b64decode(line.split(" ")[2]))
    content[11] ^= 1  # the time's last byte
    moved = f"— {cosigner.name} {encode(bytes(content))}\n"
    with pytest.raises(UntrustedNote):
        open_note(LOG.sign(BODY) + moved, [cosigner.key])


def test_a_post_quantum_cosignature_commits_to_the_cosigners_name():
    private = MLDSA44PrivateKey.generate()
    content = base64.b64decode(witness(1, private).cosign(BODY, AT).split(" ")[2])
    renamed = witness(2, private).key
    assert not renamed.holds(BODY, content[4:])
    assert witness(1, private).key.holds(BODY, content[4:])


def test_a_log_may_sign_twice_under_its_name():
    second = Cosigner("log.example", MLDSA44PrivateKey.generate())
    opened = open_note(LOG.sign(BODY) + second.cosign(BODY, AT), [LOG.key, second.key])
    assert {s.key.kind for s in opened.signatures} == {KeyKind.ED25519, KeyKind.ML_DSA_44}
    assert opened.verified == ("log.example",)


@pytest.mark.parametrize("private", [Ed25519PrivateKey.generate(), MLDSA44PrivateKey.generate()])
def test_keys_are_read_as_they_are_written(private):
    key = witness(3, private).key
    assert VerifierKey.parse(str(key)) == key
    with pytest.raises(MalformedNote):
        VerifierKey.parse(str(key).replace("w3", "w4"))
    with pytest.raises(MalformedNote):
        VerifierKey.parse(str(VerifierKey(key.name, key.public[:-1], key.kind)))


@pytest.mark.skipif(not VECTORS.exists(), reason="the reference vectors are not here")
def test_the_message_of_the_specification_is_what_is_cosigned():
    c2sp = json.loads((VECTORS / "c2sp-examples" / "examples.json").read_text())
    body, _, lines = c2sp["checkpoint_cosigned"].rpartition("\n\n")
    content = base64.b64decode(lines.split("\n")[1].split(" ")[2])
    # Its keys are not published (SOURCE.md), so the message and the time are compared.
    assert _cosigned(body + "\n", time_of(content[4:])).decode() == c2sp["cosigned_message"]


def a_policy(*lines):
    parties = [f"witness X{n} {witness(n).key}" for n in range(1, 7)]
    return "\n".join([f"log {LOG.key} http://log.example", *parties, *lines]) + "\n"


def test_nested_groups_count_as_the_specification_says():
    policy = Policy.parse(
        a_policy("group A 2 X1 X2 X3", "group B any X4 X5 X6", "group both all A B", "quorum both")
    )
    for count in range(7):
        for chosen in combinations(range(1, 7), count):
            of_a, of_b = sum(n <= 3 for n in chosen), sum(n > 3 for n in chosen)
            assert policy.is_met(witness(n).key for n in chosen) == (of_a >= 2 and of_b >= 1)


def test_no_quorum_is_met_by_nobody_and_a_witness_can_be_the_quorum():
    assert Policy.parse("quorum none\n").is_met([])
    one = Policy.parse(a_policy("quorum X2"))
    assert not one.is_met([witness(1).key])
    assert one.is_met([witness(2).key])


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda text: text.replace("http://log.example", "https://elsewhere.example/log"), True),
        (
            lambda text: text.replace(f"{witness(2).key}", f"{witness(2).key} http://x.test"),
            True,
        ),
        (lambda text: "\n# once more\n" + text, True),
        (lambda text: text.replace("group A 2", "group A 1"), False),
        (lambda text: text.replace("X1 X2 X3", "X1 X2 X4"), False),
        (lambda text: text.replace("quorum A", "quorum X1"), False),
        (lambda text: text.replace(str(witness(3).key), str(witness(8).key)), False),
    ],
)
def test_a_policy_stays_the_same_wherever_its_parties_are_spoken_to(change, same):
    text = a_policy("group A 2 X1 X2 X3", "quorum A")
    assert change(text) != text
    assert (Policy.parse(change(text)).identity == Policy.parse(text).identity) == same


def test_a_policy_opens_checkpoints_of_its_logs_only():
    policy = Policy.parse(a_policy("group A 2 X1 X2 X3", "quorum A"))
    stranger = witness(9)
    note = LOG.sign(BODY) + witness(1).cosign(BODY, AT) + stranger.cosign(BODY, AT)
    checkpoint, _, cosignatures = policy.open(note)
    assert checkpoint.size == 7
    assert [s.key for s in cosignatures] == [witness(1).key]
    other = Signer("log.example", Ed25519PrivateKey.generate())
    with pytest.raises(UntrustedNote):
        policy.open(other.sign(BODY) + witness(1).cosign(BODY, AT))
    with pytest.raises(UntrustedNote):  # signed with the log's key, but about another log
        policy.open(LOG.sign(BODY.replace("log.example", "else.example")))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("group A 2 X1 X9", "quorum A"), "X9 is not defined"),
        (("group A 3 X1 X2", "quorum A"), "from 1 to that"),
        (("group A 0 X1", "quorum A"), "from 1 to that"),
        (("group A all", "quorum A"), "not a line"),
        (("group A all X1 X1", "quorum A"), "member twice"),
        (("group A any X1", "group B any X1", "quorum B"), "member twice"),
        (("group none any X1", "quorum none"), "none is taken"),
        (("group X1 any X2", "quorum X1"), "X1 is taken"),
        (("quorum X1", "quorum X2"), "a quorum already"),
        (("quorum A", "group A any X1"), "not defined before"),
        ((), "no quorum line"),
        (("witness Z oops", "quorum none"), "a key is"),
        ((f"witness Z {witness(1).key}", "quorum none"), "the same key twice"),
        ((f"witness Z {LOG.key}", "quorum none"), "a cosigner's key"),
        ((f"log {witness(8).key}", "quorum none"), "Ed25519 key"),
        (("quorum none\r",), "control character"),
        (("quorums none",), "not a line"),
    ],
)
def test_what_is_not_a_policy_is_refused_with_its_line(lines, said):
    with pytest.raises(MalformedPolicy, match=said):
        Policy.parse(a_policy(*lines))


@pytest.mark.parametrize(
    "file", sorted(VECTORS.glob("sigsum-policy/*.policy")), ids=lambda f: f.stem
)
def test_real_policies_are_read(file):
    """sigsum-go's own form has bare hex keys where tlog-policy has vkeys (SOURCE.md)."""

    def as_vkey(match):
        word, name, public = match[1], match[2] or "", bytes.fromhex(match[3])
        kind = KeyKind.ED25519 if word == "log" else KeyKind.COSIGNATURE
        key = VerifierKey(name.strip() or f"log-{match[3][:8]}", public, kind)
        return f"{word} {name}{key}"

    text = re.sub(
        r"^(log|witness)\s+(\S+\s+)?([0-9a-f]{64})", as_vkey, file.read_text(), flags=re.M
    )
    policy = Policy.parse(text)
    everybody = [party.key for party in policy.witnesses.values()]
    assert policy.logs
    assert policy.is_met(everybody)
    assert not policy.is_met([])
