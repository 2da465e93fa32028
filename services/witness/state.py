"""What is kept outside PostgreSQL, in WITNESS_STATE_DIR.

witness.key, witness.vkey             the Ed25519 private key (PKCS #8, PEM), made once, readable by
                                      its owner only; its public half (C2SP signed-note)
post-quantum.key, post-quantum.vkey   the same of ML-DSA-44, with WITNESS_POST_QUANTUM
cosigned/<sha256 of the origin>       the last checkpoint cosigned of each log, with our line

A copy is on disk before its cosignature is answered. So a database restored from a backup cannot
make us cosign a second history: the copy is ahead of it, and counts (`domain.newest`).
"""

import hashlib
import threading
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from services.witness.domain import Cosigned, NotRemembered, WitnessRefused, remembered
from shared.files import create_durably, write_durably
from shared.tlog.notes import Cosigner, MalformedNote, VerifierKey

_KINDS: dict[str, type[Ed25519PrivateKey] | type[MLDSA44PrivateKey]] = {
    "witness": Ed25519PrivateKey,
    "post-quantum": MLDSA44PrivateKey,
}


class StateDirectory:
    """The files of one witness; every method blocks and is called from a thread."""

    def __init__(self, folder: Path, name: str, *, post_quantum: bool) -> None:
        self.folder = folder
        self.name = name
        self._kinds = ["witness", "post-quantum"] if post_quantum else ["witness"]
        self._copies = folder / "cosigned"
        self._writing = threading.Lock()
        self._key: VerifierKey | None = None
        self.latest_at = 0  # of the cosignatures this process kept; at the start it keeps all

    def cosigners(self, *, may_create: bool) -> tuple[Cosigner, ...]:
        """Our keys, Ed25519 first; what is missing is made.

        may_create   nothing was cosigned yet; otherwise a lost first key is not replaced

        Raises WitnessRefused.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._copies.mkdir(exist_ok=True, mode=0o700)
        cosigners = tuple(
            self._cosigner(kind, may_create=may_create or kind != "witness") for kind in self._kinds
        )
        self._key = cosigners[0].key
        return cosigners

    @property
    def key(self) -> VerifierKey:
        """The public half of the first key, which every copy is signed with."""
        if self._key is None:
            raise WitnessRefused("The witness has not read its keys yet.")
        return self._key

    def _cosigner(self, kind: str, *, may_create: bool) -> Cosigner:
        key, vkey = self.folder / f"{kind}.key", self.folder / f"{kind}.vkey"
        if not key.exists():
            if not may_create or vkey.exists():
                raise WitnessRefused(
                    f"The key {kind}.key is missing from WITNESS_STATE_DIR: restore it."
                )
            fresh = _KINDS[kind].generate()
            pem = fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            create_durably(key, pem, mode=0o600)
        try:
            private = load_pem_private_key(key.read_bytes(), password=None)
        except ValueError as error:
            raise WitnessRefused(f"WITNESS_STATE_DIR/{kind}.key is damaged: restore it.") from error
        if not isinstance(private, _KINDS[kind]):
            raise WitnessRefused(f"WITNESS_STATE_DIR/{kind}.key is a key of another kind.")
        cosigner = Cosigner(self.name, private)
        if not vkey.exists():
            write_durably(vkey, f"{cosigner.key}\n".encode(), mode=0o644)
        try:
            told = VerifierKey.parse(vkey.read_text())
        except (MalformedNote, UnicodeDecodeError) as error:
            raise WitnessRefused(f"WITNESS_STATE_DIR/{kind}.vkey is damaged.") from error
        if told != cosigner.key:
            raise WitnessRefused(
                f"WITNESS_STATE_DIR/{kind}.vkey is of {told.name}; WITNESS_NAME and the key say "
                f"{self.name}. A witness never changes its name or key: it is another witness then."
            )
        return cosigner

    @property
    def has_cosigned(self) -> bool:
        """Whether there is a copy of anything."""
        return self._copies.exists() and any(self._copies.iterdir())

    def kept(self, origin: str) -> Cosigned | None:
        """The last checkpoint cosigned of that log, by the copy. Raises WitnessRefused."""
        try:
            note = self._path(origin).read_text()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise NotRemembered(origin) from error
        return remembered(note, origin, self.key)

    def keep(self, cosigned: Cosigned) -> None:
        """Make it the copy, on disk; a copy never goes back. Raises WitnessRefused."""
        # The caller's lock may be lost with its connection while this thread still writes.
        with self._writing:
            kept = self.kept(cosigned.origin)
            if kept is not None and (kept.size, kept.at) > (cosigned.size, cosigned.at):
                raise WitnessRefused("A later checkpoint has been cosigned meanwhile; ask again.")
            write_durably(self._path(cosigned.origin), cosigned.note.encode(), mode=0o644)
            self.latest_at = max(self.latest_at, cosigned.at)

    def _path(self, origin: str) -> Path:
        return self._copies / hashlib.sha256(origin.encode()).hexdigest()
