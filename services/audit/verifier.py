#!/usr/bin/env python3
"""Verify the whole log from outside. One file, to be read before it is run: the standard library
and `cryptography` for Ed25519; it shares no code with the service.

    python verifier.py --log URL --key LOG.VKEY [--checkpoint-copy FILE] [--json]
    python verifier.py --key LOG.VKEY --receipt FILE        (offline: one receipt)

It downloads every entry, recomputes the Merkle tree (RFC 6962) and compares it with the signed
checkpoint, the published tiles, the query columns, and, with --checkpoint-copy, with the checkpoint
and the leaf hashes that are kept outside the database (`leaves` and `checkpoints` beside the copy).
Memory is bounded, every wait ends. The last line is one JSON object
{"ok", "size", "first_bad_index", "last_possible_index", "problem", "seconds"}.
Status: 0 good, 1 bad, 2 it could not be checked.

What it proves and what it cannot: docs/log.md.
"""

import argparse
import base64
import binascii
import hashlib
import json
import re
import struct
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WIDTH = 256
REQUEST_TIMEOUT_S = 30.0
ATTEMPTS_MAX = 6
CATCH_UP_S = 10.0  # so long a healthy log may take to publish what was just appended or signed
BUNDLE_BYTES_MAX = WIDTH * (2 + 65_535)
TEXT_BYTES_MAX = 1_000_000
COLUMN_BYTES_MAX = 16_000_000
COLUMN_CHARACTERS_MAX = 200
SIZE_MAX = 2**40
PREFIX = re.compile(rb"^([a-z]+) *\x20([0-9]{20})\n")
PREFIX_BYTES = 30
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class CannotCheck(Exception):
    """Nothing can be said about the log: it was not reached, or a file is not readable."""


class Absent(Exception):
    """The log says that it does not have what it must have."""


# ---------------------------------------------------------------- hashes, keys, checkpoints


def leaf_hash(body: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass
class Tree:
    """The roots of the perfect subtrees so far: all that is needed to add leaves."""

    size: int = 0
    stack: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, top: bytes) -> None:
        height = 0
        while self.stack and self.stack[-1][0] == height:
            top = node_hash(self.stack.pop()[1], top)
            height += 1
        self.stack.append((height, top))
        self.size += 1

    def root(self) -> bytes:
        if not self.stack:
            return hashlib.sha256(b"").digest()
        top = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            top = node_hash(left, top)
        return top


@dataclass(frozen=True)
class Key:
    name: str
    key_id: bytes
    public: bytes

    @classmethod
    def read(cls, source: str) -> "Key":
        """From a file, or the key itself: name+id+base64(0x01 || public key)."""
        text = Path(source).read_text() if "+" not in source or Path(source).exists() else source
        try:
            name, key_id, encoded = text.strip().split("+", 2)
            content = base64.b64decode(encoded, validate=True)
            identity = hashlib.sha256(name.encode() + b"\n" + content).digest()[:4]
        except (ValueError, binascii.Error) as error:
            raise CannotCheck("the key is not a verifier key") from error
        if len(content) != 33 or content[0] != 1 or identity.hex() != key_id:
            raise CannotCheck("the key is not an Ed25519 verifier key, or its id is wrong")
        return cls(name, identity, content[1:])


@dataclass(frozen=True)
class Checkpoint:
    size: int
    root: bytes

    @classmethod
    def open(cls, note: str, key: Key) -> "Checkpoint":
        """Check signature and form of a checkpoint; raises ValueError with what is wrong."""
        body, blank, lines = note.rpartition("\n\n")
        body += "\n"
        if not blank or not lines.endswith("\n"):
            raise ValueError("it has no signature")
        signed = False
        for line in lines[:-1].split("\n"):
            mark, name, encoded = [*line.split(" "), "", ""][:3]
            content = base64.b64decode(encoded, validate=True)
            if mark != "—" or name != key.name or content[:4] != key.key_id:
                continue
            try:
                Ed25519PublicKey.from_public_bytes(key.public).verify(content[4:], body.encode())
            except InvalidSignature as error:
                raise ValueError("its signature does not hold") from error
            signed = True
        if not signed:
            raise ValueError("it is not signed with the given key")
        origin, size, root = body.split("\n")[:3]
        digest = base64.b64decode(root, validate=True)
        if origin != key.name or not re.fullmatch(r"0|[1-9][0-9]{0,18}", size) or len(digest) != 32:
            raise ValueError("it is not a checkpoint of this log")
        if int(size) > SIZE_MAX:
            raise ValueError("its size is beyond what can be verified")
        return cls(int(size), digest)


