"""Checkpoints and receipts: C2SP tlog-checkpoint v1.0.0 and tlog-proof. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shared.tlog.merkle import HASH_BYTES
from shared.tlog.notes import MalformedNote, VerifierKey, decode, encode, open_note

SIZE_MAX = 2**63 - 1
# Bounded, since Python itself refuses to read thousands of digits, with an error of its own.
DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_PROOF_HEADER = "c2sp.org/tlog-proof@v1"
PROOF_HASHES_MAX = 63


@dataclass(frozen=True)
class Checkpoint:
    """What a log says of itself: the note body `origin, size, base64(root)`, a line each."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{encode(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read a body; extension lines are allowed and left out, the root may have any length."""
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0]:
            raise MalformedNote("a checkpoint has an origin, a size and a root")
        if not DECIMAL.fullmatch(lines[1]) or int(lines[1]) > SIZE_MAX:
            raise MalformedNote("the size is not a number of entries")
        return cls(lines[0], int(lines[1]), decode(lines[2]))


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """A checkpoint of the log whose key this is: signed, of its origin, with a SHA-256 root."""
    checkpoint = Checkpoint.parse(open_note(note, [key]).text)
    # SPEC: tlog-checkpoint: the key name SHOULD be the origin; ours is.
    if checkpoint.origin != key.name:
        raise MalformedNote("a checkpoint of another log")
    if len(checkpoint.root) != HASH_BYTES:
        raise MalformedNote("the root is not a SHA-256 hash")
    return checkpoint


@dataclass(frozen=True)
class Receipt:
    """A proof to keep: an entry's index, its inclusion proof and the checkpoint it leads to."""

    index: int
    hashes: Sequence[bytes]
    checkpoint_note: str
    extra: bytes | None = None

    def __str__(self) -> str:
        lines = [_PROOF_HEADER]
        if self.extra is not None:
            lines.append(f"extra {encode(self.extra)}")
        lines += [f"index {self.index}", *map(encode, self.hashes), "", self.checkpoint_note]
        return "\n".join(lines)

    @classmethod
    def parse(cls, text: str) -> "Receipt":
        head, blank, note = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or not note or lines.pop(0) != _PROOF_HEADER:
            raise MalformedNote("not a tlog-proof")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = decode(lines.pop(0).removeprefix("extra "))
        word, _, number = lines.pop(0).partition(" ") if lines else ("", "", "")
        if word != "index" or not DECIMAL.fullmatch(number) or int(number) > SIZE_MAX:
            raise MalformedNote("the index is missing or not a number")
        hashes = [decode(line) for line in lines]
        if len(hashes) > PROOF_HASHES_MAX or any(len(each) != HASH_BYTES for each in hashes):
            raise MalformedNote("a proof is at most 63 SHA-256 hashes")
        return cls(int(number), tuple(hashes), note, extra)
