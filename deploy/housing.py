"""As whom the private PostgreSQL runs, and where it may live. Standard library only.

PostgreSQL refuses root; the account it gets instead may not be able to enter root's folders, and
nobody's folders are opened up for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Where binaries and data go when the server's account cannot enter the checkout.
ELSEWHERE = Path("/var/tmp")  # noqa: S108 - survives a reboot; what we use in it is checked to be ours


class PostgresUnavailable(Exception):
    """The server cannot be had; the message says what to do."""


@dataclass(frozen=True)
class Account:
    """An account of the operating system."""

    uid: int
    gid: int


def server_account() -> Account | None:
    """Return the account to run the server as; None means our own. PostgreSQL refuses root.

    It needs a line in the password file: initdb looks its name up.
    """
    if os.geteuid() != 0:
        return None
    for name in (os.environ.get("PG_OS_USER"), "postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name) if name else None
        except KeyError:
            continue
        if entry and entry.pw_uid:
            return Account(entry.pw_uid, entry.pw_gid)
    raise PostgresUnavailable(
        "PostgreSQL does not run as root and neither postgres nor nobody is an account here. "
        "Set PG_OS_USER to an unprivileged account, or DATABASE_URL to a running server."
    )


def may_enter(folder: Path, account: Account) -> bool:
    """Whether the account may pass through every existing folder down to this one."""
    folder = folder.resolve()
    for step in (*reversed(folder.parents), folder):
        try:
            found = step.stat()
        except FileNotFoundError:
            return True
        own, group = found.st_uid == account.uid, found.st_gid == account.gid
        if not found.st_mode & (0o100 if own else 0o010 if group else 0o001):
            return False
    return True


def enterable_binaries(binaries: Path, account: Account | None) -> Path:
    """Return the binaries, or a copy the account can reach when a folder above them is closed.

    The user's folders are never opened up. The copy is shared by all servers of this machine's
    root, and named after what it is a copy of.
    """
    if account is None or may_enter(binaries, account):
        return binaries
    install, package = binaries.parent, binaries.parent.parent
    server = (binaries / "postgres").stat()
    label = f"{binaries}|{server.st_size}|{server.st_mtime_ns}"
    copy = ELSEWHERE / f"duijie-binaries-{hashlib.sha256(label.encode()).hexdigest()[:12]}"
    if not copy.exists():
        making = Path(tempfile.mkdtemp(prefix="duijie-making-", dir=ELSEWHERE))
        shutil.copytree(install, making / package.name / install.name)
        # The programs look for their libraries in ../../../<package>.libs
        libraries = package.parent / f"{package.name}.libs"
        if libraries.exists():
            shutil.copytree(libraries, making / libraries.name)
        making.chmod(0o755)
        try:
            making.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(making)
    found = copy.lstat()
    if copy.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PostgresUnavailable(f"{copy} is not ours; remove it, or set DATABASE_URL.")
    return copy / package.name / install.name / "bin"


def enterable_folder(folder: Path, account: Account | None) -> Path:
    """Create the folder and return it, or one outside when the account cannot reach it.

    `elsewhere` in the folder then names the other place: data and keys of one checkout must
    stay together, also when a checkout is deleted and made again under the same name.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if account is None:
        return folder
    if may_enter(folder.parent, account):
        os.chown(folder, account.uid, account.gid)
        return folder
    pointer = folder / "elsewhere"
    if pointer.exists() and (place := Path(pointer.read_text())).is_dir():
        return place
    place = Path(tempfile.mkdtemp(prefix="duijie-postgres-", dir=ELSEWHERE))
    os.chown(place, account.uid, account.gid)
    pointer.write_text(str(place))
    return place


def forget(folder: Path) -> None:
    """Delete a stopped server's folder and the place outside that belongs to it.

    Raises PostgresUnavailable while the server runs.
    """
    pointer = folder / "elsewhere"
    places = [Path(pointer.read_text())] if pointer.exists() else []
    for place in (*places, folder):
        if not place.is_dir():
            continue
        with (place / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PostgresUnavailable(
                    f"The server in {place} is running; stop `make run` first."
                ) from None
            shutil.rmtree(place)
