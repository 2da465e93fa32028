"""The log's keys, in AUDIT_STATE_DIR and nowhere else, and the command that asks for a change.

log.key        the first Ed25519 private key (PKCS #8, PEM), made once, readable by its owner only
log-<id>.key   a successor; while log.vkey does not list it, it waits to be announced in the log
log.mldsa.key  the ML-DSA-44 private key, if AUDIT_POST_QUANTUM asks for one
log.retire     somebody asked for the end of the overlap
log.vkey       every public key there was, newest first, a line each: the key (C2SP signed-note),
               the size from which checkpoints carry its signature (left out: from the first), and
               the last such size (left out: it still signs)

log.vkey decides who signs. It is replaced as a whole, by one at a time (services/audit/writing.py).
The service carries changes out, each told in the log before it is done
(services/audit/rotation.py); the command only leaves files.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from services.audit.domain import LogRefused
from services.audit.writing import writing, writing_alone
from shared.files import create_durably, sync_directory, write_durably
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import HASH_BYTES
from shared.tlog.notes import (
    Cosigner,
    MalformedNote,
    Signer,
    UntrustedNote,
    VerifierKey,
    open_note,
)

_KEY_MISSING = (
    "The log has been signed, but its key is missing from AUDIT_STATE_DIR: restore that directory."
)


@dataclass(frozen=True)
class Listed:
    """A line of log.vkey: checkpoints of sizes `first` to `last` carry the key's signature."""

    key: VerifierKey
    first: int = 0
    last: int | None = None

    @property
    def signs(self) -> bool:
        return self.last is None

    def covers(self, size: int) -> bool:
        return self.first <= size and (self.last is None or size <= self.last)

    def __str__(self) -> str:
        if self.last is not None:
            return f"{self.key} {self.first} {self.last}"
        return f"{self.key} {self.first}" if self.first else f"{self.key}"

    @classmethod
    def parse(cls, line: str) -> "Listed":
        key, *sizes = line.split(" ")
        if len(sizes) > 2 or not all(size.isascii() and size.isdigit() for size in sizes):
            raise MalformedNote("after a key come at most two sizes")
        first, last = [*sizes, "", ""][:2]
        return cls(VerifierKey.parse(key), int(first or 0), int(last) if last else None)


@dataclass(frozen=True)
class LogKeys:
    """What is known of the log's keys at one moment.

    listed       newest first
    signers      private keys that sign, newest first: two during an overlap
    successor    made by the command, not listed yet
    retiring     somebody asked for the end of the overlap
    """

    listed: tuple[Listed, ...]
    signers: tuple[Signer, ...]
    post_quantum: Cosigner | None = None
    successor: Signer | None = None
    retiring: bool = False

    @property
    def name(self) -> str:
        return self.signers[0].name

    @property
    def current(self) -> VerifierKey:
        return self.signers[0].key

    def sign(self, text: str, at_s: int) -> str:
        """The note of a checkpoint's text: a line of each key that signs."""
        note = self.signers[0].sign(text)
        for signer in self.signers[1:]:
            note += signer.sign(text).removeprefix(f"{text}\n")
        if self.post_quantum is not None:
            note += self.post_quantum.cosign(text, at_s)
        return note

    def open(self, note: str, others: Iterable[VerifierKey] = ()) -> Checkpoint:
        """A checkpoint that this log signed with a key that counted at its size, or with one of
        `others`. Raises MalformedNote, UntrustedNote.
        """
        trusted = {key for key in others if key.name == self.name}
        opened = open_note(note, [*(each.key for each in self.listed), *trusted])
        checkpoint = Checkpoint.parse(opened.text)
        trusted |= {each.key for each in self.listed if each.covers(checkpoint.size)}
        if all(signature.key not in trusted for signature in opened.signatures):
            raise UntrustedNote("no key that counted then signed it")
        if checkpoint.origin != self.name or len(checkpoint.root) != HASH_BYTES:
            raise MalformedNote("not a checkpoint of this log")
        return checkpoint


