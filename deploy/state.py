"""The local state directory: whose it is, and what lies where in it."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Self

from shared.files import write_durably

ROOT = Path(__file__).parent.parent


class AlreadyRunning(Exception):
    """Another launcher runs on this state directory; the message says where."""


class State:
    """`.state` of the checkout, or STATE_DIR."""

    def __init__(self, folder: Path | None = None) -> None:
        named = os.environ.get("STATE_DIR")
        self.folder = (folder or (Path(named) if named else ROOT / ".state")).resolve()
        self._lock: IO[str] | None = None

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def issuer(self) -> Path:
        return self.folder / "issuer"

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens.json"

    def of(self, service: str) -> Path:
        """The service's own folder: keys, token, checkpoint copy."""
        return self._made(service)

    def log(self, service: str) -> Path:
        return self._made("log") / f"{service}.log"

    def take(self) -> Self:
        """Become the only launcher here; raises AlreadyRunning.

        The lock goes with the process, however it ends.
        """
        # The server's account passes through the folder when we are root; it cannot list it.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        self.folder.mkdir(parents=True, exist_ok=True, mode=mode)
        self.folder.chmod(mode)
        lock = (self.folder / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "starting"
            lock.close()
            raise AlreadyRunning(
                f"The platform of {self.folder} already runs ({holder}"
                f"{self._addresses_in_words()}). Stop it first, or use another STATE_DIR."
            ) from None
        self._lock = lock
        lock.truncate(0)
        lock.write(f"pid {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
        lock.flush()
        return self

    def release(self) -> None:
        self._endpoints.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def announce(self, urls: dict[str, str]) -> None:
        """Let others find the running platform; undone by `release`."""
        write_durably(self._endpoints, json.dumps(urls).encode(), mode=0o600)

    def running(self) -> dict[str, str] | None:
        """Return the services' addresses if a launcher has the platform ready right now."""
        try:
            lock = (self.folder / "lock").open("r")
        except FileNotFoundError:
            return None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return self._announced()
        return None

    @property
    def ended_badly(self) -> bool:
        """Whether the last launcher had no time to tidy up."""
        return self._endpoints.exists()

    @property
    def _endpoints(self) -> Path:
        return self.folder / "platform.json"

    def _announced(self) -> dict[str, str] | None:
        try:
            urls: dict[str, str] = json.loads(self._endpoints.read_text())
        except FileNotFoundError:
            return None
        return urls

    def _addresses_in_words(self) -> str:
        urls = self._announced()
        return "; " + ", ".join(f"{name} {url}" for name, url in urls.items()) if urls else ""

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder
