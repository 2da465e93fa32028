"""When a witness cosigns: C2SP tlog-witness v1.0.0, as rules over values; and our errors.

The time is an argument: seconds since 1970, as a cosignature says it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.witness.contract import AddCheckpoint
from shared.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, Unavailable
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import EMPTY_ROOT, HASH_BYTES, BadProof, verify_consistency
from shared.tlog.notes import (
    Cosigner,
    KeyKind,
    MalformedNote,
    UntrustedNote,
    VerifierKey,
    is_name,
    open_note,
)

# 63 proof lines and a checkpoint with 30 signatures of the largest kind (ML-DSA-44: 3.3 KB).
BODY_BYTES_MAX = 128 * 1024
LOGS_BYTES_MAX = 1_000_000
CLOCK_AHEAD_S_MAX = 300  # our log takes no cosignature whose time is further from now
NAME_BYTES_MAX = 255  # SPEC: tlog-cosignature: opaque cosigner_name<1..2^8-1>

# The keys trusted for each origin.
Logs = Mapping[str, tuple[VerifierKey, ...]]


class MalformedSubmission(BadRequest):
    code = "malformed_submission"

    def __init__(self, why: str) -> None:
        super().__init__(f"Not a request of tlog-witness: {why}.")


class OldSizeTooLarge(BadRequest):
    code = "old_size_too_large"

    def __init__(self) -> None:
        super().__init__("The old size is larger than the checkpoint's.")


class UnknownLog(NotFound):
    code = "unknown_log"

    def __init__(self) -> None:
        super().__init__("This is an unknown log: the witness trusts no key for that origin.")


class UntrustedCheckpoint(Forbidden):
    code = "untrusted_checkpoint"

    def __init__(self) -> None:
        super().__init__("An invalid signature, or none by a key trusted for that log.")


class SizeDiffers(Conflict):
    """The old size is not that of the last checkpoint cosigned; the answer is that size."""

    code = "size_differs"

    def __init__(self, size: int) -> None:
        super().__init__(f"The last checkpoint cosigned has size {size}.")
        self.size = size


class NotConsistent(Invalid):
    code = "not_consistent"

    def __init__(self, why: str) -> None:
        super().__init__(f"The consistency proof does not hold: {why}.")


class NothingCosigned(NotFound):
    code = "nothing_cosigned"

    def __init__(self) -> None:
        super().__init__("The witness has cosigned no checkpoint of such a log.")


class WitnessRefused(Unavailable):
    """What the witness remembers is damaged, or contradicts itself: it must not cosign."""

    code = "witness_refused"


class NotRemembered(WitnessRefused):
    def __init__(self, origin: str) -> None:
        super().__init__(
            f"What is stored as the last checkpoint of {origin} is not one this witness cosigned: "
            "restore the newest state of the database and of WITNESS_STATE_DIR."
        )


class ClockBehind(WitnessRefused):
    def __init__(self, ahead_s: int) -> None:
        super().__init__(
            f"A cosignature made before is {ahead_s} s ahead of this clock. Set the clock right; if"
            " it was wrong then, wait until that time, or retire this witness."
        )


class MalformedLogs(ValueError):
    """The file of trusted logs cannot be read; the message gives the line."""


def trusted_logs(text: str) -> Logs:
    """The logs of `WITNESS_LOGS`: lines `<vkey> [<origin>]` or, of a tlog-policy, `log <vkey> …`.

    A log's origin is its key's name unless another is given. Raises MalformedLogs.
    """
    if len(text) > LOGS_BYTES_MAX:
        raise MalformedLogs("too long")
    found: dict[str, tuple[VerifierKey, ...]] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if words[0] == "log":
                key = VerifierKey.parse(words[1] if len(words) > 1 else "")
                origin = key.name
            else:
                key = VerifierKey.parse(words[0])
                origin = line.strip().partition(words[0])[2].strip() or key.name
        except MalformedNote as error:
            raise MalformedLogs(f"line {number}: {error}") from error
        if key.kind is not KeyKind.ED25519:
            raise MalformedLogs(f"line {number}: a log signs with an Ed25519 key")
        known = found.get(origin, ())
        found[origin] = known if key in known else (*known, key)
    return found


def witness_name(name: str) -> str:
    """The name if a key may have it; raises ValueError."""
    if not is_name(name) or len(name.encode()) > NAME_BYTES_MAX:
        raise ValueError("the name of a key has no spaces and no plus, and at most 255 bytes")
    return name


@dataclass(frozen=True)
class Submission:
    """A checkpoint that its log has signed, and a proof that it goes on from `old_size`.

    text        the note's text: what is cosigned
    log_lines   the log's own signature lines
    """

    checkpoint: Checkpoint
    old_size: int
    proof: tuple[bytes, ...]
    text: str
    log_lines: str


@dataclass(frozen=True)
class Cosigned:
    """The last checkpoint of a log that we cosigned, with the log's signatures and ours.

    at   the time of our latest cosignature
    """

    origin: str
    size: int
    root: bytes
    at: int
    note: str


def submission_of(body: bytes, logs: Logs) -> Submission:
    """Read a request, and check what needs no memory of the log.

    Raises MalformedSubmission, UnknownLog, UntrustedCheckpoint, OldSizeTooLarge.
    """
    try:
        request = AddCheckpoint.parse(body.decode())
        checkpoint = Checkpoint.parse(request.note.partition("\n\n")[0] + "\n")
        # SPEC: "If the checkpoint origin is unknown", 404: said before any signature is read.
        keys = logs.get(checkpoint.origin)
        if keys is None:
            raise UnknownLog
        note = open_note(request.note, keys)
        # SPEC: tlog-checkpoint: extension lines are non-empty, so the text is what was parsed.
        if "\n\n" in note.text:
            raise MalformedNote("an empty line within the checkpoint")
        if len(checkpoint.root) != HASH_BYTES:
            raise MalformedNote("the root is not a SHA-256 hash")
    except (MalformedNote, UnicodeDecodeError) as error:
        why = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise MalformedSubmission(why) from error
    except UntrustedNote as error:
        # SPEC: "If none of the signatures verify against a trusted public key", 403.
        raise UntrustedCheckpoint from error
    # SPEC: "The old size MUST be equal to or lower than the checkpoint size. Otherwise", 400.
    if request.old_size > checkpoint.size:
        raise OldSizeTooLarge
    lines = "".join(signature.line for signature in note.signatures)
    return Submission(checkpoint, request.old_size, request.proof, note.text, lines)


def check(submission: Submission, last: Cosigned | None) -> None:
    """Whether the checkpoint goes on from the last one cosigned.

    Raises SizeDiffers, NotConsistent.
    """
    size, root = (0, EMPTY_ROOT) if last is None else (last.size, last.root)
    # SPEC: the old size MUST match "the latest checkpoint it cosigned (or zero)"; else 409.
    if submission.old_size != size:
        raise SizeDiffers(size)
    new = submission.checkpoint
    if size == 0 and new.size > 0:
        # SPEC: "The proof MUST be empty if the old size is zero."
        if submission.proof:
            raise NotConsistent("from nothing it must be empty")
        return
    try:
        # SPEC: "If the Merkle Consistency Proof doesn't verify", 422. The same for another root of
        # the same size, where an earlier text of the specification said 409 (../shared/vectors).
        verify_consistency(size, new.size, root, new.root, submission.proof)
    except BadProof as error:
        raise NotConsistent(str(error)) from error


def cosign(
    submission: Submission, last: Cosigned | None, cosigners: Sequence[Cosigner], now: int
) -> tuple[Cosigned, str]:
    """The record to keep, and the signature lines to answer; `check` has been passed.

    Raises ClockBehind.
    """
    # A clock that was set back must not make us say that we saw the larger tree first.
    at = now if last is None else max(now, last.at)
    check_clock(at, now)
    lines = "".join(cosigner.cosign(submission.text, at) for cosigner in cosigners)
    checkpoint = submission.checkpoint
    note = f"{submission.text}\n{submission.log_lines}{lines}"
    return Cosigned(checkpoint.origin, checkpoint.size, checkpoint.root, at, note), lines


def check_clock(at: int, now: int) -> None:
    """Whether a cosignature may be made that is not older than `at`. Raises ClockBehind."""
    if at - now > CLOCK_AHEAD_S_MAX:
        raise ClockBehind(at - now)


def remembered(note: str, origin: str, key: VerifierKey) -> Cosigned:
    """What a stored note says, when it bears our own cosignature; raises WitnessRefused.

    Nobody else can have made it: neither the database nor the copy is believed without.
    """
    try:
        opened = open_note(note, [key])
        checkpoint = Checkpoint.parse(opened.text)
    except (MalformedNote, UntrustedNote) as error:
        raise NotRemembered(origin) from error
    at = opened.signatures[0].at
    if checkpoint.origin != origin or at is None:
        raise NotRemembered(origin)
    return Cosigned(origin, checkpoint.size, checkpoint.root, at, note)


def newest(stored: Cosigned | None, kept: Cosigned | None) -> Cosigned | None:
    """What was cosigned last, of what the database and the copy outside it say.

    Either may be behind: the database when it was restored from a backup, the copy when the
    process ended between the two. Raises WitnessRefused when they contradict each other.
    """
    if stored is None or kept is None:
        return kept if stored is None else stored
    if stored.size == kept.size and stored.root != kept.root:
        raise WitnessRefused(
            f"Of {stored.origin} two checkpoints of size {stored.size} are remembered: one in the "
            "database, another in WITNESS_STATE_DIR. One of them is not ours: retire this witness."
        )
    return max(stored, kept, key=lambda each: (each.size, each.at))
