"""What is kept outside PostgreSQL, in AUDIT_STATE_DIR: the key, and what has been signed.

log.key       the Ed25519 private key (PKCS #8, PEM), made once, readable by its owner only
log.vkey      its public half with the log's name (C2SP signed-note)
checkpoint    the last checkpoint signed
checkpoints   every checkpoint signed, one after the other
leaves        the leaf hashes under the last checkpoint, 32 bytes each: their root is the signed
              one, so they tell which entry was changed, and are not changed unnoticed

Order of writing: leaves, checkpoints, checkpoint, each on disk before the next; only then does the
checkpoint go to the database, where it is published. So the copy is never behind what anybody has
seen. It is never ahead of the log either, for it is made of committed entries; if the process dies
before the database has the checkpoint, the next start publishes the copy. What stands in `leaves`
or `checkpoints` beyond `checkpoint` was never signed away: it is written over.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from services.audit.domain import LogRefused
from shared.files import sync_directory, write_durably
from shared.tlog.checkpoints import Checkpoint, open_checkpoint
from shared.tlog.merkle import HASH_BYTES
from shared.tlog.notes import MalformedNote, Signer, UntrustedNote, VerifierKey


class StateDirectory:
    """The files of one log; every method blocks and is called from a thread."""

    def __init__(self, folder: Path, origin: str) -> None:
        self.folder = folder
        self.origin = origin
        self._key = folder / "log.key"
        self._vkey = folder / "log.vkey"
        self._copy = folder / "checkpoint"
        self._history = folder / "checkpoints"
        self._leaves = folder / "leaves"

    def signer(self, *, may_create: bool) -> Signer:
        """The log's key; made when there is none and `may_create`. Raises LogRefused."""
        if not self._key.exists():
            if not may_create:
                raise LogRefused(
                    "The log has been signed, but its key is missing from AUDIT_STATE_DIR: "
                    "restore that directory."
                )
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._create_key()
        try:
            private = load_pem_private_key(self._key.read_bytes(), password=None)
        except ValueError as error:
            raise LogRefused("AUDIT_STATE_DIR/log.key is damaged: restore it.") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise LogRefused("AUDIT_STATE_DIR/log.key is not an Ed25519 key.")
        signer = Signer(self.origin, private)
        if not self._vkey.exists():
            write_durably(self._vkey, f"{signer.key}\n".encode(), mode=0o644)
        try:
            kept = VerifierKey.parse(self._vkey.read_text())
        except (MalformedNote, UnicodeDecodeError) as error:
            raise LogRefused("AUDIT_STATE_DIR/log.vkey is damaged: restore it.") from error
        if kept != signer.key:
            raise LogRefused(
                f"AUDIT_STATE_DIR/log.vkey is of the log {kept.name}; AUDIT_ORIGIN and log.key say "
                f"{signer.key.name}. A log never changes its name or key."
            )
        return signer

    def vkey(self) -> VerifierKey:
        try:
            return VerifierKey.parse(self._vkey.read_text())
        except (OSError, MalformedNote) as error:
            raise LogRefused("The log has no public key yet.") from error

    def _create_key(self) -> None:
        content = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        fresh = self._key.with_name(f".log.key.{os.getpid()}.new")
        write_durably(fresh, content, mode=0o600)
        # A link fails where a rename would replace: of two that start at once, one key stays.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, self._key)
        fresh.unlink()
        sync_directory(self.folder)

    def signed(self, key: VerifierKey) -> tuple[Checkpoint, str] | None:
        """The last checkpoint signed, with its note; None before the first. Raises LogRefused."""
        try:
            note = self._copy.read_text()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise LogRefused("AUDIT_STATE_DIR/checkpoint is damaged: restore it.") from error
        try:
            return open_checkpoint(note, key), note
        except (MalformedNote, UntrustedNote) as error:
            raise LogRefused("AUDIT_STATE_DIR/checkpoint is not one this log signed.") from error

    def leaves_held(self) -> int:
        """How many leaf hashes are kept."""
        try:
            return self._leaves.stat().st_size // HASH_BYTES
        except FileNotFoundError:
            return 0

    def keep_leaves(self, first: int, leaves: Sequence[bytes]) -> None:
        """Put leaf hashes at places `first` and on; what stood there and beyond goes."""
        descriptor = os.open(self._leaves, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.ftruncate(descriptor, first * HASH_BYTES)
            os.lseek(descriptor, 0, os.SEEK_END)
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(b"".join(leaves))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def keep_checkpoint(self, note: str) -> None:
        """Make `note` the last checkpoint signed; its leaves are kept already."""
        with self._history.open("ab") as file:
            file.write(note.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        write_durably(self._copy, note.encode(), mode=0o644)
