"""The rules of a witness, without a witness: grammar, trust, time, and which memory counts."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.witness import domain
from services.witness.domain import (
    Cosigned,
    MalformedLogs,
    MalformedSubmission,
    NotConsistent,
    OldSizeTooLarge,
    SizeDiffers,
    UnknownLog,
    UntrustedCheckpoint,
    WitnessRefused,
)
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import EMPTY_ROOT
from shared.tlog.notes import Cosigner, Signer, open_note
from tests.witness.builders import ORIGIN, Log

LOG = Log()
LOGS = domain.trusted_logs(str(LOG.key))
OURS = Cosigner("witness.test", Ed25519PrivateKey.generate())
HASH = base64.b64encode(bytes(32)).decode()


def submission(body):
    return domain.submission_of(body.encode(), LOGS)


def cosigned(log, size, at=100, last=None):
    made, _ = domain.cosign(submission(log.ask(size, size)), last, [OURS], at)
    return made


@pytest.mark.parametrize(
    "head",
    [
        "",
        "\n",
        "old",
        "old ",
        "old  3",
        "old 03",
        "old +3",
        "old 3 ",
        " old 3",
        "OLD 3",
        "old ３",
        "old -1",
        "old 9223372036854775808",
        f"old {'9' * 5000}",
        "old 3\r",
        f"old 3\n{HASH[:-4]}",
        f"old 3\n{HASH} ",
        f"old 3\n{HASH}{HASH}",
        f"old 3\n{HASH[:-2]}B=",
        "old 3\n-",
        f"old 3{f'{chr(10)}{HASH}' * 64}",
        f"size 3\n{HASH}",
    ],
)
def test_a_request_is_read_by_the_letter(head):
    with pytest.raises(MalformedSubmission):
        submission(f"{head}\n\n{LOG.checkpoint(5)}")


@pytest.mark.parametrize("proof", [0, 1, 63])
def test_up_to_63_hashes_are_a_proof(proof):
    read = submission(f"old 3{f'{chr(10)}{HASH}' * proof}\n\n{LOG.checkpoint(5)}")
    assert (read.old_size, len(read.proof), read.checkpoint.size) == (3, proof, 5)


def signed(text):
    return Signer(ORIGIN, LOG.private).sign(text)


ROOT = base64.b64encode(EMPTY_ROOT).decode()


@pytest.mark.parametrize(
    "note",
    [
        "",
        LOG.checkpoint(5)[:-1],  # its last line does not end
        LOG.checkpoint(5).partition("\n\n")[0],  # no signatures
        LOG.checkpoint(5).replace("\n5\n", "\n05\n"),
        LOG.checkpoint(5).replace("\n5\n", "\n9223372036854775808\n"),
        LOG.checkpoint(5).replace("\n5\n", f"\n{'9' * 5000}\n"),
        LOG.checkpoint(5).replace("\n5\n", "\n5\t\n"),
        LOG.checkpoint(5) + "\n",
        signed(f"{ORIGIN}\n5\n"),
        signed(f"{ORIGIN}\n5\n{ROOT[4:]}\n"),  # 29 bytes
        signed(f"{ORIGIN}\n5\n{ROOT}\n\nmore\n"),  # an empty line within
        LOG.checkpoint(5) + "— somebody AAAA\n",  # a signature of no length
        LOG.checkpoint(5) + f"— somebody {HASH}\n" * 100,
    ],
)
def test_what_is_no_signed_checkpoint_is_refused(note):
    with pytest.raises(MalformedSubmission):
        submission(f"old 0\n\n{note}")


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(MalformedSubmission, match="UTF-8"):
        domain.submission_of(b"old 0\n\n\xff", LOGS)


def test_an_extension_line_is_cosigned_with_the_rest():
    text = f"{ORIGIN}\n0\n{ROOT}\nan extension\n"
    read = submission(f"old 0\n\n{signed(text)}")
    domain.check(read, None)
    made, lines = domain.cosign(read, None, [OURS], 7)
    assert open_note(made.note, [LOG.key, OURS.key]).text == text
    assert lines in made.note


def test_only_trusted_keys_of_that_origin_count():
    other = Log()
    with pytest.raises(UntrustedCheckpoint):  # the same name, another key
        submission(other.ask(0, 3))
    text, blank, _ = LOG.checkpoint(3).partition("\n\n")
    of_another = LOG.checkpoint(4).partition("\n\n")[2]
    with pytest.raises(UntrustedCheckpoint):  # the trusted key's line, not its signature
        submission(f"old 0\n\n{text}{blank}{of_another}")
    with pytest.raises(UnknownLog):  # the trusted key, speaking for another origin
        submission(Log("other.test", private=LOG.private).ask(0, 3))
    # Lines of unknown keys are ignored, and not kept.
    strange = other.checkpoint(3).partition("\n\n")[2]
    read = submission(f"old 0\n\n{LOG.checkpoint(3)}{strange}")
    assert strange not in domain.cosign(read, None, [OURS], 7)[0].note


def test_any_of_several_keys_of_a_log_is_enough():
    renewed = Log()
    logs = domain.trusted_logs(f"{LOG.key}\n{renewed.key}\n{LOG.key}\n")
    assert logs == {ORIGIN: (LOG.key, renewed.key)}
    for log in (LOG, renewed):
        assert domain.submission_of(log.ask(0, 3).encode(), logs).checkpoint.size == 3


def test_logs_are_read_from_lines_and_from_a_policy():
    sum_golang = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    text = f"# ours\n\nlog {LOG.key} https://log.test/\n{sum_golang} go.sum database tree\n"
    logs = domain.trusted_logs(text)
    assert list(logs) == [ORIGIN, "go.sum database tree"]
    assert str(logs["go.sum database tree"][0]) == sum_golang


# Named, for the keys are others in each process of a run.
@pytest.mark.parametrize(
    "line",
    ["log", "nonsense", f"quorum {LOG.key}", str(OURS.key), f"{LOG.key}x"],
    ids=["no key", "nonsense", "a quorum", "a witness's key", "a key and more"],
)
def test_a_line_that_names_no_log_is_told(line):
    with pytest.raises(MalformedLogs, match="line 2"):
        domain.trusted_logs(f"# first\n{line}\n")


@pytest.mark.parametrize("name", ["", "two words", "a+b", "é" * 128])
def test_not_everything_is_a_name_of_a_witness(name):
    with pytest.raises(ValueError):
        domain.witness_name(name)


def test_what_goes_on_from_the_last_one_is_cosigned():
    domain.check(submission(LOG.ask(0, 3)), None)
    last = cosigned(LOG, 3)
    domain.check(submission(LOG.ask(3, 5)), last)
    domain.check(submission(LOG.ask(3, 3)), last)  # the same once more
    domain.check(submission(LOG.ask(0, 0)), None)
    domain.check(submission(LOG.ask(0, 3)), cosigned(LOG, 0))


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (LOG.ask(0, 5), SizeDiffers),
        (LOG.ask(2, 5), SizeDiffers),
        (LOG.ask(4, 5), SizeDiffers),
        (LOG.ask(0, 3), SizeDiffers),
        (LOG.fork(0).ask(0, 3), SizeDiffers),
        (LOG.ask(3, 5, []), NotConsistent),
        (LOG.ask(3, 5, LOG.proof(3, 6)), NotConsistent),
        (LOG.ask(3, 5, [*LOG.proof(3, 5), EMPTY_ROOT]), NotConsistent),
        (LOG.fork(2).ask(3, 5), NotConsistent),
        (LOG.fork(0).ask(3, 3), NotConsistent),
        (LOG.ask(3, 3, LOG.proof(3, 5)), NotConsistent),
    ],
)
def test_anything_else_is_refused(body, refusal):
    with pytest.raises(refusal):
        domain.check(submission(body), cosigned(LOG, 3))


def test_a_first_checkpoint_comes_without_a_proof_and_an_empty_log_has_one_root():
    with pytest.raises(NotConsistent):
        domain.check(submission(LOG.ask(0, 3, LOG.proof(1, 3))), None)
    with pytest.raises(SizeDiffers):
        domain.check(submission(LOG.ask(1, 3)), None)
    lying = str(Checkpoint(ORIGIN, 0, bytes(32)))
    with pytest.raises(NotConsistent):
        domain.check(submission(f"old 0\n\n{signed(lying)}"), None)


def test_an_old_size_beyond_the_checkpoint_is_refused_before_anything_is_remembered():
    with pytest.raises(OldSizeTooLarge):
        submission(LOG.ask(4, 3))


def test_the_time_of_a_cosignature_never_goes_back():
    first = cosigned(LOG, 3, at=1_000)
    assert first.at == 1_000
    set_back = cosigned(LOG, 3, at=700, last=first)
    assert set_back.at == 1_000
    assert open_note(set_back.note, [OURS.key]).signatures[0].at == 1_000
    assert cosigned(LOG, 5, at=2_000, last=set_back).at == 2_000
    with pytest.raises(WitnessRefused, match="301 s ahead"):
        cosigned(LOG, 3, at=699, last=first)


def test_of_two_memories_the_later_counts():
    small, large = cosigned(LOG, 3, at=9), cosigned(LOG, 5, at=9)
    again = cosigned(LOG, 5, at=12)
    assert domain.newest(None, None) is None
    assert domain.newest(small, None) is domain.newest(None, small) is small
    assert domain.newest(small, large) is domain.newest(large, small) is large
    assert domain.newest(again, large) is domain.newest(large, again) is again
    with pytest.raises(WitnessRefused):
        domain.newest(large, cosigned(LOG.fork(2), 5))


def test_only_what_we_cosigned_is_remembered():
    note = cosigned(LOG, 3, at=9).note
    assert domain.remembered(note, ORIGIN, OURS.key) == cosigned_of(note)
    forged = note.replace("\n3\n", "\n2\n")
    for wrong in (forged, LOG.checkpoint(3), "", "\n\n"):
        with pytest.raises(WitnessRefused):
            domain.remembered(wrong, ORIGIN, OURS.key)
    with pytest.raises(WitnessRefused):
        domain.remembered(note, "other.test", OURS.key)


def cosigned_of(note):
    checkpoint = Checkpoint.parse(note)
    return Cosigned(ORIGIN, checkpoint.size, checkpoint.root, 9, note)