# ---------------------------------------------------------------- the log, over HTTP


class Log:
    """Bounded requests to one log."""

    def __init__(self, base_url: str, until: float, catch_up_s: float = CATCH_UP_S) -> None:
        if urllib.parse.urlsplit(base_url).scheme not in {"http", "https"}:
            raise CannotCheck("--log must be an http(s) address")
        self.base_url = base_url.rstrip("/")
        self.until = until  # time.monotonic() at which we give up
        self.catch_up_s = catch_up_s

    def get(self, path: str, bytes_max: int = TEXT_BYTES_MAX) -> bytes:
        """Raises Absent when the log says it has no such thing, CannotCheck without an answer."""
        reason, attempts = "", 0
        while attempts < ATTEMPTS_MAX and time.monotonic() < self.until:
            pause_s = 0.2 * 2**attempts
            try:
                with urllib.request.urlopen(  # noqa: S310 - the scheme was checked above
                    self.base_url + path, timeout=REQUEST_TIMEOUT_S
                ) as answer:
                    content: bytes = answer.read(bytes_max + 1)
                if len(content) > bytes_max:
                    raise CannotCheck(f"{path}: longer than {bytes_max} bytes")
                return content
            except urllib.error.HTTPError as error:
                code = _problem_code(error)
                if error.code == 404 or code in {"entries_missing", "log_refused"}:
                    raise Absent(code or "not found") from error
                reason = f"{error.code} {code}"
                if error.code == 429:
                    attempts -= 1  # asked to wait, which is not a failure; `until` bounds it
                    pause_s = 3.0
                elif error.code < 500:
                    break
            except OSError as error:
                reason = str(error)
            attempts += 1
            time.sleep(min(pause_s, max(0.0, self.until - time.monotonic())))
        raise CannotCheck(f"{path}: {reason or 'out of time'}")

    def json(self, path: str) -> Any:
        try:
            return json.loads(self.get(path, COLUMN_BYTES_MAX))
        except ValueError as error:
            raise CannotCheck(f"{path}: not JSON") from error

    def tile(self, level: str, index: int, width: int) -> bytes:
        groups, rest = [f"{index % 1000:03d}"], index // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03d}")
            rest //= 1000
        partial = "" if width == WIDTH else f".p/{width}"
        return self.get(f"/tile/{level}/{'/'.join(groups)}{partial}", BUNDLE_BYTES_MAX)

    def columns(self, first: int, limit: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json(f"/v1/columns?first={first}&limit={limit}")["data"]
        return rows


def _problem_code(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(TEXT_BYTES_MAX))["code"])
    except (ValueError, KeyError, TypeError, OSError):
        return ""


# ---------------------------------------------------------------- findings


@dataclass(frozen=True, order=True)
class Finding:
    """Something wrong, at an index or somewhere in [first, last]."""

    first: int
    last: int
    problem: str


class Unique:
    """Are ids unique? Kept in files by their first byte, so that memory stays bounded."""

    PARTS, BUFFER_BYTES = 64, 16_384

    def __init__(self, folder: str) -> None:
        self.files: list[IO[bytes]] = [
            (Path(folder) / str(part)).open("w+b", buffering=self.BUFFER_BYTES)
            for part in range(self.PARTS)
        ]

    def __enter__(self) -> "Unique":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            file.close()

    def add(self, key: str, index: int) -> None:
        digest = hashlib.sha256(key.encode(errors="replace")).digest()[:16]
        self.files[digest[0] % self.PARTS].write(digest + struct.pack(">Q", index))

    def repeats(self) -> Iterator[int]:
        for file in self.files:
            seen: set[bytes] = set()
            file.seek(0)
            while record := file.read(24):
                if record[:16] in seen:
                    yield struct.unpack(">Q", record[16:])[0]
                seen.add(record[:16])


@dataclass
class Evidence:
    """What is known from outside the database: the copy, earlier checkpoints, leaf hashes."""

    copy: Checkpoint | None = None
    history: list[tuple[int, bytes]] = field(default_factory=list)
    leaves: Path | None = None

    @classmethod
    def read(cls, path: Path, key: Key) -> "Evidence":
        try:
            copy = Checkpoint.open(path.read_text(), key)
        except OSError as error:
            raise CannotCheck(f"the checkpoint copy cannot be read: {error}") from error
        except (ValueError, binascii.Error) as error:
            raise CannotCheck(f"the checkpoint copy is not to be trusted: {error}") from error
        leaves = path.with_name("leaves")
        return cls(
            copy, _history(path.with_name("checkpoints")), leaves if leaves.exists() else None
        )