class KeyFiles:
    """The files; every method blocks and is called from a thread."""

    def __init__(self, folder: Path, origin: str, *, post_quantum: bool = False) -> None:
        self.folder = folder
        self.origin = origin
        self._post_quantum = post_quantum
        self._first = folder / "log.key"
        self._mldsa = folder / "log.mldsa.key"
        self._vkey = folder / "log.vkey"
        self._retire = folder / "log.retire"
        self._loaded: tuple[object, LogKeys] | None = None

    def load(self, *, may_create: bool) -> LogKeys:
        """All keys; the first is made when there is none and `may_create`. Raises LogRefused."""
        if self._loaded is not None and self._loaded[0] == self._state():
            return self._loaded[1]
        if not self._private() and not may_create:
            raise LogRefused(_KEY_MISSING)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with writing_alone(self.folder):
            if not self._private():
                if self._vkey.exists():
                    raise LogRefused(_KEY_MISSING)
                _create(self._first, Ed25519PrivateKey.generate())
            if self._post_quantum and not self._mldsa.exists():
                _create(self._mldsa, MLDSA44PrivateKey.generate())
            private = self._private()
            if not self._vkey.exists():
                self._list_first(private, both=may_create and self._post_quantum)
            keys = self._read(private)
            self._loaded = (self._state(), keys)
        return keys

    def _list_first(self, private: Iterable[VerifierKey], *, both: bool) -> None:
        """A log that begins with both kinds of keys has both from its first checkpoint on."""
        first, *others = private
        if others or not self._first.exists():
            raise LogRefused("AUDIT_STATE_DIR/log.vkey is missing: restore it.")
        self._write([Listed(first), *([Listed(self._cosigner().key)] if both else [])])

    def _state(self) -> object:
        """Whatever changes when a file changes that the keys are made of."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if name.startswith("log"))
            stat = self._vkey.stat()
        except FileNotFoundError:
            return None
        return names, stat.st_mtime_ns, stat.st_ino

    def _private(self) -> dict[VerifierKey, tuple[Signer, Path]]:
        found = {}
        for path in (self._first, *sorted(self.folder.glob("log-*.key"))):
            if path.exists():
                private = _load(path)
                if not isinstance(private, Ed25519PrivateKey):
                    raise LogRefused(f"AUDIT_STATE_DIR/{path.name} is not an Ed25519 key.")
                signer = Signer(self.origin, private)
                found[signer.key] = signer, path
        return found

    def _cosigner(self) -> Cosigner:
        private = _load(self._mldsa)
        if not isinstance(private, MLDSA44PrivateKey):
            raise LogRefused(f"AUDIT_STATE_DIR/{self._mldsa.name} is not an ML-DSA-44 key.")
        return Cosigner(self.origin, private)

    def _read(self, private: dict[VerifierKey, tuple[Signer, Path]]) -> LogKeys:
        listed = self.listed()
        wanted = [each.key for each in listed if each.signs and not each.key.cosigns]
        if any(each.key.name != self.origin for each in listed) or not wanted:
            raise LogRefused(
                f"AUDIT_STATE_DIR/log.vkey is of the log {listed[0].key.name}; AUDIT_ORIGIN says "
                f"{self.origin}. A log never changes its name."
            )
        if lacking := [key for key in wanted if key not in private]:
            raise LogRefused(
                f"AUDIT_STATE_DIR/log.vkey lists the key {lacking[0].key_id.hex()}, whose private "
                "half is not there: restore that directory. A key changes by `rotate` alone."
            )
        known = {each.key for each in listed}
        waiting = [
            signer
            for key, (signer, path) in private.items()
            if key not in known and path != self._first
        ]
        return LogKeys(
            listed=tuple(listed),
            signers=tuple(private[key][0] for key in wanted),
            post_quantum=self._cosigner() if self._post_quantum else None,
            successor=waiting[0] if waiting else None,
            retiring=self._retire.exists(),
        )

    def listed(self) -> list[Listed]:
        """What log.vkey says. Raises LogRefused."""
        try:
            return [Listed.parse(line) for line in self.text().splitlines()]
        except MalformedNote as error:
            raise LogRefused("AUDIT_STATE_DIR/log.vkey is damaged: restore it.") from error

    def text(self) -> str:
        try:
            text = self._vkey.read_text()
        except OSError as error:
            raise LogRefused("The log has no public key yet.") from error
        except UnicodeDecodeError as error:
            raise LogRefused("AUDIT_STATE_DIR/log.vkey is damaged: restore it.") from error
        if not text.strip():
            raise LogRefused("AUDIT_STATE_DIR/log.vkey is damaged: restore it.")
        return text

    # Once a replica that was held up goes on, another may have done the same, or signed since: then
    # nothing is written, and LogRefused raised where the last checkpoint is not `after` any more.

    def take_up(self, key: VerifierKey, first: int, *, after: str) -> None:
        """From the checkpoint of size `first` on, `key` signs too."""
        with writing(self.folder, after=after):
            listed = self.listed()
            if not any(each.signs and each.key == key for each in listed):
                self._write([Listed(key, first), *listed])

    def retire(self, keys: Sequence[VerifierKey], last: int, *, after: str) -> None:
        """The checkpoint of size `last` was the last one these keys signed."""
        with writing(self.folder, after=after):
            self._write(
                [
                    replace(each, last=last) if each.signs and each.key in keys else each
                    for each in self.listed()
                ]
            )

    def forget_retired(self, *, after: str) -> None:
        """Destroy the private halves that sign no more, and the wish to retire them."""
        with writing(self.folder, after=after):
            signing = {each.key for each in self.listed() if each.signs}
            ended = {each.key for each in self.listed()} - signing
            for key, (_, path) in self._private().items():
                if key in ended:
                    path.unlink()
            self._retire.unlink(missing_ok=True)
            sync_directory(self.folder)

    def _write(self, listed: Sequence[Listed]) -> None:
        write_durably(self._vkey, "".join(f"{each}\n" for each in listed).encode(), mode=0o644)

    # ------------------------------------------------------------ what the command leaves

    def ask_for_successor(self) -> VerifierKey:
        """Raises LogRefused while another change is under way."""
        with writing_alone(self.folder):
            keys = self._read(self._private())
            if keys.successor is not None or len(keys.signers) > 1:
                raise LogRefused("A change is under way: the overlap must end (`retire`) first.")
            private = Ed25519PrivateKey.generate()
            successor = Signer(self.origin, private)
            _create(self.folder / f"log-{successor.key.key_id.hex()}.key", private)
        return successor.key

    def ask_to_retire(self) -> VerifierKey:
        """Raises LogRefused when no two keys overlap."""
        with writing_alone(self.folder):
            keys = self._read(self._private())
            if len(keys.signers) < 2:
                raise LogRefused("Only one key signs: there is nothing to retire.")
            create_durably(self._retire, b"", mode=0o600)
        return keys.signers[-1].key


def _create(path: Path, private: Ed25519PrivateKey | MLDSA44PrivateKey) -> None:
    """Of two that start at once, one key stays."""
    content = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    create_durably(path, content, mode=0o600)


def _load(path: Path) -> object:
    try:
        return load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise LogRefused(f"AUDIT_STATE_DIR/{path.name} is damaged: restore it.") from error


_WISHES = {
    "rotate": "The service announces it in the log, and signs with both keys from then on. Tell"
    " those who verify the log; end the overlap with `retire`.",
    "retire": "The service says so in the log, stops signing with it and destroys it.",
}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m services.audit.keys", description="Change the log's key."
    )
    parser.add_argument("wish", choices=["rotate", "retire", "show"])
    parser.add_argument("--state-dir", type=Path, default=os.environ.get("AUDIT_STATE_DIR"))
    given = parser.parse_args(words)
    if given.state_dir is None:
        parser.error("name the state directory, or set AUDIT_STATE_DIR")
    try:
        listed = KeyFiles(Path(given.state_dir), "").listed()
        files = KeyFiles(Path(given.state_dir), listed[0].key.name)
        if given.wish == "show":
            sys.stdout.write(files.text())
            return 0
        wanted = files.ask_for_successor if given.wish == "rotate" else files.ask_to_retire
        sys.stdout.write(f"{wanted()}\n{_WISHES[given.wish]}\n")
    except LogRefused as refusal:
        sys.stderr.write(f"{refusal.detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
