"""Signed notes, their keys and signatures: C2SP signed-note v1.0.0, tlog-cosignature v1.0.1.

Three kinds of keys: a log's own Ed25519, a cosigner's Ed25519, a cosigner's ML-DSA-44 (FIPS 204).
Pure, apart from the signatures of `cryptography`. Texts are str; a note is sent as its UTF-8 bytes.
"""

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

_KEY_ID_BYTES = 4
_SIGNATURES_MAX = 100  # Go's bound; SPEC: signed-note: at least 16 must be accepted
_NOTE_BYTES_MAX = 1_000_000
_TIME_BYTES = 8
_TIME_MAX = 2**63 - 1  # SPEC: tlog-cosignature: a timestamp MUST NOT exceed 2^63 - 1
_NAME_BYTES_MAX = 255  # SPEC: tlog-cosignature: opaque cosigner_name<1..2^8-1>


class KeyKind(IntEnum):
    """SPEC: signed-note: the signature type byte of a key."""

    ED25519 = 0x01
    COSIGNATURE = 0x04
    ML_DSA_44 = 0x06


_PUBLIC_BYTES = {KeyKind.ED25519: 32, KeyKind.COSIGNATURE: 32, KeyKind.ML_DSA_44: 1312}


class MalformedNote(ValueError):
    """The text is not a note, or not the note it should be."""


class UntrustedNote(ValueError):
    """No known key signed the note, or a known key's signature does not hold."""


def decode(text: str) -> bytes:
    """Standard base64 with its padding; raises MalformedNote."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedNote("not base64") from error


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def is_name(name: str) -> bool:
    # SPEC: signed-note: names are non-empty, without spaces (Unicode's too) and without plus.
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)


@dataclass(frozen=True)
class VerifierKey:
    """A key's name and public half, written `name+hex(id)+base64(kind || public)`."""

    name: str
    public: bytes
    kind: KeyKind = KeyKind.ED25519

    @property
    def key_id(self) -> bytes:
        # SPEC: signed-note: key ID = SHA-256(name || 0x0A || type || public key)[:4].
        content = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(content).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encode(bytes([self.kind]) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not is_name(parts[0]):
            raise MalformedNote("a key is name+id+base64")
        content = decode(parts[2])
        try:
            kind = KeyKind(content[0])
        except (IndexError, ValueError) as error:
            raise MalformedNote("a key of an unknown kind") from error
        key = cls(parts[0], content[1:], kind)
        if len(key.public) != _PUBLIC_BYTES[kind]:
            raise MalformedNote(f"a key of this kind has {_PUBLIC_BYTES[kind]} bytes")
        if key.key_id.hex() != parts[1]:
            raise MalformedNote("the key's id does not belong to it")
        return key

    @property
    def cosigns(self) -> bool:
        return self.kind is not KeyKind.ED25519

    def holds(self, text: str, signature: bytes) -> bool:
        """Whether this key signed the note's text; a cosignature begins with its time."""
        try:
            if self.kind is KeyKind.ED25519:
                _ed25519(self.public).verify(signature, text.encode())
                return True
            at, signature = time_of(signature), signature[_TIME_BYTES:]
            if at > _TIME_MAX:
                return False
            if self.kind is KeyKind.COSIGNATURE:
                _ed25519(self.public).verify(signature, _cosigned(text, at))
            else:
                message = _cosigned_subtree(self.name, text, at)
                MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, MalformedNote, ValueError):
            return False
        return True


