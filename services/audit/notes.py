"""Signed notes, checkpoints and receipts: C2SP signed-note, tlog-checkpoint and tlog-proof.

Pure, apart from the Ed25519 of `cryptography`. Texts are str; a note is sent as its UTF-8 bytes.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.audit.merkle import HASH_BYTES

_ED25519 = b"\x01"
_KEY_BYTES = 32
_KEY_ID_BYTES = 4
_SIGNATURES_MAX = 100  # Go's bound; SPEC: signed-note: at least 16 must be accepted
_SIZE_MAX = 2**63 - 1
_NOTE_BYTES_MAX = 1_000_000
_DECIMAL = re.compile(r"^(0|[1-9][0-9]*)$")
_PROOF_HEADER = "c2sp.org/tlog-proof@v1"
_PROOF_HASHES_MAX = 63


class MalformedNote(ValueError):
    """The text is not a note, or not the note it should be."""


class UntrustedNote(ValueError):
    """No known key signed the note, or a known key's signature does not hold."""


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedNote("not base64") from error


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _is_name(name: str) -> bool:
    # SPEC: signed-note: names are non-empty, without spaces (Unicode's too) and without plus.
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)


@dataclass(frozen=True)
class VerifierKey:
    """A key's name and public half, written `name+hex(id)+base64(type || public)`."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        # SPEC: signed-note: key ID = SHA-256(name || 0x0A || type || public key)[:4].
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_encode(_ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not _is_name(parts[0]):
            raise MalformedNote("a key is name+id+base64")
        content = _decode(parts[2])
        if content[:1] != _ED25519 or len(content) != 1 + _KEY_BYTES:
            raise MalformedNote("not an Ed25519 key")
        key = cls(parts[0], content[1:])
        if key.key_id.hex() != parts[1]:
            raise MalformedNote("the key's id does not belong to it")
        return key

    def holds(self, text: str, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """A private key under its name."""

    name: str
    private: Ed25519PrivateKey

    @property
    def key(self) -> VerifierKey:
        public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return VerifierKey(self.name, public)

    def sign(self, text: str) -> str:
        """The note: `text` (ending in a newline), a blank line and our signature line."""
        if not text.endswith("\n") or _has_control(text):
            raise MalformedNote("a note's text ends in a newline and has no control characters")
        content = self.key.key_id + self.private.sign(text.encode())
        return f"{text}\n— {self.name} {_encode(content)}\n"


def _has_control(text: str) -> bool:
    return any(char < " " and char != "\n" for char in text)


@dataclass(frozen=True)
class Note:
    """An opened note: its text, and the names whose signatures hold or could not be checked."""

    text: str
    verified: tuple[str, ...]
    unverified: tuple[str, ...]


def open_note(note: str, keys: Iterable[VerifierKey]) -> Note:
    """Check a note; raises MalformedNote, or UntrustedNote when no key vouches for it."""
    if len(note.encode()) > _NOTE_BYTES_MAX or _has_control(note):
        # SPEC: signed-note: no ASCII control characters other than newline.
        raise MalformedNote("too long, or with control characters")
    at = note.rfind("\n\n")
    if at < 0 or not note.endswith("\n"):
        raise MalformedNote("no signatures")
    text, lines = note[: at + 1], note[at + 2 :].split("\n")[:-1]
    if not lines or len(lines) > _SIGNATURES_MAX:
        raise MalformedNote("no signatures, or too many")
    known = {(key.name, key.key_id): key for key in keys}
    verified: dict[str, None] = {}
    unverified: dict[str, None] = {}
    for line in lines:
        name, content = _signature(line)
        key = known.get((name, content[:_KEY_ID_BYTES]))
        if key is None:
            unverified[name] = None  # SPEC: signed-note: unknown keys MUST be ignored
        elif key.holds(text, content[_KEY_ID_BYTES:]):
            verified[name] = None
        else:
            # SPEC: signed-note: a known key whose signature fails makes the note invalid.
            raise UntrustedNote(f"the signature of {name} does not hold")
    if not verified:
        raise UntrustedNote("no known key signed")
    return Note(text, tuple(verified), tuple(unverified))


def _signature(line: str) -> tuple[str, bytes]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—" or not _is_name(parts[1]):
        raise MalformedNote("not a signature line")
    content = _decode(parts[2])
    if len(content) <= _KEY_ID_BYTES:
        raise MalformedNote("the signature is too short")
    return parts[1], content


@dataclass(frozen=True)
class Checkpoint:
    """What a log says of itself: the note body `origin, size, base64(root)`, a line each."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{_encode(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read a body; extension lines are allowed and left out, the root may have any length."""
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0]:
            raise MalformedNote("a checkpoint has an origin, a size and a root")
        if not _DECIMAL.match(lines[1]) or int(lines[1]) > _SIZE_MAX:
            raise MalformedNote("the size is not a number of entries")
        return cls(lines[0], int(lines[1]), _decode(lines[2]))


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
            lines.append(f"extra {_encode(self.extra)}")
        lines += [f"index {self.index}", *map(_encode, self.hashes), "", self.checkpoint_note]
        return "\n".join(lines)

    @classmethod
    def parse(cls, text: str) -> "Receipt":
        head, blank, note = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or not note or lines.pop(0) != _PROOF_HEADER:
            raise MalformedNote("not a tlog-proof")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = _decode(lines.pop(0).removeprefix("extra "))
        word, _, number = lines.pop(0).partition(" ") if lines else ("", "", "")
        if word != "index" or not _DECIMAL.match(number) or int(number) > _SIZE_MAX:
            raise MalformedNote("the index is missing or not a number")
        hashes = [_decode(line) for line in lines]
        if len(hashes) > _PROOF_HASHES_MAX or any(len(each) != HASH_BYTES for each in hashes):
            raise MalformedNote("a proof is at most 63 SHA-256 hashes")
        return cls(int(number), tuple(hashes), note, extra)
