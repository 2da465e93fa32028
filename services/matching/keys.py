"""The key that turns a slip's code into what is stored of it."""

import secrets
from pathlib import Path

from shared.files import create_durably

KEY_BYTES = 32


class SlipKey:
    """Kept in the state directory, outside the database: a copy of the tables shows no code.

    Made at first use. When it is lost, printed slips no longer confirm and are printed again.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "slip.key"
        self._key: bytes | None = None

    def value(self) -> bytes:
        if self._key is None:
            try:
                self._key = self._path.read_bytes()
            except FileNotFoundError:
                create_durably(self._path, secrets.token_bytes(KEY_BYTES), mode=0o600)
                # Read back: of two processes at their first slip, the first one's key holds.
                self._key = self._path.read_bytes()
        return self._key