def _ed25519(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


def time_of(cosignature: bytes) -> int:
    """Seconds since 1970 at which the cosigner says it signed."""
    if len(cosignature) <= _TIME_BYTES:
        raise MalformedNote("the cosignature is too short")
    return int.from_bytes(cosignature[:_TIME_BYTES])


def _cosigned(text: str, at: int) -> bytes:
    # SPEC: tlog-cosignature: a header line, a time line without leading zeroes, the note body.
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _cosigned_subtree(name: str, text: str, at: int) -> bytes:
    """SPEC: tlog-cosignature, ML-DSA-44: `cosigned_message` of the checkpoint in `text`."""
    origin, size, root = [*text.split("\n"), "", "", ""][:3]
    names = [each.encode() for each in (name, origin)]
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", size):
        raise MalformedNote("only checkpoints are cosigned")
    if any(not 1 <= len(each) <= _NAME_BYTES_MAX for each in names) or len(decode(root)) != 32:
        raise MalformedNote("a name or a hash of a length that cannot be cosigned")
    cosigner, log = (bytes([len(each)]) + each for each in names)
    start = 0  # SPEC: "If signing a checkpoint, it MUST be zero."
    spans = struct.pack(">QQ", start, int(size))
    return b"subtree/v1\n\x00" + cosigner + struct.pack(">Q", at) + log + spans + decode(root)


@dataclass(frozen=True)
class Signer:
    """A log's private key under the log's name."""

    name: str
    private: Ed25519PrivateKey

    @property
    def key(self) -> VerifierKey:
        return VerifierKey(self.name, self.private.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The note: `text` (ending in a newline), a blank line and our signature line."""
        if not text.endswith("\n") or _has_control(text):
            raise MalformedNote("a note's text ends in a newline and has no control characters")
        return f"{text}\n{_line(self.key, self.private.sign(text.encode()))}"


@dataclass(frozen=True)
class Cosigner:
    """A private key that says when it saw a checkpoint as the largest of its log."""

    name: str
    private: Ed25519PrivateKey | MLDSA44PrivateKey

    @property
    def key(self) -> VerifierKey:
        ed25519 = isinstance(self.private, Ed25519PrivateKey)
        kind = KeyKind.COSIGNATURE if ed25519 else KeyKind.ML_DSA_44
        return VerifierKey(self.name, self.private.public_key().public_bytes_raw(), kind)

    def cosign(self, text: str, at: int) -> str:
        """The signature line of a checkpoint's body, at `at` seconds since 1970."""
        if self.key.kind is KeyKind.COSIGNATURE:
            message = _cosigned(text, at)
        else:
            message = _cosigned_subtree(self.name, text, at)
        return _line(self.key, at.to_bytes(_TIME_BYTES) + self.private.sign(message))


def _line(key: VerifierKey, signature: bytes) -> str:
    return f"— {key.name} {encode(key.key_id + signature)}\n"


def _has_control(text: str) -> bool:
    return any(char < " " and char != "\n" for char in text)


@dataclass(frozen=True)
class Signature:
    """A signature line that holds; `at`: seconds since 1970 a cosigner says, None of a log's."""

    key: VerifierKey
    line: str
    at: int | None


@dataclass(frozen=True)
class Note:
    """An opened note: its text, and the names whose signatures hold or could not be checked."""

    text: str
    verified: tuple[str, ...]
    unverified: tuple[str, ...]
    signatures: tuple[Signature, ...] = ()


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
    found: dict[VerifierKey, Signature] = {}
    unverified: dict[str, None] = {}
    for line in lines:
        name, content = _signature(line)
        key = known.get((name, content[:_KEY_ID_BYTES]))
        if key is None:
            unverified[name] = None  # SPEC: signed-note: unknown keys MUST be ignored
        elif key.holds(text, content[_KEY_ID_BYTES:]):
            when = time_of(content[_KEY_ID_BYTES:]) if key.cosigns else None
            found.setdefault(key, Signature(key, f"{line}\n", when))
        else:
            # SPEC: signed-note: a known key whose signature fails makes the note invalid.
            raise UntrustedNote(f"the signature of {name} does not hold")
    if not found:
        raise UntrustedNote("no known key signed")
    verified = dict.fromkeys(key.name for key in found)
    return Note(text, tuple(verified), tuple(unverified), tuple(found.values()))


def _signature(line: str) -> tuple[str, bytes]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—" or not is_name(parts[1]):
        raise MalformedNote("not a signature line")
    content = decode(parts[2])
    if len(content) <= _KEY_ID_BYTES:
        raise MalformedNote("the signature is too short")
    return parts[1], content
