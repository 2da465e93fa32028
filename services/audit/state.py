"""What is kept outside PostgreSQL, in AUDIT_STATE_DIR, of what has been signed.

checkpoint    the last checkpoint signed
checkpoints   every checkpoint signed, one after the other
leaves        the leaf hashes under the last checkpoint, 32 bytes each: their root is the signed
              one, so they tell which entry was changed, and are not changed unnoticed
refuted       while all this is from a backup: the checkpoint of ours that a witness showed, and
              who it was
lock          held by whoever writes (services/audit/writing.py)
log.*         the keys (services/audit/keys.py)

Order of writing: leaves, checkpoint, checkpoints, each on disk before the next; only then does the
checkpoint go to the database, where it is published. So the copy is never behind what anybody has
seen. It is never ahead of the log either, for it is made of committed entries; if the process dies
before the database has the checkpoint, the next start publishes the copy, before anything newer is
signed: so `checkpoints` holds none that the database will not have. What stands in `leaves` beyond
`checkpoint` was never signed away: it is written over.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from services.audit.domain import LogRefused
from services.audit.keys import LogKeys
from services.audit.writing import writing
from shared.files import sync_directory, write_durably
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import HASH_BYTES
from shared.tlog.notes import MalformedNote, UntrustedNote

_TAIL_BYTES = 64 * 1024  # longer than any checkpoint with its signatures
_ENDS = re.compile("\n— [^\n]+\n\n".encode())


class StateDirectory:
    """The copies of one log; every method blocks and is called from a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copy = folder / "checkpoint"
        self._history = folder / "checkpoints"
        self._leaves = folder / "leaves"
        self._refuted = folder / "refuted"

    def signed(self, keys: LogKeys) -> tuple[Checkpoint, str] | None:
        """The last checkpoint signed, with its note; None before the first. Raises LogRefused."""
        try:
            note = self._copy.read_text()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise LogRefused("AUDIT_STATE_DIR/checkpoint is damaged: restore it.") from error
        try:
            return keys.open(note), note
        except (MalformedNote, UntrustedNote) as error:
            raise LogRefused("AUDIT_STATE_DIR/checkpoint is not one this log signed.") from error

    def leaves_held(self) -> int:
        """How many leaf hashes are kept."""
        return self._leaves_bytes() // HASH_BYTES

    def _leaves_bytes(self) -> int:
        try:
            return self._leaves.stat().st_size
        except FileNotFoundError:
            return 0

    def keep_leaves(self, first: int, leaves: Sequence[bytes], *, after: str | None) -> None:
        """Put leaf hashes at places `first` and on; what stood there and beyond goes.

        after  the note of the last checkpoint signed, None before the first
        Raises LogRefused when another is the last one by now, or leaves before `first` are missing.
        """
        with writing(self._folder, after=after):
            descriptor = os.open(self._leaves, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                if os.fstat(descriptor).st_size < first * HASH_BYTES:
                    raise LogRefused("AUDIT_STATE_DIR/leaves was cut: it is made again.")
                os.ftruncate(descriptor, first * HASH_BYTES)
                os.lseek(descriptor, 0, os.SEEK_END)
                with os.fdopen(os.dup(descriptor), "wb") as file:
                    file.write(b"".join(leaves))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def keep_checkpoint(self, note: str, size: int, *, after: str | None) -> None:
        """Make `note`, of `size` entries, the last checkpoint signed; its leaves are kept already.

        Raises LogRefused when `after` is not the last one any more, or leaves are missing.
        """
        with writing(self._folder, after=after):
            if self._leaves_bytes() < size * HASH_BYTES:
                raise LogRefused("AUDIT_STATE_DIR/leaves was cut: it is made again.")
            write_durably(self._copy, note.encode(), mode=0o644)
            self._append(note)

    def remember(self, note: str) -> None:
        """Make the last checkpoint signed, `note`, the last of `checkpoints`; twice is once.

        Raises LogRefused when `note` is not the last one any more.
        """
        with writing(self._folder, after=note):
            self._append(note)

    def _append(self, note: str) -> None:
        descriptor = os.open(self._history, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            end = os.lseek(descriptor, 0, os.SEEK_END)
            first = max(0, end - _TAIL_BYTES)
            tail = os.pread(descriptor, end - first, first)
            # An append may have been torn; what it would have said is in `checkpoint`.
            whole = max((found.end() for found in _ENDS.finditer(tail)), default=0)
            added = note.encode() + b"\n"
            if tail[:whole].endswith(added):
                return
            if first + whole < end and (whole or not first):
                os.ftruncate(descriptor, first + whole)
            os.lseek(descriptor, 0, os.SEEK_END)
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(added)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # ------------------------------------------------------------ what refutes all this

    def refuted(self) -> tuple[str, str] | None:
        """The witness that showed us to be from a backup, and the note it showed. LogRefused."""
        try:
            name, _, note = self._refuted.read_text().partition("\n")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise LogRefused("AUDIT_STATE_DIR/refuted is damaged: restore it.") from error
        return name, note

    def keep_refuted(self, witness: str, note: str) -> None:
        write_durably(self._refuted, f"{witness}\n{note}".encode(), mode=0o644)

    def forget_refuted(self) -> None:
        self._refuted.unlink(missing_ok=True)
        sync_directory(self._refuted.parent)
