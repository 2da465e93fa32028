#!/usr/bin/env python3
"""Verify the log from outside. One file, to be read before it is run: the standard library and
`cryptography` for the signatures; it shares no code with the service.

    python verifier.py --log URL       --key LOG.VKEY | --policy FILE   [--checkpoint-copy FILE] …
    python verifier.py --export FILE   --key … | --policy …             (offline: rows of the log)
    python verifier.py --receipt FILE  --key … | --policy …  --entry FILE | --leaf HEX   (offline)

Of a log it downloads every entry, recomputes the Merkle tree (RFC 6962) and compares it with the
signed checkpoint, with what is stored (leaf hashes, nodes, query columns), with the numbers and the
daily totals the producers told, with the witnesses' own views, and, with --checkpoint-copy, with
the checkpoints and leaf hashes kept outside the database (`checkpoints`, `leaves` beside the copy).
--policy (C2SP tlog-policy) asks for a quorum of witnesses; --disclosures checks SD-JWT disclosures.
Memory is bounded, every wait ends. The last line is one JSON object
{"ok", "size", "first_bad_index", "last_possible_index", "problem", "seconds", "witnesses", …}.
Status: 0 good, 1 bad, 2 it could not be checked.

What it proves and what it cannot: docs/log.md. Read on in this order: hashes, signatures, the log
over HTTP, one chunk of entries, facts that need their order, the pass over a log, files, command.
"""

import argparse
import base64
import binascii
import bisect
import csv
import hashlib
import http.client
import io
import json
import multiprocessing
import os
import re
import socket
import struct
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

try:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
except ImportError:  # an older `cryptography`: such signatures are then not counted, and named
    MLDSA44PublicKey = None  # type: ignore[assignment, misc]

WIDTH = 256  # hashes of a tile
CHUNK = 8_192  # entries read at once: a perfect subtree of 16 tiles
GROUP = 64  # entries whose columns are told together
TILE_EVERY = 256  # of so many published tiles one is compared with what was read in bulk
PROCESSES_FROM = 50_000  # entries from which further processes are worth their start
REQUEST_S = 120.0  # longest time for one answer, however slowly it trickles
CONNECT_S = 30.0
STALL_S = 300.0  # so long one thing is asked for again and again before we give up
ATTEMPTS_MAX = 5
CATCH_UP_S = 10.0  # so long a healthy log may take to publish what was just appended or signed
LATE_S = 86_400  # told later than a day after it happened: somebody should ask why
CLOCK_SKEW_S = 300  # clocks of honest machines differ by less
TEXT_BYTES_MAX = 1_000_000
COLUMN_BYTES_MAX = 16_000_000
BODY_BYTES_MAX = 65_535
BUNDLE_BYTES_MAX = WIDTH * (2 + BODY_BYTES_MAX)
STORED_BYTES_MAX = 64_000_000
LINE_BYTES_MAX = 1_000_000  # of an export: an entry of 65,535 bytes, escaped, with its proof
STORED_NOTE_BYTES_MAX = 200_000  # of one stored checkpoint, with everything beside its note
STORED_NOTES_BYTES_MAX = 200_000_000  # of those of one chunk: each entry may have its own
COLUMN_CHARACTERS_MAX = 200
FINDINGS_MAX = 1_000  # what is bad beyond that is not listed
DISCLOSURES_MAX = 100_000
RECENT_MAX = 100_000  # events between what totals count and their being told
SUMS_MAX = 500_000  # divisions, item classes, units and states of one producer that have a sum
PRODUCERS_MAX = 1_000
SIZE_MAX = 2**40
PREFIX = re.compile(rb"^([a-z]{1,8}) *\x20([0-9]{20})\n")
PREFIX_BYTES = 30
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class CannotCheck(Exception):
    """Nothing can be said: the log was not reached, or a file of yours is not readable."""


class Absent(CannotCheck):
    """The log says that it does not have what it must have."""


class TooMuch(CannotCheck):
    """The log asks us to ask for less at once."""


class Bad(ValueError):
    """Not to be trusted; the message says why."""


# The last resort: what a log can send that nothing here expects must not end in a traceback.
FAILURES = (
    CannotCheck, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
    RecursionError, struct.error,
)  # fmt: skip


class Finding(NamedTuple):
    """Something wrong, at an index or somewhere in [first, last]."""

    first: int
    last: int
    problem: str


def decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Bad("not base64") from error


def decimal(text: str) -> str:
    if not DECIMAL.fullmatch(text):
        raise Bad("not a number")
    return text


# ================================================================ hashes: RFC 6962, RFC 9162


def leaf_hash(body: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees, largest first; of nothing: the hash of nothing."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    top = hashes[-1]
    for left in reversed(hashes[:-1]):
        top = node_hash(left, top)
    return top


def levels_of(leaves: list[bytes]) -> list[list[bytes]]:
    """All complete nodes over the leaves, level by level."""
    sha256, levels = hashlib.sha256, [leaves]
    while len(levels[-1]) > 1:
        under = levels[-1]
        pairs = zip(under[::2], under[1::2], strict=False)
        levels.append([sha256(b"\x01" + left + right).digest() for left, right in pairs])
    return levels


def peaks_of(levels: list[list[bytes]], size: int) -> list[tuple[int, bytes]]:
    """Height and root of the perfect subtrees over the first `size` leaves, largest first."""
    return [
        (height, levels[height][(size >> height) - 1])
        for height in reversed(range(len(levels)))
        if size >> height & 1
    ]


@dataclass
class Tree:
    """The roots of the perfect subtrees so far: all that is needed to add more."""

    size: int = 0
    stack: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, top: bytes, height: int = 0) -> None:
        self.size += 1 << height
        while self.stack and self.stack[-1][0] == height:
            top = node_hash(self.stack.pop()[1], top)
            height += 1
        self.stack.append((height, top))

    def root(self, *more: bytes) -> bytes:
        """The root, as if `more` (the root of what comes after) had been added."""
        return fold([*(top for _, top in self.stack), *more])


def prove_inclusion(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """RFC 9162 2.1.3.2: the entry with this leaf hash stands at `index`. Raises Bad."""
    if not 0 <= index < size:
        raise Bad("the index lies outside the tree")
    if any(len(each) != 32 for each in (leaf, root, *proof)):
        raise Bad("the proof does not consist of hashes")
    low, high, top = index, size - 1, leaf
    for other in proof:
        if high == 0:
            raise Bad("the proof is too long")
        if low & 1 or low == high:
            top = node_hash(other, top)
            while not low & 1 and low:
                low, high = low >> 1, high >> 1
        else:
            top = node_hash(top, other)
        low, high = low >> 1, high >> 1
    if high != 0:
        raise Bad("the proof is too short")
    if top != root:
        raise Bad("the proof leads to another root: it is not the entry that was signed")


# ================================================================ signatures: C2SP signed-note

LOG, COSIGNATURE, ML_DSA_44 = 0x01, 0x04, 0x06
PUBLIC_BYTES = {LOG: 32, COSIGNATURE: 32, ML_DSA_44: 1312}


@dataclass(frozen=True)
class Key:
    """A verifier key, written name+id+base64(kind || public key)."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        content = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(content).digest()[:4]

    @classmethod
    def parse(cls, text: str) -> "Key":
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        content = decode(encoded)
        if not is_name(name) or not content or len(content) - 1 != PUBLIC_BYTES.get(content[0]):
            raise Bad("not a verifier key")
        key = cls(name, content[0], content[1:])
        if key.key_id.hex() != key_id:
            raise Bad("the id of the verifier key is not its own")
        return key

    @property
    def can_check(self) -> bool:
        return self.kind != ML_DSA_44 or MLDSA44PublicKey is not None

    def holds(self, text: str, signature: bytes) -> bool:
        """Did this key sign the note's text? A cosignature begins with its time, 8 bytes."""
        try:
            if self.kind == LOG:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
                return True
            at, signature = time_of(signature), signature[8:]
            if at >= 2**63:
                return False
            if self.kind == COSIGNATURE:
                message = f"cosignature/v1\ntime {at}\n{text}".encode()
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
            else:
                message = _subtree_message(self.name, text, at)
                MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(each.isspace() for each in name)


def time_of(cosignature: bytes) -> int:
    """Seconds since 1970 at which the cosigner says it saw the checkpoint."""
    return int.from_bytes(cosignature[:8])


def _subtree_message(cosigner: str, text: str, at: int) -> bytes:
    """C2SP tlog-cosignature, ML-DSA-44: what is signed of a checkpoint."""
    origin, size, root = text.split("\n")[:3]
    names = [each.encode() for each in (cosigner, origin)]
    if any(not 1 <= len(each) <= 255 for each in names) or not DECIMAL.fullmatch(size):
        raise Bad("not to be cosigned")
    first, second = (bytes([len(each)]) + each for each in names)
    spans = struct.pack(">QQ", 0, int(size))
    return b"subtree/v1\n\x00" + first + struct.pack(">Q", at) + second + spans + decode(root)


@dataclass(frozen=True)
class Signed:
    """A signature that holds; `at` is the time a cosigner says, None of a log's."""

    key: Key
    at: int | None


@dataclass(frozen=True)
class Note:
    text: str
    signatures: tuple[Signed, ...]
    not_known: tuple[str, ...]  # names of keys we do not know, which are ignored
    not_checked: tuple[str, ...]  # names of keys we know and cannot compute with


def open_note(note: str, keys: Iterable[Key]) -> Note:
    """Check a note's form and its signatures; raises Bad."""
    at = note.rfind("\n\n")
    if at < 0 or not note.endswith("\n") or len(note) > TEXT_BYTES_MAX:
        raise Bad("it has no signature")
    if any(each < " " and each != "\n" for each in note):
        raise Bad("it has control characters")
    text, lines = note[: at + 1], note[at + 2 : -1].split("\n")
    if len(lines) > 100:
        raise Bad("it has too many signatures")
    known = {(key.name, key.key_id): key for key in keys}
    found: dict[Key, Signed] = {}
    not_known: dict[str, None] = {}
    not_checked: dict[str, None] = {}
    for line in lines:
        mark, name, encoded = [*line.split(" "), "", "", ""][:3]
        content = decode(encoded)
        if mark != "—" or line.count(" ") != 2 or not is_name(name) or len(content) < 5:
            raise Bad("it has a line that is no signature")
        key = known.get((name, content[:4]))
        if key is None:
            not_known[name] = None
        elif not key.can_check:
            not_checked[name] = None
        elif not key.holds(text, content[4:]):
            raise Bad(f"the signature of {name} does not hold")
        else:
            found.setdefault(key, Signed(key, None if key.kind == LOG else time_of(content[4:])))
    return Note(text, tuple(found.values()), tuple(not_known), tuple(not_checked))


@dataclass(frozen=True)
class Checkpoint:
    """What a log said of itself: C2SP tlog-checkpoint."""

    origin: str
    size: int
    root: bytes
    witnesses: tuple[Signed, ...] = ()
    has_quorum: bool = True

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0] or not DECIMAL.fullmatch(lines[1]):
            raise Bad("it is not a checkpoint")
        if int(lines[1]) > 2**63 - 1:
            raise Bad("its size is beyond any log's")
        return cls(lines[0], int(lines[1]), decode(lines[2]))


