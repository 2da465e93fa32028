"""What a log sends to a witness: C2SP tlog-witness v1.0.0. Pure.

The answer is signature lines (`Cosigner.cosign`), or with 409 the size the witness is at.
"""

from dataclasses import dataclass

from shared.tlog.checkpoints import DECIMAL, PROOF_HASHES_MAX, SIZE_MAX
from shared.tlog.merkle import HASH_BYTES
from shared.tlog.notes import MalformedNote, decode, encode

SIZE_MEDIA_TYPE = "text/x.tlog.size"


@dataclass(frozen=True)
class AddCheckpoint:
    """The body of `POST /add-checkpoint`: a checkpoint that goes on from the one of `old_size`.

    proof   consistency proof from `old_size` to the checkpoint (RFC 6962 2.1.2)
    note    the signed checkpoint, as it was given
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: str

    def __str__(self) -> str:
        return "\n".join([f"old {self.old_size}", *map(encode, self.proof), "", self.note])

    @classmethod
    def parse(cls, text: str) -> "AddCheckpoint":
        """Raises MalformedNote; the note itself is not looked at."""
        # SPEC: an old size line, zero or more proof lines, an empty line, a checkpoint.
        head, blank, note = text.partition("\n\n")
        first, *lines = head.split("\n")
        word, space, number = first.partition(" ")
        # SPEC: "the string `old`, a single space" and a decimal "with no leading zeroes".
        if not blank or (word, space) != ("old", " ") or not DECIMAL.fullmatch(number):
            raise MalformedNote("the request begins with the old size")
        if int(number) > SIZE_MAX:
            raise MalformedNote("the old size is not a number of entries")
        # SPEC: "The client MUST NOT send more than 63 consistency proof lines."
        if len(lines) > PROOF_HASHES_MAX:
            raise MalformedNote("a proof is at most 63 hashes")
        proof = tuple(map(decode, lines))
        if any(len(each) != HASH_BYTES for each in proof) or [*map(encode, proof)] != lines:
            raise MalformedNote("a proof line is one SHA-256 hash in base64")
        return cls(int(number), proof, note)