def _history(path: Path) -> list[tuple[int, bytes]]:
    """Sizes and roots, ascending; only used to narrow down where, so signatures can wait."""
    if not path.exists():
        return []
    found = re.findall(
        r"^(\d{1,19})\n([A-Za-z0-9+/]{43}=)$", path.read_text("utf-8", "replace"), re.M
    )
    return sorted({int(size): base64.b64decode(root) for size, root in found}.items())


# ---------------------------------------------------------------- the verification


class Verification:
    """One pass over all entries."""

    def __init__(self, log: Log, key: Key, evidence: Evidence, unique: Unique) -> None:
        self.log, self.key, self.evidence = log, key, evidence
        self.findings: list[Finding] = []
        self.ranges: list[Finding] = []  # where it may be, when nothing more exact is known
        self.tree = Tree()
        self.nodes: dict[int, list[bytes]] = {1: [], 2: [], 3: []}  # of the tile at work
        self.last_seq: dict[str, int] = {}
        self.alarms: list[tuple[str, Any, int]] = []
        self.unique = unique
        self.history = dict(evidence.history)
        self.last_good_size = 0
        self.root_at_copy = Tree().root()
        self.kept = Tree()  # over the leaf hashes kept outside
        self.kept_differs_at: int | None = None

    def bad(self, index: int, problem: str, last: int | None = None) -> None:
        self.findings.append(Finding(index, index if last is None else last, problem))

    def run(self) -> int:
        """Verify; returns the size verified. Findings are left in `findings`."""
        served = self._served_checkpoint()
        copy = self.evidence.copy
        if served is not None and copy is not None and served.size < copy.size:
            self.bad(
                served.size,
                "entries are missing: the log is shorter than what was signed",
                copy.size - 1,
            )
        target = served or copy
        if target is None:
            return 0
        whole = self._read_entries(target.size)
        self._compare_roots(target, whole)
        self._compare_head()
        for index in self.unique.repeats():
            self.bad(index, "an event id stands in the log twice")
        for producer, seq, alarm in self.alarms:
            self._name_alarm(producer, seq, alarm, self.tree.size)
        return target.size

    def _served_checkpoint(self, at_least: int | None = None) -> Checkpoint | None:
        """The log's checkpoint; a healthy log needs a moment to publish what it has just signed."""
        if at_least is None:
            at_least = 0 if self.evidence.copy is None else self.evidence.copy.size
        until = time.monotonic() + self.log.catch_up_s
        while True:
            try:
                checkpoint = Checkpoint.open(self.log.get("/checkpoint").decode(), self.key)
            except Absent:
                self.bad(0, "the log publishes no checkpoint")
                return None
            except ValueError as error:
                self.bad(0, f"the published checkpoint is not to be trusted: {error}")
                return None
            if checkpoint.size >= at_least or time.monotonic() > until:
                return checkpoint
            time.sleep(0.3)

    def _read_entries(self, size: int) -> bool:
        """Stream all entries; False when they end early."""
        leaves = self.evidence.leaves.open("rb") if self.evidence.leaves else None
        try:
            for index in range((size + WIDTH - 1) // WIDTH):
                width = min(WIDTH, size - index * WIDTH)
                if not self._read_tile(index, width, leaves):
                    return False
            self._flush(1)
        finally:
            if leaves:
                leaves.close()
        return True

    def _read_tile(self, index: int, width: int, leaves: IO[bytes] | None) -> bool:
        first = index * WIDTH
        columns = {row["index"]: row for row in self.log.columns(first, width)}
        try:
            bodies = list(_unpack(self.log.tile("entries", index, width)))
            if len(bodies) != width:
                raise Absent("a bundle of another length")
        except (Absent, struct.error) as error:
            lacking = [i for i in range(first, first + width) if i not in columns]
            self.bad(
                lacking[0] if lacking else first,
                f"entries are missing ({error})",
                lacking[0] if lacking else first + width - 1,
            )
            return False
        hashes = [leaf_hash(body) for body in bodies]
        self._compare_tile(0, index, hashes)
        tile = Tree()
        for offset, (body, digest) in enumerate(zip(bodies, hashes, strict=True)):
            at = first + offset
            self._compare_kept(at, digest, leaves)
            self._check_body(at, body, columns.get(at))
            tile.add(digest)
            self.tree.add(digest)
            self._compare_signed()
        if width == WIDTH:
            self._add_node(1, tile.root())
        return True

    # ------------------------------------------------------------ hashes

    def _compare_tile(self, level: int, index: int, hashes: list[bytes]) -> None:
        """Is the published tile what the entries give?"""
        try:
            published = self.log.tile(str(level), index, len(hashes))
        except Absent as error:
            published = b""
            problem = f"the tile of level {level} is missing ({error})"
        else:
            problem = (
                "the stored leaf hash is not that of the entry"
                if level == 0
                else f"the stored node of level {8 * level} is not that of its entries"
            )
        for offset, digest in enumerate(hashes):
            if published[32 * offset : 32 * offset + 32] != digest:
                span = 1 << (8 * level)
                first = (index * WIDTH + offset) * span
                found = Finding(first, first + span - 1, problem)
                # A node differs also when an entry under it was changed: that is decided later.
                (self.ranges if level else self.findings).append(found)
                return

    def _add_node(self, level: int, digest: bytes) -> None:
        if level not in self.nodes:
            return
        self.nodes[level].append(digest)
        done = self.tree.size >> (8 * level)
        if done % WIDTH == 0:
            full = Tree()
            for each in self.nodes[level]:
                full.add(each)
            self._compare_tile(level, done // WIDTH - 1, self.nodes[level])
            self.nodes[level] = []
            self._add_node(level + 1, full.root())

    def _flush(self, level: int) -> None:
        for each in range(level, max(self.nodes) + 1):
            if self.nodes[each]:
                self._compare_tile(each, (self.tree.size >> (8 * each)) // WIDTH, self.nodes[each])

    def _compare_kept(self, at: int, digest: bytes, leaves: IO[bytes] | None) -> None:
        copy = self.evidence.copy
        if leaves is None or copy is None or at >= copy.size:
            return
        kept = leaves.read(32)
        self.kept.add(kept)
        if kept != digest and self.kept_differs_at is None:
            self.kept_differs_at = at

    def _compare_signed(self) -> None:
        size = self.tree.size
        if self.evidence.copy is not None and size == self.evidence.copy.size:
            self.root_at_copy = self.tree.root()
        if (root := self.history.get(size)) is None or size <= self.last_good_size:
            return
        if root == self.tree.root():
            self.last_good_size = size
        else:
            problem = "entries are not those that were signed"
            self.ranges.append(Finding(self.last_good_size, size - 1, problem))
            self.history = {}

    def _compare_roots(self, target: Checkpoint, whole: bool) -> None:
        """Does it all lead to the signed roots? If not: where does it go wrong?"""
        copy = self.evidence.copy
        right = whole and self.tree.root() == target.root
        if copy is not None and copy.size <= self.tree.size:
            right = right and self.root_at_copy == copy.root
        if right:
            # Entries are as signed, so a node that differs was changed itself.
            self.findings += self.ranges
        elif self._kept_is_proved() and self.kept_differs_at is not None:
            self.bad(self.kept_differs_at, "the entry is not the one that was signed")
        elif whole:
            problem = "entries are not those that were signed"
            somewhere = [*self.ranges, Finding(0, target.size - 1, problem)]
            low = max(each.first for each in somewhere)
            high = min(each.last for each in somewhere)
            if low > high:  # several places; the first of them
                low, high = min((each.first, each.last) for each in self.ranges)
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

    # ------------------------------------------------------------ bodies

    def _check_body(self, at: int, body: bytes, row: dict[str, Any] | None) -> None:
        match = PREFIX.match(body)
        try:
            event = json.loads(body[PREFIX_BYTES:])
        except (ValueError, RecursionError):
            event = None
        if not match or match.end() != PREFIX_BYTES or not isinstance(event, dict):
            self.bad(at, "the entry has not the form of one")
            return
        producer, seq = match[1].decode(), int(match[2])
        due = self.last_seq.get(producer, 0) + 1
        if seq != due:
            self.bad(at, f"{producer} {seq} stands where {producer} {due} is due")
        self.last_seq[producer] = seq
        if event.get("source") != producer or event.get("sequence") != str(seq):
            self.bad(at, "the entry's prefix says another source or number than its event")
        self.unique.add(str(event.get("id")), at)
        if event.get("type") == "audit.alarm_raised" and producer == "audit":
            data = event.get("data")
            if isinstance(data, dict) and data.get("alarm") == "content_repeated":
                self.alarms.append((str(data.get("producer")), data.get("seq"), at))
        if row is None:
            self.bad(at, "the entry has no query columns")
        elif differing := _differing(row, event, producer, seq):
            self.bad(at, f"query columns are not those of the entry: {', '.join(differing)}")

    def _name_alarm(self, producer: str, seq: Any, alarm: int, size: int) -> None:
        """An event came again with other content: name the entry that took its place."""
        first = 0
        while first < size:
            rows = self.log.columns(first, 1_000)
            for row in rows:
                if row["producer"] == producer and row["seq"] == seq:
                    problem = f"{producer} told {producer} {seq} otherwise (alarm at {alarm})"
                    self.bad(row["index"], problem)
                    return
            if not rows:
                break
            first = rows[-1]["index"] + 1
        self.bad(alarm, f"alarm: {producer} told {producer} {seq} otherwise")

    # ------------------------------------------------------------ what is not signed

    def _compare_head(self) -> None:
        """The head must be what the entries add up to, with no entry before, beyond or unsigned."""
        try:
            head = self.log.json("/v1/head")
        except Absent:
            self.bad(max(self.tree.size - 1, 0), "the stored head is missing")
            return
        size, lowest, highest = head["size"], head["index_min"], head["index_max"]
        if size < self.tree.size:
            self.bad(size, "the stored head is behind the signed entries", self.tree.size - 1)
        if lowest is not None and lowest < 0:
            self.bad(lowest, "an entry stands before the first")
        stored = 0 if highest is None else highest + 1
        if stored > size:
            row = self.log.columns(max(size, 0), 1)
            self.bad(row[0]["index"] if row else size, "an entry was added beyond the head")
        elif stored < size:
            self.bad(stored, "entries are missing at the end", size - 1)
        if size == self.tree.size and head["frontier"] != [
            base64.b64encode(digest).decode() for _, digest in self.tree.stack
        ]:
            self.bad(max(size - 1, 0), "the stored head is not that of the entries")
        if size > self.tree.size and not any(f.first >= self.tree.size for f in self.findings):
            served = self._served_checkpoint(size)
            if served is not None and served.size < size:
                self.bad(served.size, "entries stand in the log that it does not sign", size - 1)


def _unpack(bundle: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(bundle):
        (length,) = struct.unpack_from(">H", bundle, at)
        body = bundle[at + 2 : at + 2 + length]
        if len(body) != length:
            raise struct.error("cut off")
        yield body
        at += 2 + length


def _differing(row: dict[str, Any], event: dict[str, Any], producer: str, seq: int) -> list[str]:
    """The names of the columns that the body does not say."""

    def column(name: str) -> str | None:
        value = event.get(name)
        if value is None:
            return None
        return str(value)[:COLUMN_CHARACTERS_MAX].replace("\x00", "\ufffd")

    expected = {
        "event_id": column("id"),
        "producer": producer,
        "seq": seq,
        "type": column("type"),
        "subject": column("subject"),
        "division": column("division"),
        "actor": column("actor"),
        "actor_role": column("actorrole"),
    }
    differing = [name for name, value in expected.items() if row.get(name) != value]
    try:
        same_time = datetime.fromisoformat(row["time"]) == datetime.fromisoformat(event["time"])
    except (ValueError, KeyError, TypeError):
        same_time = False
    if not same_time:
        differing.append("time")
    if row.get("mentions") != sorted(_mentions(event)):
        differing.append("mentions")
    return differing


def _mentions(event: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    open_values: list[Any] = [*str(event.get("subject")).split("/"), event.get("data")]
    while open_values:
        value = open_values.pop()
        if isinstance(value, str) and UUID.fullmatch(value):
            found.add(value.lower())
        elif isinstance(value, dict):
            open_values.extend(value.values())
        elif isinstance(value, list):
            open_values.extend(value)
    return found


# ---------------------------------------------------------------- receipts


def check_receipt(text: str, key: Key) -> int:
    """Check a C2SP tlog-proof offline; returns the tree's size, raises ValueError.

    The entry itself is not in a receipt: its leaf hash is looked up with --leaf, or the receipt is
    only checked for its form and its checkpoint's signature.
    """
    head, blank, note = text.partition("\n\n")
    lines = [line for line in head.split("\n") if not line.startswith("extra ")]
    if not blank or lines[0] != "c2sp.org/tlog-proof@v1" or not lines[1].startswith("index "):
        raise ValueError("it is not a receipt")
    return Checkpoint.open(note, key).size


def prove_inclusion(text: str, leaf: bytes, key: Key) -> bool:
    """Does the receipt prove that the entry with this leaf hash is in the log?"""
    head, _, note = text.partition("\n\n")
    lines = [line for line in head.split("\n") if not line.startswith("extra ")]
    index, path = int(lines[1].split(" ")[1]), [base64.b64decode(line) for line in lines[2:]]
    checkpoint = Checkpoint.open(note, key)
    # RFC 9162 2.1.3.2
    low, high, top = index, checkpoint.size - 1, leaf
    if not 0 <= low <= high:
        return False
    for other in path:
        if high == 0:
            return False
        if low & 1 or low == high:
            top = node_hash(other, top)
            while not low & 1 and low:
                low, high = low >> 1, high >> 1
        else:
            top = node_hash(top, other)
        low, high = low >> 1, high >> 1
    return high == 0 and top == checkpoint.root


# ---------------------------------------------------------------- the command


def main(words: list[str] | None = None) -> int:
    """Verify as the command line asks, and say what was found."""
    arguments = _arguments(words)
    status, findings, summary = check(arguments)
    if not arguments.json:
        for finding in findings[:20]:
            until = f" to {finding.last}" if finding.last > finding.first else ""
            print(f"bad index {finding.first}{until}: {finding.problem}")
        words_of = {0: "the log is good", 1: "the log is bad", 2: summary["problem"]}
        print(words_of[status])
    print(json.dumps(summary))
    return status


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Verify the whole log from outside.")
    parser.add_argument("--log", help="base address of the audit service")
    parser.add_argument("--key", required=True, help="the log's verifier key, or a file with it")
    parser.add_argument("--checkpoint-copy", type=Path, help="the copy kept outside the database")
    parser.add_argument("--receipt", type=Path, help="check this receipt offline instead")
    parser.add_argument("--leaf", help="with --receipt: leaf hash of the entry, hex")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    parser.add_argument(
        "--catch-up-s",
        type=float,
        default=CATCH_UP_S,
        help="how long the log may take to publish what it has just appended",
    )
    parser.add_argument("--timeout-s", type=float, default=21_600.0, help="give up after this")
    arguments = parser.parse_args(words)
    if (arguments.log is None) == (arguments.receipt is None):
        parser.error("give either --log or --receipt")
    return arguments


def check(arguments: argparse.Namespace) -> tuple[int, list[Finding], dict[str, Any]]:
    """The status, all findings in the order of the log, and the summary."""
    began = time.monotonic()
    size: int | None = None
    findings: list[Finding] = []
    problem = None
    try:
        key = Key.read(arguments.key)
        if arguments.receipt:
            size, findings = _receipt(arguments, key)
        else:
            size, findings = _log(arguments, key, began + arguments.timeout_s)
        status = 1 if findings else 0
    except (CannotCheck, OSError, ValueError, KeyError, TypeError) as error:
        status, problem = 2, f"could not be checked: {error}"
    first = findings[0] if findings else None
    summary = {
        "ok": status == 0,
        "size": size,
        "first_bad_index": first.first if first else None,
        "last_possible_index": first.last if first else None,
        "problem": first.problem if first else problem,
        "seconds": round(time.monotonic() - began, 2),
    }
    return status, findings, summary


def _log(arguments: argparse.Namespace, key: Key, until: float) -> tuple[int | None, list[Finding]]:
    copy = arguments.checkpoint_copy
    evidence = Evidence.read(copy, key) if copy else Evidence()
    with tempfile.TemporaryDirectory() as folder, Unique(folder) as unique:
        log = Log(arguments.log, until, arguments.catch_up_s)
        verification = Verification(log, key, evidence, unique)
        size = verification.run()
        return size, sorted(verification.findings)


def _receipt(arguments: argparse.Namespace, key: Key) -> tuple[int | None, list[Finding]]:
    text = arguments.receipt.read_text()
    try:
        size = check_receipt(text, key)
        if arguments.leaf and not prove_inclusion(text, bytes.fromhex(arguments.leaf), key):
            raise ValueError("it does not prove this entry")
    except (ValueError, IndexError) as error:
        return None, [Finding(0, 0, f"the receipt is not to be trusted: {error}")]
    return size, []


if __name__ == "__main__":
    sys.exit(main())