@dataclass(frozen=True)
class Policy:
    """Whose signatures make a checkpoint good: C2SP tlog-policy, or just the log's keys."""

    logs: tuple[Key, ...]
    witnesses: dict[str, Key] = field(default_factory=dict)
    groups: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    quorum: str = "none"
    spans: dict[Key, tuple[int, int]] = field(default_factory=dict)  # sizes a log's key signs

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Raises Bad with the line."""
        if len(text) > TEXT_BYTES_MAX:
            raise Bad("the policy is too long")
        reader = _PolicyReader()
        for number, line in enumerate(text.split("\n"), start=1):
            if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", line):
                raise Bad(f"policy, line {number}: a control character")
            words = [word for word in re.split(r"[ \t]+", line) if word]
            if words and not words[0].startswith("#"):
                try:
                    reader.take(words)
                except ValueError as error:
                    raise Bad(f"policy, line {number}: {error}") from error
        if reader.quorum is None:
            raise Bad("the policy has no quorum line")
        return cls(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum)

    def is_met(self, keys: Iterable[Key]) -> bool:
        there = set(keys)
        met = {name: key in there for name, key in self.witnesses.items()} | {"none": True}
        for name, (threshold, members) in self.groups.items():  # each names only earlier ones
            met[name] = sum(met[member] for member in members) >= threshold
        return met[self.quorum]

    def met_at(self, times: dict[Key, datetime]) -> datetime | None:
        """The earliest time by which a quorum had signed; None without one, or if none is asked."""
        if self.is_met(()):
            return None
        upto = sorted({*times.values()})
        return next((t for t in upto if self.is_met(k for k in times if times[k] <= t)), None)

    def open(self, note: str) -> Checkpoint:
        """A checkpoint that a log of the policy signed, with a quorum or not. Raises Bad."""
        opened = open_note(note, [*self.logs, *self.witnesses.values()])
        checkpoint = Checkpoint.parse(opened.text)
        if len(checkpoint.root) != 32 or checkpoint.size > SIZE_MAX:
            raise Bad("its root or size is not one that can be verified")
        by = [each.key for each in opened.signatures]
        if not any(self._vouches(key, checkpoint) for key in by):
            without = " (this Python's `cryptography` lacks ML-DSA)" if opened.not_checked else ""
            raise Bad(f"it is not signed with the given key{without}")
        witnesses = set(self.witnesses.values())
        return Checkpoint(
            checkpoint.origin,
            checkpoint.size,
            checkpoint.root,
            tuple(each for each in opened.signatures if each.key in witnesses),
            self.is_met(by),
        )

    def _vouches(self, key: Key, checkpoint: Checkpoint) -> bool:
        first, last = self.spans.get(key, (0, SIZE_MAX))
        named = key in self.logs and key.name == checkpoint.origin
        return named and first <= checkpoint.size <= last


class _PolicyReader:
    def __init__(self) -> None:
        self.logs: list[Key] = []
        self.witnesses: dict[str, Key] = {}
        self.groups: dict[str, tuple[int, tuple[str, ...]]] = {}
        self.members: set[str] = set()
        self.publics: set[bytes] = set()
        self.quorum: str | None = None

    def take(self, words: list[str]) -> None:
        match words:
            case ["log", key, *url] if len(url) < 2:
                self.logs.append(self._new_key(key))
            case ["witness", name, key, *url] if len(url) < 2:
                witness = self._new_key(key)
                if witness.kind == LOG:
                    raise Bad("a witness has a cosigner's key")
                self.witnesses[self._new_name(name)] = witness
            case ["group", name, number, first, *others]:
                members = (first, *others)
                for member in members:
                    self._defined(member)
                    if member in self.members:
                        raise Bad(f"{member} is a member twice")
                    self.members.add(member)
                self.groups[self._new_name(name)] = (_threshold(number, len(members)), members)
            case ["quorum", name] if self.quorum is None:
                if name != "none":
                    self._defined(name)
                self.quorum = name
            case _:
                raise Bad("not a line of a policy")

    def _new_key(self, text: str) -> Key:
        key = Key.parse(text)
        if key.public in self.publics:
            raise Bad("the same key twice")
        self.publics.add(key.public)
        return key

    def _new_name(self, name: str) -> str:
        if name == "none" or name in self.witnesses or name in self.groups:
            raise Bad(f"{name} is taken")
        return name

    def _defined(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise Bad(f"{name} is not defined before")


def _threshold(word: str, members: int) -> int:
    if word in {"all", "any"}:
        return members if word == "all" else 1
    if not re.fullmatch(r"[1-9][0-9]{0,3}", word) or int(word) > members:
        raise Bad("k is all, any, or a number from 1 to that of the members")
    return int(word)


def read_keys(sources: Sequence[str]) -> Policy:
    """The log's keys: each a verifier key, or a file with one a line (an old and a new one).

    A line is the key, and after it the first and last size it signs, where it was not always so.
    """
    spans: dict[Key, tuple[int, int]] = {}
    for source in sources:
        is_key = "+" in source and ("\n" in source or not Path(source).exists())
        text = source if is_key else _text(Path(source))
        for words in filter(None, map(str.split, text.split("\n"))):
            try:
                key = Key.parse(words[0])
                sizes = [int(decimal(word)) for word in words[1:]]
            except Bad as error:
                raise CannotCheck(f"the key is not a verifier key: {error}") from error
            first, last = (*sizes, *(0, SIZE_MAX)[len(sizes) :])[:2]
            spans[key] = (first, last)
    if not spans:
        raise CannotCheck("there is no key")
    return Policy(tuple(spans), spans=spans)


def read_policy(path: Path) -> Policy:
    try:
        policy = Policy.parse(_text(path))
    except Bad as error:
        raise CannotCheck(str(error)) from error
    return policy


def trusted(keys: Sequence[str], path: Path | None) -> Policy:
    """Whom to believe: the keys given, those of the policy, or both."""
    given = read_keys(keys) if keys else Policy(())
    policy = read_policy(path) if path else Policy(())
    logs = tuple(dict.fromkeys([*given.logs, *policy.logs]))
    if not logs:
        raise CannotCheck("the policy names no log: give its key")
    return Policy(logs, policy.witnesses, policy.groups, policy.quorum, given.spans)


def _text(path: Path) -> str:
    """A small file of the user's; CannotCheck when it is none."""
    try:
        with path.open("rb") as file:
            content = file.read(TEXT_BYTES_MAX + 1)
    except OSError as error:
        raise CannotCheck(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > TEXT_BYTES_MAX:
        raise CannotCheck(f"{path} is longer than {TEXT_BYTES_MAX} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CannotCheck(f"{path} is not text") from error


# ================================================================ the log, over HTTP


class _Until(io.RawIOBase):
    """What a socket sends, until a time: a trickle of bytes does not put it off."""

    def __init__(self, connected: socket.socket, until: float) -> None:
        self.connected, self.until = connected, until
        self.inner = connected.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("no complete answer in time")
        self.connected.settimeout(left)
        return self.inner.readinto(buffer)

    def close(self) -> None:
        self.inner.close()
        super().close()


class _Socket:
    """The part of a socket that http.client uses, with an end to every answer."""

    def __init__(self, connected: socket.socket) -> None:
        self.connected, self.until = connected, 0.0

    def makefile(self, *_: Any, **__: Any) -> IO[bytes]:
        return io.BufferedReader(_Until(self.connected, self.until), 1 << 18)

    def sendall(self, content: bytes) -> None:
        self.connected.settimeout(max(0.01, self.until - time.monotonic()))
        self.connected.sendall(content)

    def close(self) -> None:
        self.connected.close()


class Log:
    """Bounded requests to one server; a connection for each thread."""

    def __init__(self, base_url: str, until: float) -> None:
        parts = urllib.parse.urlsplit(base_url)
        try:
            self.host, self.port = parts.hostname, parts.port
        except ValueError as error:
            raise CannotCheck("the address has no proper port") from error
        if parts.scheme not in {"http", "https"} or not self.host:
            raise CannotCheck("an address begins with http:// or https://")
        self.secure, self.path = parts.scheme == "https", parts.path.rstrip("/")
        self.until = until  # time.monotonic() at which we give up
        self._mine = threading.local()
        self._made: list[http.client.HTTPConnection] = []

    def get(self, path: str, bytes_max: int = TEXT_BYTES_MAX) -> bytes:
        """Raises Absent when the log says it has no such thing, CannotCheck without an answer."""
        reason, attempts = "", 0
        until = min(self.until, time.monotonic() + STALL_S)
        while attempts < ATTEMPTS_MAX and time.monotonic() < until:
            pause_s = 0.2 * 2**attempts
            attempts += 1
            try:
                status, content = self._ask(path, bytes_max)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._hang_up()
                reason = str(error) or type(error).__name__
            else:
                if status == 200:
                    return content
                code = _problem_code(content)
                if status == 404 or code in {"entries_missing", "log_refused"}:
                    raise Absent(code or "not found")
                if code == "too_many_bytes":
                    raise TooMuch(f"{path}: {code}")
                reason = f"{status} {code}"
                if status == 429:  # asked to wait, which is not a failure; `until` bounds it
                    attempts, pause_s = attempts - 1, 3.0
                elif status < 500:
                    break
            if attempts < ATTEMPTS_MAX:
                time.sleep(max(0.0, min(pause_s, until - time.monotonic())))
        raise CannotCheck(f"{path}: {reason or 'out of time'}")

    def _ask(self, path: str, bytes_max: int) -> tuple[int, bytes]:
        connection = self._connection()
        self._mine.socket.until = min(self.until, time.monotonic() + REQUEST_S)
        connection.request("GET", self.path + path)
        answer = connection.getresponse()
        content = answer.read(bytes_max + 1)
        if len(content) > bytes_max:
            self._hang_up()
            raise CannotCheck(f"{path}: longer than {bytes_max} bytes")
        if answer.will_close or not answer.isclosed():
            self._hang_up()
        if answer.length:  # read() of so many bytes does not tell that there were fewer
            raise OSError("the answer was cut off")
        return answer.status, content

    def _connection(self) -> http.client.HTTPConnection:
        held: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if held is not None and held.sock is not None:
            return held
        kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        wait_s = max(0.01, min(CONNECT_S, self.until - time.monotonic()))
        made = kind(str(self.host), self.port, timeout=wait_s)
        made.connect()
        made.auto_open = 0
        self._mine.socket = made.sock = _Socket(made.sock)
        self._mine.connection = made
        self._made = [*(each for each in self._made if each.sock is not None), made]
        return made

    def _hang_up(self) -> None:
        if (held := getattr(self._mine, "connection", None)) is not None:
            held.close()
            self._mine.connection = None

    def close(self) -> None:
        """Hang up for all threads; nothing may be asked any more."""
        for each in self._made:
            each.close()

    def json(self, path: str, bytes_max: int = COLUMN_BYTES_MAX) -> Any:
        try:
            return json.loads(self.get(path, bytes_max))
        except (ValueError, RecursionError) as error:
            raise CannotCheck(f"{path}: not JSON") from error

    def note(self, path: str) -> str:
        try:
            return self.get(path).decode()
        except UnicodeDecodeError as error:
            raise Bad("it is not text") from error

    def tile(self, level: str, index: int, width: int) -> bytes:
        groups, rest = [f"{index % 1000:03d}"], index // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03d}")
            rest //= 1000
        partial = "" if width == WIDTH else f".p/{width}"
        return self.get(f"/tile/{level}/{'/'.join(groups)}{partial}", BUNDLE_BYTES_MAX)

    def columns(self, first: int, limit: int) -> list[dict[str, Any]]:
        """The query columns of entries from `first` on, as they are stored."""
        path = f"/v1/columns?first={first}&limit={limit}"
        answer = self.json(path)
        rows = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and type(row.get("index")) is int for row in rows
        ):
            raise CannotCheck(f"{path}: not a list of columns")
        return rows

    def stored(self, first: int, limit: int) -> list["Group"]:
        """So many entries, with what else is stored of them; raises Absent, TooMuch."""
        path = f"/v1/stored?first={first}&limit={limit}"
        content = self.get(path, STORED_BYTES_MAX)
        groups, at = list[Group](), 0
        while at < len(content):
            blocks = []
            for _ in range(3):
                begin = at + 4
                at = begin + int.from_bytes(content[begin - 4 : begin])
                blocks.append(content[begin:at])
            columns, leaves, block = blocks
            bodies = block.split(b"\x00", GROUP)  # which no valid one contains
            if len(bodies) > GROUP or len(groups) * GROUP >= limit:
                return []  # more than was asked for: it would fill the memory
            groups.append(Group(columns, leaves, bodies))
        if at != len(content):
            raise CannotCheck(f"{path}: it is cut off")
        return groups


class Group(NamedTuple):
    """Some entries as they came, and the rest of their rows as the database has it."""

    columns: bytes  # ten texts of each entry, parted by U+001F
    leaves: bytes  # hashes
    bodies: list[bytes]


def _problem_code(content: bytes) -> str:
    try:
        code = json.loads(content)["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return code if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,60}", code) else ""


# ================================================================ one chunk of entries


@dataclass(frozen=True)
class Source:
    """What a process needs to read and check chunks by itself."""

    base_url: str
    until: float
    size: int  # of the log
    tile_every: int  # of so many published tiles one is compared: the first, and so on from it
    tile_first: int
    leaves: Path | None  # leaf hashes kept outside, and how many of them were signed
    leaves_count: int
    wanted: frozenset[str]  # entries by event id or index, for disclosures
    policy: "Policy"

    def log(self) -> Log:
        held = _logs.get((self.base_url, self.until))
        if held is None:
            held = _logs[self.base_url, self.until] = Log(self.base_url, self.until)
        return held


_logs: dict[tuple[str, float], Log] = {}


class Fact(NamedTuple):
    """An event that only means something after those before it: told to the main process."""

    at: int
    producer: str
    seq: int
    type: str
    division: str | None
    data: dict[str, Any]


class Span(NamedTuple):
    """What the event ids of a chunk lie between, by their first halves: with most, times."""

    lowest: int
    highest: int
    differ: bool  # by their second halves

    @classmethod
    def of(cls, ids: bytes) -> "Span":
        halves = _halves(ids)
        firsts, lasts = halves[::2], halves[1::2]
        lowest, highest = min(firsts, default=0), max(firsts, default=0)
        return cls(lowest, highest, len({*lasts}) == len(lasts))


def _halves(ids: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(ids) // 8}Q", ids)


@dataclass
class Part:
    """What one chunk says; small, whatever the entries hold."""

    first: int
    count: int = 0  # entries there are
    findings: list[Finding] = field(default_factory=list)
    peaks: list[tuple[int, bytes]] = field(default_factory=list)
    tiles: list[bytes] = field(default_factory=list)  # roots of its full tiles
    roots: dict[int, bytes] = field(default_factory=dict)  # of the sizes asked for, of this chunk
    kept: list[tuple[int, bytes]] = field(default_factory=list)  # peaks of the hashes kept outside
    kept_count: int = 0
    kept_differs_at: int | None = None
    begins: dict[str, tuple[int, int]] = field(default_factory=dict)
    seqs: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # first, its place, last
    ids: bytes = b""  # event ids, 16 bytes each
    span: Span = field(default_factory=lambda: Span.of(b""))
    facts: list[Fact] = field(default_factory=list)
    digests: dict[int, tuple[str, Any]] = field(default_factory=dict)  # id and data of `wanted`
    untimely: dict[str, tuple[int, int]] = field(default_factory=dict)  # how many, the first place
    failed: str | None = None  # why it could not be checked to its end

    def bad(self, index: int, problem: str, last: int | None = None) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(index, index if last is None else last, problem))

    def number(self, at: int, producer: str, seq: int, last: dict[str, int]) -> None:
        """A number that does not follow its producer's last: the first here, or out of order."""
        if producer in last:
            self.bad(at, out_of_order(producer, seq, last[producer] + 1))
        else:
            self.begins[producer] = (seq, at)


def out_of_order(producer: str, seq: int, due: int) -> str:
    return f"{producer} {seq} stands where {producer} {due} is due"


def read_chunk(
    source: Source, first: int, number: int, sizes: tuple[int, ...], stored: "tuple[Stored, ...]"
) -> Part:
    """Fetch and check the entries [first, first + number); roots at `sizes` are computed.

    stored   the checkpoints that cover them, as the database has them
    """
    part = Part(first)
    try:
        _fill(part, source, number, sizes, stored)
    except FAILURES as error:  # what was found before is told all the same
        part.failed = _reason(error)
    part.findings.sort()
    return part


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, CannotCheck) else f"{type(error).__name__}: {error}"


def _fill(
    part: Part, source: Source, number: int, sizes: tuple[int, ...], stored: "tuple[Stored, ...]"
) -> None:
    for row in stored:
        if part.first <= row.size <= part.first + number:
            _check_stored(source.policy, row, part)
    log = source.log()
    groups = _in_bulk(log, part.first, number)
    if groups is None:
        bodies = _by_tiles(log, part, number)
    else:
        bodies = [body for group in groups for body in group.bodies]
    for at, body in enumerate(bodies):
        if len(body) > BODY_BYTES_MAX:  # no tile can hold it, nor what comes after it
            part.bad(part.first + at, f"the entry has more than {BODY_BYTES_MAX} bytes")
            del bodies[at:]
            groups = None
            break
    sha256 = hashlib.sha256
    hashes = [sha256(b"\x00" + body).digest() for body in bodies]
    part.count = len(bodies)
    _check_rows(source, _Slowly(log, part, bodies, hashes), groups, stored)
    _compare_published(source, log, part, bodies, hashes)
    _sum_up(source, part, hashes, sizes)


def _in_bulk(log: Log, first: int, number: int) -> list[Group] | None:
    """The entries in groups; None when they must be read tile by tile."""
    try:
        groups = log.stored(first, number)
    except Absent:
        return None
    except TooMuch:
        if number <= WIDTH:
            return None
        half = (number // 2 + WIDTH - 1) // WIDTH * WIDTH
        one, other = _in_bulk(log, first, half), _in_bulk(log, first + half, number - half)
        return None if one is None or other is None else one + other
    sizes = [len(group.bodies) for group in groups]
    due = [min(GROUP, number - at) for at in range(0, number, GROUP)]
    return groups if sizes == due else None


def _by_tiles(log: Log, part: Part, number: int) -> list[bytes]:
    """As `_in_bulk`, from the tiles: it also says exactly what is missing, and goes no further."""
    bodies: list[bytes] = []
    for first in range(part.first, part.first + number, WIDTH):
        width = min(WIDTH, part.first + number - first)
        try:
            found = unpack(log.tile("entries", first // WIDTH, width))
            if len(found) != width:
                raise Bad("a bundle of another length")
        except (Absent, Bad) as error:
            # One more than should be there: one may stand twice.
            there = Counter(row["index"] for row in log.columns(first, width + 1))
            wrong = [at for at in range(first, first + width) if there[at] != 1]
            place = (wrong[0], wrong[0]) if wrong else (first, first + width - 1)
            how = "stand twice" if there[place[0]] > 1 else "are missing"
            part.bad(place[0], f"entries {how} ({error})", place[1])
            # What stands before the gap may have been moved up: an entry that was dropped is found
            # where it stood, not where the log ends now.
            return bodies + _before_the_gap(log, first, place[0] - first)
        bodies += found
    return bodies


def _before_the_gap(log: Log, first: int, width: int) -> list[bytes]:
    try:
        found = unpack(log.tile("entries", first // WIDTH, width)) if width else []
    except (Absent, Bad):
        return []
    return found if len(found) == width else []


def unpack(bundle: bytes) -> list[bytes]:
    """The entries of a bundle, each after its length; raises Bad."""
    bodies, at, end = [], 0, len(bundle)
    while at + 2 <= end:
        after = at + 2 + (bundle[at] << 8 | bundle[at + 1])
        bodies.append(bundle[at + 2 : after])
        at = after
    if at != end:
        raise Bad("a bundle that is cut off")
    return bodies


def _compare_published(
    source: Source, log: Log, part: Part, bodies: list[bytes], hashes: list[bytes]
) -> None:
    """What is stored is compared in full; of the tiles made of it, some, or all with --tiles."""
    for at in range(0, len(bodies), WIDTH):
        tile, width = (part.first + at) // WIDTH, min(WIDTH, len(bodies) - at)
        last = part.first + at + width >= source.size
        chosen = tile % source.tile_every == source.tile_first
        if not (chosen or last or tile == 0):
            continue
        mine = {
            "entries": b"".join(struct.pack(">H", len(b)) + b for b in bodies[at : at + width]),
            "0": b"".join(hashes[at : at + width]),
        }
        for level, expected in mine.items():
            try:
                differs = log.tile(level, tile, width) != expected
                problem = f"the published tile ({level}) is not that of the entries"
            except Absent as error:
                differs, problem = True, f"the published tile ({level}) is missing ({error})"
            first = part.first + at
            if differs and not any(first <= each.first < first + width for each in part.findings):
                part.bad(first, problem, first + width - 1)


def _sum_up(source: Source, part: Part, hashes: list[bytes], sizes: tuple[int, ...]) -> None:
    levels = levels_of(hashes)
    part.peaks = peaks_of(levels, part.count)
    part.tiles = list(levels[8]) if len(levels) > 8 else []
    for size in sizes:
        if 0 < size - part.first <= part.count:
            part.roots[size] = fold([top for _, top in peaks_of(levels, size - part.first)])
    due = min(source.leaves_count - part.first, part.count)
    if source.leaves is None or due <= 0:
        return
    with source.leaves.open("rb") as file:
        file.seek(32 * part.first)
        kept = file.read(32 * due)
    part.kept_count = len(kept) // 32
    if kept == b"".join(hashes[:due]):
        part.kept = peaks_of(levels, due)
        return
    split = [kept[at : at + 32] for at in range(0, 32 * part.kept_count, 32)]
    part.kept = peaks_of(levels_of(split), len(split))
    part.kept_differs_at = next(
        (part.first + at for at, each in enumerate(split) if each != hashes[at]), None
    )


# ---------------------------------------------------------------- bodies and query columns

MOVED = {"needs": "needs.commitment_moved", "donors": "donors.reservation_moved"}
ALLOCATED = "matching.allocation_"
ALLOCATION_STATES = (
    "proposed", "reserved", "accepted", "approved", "dispatched", "delivered", "confirmed",
    "closed", "declined", "expired", "cancelled", "returned",
)  # fmt: skip
FACTS = {
    "audit.alarm_raised", "audit.quorum_met", "audit.producer_heard",
    "needs.totals_told", "donors.totals_told", "matching.totals_told", *MOVED.values(),
    *(ALLOCATED + state for state in ALLOCATION_STATES),
}  # fmt: skip
PRODUCER = re.compile(r"[a-z]{1,8}")
NOT_PLAIN = bytes([*range(0x1F), ord('"'), ord("\\")])
TO_ZEROS = bytes.maketrans(b"123456789abcdef", b"0" * 15)
ANY_KEY = b"00000000-0000-0000-0000-000000000000"
ANY_TRACE = b'"traceparent":"00-00000000000000000000000000000000-0000000000000000-00",'.translate(
    TO_ZEROS
)
ANY_MOMENT = b"0000-00-00T00:00:00.000000Z"
BETWEEN = os.urandom(12).hex()  # not to be foreseen, so in no entry


class Rows(NamedTuple):
    """What valid entries say, as far as it is needed further on, column by column."""

    producers: Sequence[str]
    numbers: Sequence[int]
    keys: Sequence[str]  # event ids
    kinds: Sequence[str]
    divisions: Sequence[str | None]  # None or "" for none
    moments: Sequence[str]
    data: Sequence[Any]


Row = tuple[str, int, str, str, str | None, str, Any]  # one of them


def _rows_in(group: Group, count: int) -> Rows | None:
    """The entries, if their columns are stored as they say; None if that must be looked at.

    As the columns say it, an entry begins and ends in one way only, since no value has a quote or
    needs an escape; what is between must be its data.
    """
    try:
        if len(group.columns.translate(None, NOT_PLAIN)) != len(group.columns):
            return None
        told = str(group.columns, "utf-8").split("\x1f", 10 * count)  # all may fill the memory
        if len(told) != 10 * count:
            return None
        columns = (told[at::10] for at in range(10))
        producers, seqs, actors, roles, mentions, divisions, keys, subjects, times, kinds = columns
        # Of a longer text a column has the beginning only, and here the whole would look right.
        if max(map(len, [*actors, *roles, *divisions, *subjects, *kinds])) > COLUMN_CHARACTERS_MAX:
            return None
        texts = list(map(bytes.decode, group.bodies))
        numbers = list(map(int, seqs))
        # As PostgreSQL writes a time in UTC, and as entries do.
        times = "\x1e".join(times).replace(" ", "T").replace("+00", "Z").split("\x1e")
        moments = [each if len(each) == 27 else _with_micros(each) for each in times]
        places = [each and f'"division":"{each}",' for each in divisions]
        # Before the type, the last attribute, may stand what no column tells.
        end, length = len('"type":""}'), len(ANY_TRACE)
        traces = [
            text[-len(kind) - end - length : -len(kind) - end]
            for text, kind in zip(texts, kinds, strict=True)
        ]
        if not _are_traces(traces):
            traces = [each if _are_traces([each]) else "" for each in traces]
        heads = [
            f'{producer.ljust(8)} {seq.zfill(20)}\n{{"actor":"{actor}","actorrole":"{role}","data":'
            for producer, seq, actor, role in zip(producers, seqs, actors, roles, strict=True)
        ]
        tails = [
            f',"datacontenttype":"application/json",{place}"id":"{key}","sequence":"{seq}",'
            f'"source":"{producer}","specversion":"1.0","subject":"{subject}","time":"{moment}",'
            f'{trace}"type":"{kind}"}}'
            for producer, seq, place, key, subject, moment, trace, kind in zip(
                producers, seqs, places, keys, subjects, moments, traces, kinds, strict=True
            )
        ]
        if not (
            all(map(str.startswith, texts, heads))
            and all(map(str.endswith, texts, tails))
            and all(map(PRODUCER.fullmatch, {*producers}))
            and list(map(str, numbers)) == seqs
            and 0 < min(numbers) <= max(numbers) < 2**63
            and "\x1e".join(keys).encode().translate(TO_ZEROS) == b"\x1e".join([ANY_KEY] * count)
            and "\x1e".join(moments).encode().translate(TO_ZEROS)
            == b"\x1e".join([ANY_MOMENT] * count)
        ):
            return None
        between = f',"{BETWEEN}",'.join(
            text[len(head) : -len(tail)]
            for text, head, tail in zip(texts, heads, tails, strict=True)
        )
        data = json.loads(f"[{between}]")
    except (ValueError, RecursionError):
        return None
    # One in two is what was put in between: so each text is one value.
    if len(data) != 2 * count - 1 or data[1::2] != [BETWEEN] * (count - 1):
        return None
    del data[1::2]
    if {*map(type, data)} != {dict} or not _are_mentioned(mentions, subjects, data):
        return None
    return Rows(producers, numbers, keys, kinds, divisions, moments, data)


def _are_traces(texts: list[str]) -> bool:
    """Each as long as one. Letters of the name are changed along with the digits: so it is counted,
    and, for its quotes, can stand nowhere else.
    """
    joined = "".join(texts).encode()
    if joined.count(b'"traceparent":"') != len(texts):
        return False
    return joined.translate(TO_ZEROS) == ANY_TRACE * len(texts)


def _with_micros(moment: str) -> str:
    """PostgreSQL leaves the last zeros of a fraction out."""
    if not moment.endswith("Z"):
        return moment
    return f"{moment[:-1] if '.' in moment else moment[:-1] + '.':0<26}Z"


def _are_mentioned(
    told: list[str], subjects: Sequence[str], data: Sequence[dict[str, Any]]
) -> bool:
    """Are the ids in subject and data, as PostgreSQL writes them, these? In upper case: no."""
    expected: list[str] = []
    count = 0
    for subject, values in zip(subjects, map(dict.values, data), strict=True):
        before, _, name = subject.rpartition("/")
        found = [name] if len(name) == 36 else []
        # As what is in a list, so that they are looked for in a set: many values, else it would
        # never end, and a subject with room for an id before its last part.
        is_small = len(values) < 32 and len(before) < 36
        looked_at: Iterable[Any] = values if is_small else [[*values]]
        for value in looked_at:
            kind = type(value)
            if kind is str:
                if len(value) == 36 and value not in found:
                    found.append(value)
            elif kind is dict or kind is list:
                found = [*_mentions({"subject": subject, "data": [*values]})]
                break
        found.sort()
        count += len(found)
        expected.append(f"{{{','.join(found)}}}")
    # All that was found is told: was it ids?
    return told == expected and ",".join(told).encode().translate(TO_ZEROS).count(ANY_KEY) == count


def _check_rows(
    source: Source,
    slowly: "_Slowly",
    groups: list[Group] | None,
    covering: "tuple[Stored, ...]",
) -> None:
    """Is what is stored of the entries what they say? And what do they say to those after them?"""
    part, last = slowly.part, dict[str, int]()
    times = _Timeliness(part, covering)
    keys: list[str] = []
    for first in range(0, part.count, GROUP):
        count = min(GROUP, part.count - first)
        ats: Sequence[int] = range(part.first + first, part.first + first + count)
        group = groups[first // GROUP] if groups else None
        rows = None
        if group and group.leaves == b"".join(slowly.hashes[first : first + count]):
            rows = _rows_in(group, count)
        if rows is None:
            looked = [slowly.look(at) for at in ats]
            keys += [row[2] if row else _no_id() for row in looked]
            ats = [at for at, row in zip(ats, looked, strict=True) if row]
            if not ats:
                continue
            rows = Rows(*zip(*filter(None, looked), strict=True))
        else:
            keys += rows.keys
        _take_in(source, part, ats, rows, last)
        times.look_over(ats, rows.moments)
    part.ids = bytes.fromhex("".join(keys).replace("-", ""))
    part.span = Span.of(part.ids)
    part.seqs = {name: (*place, last[name]) for name, place in part.begins.items()}


def _take_in(
    source: Source, part: Part, ats: Sequence[int], rows: Rows, last: dict[str, int]
) -> None:
    for at, producer, number in zip(ats, rows.producers, rows.numbers, strict=True):
        if last.get(producer) != number - 1:
            part.number(at, producer, number, last)
        last[producer] = number
    if source.wanted or not FACTS.isdisjoint(rows.kinds):
        for at, row in zip(ats, zip(*rows, strict=True), strict=True):
            producer, number, key, kind, division, _, data = row
            if kind in FACTS:
                told = data if isinstance(data, dict) else {}
                part.facts.append(Fact(at, producer, number, kind, division or None, told))
            if key in source.wanted or str(at) in source.wanted:
                part.digests[at] = (key, data)


class _Timeliness:
    """Does an entry's time fit the time at which it was signed? Else it was told late, or wrong.

    The signing time is the first quorum's where there is one: then it is the witnesses' word.
    """

    def __init__(self, part: Part, covering: "tuple[Stored, ...]") -> None:
        self.part, self.covering = part, iter(covering)
        self.upto, self.earliest, self.latest = part.first, "", "~"

    def look_over(self, ats: Sequence[int], moments: Sequence[str]) -> None:
        if ats[-1] < self.upto and self.earliest <= min(moments) <= max(moments) <= self.latest:
            return
        for at, moment in zip(ats, moments, strict=True):
            self._look(at, moment)

    def _look(self, at: int, moment: str) -> None:
        while at >= self.upto:
            row = next(self.covering, None)
            if row is None:
                self.upto, self.earliest, self.latest = SIZE_MAX, "", "~"
                return
            self.upto, self.earliest, self.latest = row.size, row.earliest, row.latest
        if moment < self.earliest:
            self._count(f"tell of a time more than {LATE_S // 3600} hours before", at)
        elif moment > self.latest:
            self._count("tell of a time after", at)

    def _count(self, how: str, at: int) -> None:
        count, first = self.part.untimely.get(how, (0, at))
        self.part.untimely[how] = (count + 1, first)


@dataclass(frozen=True)
class Stored:
    """A checkpoint as the database has it; earliest, latest: what may be told under it."""

    size: int
    root: bytes
    note: str
    at: datetime
    cosignatures: tuple[tuple[str, str, str, datetime], ...]  # name, key id, line, time
    quorum_at: tuple[datetime, ...]  # under this policy, and under those before it
    met_at: datetime | None  # when the quorum of the policy was met
    before: datetime | None  # when the one before was signed

    @classmethod
    def read(cls, row: dict[str, Any], before: datetime | None, policy: Policy) -> "Stored":
        def moment(text: str) -> datetime:
            return datetime.fromisoformat(text).astimezone(UTC)

        lines = [
            (str(c["name"]), str(c["key_id"]), str(c["line"]), moment(c["at"]))
            for c in row["cosignatures"]
        ]
        witnesses = {(key.name, key.key_id.hex()): key for key in policy.witnesses.values()}
        times = {witnesses[c[:2]]: c[3] for c in lines if c[:2] in witnesses}
        return cls(
            int(row["size"]),
            base64.b64decode(row["root"]),
            str(row["note"]),
            moment(row["at"]),
            tuple(lines),
            tuple(map(moment, row["quorum_at"])),
            policy.met_at(times),
            before,
        )

    @property
    def signed_at(self) -> datetime:
        return self.met_at or min(self.quorum_at, default=self.at)

    @property
    def earliest(self) -> str:
        return _plain_moment(self.signed_at, -LATE_S)

    @property
    def latest(self) -> str:
        return _plain_moment(self.signed_at, CLOCK_SKEW_S) + "~"  # after any fraction of it


def _plain_moment(moment: datetime, seconds: int) -> str:
    try:
        return (moment + timedelta(seconds=seconds)).isoformat()[:19]
    except OverflowError:  # at either end of what can be written, which is bad by itself
        return moment.isoformat()[:19]


def _check_stored(policy: Policy, row: Stored, part: Part) -> None:
    """Do a stored checkpoint's columns say what its note and its cosignatures say?"""
    last = max(row.size - 1, 0)
    try:
        note = row.note + "".join(line for _, _, line, _ in row.cosignatures)
        checkpoint = policy.open(note)
        if (checkpoint.size, checkpoint.root) != (row.size, row.root):
            raise Bad("its size or root is not that of its note")
        for name, key_id, line, at in row.cosignatures:
            content = decode(line.rstrip("\n").split(" ")[-1])
            if line.split(" ")[1:2] != [name] or content[:4].hex() != key_id:
                raise Bad(f"a cosignature is not that of {name}")
            if at.timestamp() != time_of(content[4:]):
                raise Bad(f"the time of {name}'s cosignature is not the one it signed")
        if not 1970 <= row.at.year < 9999:
            raise Bad("its time is none at which it can have been signed")
        # Under a policy before this one another quorum was met, but by somebody's signature too.
        times = {at for _, _, _, at in row.cosignatures}
        if not {*row.quorum_at} <= (times | {row.at} if policy.is_met(()) else times):
            raise Bad("the time of its quorum is nobody's cosignature's")
    except (Bad, ValueError) as error:
        part.bad(last, f"the stored checkpoint of size {row.size} is not to be trusted: {error}")
        return
    if row.before is not None and (row.before - row.at).total_seconds() > CLOCK_SKEW_S:
        part.bad(last, f"the clock went back before the checkpoint of size {row.size} was signed")
    for name, _, _, at in row.cosignatures:
        if (row.at - at).total_seconds() > CLOCK_SKEW_S:
            problem = f"{name} cosigned the checkpoint of size {row.size} before it was signed"
            part.bad(last, problem)


class StoredCheckpoints:
    """All checkpoints of the database, a page at a time, smallest first."""

    PAGE = 200  # a page fits an answer, whatever post-quantum cosignatures they have

    def __init__(self, log: Log, policy: Policy) -> None:
        self.log, self.policy, self.rows, self.over = log, policy, deque[Stored](), False
        self.last = Stored(-1, b"", "", datetime.fromtimestamp(0, UTC), (), (), None, None)
        self.held = 0  # bytes of those read for the chunk at work
        self.known = True
        self.malformed: str | None = None  # then nothing more of them is read

    def covering(self, size: int) -> tuple[Stored, ...]:
        """Those not given yet up to `size`, and the one beyond it (which will be given again)."""
        found = []
        self.held = 0
        while (row := self._next()) is not None:
            found.append(row)
            if row.size > size:
                break
            self.rows.popleft()
        return tuple(found)

    def _next(self) -> Stored | None:
        if not self.rows and not self.over:
            path = f"/v1/stored/checkpoints?after={self.last.size}&limit={self.PAGE}"
            try:
                self.over = not self._take(self.log.json(path, STORED_BYTES_MAX)["data"])
            except Absent:
                self.over, self.known = True, False
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                after = (
                    f"after that of size {self.last.size}" if self.last.size >= 0 else "at first"
                )
                self.over = True
                self.malformed = f"stored checkpoints are malformed {after}: {error!r}"
        return self.rows[0] if self.rows else None

    def _take(self, page: Any) -> bool:
        """Read them; whether there were any."""
        for each in page:
            size = len(str(each))
            self.held += size
            if size > STORED_NOTE_BYTES_MAX or self.held > STORED_NOTES_BYTES_MAX:
                raise ValueError("more bytes than checkpoints have")
            row = Stored.read(each, None if self.last.size < 0 else self.last.at, self.policy)
            if not self.last.size < row.size <= SIZE_MAX:
                raise ValueError(f"size {row.size} follows {self.last.size}")
            self.last = row
            self.rows.append(row)
        return bool(page)


def _mentions(event: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    open_values: list[Any] = [*str(event.get("subject")).split("/"), event.get("data")]
    while open_values:
        value = open_values.pop()
        if isinstance(value, str):
            if len(value) == 36 and UUID.fullmatch(value):
                found.add(value.lower())
        elif isinstance(value, dict):
            open_values.extend(value.values())
        elif isinstance(value, list):
            open_values.extend(value)
    return found


def _id_of(event: dict[str, Any]) -> str:
    """16 bytes in hex that stand for the event's id."""
    if event.get("id") is None:
        return _no_id()
    name = str(event["id"])
    if UUID.fullmatch(name):
        return name.lower()
    return hashlib.sha256(name.encode(errors="replace")).hexdigest()[:32]


def _no_id() -> str:
    """In its place, so that each entry has 16 bytes; like no other."""
    return os.urandom(16).hex()


class _Slowly:
    """Takes a body apart and compares it with what is stored of it, value by value."""

    def __init__(self, log: Log, part: Part, bodies: list[bytes], hashes: list[bytes]) -> None:
        self.log, self.part, self.bodies, self.hashes = log, part, bodies, hashes
        self.tile = -1
        self.rows: dict[int, dict[str, Any]] = {}
        self.leaves: bytes | None = None

    def look(self, at: int) -> Row | None:
        """What the entry says, None if it is none; says what is wrong."""
        self._read(at // WIDTH)
        body, digest = self.bodies[at - self.part.first], self.hashes[at - self.part.first]
        place = 32 * (at % WIDTH)
        if self.leaves is not None and self.leaves[place : place + 32] != digest:
            self.part.bad(at, "the stored leaf hash is not that of the entry")
        event = event_in(body)
        if event is None:
            self.part.bad(at, "the entry has not the form of one")
            return None
        producer, seq = body[:8].decode().strip(), int(body[9:29])
        if event.get("source") != producer or event.get("sequence") != str(seq):
            self.part.bad(at, "the entry's prefix says another source or number than its event")
        row = self.rows.get(at)
        if row is None:
            self.part.bad(at, "the entry has no query columns")
        elif differing := _differing(row, event, producer, seq):
            names = ", ".join(differing)
            self.part.bad(at, f"query columns are not those of the entry: {names}")
        kind, division, moment = (event.get(name) for name in ("type", "division", "time"))
        division = division if isinstance(division, str) else None
        data = event.get("data")
        return producer, seq, _id_of(event), str(kind), division, str(moment), data

    def _read(self, tile: int) -> None:
        """Fetch what is stored of these entries, unless it is there."""
        if tile == self.tile:
            return
        self.tile, first = tile, tile * WIDTH
        self.rows = {row["index"]: row for row in self.log.columns(first, WIDTH)}
        width = min(WIDTH, self.part.first + self.part.count - first)
        try:
            self.leaves = self.log.tile("0", tile, width)
        except Absent as error:
            self.leaves = None
            problem = f"the tile of level 0 is missing ({error})"
            self.part.bad(first, problem, first + width - 1)


def event_in(body: bytes) -> dict[str, Any] | None:
    match = PREFIX.match(body)
    if match is None or match.end() != PREFIX_BYTES:
        return None
    try:
        event = json.loads(body[PREFIX_BYTES:])
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _differing(row: dict[str, Any], event: dict[str, Any], producer: str, seq: int) -> list[str]:
    """The names of the columns that the body does not say."""
    expected = columns_of(event) | {"producer": producer, "seq": seq}
    differing = [name for name, value in expected.items() if row.get(name) != value]
    if not _same_time(row.get("time"), event.get("time")):
        differing.append("time")
    if row.get("mentions") != sorted(_mentions(event)):
        differing.append("mentions")
    return differing


def columns_of(event: dict[str, Any]) -> dict[str, str | None]:
    """The query columns of an event that are a text."""

    def column(name: str) -> str | None:
        value = event.get(name)
        if value is None:
            return None
        return str(value)[:COLUMN_CHARACTERS_MAX].replace("\x00", "\ufffd")

    return {
        "event_id": column("id"),
        "type": column("type"),
        "subject": column("subject"),
        "division": column("division"),
        "actor": column("actor"),
        "actor_role": column("actorrole"),
    }


def _same_time(one: Any, other: Any) -> bool:
    try:
        return datetime.fromisoformat(one) == datetime.fromisoformat(other)
    except (ValueError, TypeError):
        return False


# ================================================================ facts that need their order


class Warnings:
    """What somebody should look at, though nothing is proved to be wrong."""

    def __init__(self) -> None:
        self.texts: dict[str, None] = {}

    def add(self, text: str) -> None:
        if len(self.texts) < FINDINGS_MAX:
            self.texts[text] = None


class Alarms:
    """Alarms in the log: those that prove something, and those that nothing has answered."""

    def __init__(self) -> None:
        self.repeated: dict[tuple[str, int], int] = {}  # told otherwise -> where the alarm stands
        self.open: dict[tuple[str, str], int] = {}

    def take(self, fact: Fact) -> None:
        data = fact.data
        alarm, about = (
            str(data.get(name))[:COLUMN_CHARACTERS_MAX] for name in ("alarm", "producer")
        )
        if fact.type == "audit.quorum_met":
            self.open.pop(("quorum_missing", "None"), None)
        elif fact.type == "audit.producer_heard":
            self.open.pop(("producer_silent", about), None)
        elif alarm == "content_repeated":
            if len(self.repeated) < FINDINGS_MAX and type(data.get("seq")) is int:
                self.repeated[about, data["seq"]] = fact.at
        elif alarm == "quorum_missing":
            self.open[alarm, "None"] = fact.at
        elif len(self.open) < FINDINGS_MAX:
            self.open[alarm, about] = fact.at

    def warn(self, warnings: Warnings) -> None:
        for (alarm, about), at in sorted(self.open.items(), key=lambda each: each[1]):
            of = "" if about == "None" else f" of {about}"
            warnings.add(f"alarm {alarm}{of} at index {at} has not been answered")


Sums = dict[tuple[Any, ...], tuple[int, int]]  # quantity, and number of allocations
CODE = re.compile(r"[ -~]{0,64}")
LINE_STATES = {
    "needs": ("reserved", "dispatched", "delivered"),
    "donors": ("reserved", "dispatched", "delivered", "written_off"),
    "matching": (),
}


@dataclass
class Telling:
    """The parts so far of what a producer told its ledger to be."""

    about: tuple[str, str, int, int]  # day, occasion, as_of_seq, parts
    at: int  # index of the first part
    rows: Sums = field(default_factory=dict)
    parts: int = 0


class Totals:
    """One producer's movements, summed, against the totals it told.

    Key: division, item class, unit, state. Memory: the sums, and the last RECENT_MAX movements,
    because a telling counts up to an earlier event than itself.
    """

    def __init__(self, producer: str) -> None:
        self.producer = producer
        self.sums: Sums = {}
        self.recent: deque[tuple[int, Any, Any, int]] = deque(maxlen=RECENT_MAX + 1)
        self.telling: Telling | None = None
        self.last_day: date | None = None
        self.not_counted = 0

    def take(self, fact: Fact) -> list[Finding]:
        if not fact.type.endswith(".totals_told"):
            self._move(fact)
            return self._too_many(fact.at, self.sums, SUMS_MAX)
        try:
            return [Finding(at, at, problem) for at, problem in self._told(fact)]
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
            return [Finding(fact.at, fact.at, f"{self.producer}'s totals have not their form")]

    def _move(self, fact: Fact) -> None:
        data = fact.data
        division, after = fact.division, data.get("state")
        if self.producer == "donors":
            division = data.get("division_code")
        if self.producer == "matching":
            after = fact.type.removeprefix(ALLOCATED)
        group = (county(division), data.get("item_class"), data.get("unit") or "")
        before, quantity = data.get("state_before"), data.get("quantity")
        texts = (division or "", *group[1:], after, "" if before is None else before)
        if not all(map(_is_code, texts)) or type(quantity) is not int or not 0 < quantity < 2**53:
            self.not_counted += 1  # a movement of the form before totals were told
            return
        moved = None if before is None else (*group, before), (*group, after)
        self._add(*moved, quantity)
        self.recent.append((fact.seq, *moved, quantity))
        while self.recent[0][0] < fact.seq - RECENT_MAX:
            self.recent.popleft()

    def _too_many(self, at: int, sums: Sums, most: int) -> list[Finding]:
        if len(sums) <= most:
            return []
        sums.clear()
        return [Finding(at, at, f"{self.producer} has more than {most} sums: begun anew here")]

    def _add(self, before: Any, after: Any, quantity: int, sums: Sums | None = None) -> None:
        sums = self.sums if sums is None else sums
        for key, sign in ((before, -1), (after, 1)):
            if key is not None:
                held = sums.get(key, (0, 0))
                sums[key] = held[0] + sign * quantity, held[1] + sign
                if sums[key] == (0, 0):
                    del sums[key]

    def _told(self, fact: Fact) -> Iterator[tuple[int, str]]:
        data = fact.data
        if not 1900 <= date.fromisoformat(data["day"]).year <= 2200:
            raise ValueError(data["day"])
        about = (
            data["day"],
            str(data["occasion"]),
            int(data["as_of_seq"]),
            int(data["parts"]),
        )
        telling = self.telling
        if data["part"] == 1:
            if telling is not None:
                yield telling.at, f"{self.producer}'s totals of {telling.about[0]} lack parts"
            telling = self.telling = Telling(about, fact.at)
        if telling is None or telling.about != about or data["part"] != telling.parts + 1:
            self.telling = None
            yield fact.at, f"a part of {self.producer}'s totals of {about[0]} is out of order"
            return
        telling.parts += 1
        for book, division, item_class, unit, state, quantity, number in data["rows"]:
            key = (book, division, item_class, unit, state)
            texts = (book, division or "", *key[2:])
            if not (all(map(_is_code, texts)) and _is_sum(quantity) and _is_sum(number)):
                raise ValueError("not a row")
            if key in telling.rows:
                yield fact.at, f"{self.producer}'s totals tell {_row_name(key)} twice"
            telling.rows[key] = (int(quantity), int(number))
        for finding in self._too_many(fact.at, telling.rows, 2 * SUMS_MAX):
            yield finding[::2]
        if telling.parts == about[3]:
            self.telling = None
            yield from self._compare(telling, fact.seq)

    def _compare(self, telling: Telling, seq: int) -> Iterator[tuple[int, str]]:
        day, occasion, as_of_seq, _ = telling.about
        if occasion == "day_end":
            told = date.fromisoformat(day)
            if self.last_day is not None and told != self.last_day + timedelta(days=1):
                yield telling.at, f"{self.producer} told {told} after {self.last_day}"
            self.last_day = told
        if not 0 <= seq - as_of_seq <= RECENT_MAX:
            yield telling.at, f"{self.producer}'s totals of {day} count up to event {as_of_seq}"
            return
        expected = self._as_of(as_of_seq)
        for key in sorted(telling.rows.keys() | expected.keys(), key=repr):
            said, is_so = telling.rows.get(key, (0, 0)), expected.get(key, (0, 0))
            if said != is_so and not (key[0] == "lines" and said[0] == is_so[0]):
                late = f"; {self.not_counted} older movements say too little to be counted"
                yield (
                    telling.at,
                    f"{self.producer}'s totals of {day} differ from its events: {_row_name(key)}"
                    f" told {said[0]} in {said[1]}, moved {is_so[0]} in {is_so[1]}"
                    f"{late if self.not_counted else ''}",
                )
                return

    def _as_of(self, seq: int) -> Sums:
        """Both books after the producer's event `seq`."""
        sums = dict(self.sums)
        for moved_at, before, after, quantity in reversed(self.recent):
            if moved_at <= seq:
                break
            self._add(after, before, quantity, sums)  # backwards
        books: Sums = {("allocations", *key): held for key, held in sums.items()}
        for (_, item_class, unit, state), (quantity, _) in sums.items():
            if state in LINE_STATES[self.producer]:
                key = ("lines", None, item_class, unit, state)
                books[key] = books.get(key, (0, 0))[0] + quantity, 0
        return books


def _row_name(key: tuple[Any, ...]) -> str:
    return " ".join("-" if each is None else str(each) for each in key)


def _is_code(value: Any) -> bool:
    return isinstance(value, str) and CODE.fullmatch(value) is not None


def _is_sum(value: Any) -> bool:
    return re.fullmatch(r"-?[0-9]{1,40}", str(value)) is not None


def county(division: Any) -> str | None:
    return division[:6].ljust(12, "0") if division and isinstance(division, str) else None


class Unique:
    """Are event ids unique? Kept in a file; read again in parts, so that memory stays bounded, and
    only where chunks overlap, or one may hold two alike: ids are mostly made in the order of time.
    One out of that order makes most chunks overlap.
    """

    IDS_AT_ONCE = 2**20

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by its owner
        self.chunks: list[tuple[Span, int, int]] = []  # the first of its entries, how many
        self.count = 0
        self.starts: list[int] = []  # of the spans in which there may be two alike
        self.ends: list[int] = []
        self.overlapping: list[tuple[int, int]] = []  # chunks that reach into one of them
        # Parts of about the same size, however the ids were chosen: nobody knows this prime.
        some = 2**20 + int.from_bytes(os.urandom(3)) % 2**20
        self.prime = next(n for n in range(some, 2**22) if all(n % d for d in range(2, 2**11)))

    def add(self, ids: bytes, span: Span) -> None:
        self.file.write(ids)
        self.chunks.append((span, self.count, len(ids) // 16))
        self.count += len(ids) // 16

    def repeats(self) -> list[Finding]:
        """Ids that stand further up already."""
        self._find_overlaps()
        parts = sum(count for _, count in self.overlapping) // self.IDS_AT_ONCE + 1
        prime = self.prime
        suspects: set[int] = set()
        for part in range(parts):
            # Half an id is enough to tell most apart: only what is equal there is looked at whole.
            seen: set[int] = set()
            for lasts in self._lasts():
                mine = lasts if parts == 1 else [h for h in lasts if h % prime % parts == part]
                before = len(seen)
                seen.update(mine)
                if len(seen) - before != len(mine):
                    suspects |= self._doubles(part, parts)
                    break
            if len(suspects) > self.IDS_AT_ONCE:
                break
        return self._whole(suspects) if suspects else []

    def _find_overlaps(self) -> None:
        self.starts, self.ends, self.overlapping, highest = [], [], [], -1
        for span, _, _ in sorted(self.chunks):
            start, end = span.lowest, min(span.highest, highest) if span.differ else span.highest
            highest = max(highest, span.highest)
            if self.ends and start <= self.ends[-1]:
                self.ends[-1] = max(self.ends[-1], end)
            elif start <= end:
                self.starts.append(start)
                self.ends.append(end)
        for span, first, count in self.chunks:
            at = bisect.bisect_left(self.ends, span.lowest)
            if at < len(self.ends) and self.starts[at] <= span.highest:
                self.overlapping.append((first, count))

    def _read(self) -> Iterator[tuple[int, bytes]]:
        """The first index, and all ids, of each chunk in which there may be such."""
        for first, count in self.overlapping:
            self.file.seek(16 * first)
            yield first, self.file.read(16 * count)

    def _lasts(self) -> Iterator[list[int]]:
        """Second halves of the ids that may have one alike, of some entries each time."""
        for _, ids in self._read():
            halves = _halves(ids)
            yield [
                last
                for half, last in zip(halves[::2], halves[1::2], strict=True)
                if (at := bisect.bisect_right(self.starts, half)) and half <= self.ends[at - 1]
            ]

    def _doubles(self, part: int, parts: int) -> set[int]:
        seen: set[int] = set()
        twice: set[int] = set()
        for lasts in self._lasts():
            for last in lasts:
                if last % self.prime % parts == part:
                    (twice if last in seen else seen).add(last)
        return twice

    def _whole(self, suspects: set[int]) -> list[Finding]:
        seen: set[bytes] = set()
        found: list[Finding] = []
        for first, ids in self._read():
            for place, last in enumerate(_halves(ids)[1::2]):
                if last in suspects:
                    whole = ids[16 * place : 16 * place + 16]
                    at = first + place
                    if whole in seen:
                        found.append(Finding(at, at, "an event id stands in the log twice"))
                    elif len(seen) >= self.IDS_AT_ONCE:
                        return [*found, Finding(at, at, "too many event ids are alike by halves")]
                    if len(found) == FINDINGS_MAX:
                        return found
                    seen.add(whole)
        return found


# ================================================================ evidence from elsewhere


class Claim(NamedTuple):
    """The tree of this size has this root, somebody who should know says."""

    size: int
    root: bytes
    by: str


@dataclass
class Evidence:
    """What is known from outside the database: the copy, earlier checkpoints, leaf hashes."""

    copy: Checkpoint | None = None
    history: Path | None = None
    leaves: Path | None = None

    @classmethod
    def read(cls, path: Path, policy: Policy) -> "Evidence":
        try:
            copy = policy.open(_text(path))
        except Bad as error:
            raise CannotCheck(f"the checkpoint copy is not to be trusted: {error}") from error
        leaves, history = path.with_name("leaves"), path.with_name("checkpoints")
        return cls(copy, history if history.exists() else None, leaves if leaves.exists() else None)


class History:
    """All checkpoints kept outside, read beside the entries: each larger than the one before."""

    def __init__(self, path: Path | None) -> None:
        self.notes = self._read(path) if path else iter(())
        self.next: tuple[int, bytes, str] | None = next(self.notes, None)

    def upto(self, size: int) -> list[tuple[int, bytes, str]]:
        """Size, root and note of those up to `size`, that were not given yet."""
        found = []
        while self.next is not None and self.next[0] <= size:
            found.append(self.next)
            self.next = next(self.notes, None)
        return found

    @staticmethod
    def _read(path: Path) -> Iterator[tuple[int, bytes, str]]:
        before, lines = 0, list[str]()
        with path.open("r", encoding="utf-8", errors="replace", newline="\n") as file:
            while True:
                line = file.readline(10_000)
                if lines and lines[-1].startswith("— ") and not line.startswith("— "):
                    note, lines = "".join(lines), []
                    try:
                        checkpoint = Checkpoint.parse(note)
                    except Bad:
                        continue
                    if checkpoint.size > before:
                        before = checkpoint.size
                        yield checkpoint.size, checkpoint.root, note
                if not line:
                    return
                if line != "\n" or lines:
                    lines = [*lines[-200:], line]


def witness_view(url: str, origin: str, policy: Policy, until: float) -> Checkpoint:
    """What a witness says it saw last of the log (C2SP tlog-witness)."""
    log = Log(url, until)
    try:
        return _witness_note(log, url, origin, policy)
    finally:
        log.close()


def _witness_note(log: Log, url: str, origin: str, policy: Policy) -> Checkpoint:
    path = f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"
    try:
        return policy.open(log.note(path))
    except Absent as error:
        raise CannotCheck(f"the witness {url} has not seen this log") from error
    except Bad as error:
        raise CannotCheck(f"what the witness {url} shows is not to be trusted: {error}") from error


# ================================================================ the pass over a log


@dataclass(frozen=True)
class Options:
    """What the command line asks of a live log."""

    url: str
    policy: Policy
    asks_quorum: bool
    until: float
    evidence: Evidence
    witnesses: tuple[str, ...] = ()
    signed: bool = False
    catch_up_s: float = CATCH_UP_S
    every_tile: bool = False
    processes: int | None = None
    wanted: frozenset[str] = frozenset()


class Verification:
    """One pass over all entries, chunk by chunk, each checked by another thread or process."""

    def __init__(self, options: Options, unique: Unique) -> None:
        self.options, self.policy, self.unique = options, options.policy, unique
        self.evidence = options.evidence
        self.log = Log(options.url, options.until)
        self.findings: list[Finding] = []
        self.of_all: list[Finding] = []  # of no entry: what is published is not as it should be
        self.ranges: list[Finding] = []  # where it may be, when nothing more exact is known
        self.warnings = Warnings()
        self.unchecked: list[str] = []  # what was asked for and could not be done
        self.claims: list[Claim] = []
        self.published: Checkpoint | None = None
        self.tree = Tree()
        self.roots: dict[int, bytes] = {0: Tree().root()}  # at the sizes somebody claims
        self.nodes: dict[int, list[bytes]] = {1: [], 2: [], 3: []}  # of the tile at work
        self.nodes_done = {1: 0, 2: 0, 3: 0}
        self.last_seq: dict[str, int] = {}
        self.alarms = Alarms()
        self.totals = {name: Totals(name) for name in LINE_STATES}
        self.history = History(self.evidence.history)
        self.stored = StoredCheckpoints(self.log, self.policy)
        self.untimely: dict[str, tuple[int, int]] = {}
        self.last_good_size = 0
        self.history_differs = False
        self.kept = Tree()  # over the leaf hashes kept outside
        self.kept_differs_at: int | None = None
        self.digests: dict[int, tuple[str, Any]] = {}

    def bad(self, index: int, problem: str, last: int | None = None) -> None:
        if len(self.findings) < 2 * FINDINGS_MAX:
            self.findings.append(Finding(index, index if last is None else last, problem))

    def run(self) -> int:
        """Verify; returns the size verified. Findings are left in `findings`."""
        target = self._target()
        if target is None:
            return 0
        whole = self._read_entries(target.size)
        self._compare_roots(target, whole)
        self.ranges.clear()
        for finding in self.unique.repeats():
            self.bad(finding.first, finding.problem)
        self.alarms.warn(self.warnings)
        for how, (count, at) in self.untimely.items():
            self.warnings.add(f"{count} entries {how} they were signed, the first at index {at}")
        self._compare_head()
        self._name_alarms()
        return target.size

    def found(self) -> list[Finding]:
        """All findings, however far it came: those of entries in the order of the log."""
        # What was not decided to the end may stand where something more exact is known already.
        open_ranges = [
            each for each in self.ranges
            if not any(each.first <= f.first <= each.last for f in self.findings)
        ]  # fmt: skip
        return sorted(self.findings + open_ranges) + self.of_all

    # ------------------------------------------------------------ which tree to verify

    def _target(self) -> Checkpoint | None:
        """The newest checkpoint there is to verify, with everything that others claim about it."""
        self.published = self._checkpoint("/checkpoint")
        copy = self.evidence.copy
        if copy is not None:
            self.claims.append(Claim(copy.size, copy.root, "the copy"))
        known = self.published or copy
        origin = known.origin if known else self.policy.logs[0].name
        for url in self.options.witnesses:
            try:
                seen = witness_view(url, origin, self.policy, self.options.until)
            except CannotCheck as error:
                self.unchecked.append(str(error))
            else:
                self.claims.append(Claim(seen.size, seen.root, f"the witness {url}"))
        newest = self._newest(max((claim.size for claim in self.claims), default=0))
        if self.published is None and not self.of_all:
            if newest is None or self.options.asks_quorum:
                self.of_all.append(Finding(0, 0, "the log publishes no checkpoint"))
            else:
                self.warnings.add("the log publishes no checkpoint: none has its quorum yet")
        if self.published is not None:
            self._check_quorum(self.published)
            self.claims.append(Claim(self.published.size, self.published.root, "what is published"))
        for claim in self.claims:
            if newest is not None and claim.size > newest.size:
                problem = "entries are missing: the log is shorter than what was signed"
                if claim.by != "the copy":
                    problem = f"{claim.by} has seen more than the log serves"
                self.bad(newest.size, problem, claim.size - 1)
        return newest or copy

    def _checkpoint(self, path: str) -> Checkpoint | None:
        try:
            return self.policy.open(self.log.note(path))
        except Absent:
            return None
        except Bad as error:
            problem = f"the published checkpoint is not to be trusted: {error}"
            self.of_all.append(Finding(0, 0, problem))
            return None

    def _newest(self, at_least: int) -> Checkpoint | None:
        """What is published, or only signed yet if that is asked for or `at_least` needs it.

        A healthy log needs a moment to publish what it has just signed.
        """
        until, before = time.monotonic() + self.options.catch_up_s, len(self.of_all)
        while True:
            newest = self.published
            if self.options.signed or newest is None or newest.size < at_least:
                signed = self._checkpoint("/v1/checkpoints/signed")
                if signed is not None and (newest is None or signed.size > newest.size):
                    newest = signed
            late = newest is not None and newest.size < at_least
            if not late or len(self.of_all) > before or time.monotonic() > until:
                return newest
            time.sleep(0.3)
            self.published = self._checkpoint("/checkpoint") or self.published

    def _check_quorum(self, checkpoint: Checkpoint) -> None:
        if self.options.asks_quorum and not checkpoint.has_quorum:
            names = ", ".join(each.key.name for each in checkpoint.witnesses) or "nobody"
            problem = f"the published checkpoint has no quorum: it is cosigned by {names}"
            self.of_all.append(Finding(0, max(checkpoint.size - 1, 0), problem))

    # ------------------------------------------------------------ entries

    def _read_entries(self, size: int) -> bool:
        """Stream all entries; False when they end early."""
        tile_every = 1 if self.options.every_tile else TILE_EVERY
        source = Source(
            self.options.url,
            self.options.until,
            size,
            tile_every,
            int.from_bytes(os.urandom(4)) % tile_every,  # in each run others: nobody can know which
            self.evidence.leaves,
            self.evidence.copy.size if self.evidence.copy else 0,
            self.options.wanted,
            self.policy,
        )
        claimed = sorted({claim.size for claim in self.claims})
        executor, ahead = _executor(size, self.options.processes)
        waiting: deque[tuple[Future[Part], int, list[tuple[int, bytes, str]]]] = deque()
        try:
            for first in range(0, size, CHUNK):
                number = min(CHUNK, size - first)
                history = self._history_upto(first + number)
                sizes = {each for each in claimed if first < each <= first + number}
                stored = self.stored.covering(first + number)
                if self.stored.malformed is not None:
                    self.bad(max(self.stored.last.size, 0), self.stored.malformed, size)
                    self.stored.malformed = None
                history += self._stored_history(history, stored, first, number)
                sizes.update(each[0] for each in history)
                job = executor.submit(read_chunk, source, first, number, tuple(sizes), stored)
                waiting.append((job, number, history))
                if len(waiting) >= ahead and not self._take(*waiting.popleft()):
                    return False
            while waiting:
                if not self._take(*waiting.popleft()):
                    return False
        except BrokenProcessPool as error:
            raise CannotCheck("a process of the verifier ended; try --processes 0") from error
        finally:
            executor.shutdown(cancel_futures=True)
            if (used := _logs.pop((source.base_url, source.until), None)) is not None:
                used.close()
        for level, nodes in self.nodes.items():
            if nodes:
                self._compare_tile(level, self.nodes_done[level] // WIDTH, nodes)
        return True

    def _history_upto(self, size: int) -> list[tuple[int, bytes, str]]:
        copy = self.evidence.copy
        return self.history.upto(min(size, copy.size)) if copy else []

    def _stored_history(
        self,
        kept: list[tuple[int, bytes, str]],
        stored: tuple[Stored, ...],
        first: int,
        number: int,
    ) -> list[tuple[int, bytes, str]]:
        """What the database's own checkpoints say of these entries; those kept outside must be
        among them."""
        here = [row for row in stored if first < row.size <= first + number]
        there = {row.size for row in here}
        for size, _, note in kept:
            if self.stored.known and size > first and size not in there and self._signed(note):
                self.bad(size - 1, f"the checkpoint of size {size} is missing in the database")
        found = []
        for row in here:
            try:
                found.append((row.size, Checkpoint.parse(row.note).root, row.note))
            except Bad:
                continue  # it is named by the process that checks it
        return found

    def _signed(self, note: str) -> bool:
        try:
            self.policy.open(note)
        except Bad:
            return False
        return True

    def _take(
        self, job: "Future[Part]", number: int, history: list[tuple[int, bytes, str]]
    ) -> bool:
        """The next chunk in order; False when it ends early."""
        part = job.result()
        for finding in part.findings:
            self.bad(finding.first, finding.problem, finding.last)
        for producer, (first, at, last) in part.seqs.items():
            if producer not in self.last_seq and len(self.last_seq) >= PRODUCERS_MAX:
                self.bad(at, f"more than {PRODUCERS_MAX} producers")
                continue
            due = self.last_seq.get(producer, 0) + 1
            if first != due:
                self.bad(at, out_of_order(producer, first, due))
            self.last_seq[producer] = last
        if part.failed is not None:
            raise CannotCheck(part.failed)
        self.unique.add(part.ids, part.span)
        if len(self.digests) < len(self.options.wanted):  # an id may stand in every entry
            self.digests |= part.digests
        for how, (count, at) in part.untimely.items():
            before, earliest = self.untimely.get(how, (0, at))
            self.untimely[how] = (before + count, earliest)
        for fact in part.facts:
            self._take_fact(fact)
        for size, root in part.roots.items():
            self.roots[size] = self.tree.root(root)
        self._compare_history(history)
        if self.kept.size == part.first:
            for height, top in part.kept:
                self.kept.add(top, height)
        if self.kept_differs_at is None:
            self.kept_differs_at = part.kept_differs_at
        for root in part.tiles:
            self._add_node(1, root)
        for height, top in part.peaks:
            self.tree.add(top, height)
        return part.count == number

    def _take_fact(self, fact: Fact) -> None:
        if fact.producer == "audit" and fact.type.startswith("audit."):
            self.alarms.take(fact)
        elif fact.producer in self.totals and fact.type.startswith(fact.producer):
            for finding in self.totals[fact.producer].take(fact):
                self.bad(*finding[::2])

    def _add_node(self, level: int, digest: bytes) -> None:
        if level not in self.nodes:
            return
        self.nodes[level].append(digest)
        self.nodes_done[level] += 1
        if len(self.nodes[level]) == WIDTH:
            nodes, self.nodes[level] = self.nodes[level], []
            self._compare_tile(level, self.nodes_done[level] // WIDTH - 1, nodes)
            self._add_node(level + 1, levels_of(nodes)[-1][0])

    def _compare_tile(self, level: int, index: int, hashes: list[bytes]) -> None:
        """Is the published tile of nodes what the entries give?"""
        try:
            published = self.log.tile(str(level), index, len(hashes))
            problem = f"the stored node of level {8 * level} is not that of its entries"
        except Absent as error:
            published = b""
            problem = f"the tile of level {level} is missing ({error})"
        for offset, digest in enumerate(hashes):
            if published[32 * offset : 32 * offset + 32] != digest:
                span = 1 << (8 * level)
                first = (index * WIDTH + offset) * span
                # A node differs also when an entry under it was changed: that is decided later.
                self.ranges.append(Finding(first, first + span - 1, problem))
                return

    # ------------------------------------------------------------ roots

    def _compare_history(self, history: list[tuple[int, bytes, str]]) -> None:
        for size, root, note in sorted(history, key=lambda each: each[0]):
            if self.history_differs or self.roots.get(size) == root:
                self.last_good_size = self.last_good_size if self.history_differs else size
                continue
            if not self._signed(note):
                self.warnings.add("some checkpoints, kept outside or stored, are not signed")
                continue
            problem = "entries are not those that were signed"
            # One good checkpoint of a size may stand beside another: kept outside, and stored.
            self.ranges.append(Finding(min(self.last_good_size, size - 1), size - 1, problem))
            self.history_differs = True
        # What others claim is compared again in the end; the rest need not be kept.
        claimed = {claim.size for claim in self.claims}
        for size in {each[0] for each in history} - claimed:
            self.roots.pop(size, None)

    def _compare_roots(self, target: Checkpoint, whole: bool) -> None:
        """Does it all lead to the signed roots? If not: where does it go wrong?"""
        problem = "entries are not those that were signed"
        signed = [Claim(target.size, target.root, "what is signed"), *self.claims]
        self.roots[self.tree.size] = self.tree.root()
        good = {each.size for each in signed if self.roots.get(each.size) == each.root}
        wrong = [each for each in signed if each.size <= self.tree.size and each.size not in good]
        wrong += [
            each for each in signed if each.size in good and self.roots[each.size] != each.root
        ]
        elsewhere = [each for each in wrong if each.by.startswith("the witness")]
        if whole and len(wrong) == len(elsewhere) and not self.history_differs:
            # Entries are as signed, so a node that differs was changed itself.
            self.findings += self.ranges
            for claim in elsewhere:
                first = max((size for size in good if size < claim.size), default=0)
                self.bad(first, f"{claim.by} has seen other entries", claim.size - 1)
        elif self._kept_is_proved() and self.kept_differs_at is not None:
            self.bad(self.kept_differs_at, "the entry is not the one that was signed")
        elif whole:
            least = min((each.size for each in wrong), default=target.size)
            somewhere = [*self.ranges, Finding(0, max(least, 1) - 1, problem)]
            low = max(each.first for each in somewhere)
            high = min(each.last for each in somewhere)
            if low > high:  # several places; the first of them
                low, high = min((each.first, each.last) for each in somewhere[:-1])
            if not any(low <= each.first <= high for each in self.findings):
                self.bad(low, problem, high)

    def _kept_is_proved(self) -> bool:
        """Are the leaf hashes kept outside those that were signed? Their root tells."""
        copy = self.evidence.copy
        if copy is None or self.evidence.leaves is None:
            return False
        with self.evidence.leaves.open("rb") as leaves:
            leaves.seek(32 * self.kept.size)
            while self.kept.size < copy.size and len(kept := leaves.read(32)) == 32:
                self.kept.add(kept)
        return self.kept.size == copy.size and self.kept.root() == copy.root

    # ------------------------------------------------------------ what is not signed

    def _name_alarms(self) -> None:
        """Events that came again with other content: name the entries that took their places."""
        open_alarms = dict(self.alarms.repeated)
        first = 0
        while open_alarms and first < self.tree.size:
            rows = self.log.columns(first, 1_000)
            for row in rows:
                producer, seq = str(row.get("producer")), row.get("seq")
                if type(seq) is not int or (producer, seq) not in open_alarms:
                    continue
                alarm = open_alarms.pop((producer, seq))
                told = f"{producer} told {producer} {seq} otherwise (alarm at {alarm})"
                self.bad(row["index"], told)
            if not rows or rows[-1]["index"] < first:
                break
            first = rows[-1]["index"] + 1
        for (producer, seq), alarm in open_alarms.items():
            self.bad(alarm, f"alarm: {producer} told {producer} {seq} otherwise")

    def _compare_head(self) -> None:
        """The head must be what the entries add up to, with no entry before, beyond or unsigned."""
        try:
            head = self.log.json("/v1/head")
        except Absent:
            self.bad(max(self.tree.size - 1, 0), "the stored head is missing")
            return
        try:
            size = _number(head["size"])
            lowest, highest = (
                None if head[name] is None else _number(head[name])
                for name in ("index_min", "index_max")
            )
            frontier = head["frontier"]
        except (KeyError, TypeError):
            self.bad(max(self.tree.size - 1, 0), "the stored head has not the form of one")
            return
        if size < self.tree.size:
            self.bad(size, "the stored head is behind the signed entries", self.tree.size - 1)
        if lowest is not None and lowest < 0:
            self.bad(lowest, "an entry stands before the first")
        elif lowest is not None and lowest > 0:
            self.bad(0, "entries are missing at the beginning", lowest - 1)
        stored = 0 if highest is None else highest + 1
        if stored > size:
            row = self.log.columns(max(size, 0), 1)
            self.bad(row[0]["index"] if row else size, "an entry was added beyond the head")
        elif stored < size:
            self.bad(stored, "entries are missing at the end", size - 1)
        if size == self.tree.size and frontier != [
            base64.b64encode(digest).decode() for _, digest in self.tree.stack
        ]:
            self.bad(max(size - 1, 0), "the stored head is not that of the entries")
        if size > self.tree.size and not any(f.first >= self.tree.size for f in self.findings):
            newest = self._newest(size)
            if newest is not None and newest.size < size:
                self.bad(newest.size, "entries stand in the log that it does not sign", size - 1)


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("not a number")
    return value


def _executor(size: int, processes: int | None) -> tuple[Executor, int]:
    """Who reads the chunks, and how many may be under way: enough for none to wait for the next."""
    if processes is None:
        # Also with two cores and the service on the same machine: whoever has to wait lets it run.
        cores = os.cpu_count() or 1
        processes = min(cores + 2, 8) if cores > 1 and size >= PROCESSES_FROM else 0
    if processes:
        # A fork need not read all this again, but must not find another thread at work.
        alone = sys.platform == "linux" and threading.active_count() == 1
        starting = multiprocessing.get_context("fork" if alone else "spawn")
        return ProcessPoolExecutor(processes, mp_context=starting), processes + 2
    return ThreadPoolExecutor(2), 3


# ================================================================ files: receipts, exports


@dataclass(frozen=True)
class Receipt:
    """A C2SP tlog-proof: an entry's index, its inclusion proof, and the checkpoint it leads to."""

    index: int
    hashes: tuple[bytes, ...]
    note: str

    @classmethod
    def parse(cls, text: str) -> "Receipt":
        head, blank, note = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or not note or lines.pop(0) != "c2sp.org/tlog-proof@v1":
            raise Bad("it is not a receipt")
        if lines and lines[0].startswith("extra "):
            decode(lines.pop(0).removeprefix("extra "))
        word, _, number = lines.pop(0).partition(" ") if lines else ("", "", "")
        if word != "index" or not DECIMAL.fullmatch(number) or int(number) >= 2**63:
            raise Bad("it names no index")
        hashes = tuple(map(decode, lines))
        if len(hashes) > 63 or any(len(each) != 32 for each in hashes):
            raise Bad("its proof does not consist of hashes")
        return cls(int(number), hashes, note)


def check_receipt(
    text: str, policy: Policy, asks_quorum: bool = False
) -> tuple[Receipt, Checkpoint]:
    """Form and checkpoint of a receipt; raises Bad. What entry it is of is not looked at."""
    receipt = Receipt.parse(text)
    checkpoint = policy.open(receipt.note)
    if asks_quorum and not checkpoint.has_quorum:
        raise Bad("its checkpoint has not the quorum of the policy")
    return receipt, checkpoint


def prove_receipt(text: str, leaf: bytes, policy: Policy, asks_quorum: bool = False) -> Checkpoint:
    """That the entry with this leaf hash is in the log: its checkpoint. Raises Bad."""
    receipt, checkpoint = check_receipt(text, policy, asks_quorum)
    prove_inclusion(receipt.index, checkpoint.size, leaf, receipt.hashes, checkpoint.root)
    return checkpoint


class Export:
    """Rows of the log in a file (JSON Lines or CSV), each with its proof; read line by line."""

    def __init__(self, policy: Policy, asks_quorum: bool, wanted: frozenset[str]) -> None:
        self.policy, self.asks_quorum, self.wanted = policy, asks_quorum, wanted
        self.findings: list[Finding] = []
        self.checkpoint: Checkpoint | None = None
        self.note = ""
        self.first: int | None = None
        self.last: int | None = None
        self.count = 0
        self.has_more = False
        self.digests: dict[int, tuple[str, Any]] = {}

    def check(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                begins = file.read(3)
                file.seek(0)
                lines = _lines(file)
                if begins == b"\xef\xbb\xbf":
                    self._csv(lines)
                elif begins[:1] == b"{":
                    self._json_lines(lines)
                else:
                    raise CannotCheck(f"{path} is neither JSON Lines nor CSV of an export")
        except OSError as error:
            raise CannotCheck(f"{path} cannot be read: {error.strerror}") from error

    def bad(self, number: int, problem: str, index: int | None = None) -> None:
        if len(self.findings) < FINDINGS_MAX:
            at = self.last if index is None else index
            self.findings.append(Finding(at or 0, at or 0, f"line {number}: {problem}"))

    # ------------------------------------------------------------ JSON Lines

    def _json_lines(self, lines: Iterator[str]) -> None:
        header: dict[str, Any] = {}
        ended = False
        number = 0
        for number, line in enumerate(lines, start=1):
            index = None
            try:
                row = _object(line)
                if ended:
                    raise Bad("something follows the last line")
                if number == 1:
                    header = self._header(row)
                elif "count" in row:
                    ended = True
                    self._trailer(row)
                else:
                    index = row.get("index") if type(row.get("index")) is int else None
                    self._row(row, header)
            except Bad as error:
                self.bad(number, str(error), index)
                if number == 1:
                    return
        if not ended:
            self.bad(number + 1, "the last line is missing: the file was cut")

    def _header(self, row: dict[str, Any]) -> dict[str, Any]:
        if row.get("format") != "duijie-export@v1" or not isinstance(row.get("checkpoint"), str):
            raise Bad("it is not the header of an export")
        self._open(row["checkpoint"])
        if self.checkpoint is not None and row.get("origin") != self.checkpoint.origin:
            raise Bad("the header names another log than its checkpoint")
        after = row.get("after_index")
        if after is not None:
            if type(after) is not int:
                raise Bad("after_index is no number")
            self.last = after
        asked = row.get("filter", {})
        if not isinstance(asked, dict):
            raise Bad("the filter has not its form")
        return asked

    def _open(self, note: str) -> None:
        """The checkpoint of the file; all rows lead to the same."""
        if self.checkpoint is not None:
            if note != self.note:
                raise Bad("its proof leads to another checkpoint than the first")
            return
        try:
            self.checkpoint = self.policy.open(note)
        except Bad as error:
            raise Bad(f"the checkpoint is not to be trusted: {error}") from error
        self.note = note
        if self.asks_quorum and not self.checkpoint.has_quorum:
            raise Bad("the checkpoint has not the quorum of the policy")

    def _row(self, row: dict[str, Any], wanted: dict[str, Any]) -> None:
        index, body, hashes = row.get("index"), row.get("body"), row.get("hashes")
        if type(index) is not int or not isinstance(body, str) or not isinstance(hashes, list):
            raise Bad("it is not an entry of an export")
        if not all(isinstance(each, str) for each in hashes) or len(hashes) > 63:
            raise Bad("its proof does not consist of hashes")
        content = body.encode(errors="replace")
        event = self._prove(index, content, list(map(decode, hashes)))
        if event is not None and (names := [n for n in wanted if not _fits(event, n, wanted[n])]):
            raise Bad(f"the entry is not what the filter asks for: {', '.join(names)}")

    def _prove(self, index: int, body: bytes, hashes: list[bytes]) -> dict[str, Any] | None:
        if self.checkpoint is None:
            raise Bad("there is no checkpoint")
        if self.last is not None and index <= self.last:
            raise Bad(f"index {index} does not come after {self.last}")
        self.first = index if self.count == 0 else self.first
        self.count, self.last = self.count + 1, index
        size, root = self.checkpoint.size, self.checkpoint.root
        prove_inclusion(index, size, leaf_hash(body), hashes, root)
        event = event_in(body)
        key = _id_of(event) if event else ""
        if event is not None and self.wanted and (key in self.wanted or str(index) in self.wanted):
            self.digests[index] = (key, event.get("data"))
        return event

    def _trailer(self, row: dict[str, Any]) -> None:
        last = self.last if self.count else None
        said = (row.get("count"), row.get("first_index"), row.get("last_index"))
        if said != (self.count, self.first, last) or type(row["count"]) is not int:
            raise Bad(
                f"the last line says {said[0]} entries from {said[1]} to {said[2]}, there are"
                f" {self.count} from {self.first} to {last}"
            )
        self.has_more = row.get("has_more") is True

    # ------------------------------------------------------------ CSV

    HEADER = "index,time,producer,seq,type,subject,division,actor,actor_role,event,leaf,proof"

    def _csv(self, lines: Iterator[str]) -> None:
        csv.field_size_limit(LINE_BYTES_MAX)
        row_bytes = 0  # a row may go on over many lines

        def counted() -> Iterator[str]:
            nonlocal row_bytes
            for line in lines:
                row_bytes += len(line)
                if row_bytes > LINE_BYTES_MAX:
                    raise csv.Error(f"a row of more than {LINE_BYTES_MAX} bytes")
                yield line

        reader = csv.reader(counted(), strict=True)
        while True:
            index, row_bytes = None, 0
            try:
                cells = next(reader, None)
                if cells is None:
                    break
                if reader.line_num == 1:
                    if ",".join(cells).removeprefix("\ufeff") != self.HEADER:
                        raise Bad("it is not the header of an export")
                    continue
                index = int(cells[0]) if cells and DECIMAL.fullmatch(cells[0]) else None
                self._cells(cells)
            except csv.Error as error:
                self.bad(reader.line_num, f"it is not CSV: {error}")
                return
            except Bad as error:
                self.bad(reader.line_num, str(error), index)
                if reader.line_num == 1:
                    return

    def _cells(self, cells: list[str]) -> None:
        names = self.HEADER.split(",")
        if len(cells) != len(names):
            raise Bad(f"it has {len(cells)} cells instead of {len(names)}")
        row = dict(zip(names, cells, strict=True))
        numbers = row["index"], row["seq"]
        if not all(map(DECIMAL.fullmatch, numbers)):
            raise Bad("index or seq is no number")
        body = f"{row['producer']:<8} {int(row['seq']):020d}\n{row['event']}".encode(
            errors="replace"
        )
        try:
            receipt = Receipt.parse(decode(row["proof"]).decode())
        except UnicodeDecodeError as error:
            raise Bad("its proof is not text") from error
        if receipt.index != int(row["index"]) or decode(row["leaf"]) != leaf_hash(body):
            raise Bad("its index or leaf hash is not that of its proof")
        self._open(receipt.note)
        event = self._prove(int(row["index"]), body, list(receipt.hashes))
        if event is None:
            raise Bad("its event has not the form of one")
        said = {name: row[name].removeprefix("'") if row[name][:1] == "'" else row[name]
                for name in ("type", "subject", "division", "actor", "actor_role")}  # fmt: skip
        is_so = columns_of(event)
        differing = [name for name in said if said[name] != (is_so[name] or "")]
        if row["time"] != event.get("time"):
            differing.append("time")
        if differing:
            raise Bad(f"cells are not those of the event: {', '.join(differing)}")


def _lines(file: IO[bytes]) -> Iterator[str]:
    """The lines of a file, however long it claims them to be."""
    while line := file.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            raise CannotCheck(f"a line of more than {LINE_BYTES_MAX} bytes")
        yield line.decode("utf-8", "replace")


def _object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Bad("it is not JSON") from error
    if not isinstance(row, dict) or not line.endswith("\n"):
        raise Bad("it is not a line of an export")
    return row


def _fits(event: dict[str, Any], name: str, value: Any) -> bool:
    """Does an event satisfy one condition of an export's filter? Unknown conditions do not."""
    is_so = {**columns_of(event), "producer": str(event.get("source"))}
    asked = str(value)
    match name:
        case "allocation" | "need" | "organization" | "offer":
            return asked.lower() in _mentions(event)
        case "officer":
            return is_so["actor"] == asked
        case "subject" if asked.endswith("/"):
            return (is_so["subject"] or "").startswith(asked)
        case "division":
            return _covers(asked, is_so["division"] or "")
        case "since" | "before":
            try:
                at, limit = (datetime.fromisoformat(each) for each in (str(event["time"]), asked))
                return at >= limit if name == "since" else at < limit
            except (ValueError, KeyError, TypeError):
                return False
        case "actor_role" | "subject" | "producer" | "type":
            return is_so[name] == asked
        case _:
            return False


def _covers(division: str, other: str) -> bool:
    significant = next((w for w in (0, 2, 4, 6, 9, 12) if not division[w:].strip("0")), 12)
    return len(other) == 12 and other.startswith(division[:significant])


# ---------------------------------------------------------------- disclosures: RFC 9901


class Disclosures:
    """What opens digests of events: of each, the event and the disclosure."""

    def __init__(self, path: Path) -> None:
        try:
            document = json.loads(_text(path))
        except (ValueError, RecursionError) as error:
            raise CannotCheck(f"{path} is not JSON") from error
        self.of: dict[str, list[str]] = {}
        self.problems: list[str] = []
        open_values = [document]
        while open_values:
            value = open_values.pop()
            if isinstance(value, list):
                open_values.extend(value)
            elif isinstance(value, dict) and isinstance(value.get("disclosures"), list):
                for each in value["disclosures"]:
                    self._add(str(value.get("event_id", value.get("index"))).lower(), each)
            elif isinstance(value, dict):
                open_values.extend(value.values())
        if not self.of and not self.problems:
            raise CannotCheck(f"{path} holds no disclosures")

    def _add(self, event: str, each: Any) -> None:
        """A disclosure, or one with its name and value beside it, which must be what it says."""
        text = each.get("disclosure") if isinstance(each, dict) else each
        opened = _opened(text)
        if opened is None or not isinstance(text, str):
            self.problems.append(f"event {event}: something that is no disclosure")
            return
        if isinstance(each, dict):
            told = [each.get("name", opened[1]), each.get("value", opened[2])]
            if told != opened[1:]:
                self.problems.append(f"event {event}: a disclosure says {opened[1]} otherwise")
        if sum(map(len, self.of.values())) >= DISCLOSURES_MAX:
            raise CannotCheck(f"more than {DISCLOSURES_MAX} disclosures")
        self.of.setdefault(event, []).append(text)

    def compare(self, digests: dict[int, tuple[str, Any]], unchecked: list[str]) -> list[Finding]:
        """Does each stand in the entry it is said to be of? It may not be published yet."""
        found = [Finding(0, 0, problem) for problem in self.problems]
        places = {str(at): at for at in digests} | {key: at for at, (key, _) in digests.items()}
        for event, texts in self.of.items():
            if (at := places.get(event)) is None:
                if len(unchecked) < FINDINGS_MAX:
                    unchecked.append(f"event {event}, to be opened, is not among the entries")
                continue
            data = digests[at][1]
            held = data.get("digests") if isinstance(data, dict) else None
            for text in texts:
                digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
                if not isinstance(held, list) or digest.decode().rstrip("=") not in held:
                    name = (_opened(text) or ["", "?"])[1]
                    found.append(
                        Finding(at, at, f"the disclosure of {name} does not open a digest")
                    )
        return found


def _opened(text: Any) -> list[Any] | None:
    """[salt, name, value] of a disclosure."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,100000}", text):
        return None
    try:
        content = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, list) or len(content) != 3:
        return None
    return content if all(isinstance(each, str) for each in content[:2]) else None


# ================================================================ the command


def main(words: list[str] | None = None) -> int:
    """Verify as the command line asks, and say what was found."""
    sys.setswitchinterval(0.0005)  # a thread that reads must not wait long for one that computes
    arguments = _arguments(words)
    status, findings, summary = check(arguments)
    if not arguments.json:
        for finding in findings[:20]:
            until = f" to {finding.last}" if finding.last > finding.first else ""
            print(f"bad index {finding.first}{until}: {_printable(finding.problem)}")
        for warning in summary["warnings"][:20]:
            print(f"warning: {_printable(warning)}")
        for reason in summary["unchecked"][:20] if findings else ():
            print(f"not checked: {_printable(reason)}")
        for witness in summary["witnesses"]:
            print(_printable(f"cosigned by {witness['name']} at {witness['at']}"))
        subject = "log" if arguments.log else "receipt" if arguments.receipt else "export"
        words_of = {0: f"the {subject} is good", 1: f"the {subject} is bad"}
        print(words_of.get(status) or _printable(str(summary["problem"])))
    print(json.dumps(summary))
    return status


def _printable(text: str) -> str:
    """What a server sent is shown, not obeyed by the terminal."""
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in text)[:500]


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Verify the log from outside.")
    add = parser.add_argument
    add("--log", metavar="URL", help="base address of the audit service: verify the whole log")
    add("--export", type=Path, help="verify this export (JSON Lines or CSV) offline instead")
    add("--receipt", type=Path, help="verify this receipt offline instead")
    add("--entry", type=Path, help="with --receipt: file with the exact bytes of the entry")
    add("--leaf", metavar="HEX", help="with --receipt: the entry's leaf hash instead")
    add("--key", action="append", default=[], help="a verifier key of the log, or a file of them")
    add(
        "--policy",
        type=Path,
        help="keys, witnesses and the quorum to ask for, with or without --key",
    )
    add("--witness", metavar="URL", action="append", default=[], help="compare with its own view")
    add("--checkpoint-copy", type=Path, help="the copy kept outside the database")
    add("--disclosures", type=Path, help="with --log or --export: do these open the entries?")
    add("--signed", action="store_true", help="verify also what has no quorum yet")
    add("--tiles", action="store_true", help="fetch every published tile, not one of some")
    add("--processes", type=int, help="how many read entries (0: threads only)")
    add("--json", action="store_true", help="print nothing but the JSON object")
    add("--catch-up-s", type=float, default=CATCH_UP_S, help="how long publishing may take")
    add("--timeout-s", type=float, default=21_600.0, help="give up after this")
    arguments = parser.parse_args(words)
    if sum(map(bool, (arguments.log, arguments.receipt, arguments.export))) != 1:
        parser.error("give one of --log, --export and --receipt")
    if not arguments.key and not arguments.policy:
        parser.error("give --key, --policy, or both")
    return arguments


def check(arguments: argparse.Namespace) -> tuple[int, list[Finding], dict[str, Any]]:
    """The status, all findings, those of entries in the order of the log, and the summary."""
    began = time.monotonic()
    findings: list[Finding] = []
    summary: dict[str, Any] = {"ok": False, "size": None}
    more: dict[str, Any] = {"quorum": None, "witnesses": [], "warnings": [], "unchecked": []}
    problem = None
    try:
        policy = trusted(arguments.key, arguments.policy)
        checks: dict[str, Callable[..., list[Finding]]] = {
            "receipt": _receipt, "export": _export, "log": _log,
        }  # fmt: skip
        name = next(name for name in checks if getattr(arguments, name))
        findings = checks[name](arguments, policy, summary, more)
        status = 1 if findings else 0
        if status == 0 and more["unchecked"]:
            raise CannotCheck("; ".join(more["unchecked"]))
    except FAILURES as error:
        status, problem = 2, f"could not be checked: {_reason(error)}"
    first = findings[0] if findings else None
    summary |= {
        "ok": status == 0,
        "first_bad_index": first.first if first else None,
        "last_possible_index": first.last if first else None,
        "problem": first.problem if first else problem,
        "seconds": round(time.monotonic() - began, 2),
        **more,
    }
    return status, findings, summary


def _signers(checkpoint: Checkpoint | None, arguments: argparse.Namespace) -> dict[str, Any]:
    if checkpoint is None or not arguments.policy:
        return {}
    names = {each.key.name: each.at for each in checkpoint.witnesses}
    signed = [{"name": name, "at": _moment(at)} for name, at in names.items()]
    return {"quorum": checkpoint.has_quorum, "witnesses": signed}


def _moment(at: int | None) -> str | None:
    try:
        return None if at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    except (ValueError, OverflowError, OSError):
        return f"{at} s after 1970"


def _log(
    arguments: argparse.Namespace, policy: Policy, summary: dict[str, Any], more: dict[str, Any]
) -> list[Finding]:
    copy = arguments.checkpoint_copy
    disclosures = Disclosures(arguments.disclosures) if arguments.disclosures else None
    options = Options(
        arguments.log,
        policy,
        bool(arguments.policy),
        time.monotonic() + arguments.timeout_s,
        Evidence.read(copy, policy) if copy else Evidence(),
        tuple(arguments.witness),
        arguments.signed,
        arguments.catch_up_s,
        arguments.tiles,
        arguments.processes,
        frozenset(disclosures.of) if disclosures else frozenset(),
    )
    unique = Unique()
    try:
        verification = Verification(options, unique)
        try:
            summary["size"] = verification.run()
        except FAILURES as error:
            verification.unchecked.append(_reason(error))
        finally:
            verification.log.close()
    finally:
        unique.file.close()
    more |= _signers(verification.published, arguments)
    if not verification.stored.known:
        verification.warnings.add("the log does not tell its stored checkpoints: not compared")
    more["warnings"] = list(verification.warnings.texts)
    more["unchecked"] = verification.unchecked
    if disclosures:
        opened = disclosures.compare(verification.digests, verification.unchecked)
        verification.findings += opened
    return verification.found()


def _export(
    arguments: argparse.Namespace, policy: Policy, summary: dict[str, Any], more: dict[str, Any]
) -> list[Finding]:
    disclosures = Disclosures(arguments.disclosures) if arguments.disclosures else None
    wanted = frozenset(disclosures.of) if disclosures else frozenset()
    export = Export(policy, bool(arguments.policy), wanted)
    try:
        export.check(arguments.export)
    except FAILURES as error:
        more["unchecked"].append(_reason(error))
    summary["size"] = export.checkpoint.size if export.checkpoint else None
    more |= _signers(export.checkpoint, arguments) | {"rows": export.count}
    if export.has_more:
        more["warnings"] = ["the export was cut at its limit; more entries follow in another"]
    opened = disclosures.compare(export.digests, more["unchecked"]) if disclosures else []
    return sorted(export.findings + opened)


def _receipt(
    arguments: argparse.Namespace, policy: Policy, summary: dict[str, Any], more: dict[str, Any]
) -> list[Finding]:
    leaf = _leaf(arguments)
    index = 0
    try:
        receipt, checkpoint = check_receipt(
            _text(arguments.receipt), policy, bool(arguments.policy)
        )
        index, summary["size"] = receipt.index, checkpoint.size
        more |= _signers(checkpoint, arguments) | {"index": index}
        if leaf is None:
            raise CannotCheck("give the entry the receipt is of (--entry FILE or --leaf HEX)")
        prove_inclusion(index, checkpoint.size, leaf, receipt.hashes, checkpoint.root)
    except Bad as error:
        return [Finding(index, index, f"the receipt is not to be trusted: {error}")]
    return []


def _leaf(arguments: argparse.Namespace) -> bytes | None:
    if arguments.entry:
        with arguments.entry.open("rb") as file:
            return leaf_hash(file.read(LINE_BYTES_MAX))
    if arguments.leaf is None:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", arguments.leaf):
        raise CannotCheck("--leaf is 64 hexadecimal digits")
    return bytes.fromhex(arguments.leaf)


if __name__ == "__main__":
    sys.exit(main())
