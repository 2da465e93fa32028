"""The audit service as a process of its own, on a PostgreSQL that keeps what it acknowledged."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from deploy.postgres import Postgres, dies_with_parent, free_port
from deploy.state import ROOT
from shared.issuer import Issuer
from shared.migrate import upgrade
from shared.tlog.checkpoints import Checkpoint, open_checkpoint
from shared.tlog.notes import VerifierKey
from tests.audit.producers import Producers

ORIGIN = "log.test"
WAIT_S = 300.0  # guards against waiting for ever, and nothing else


class IllTreated:
    """PostgreSQL, the service and its producers; `seen` are all checkpoints anybody was shown."""

    def __init__(self, *, folder: Path | None = None, **settings: str) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="duijie-audit-"))
        self.folder.chmod(0o711)
        self.state_dir = self.folder / "audit"
        self.state_dir.mkdir(exist_ok=True)
        self.server = Postgres(self.folder / "postgres", port=free_port())
        self.producers = Producers()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None
        self.seen: dict[int, bytes] = {}
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.AsyncClient(timeout=5, trust_env=False, limits=limits)

    async def begin(self) -> None:
        self.serving = await self.producers.serve()
        self.server.start()
        address = self.server.url().replace("postgresql:", "postgresql+asyncpg:", 1)
        await asyncio.to_thread(upgrade, "services.audit", address)
        issuer = Issuer(self.folder / "issuer")
        (self.folder / "token").write_text(issuer.mint(role="service", subject="audit"))
        self.environment = {
            **os.environ,
            "AUDIT_DATABASE_URL": address,
            "AUDIT_KEY_SET": str(issuer.key_set_path),
            "AUDIT_SERVICE_TOKEN_FILE": str(self.folder / "token"),
            "AUDIT_STATE_DIR": str(self.state_dir),
            "AUDIT_NEEDS_URL": self.producers.url("needs"),
            "AUDIT_DONORS_URL": self.producers.url("donors"),
            "AUDIT_MATCHING_URL": self.producers.url("matching"),
            "AUDIT_AUDIT_URL": self.url,
            "AUDIT_ORIGIN": ORIGIN,
            "AUDIT_CHECKPOINT_INTERVAL_S": "0.02",
            "AUDIT_RATE_PER_MINUTE_MAX": "10000000",
            **{f"AUDIT_{name.upper()}": value for name, value in self.settings.items()},
        }
        self.start()

    async def end(self) -> None:
        await self.http.aclose()
        self.kill()
        self.server.stop()
        await self.producers.end(self.serving)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        with (self.folder / "audit.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(
                        sys.executable,
                        "-m",
                        "uvicorn",
                        "--factory",
                        "services.audit.app:create_app",
                    ),
                    *("--host", "127.0.0.1", "--port", str(self.port), "--log-level", "critical"),
                ],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_parent(signal.SIGKILL),
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def kill_postgres(self) -> None:
        assert self.server.pid is not None
        os.kill(self.server.pid, signal.SIGKILL)
        self.server.stop()

    def key(self) -> VerifierKey:
        return VerifierKey.parse((self.state_dir / "log.vkey").read_text().split("\n")[0])

    async def checkpoint(self) -> Checkpoint | None:
        """What the service publishes now; None when it does not answer. Kept in `seen`."""
        try:
            answer = await self.http.get(f"{self.url}/checkpoint")
        except httpx.TransportError:
            return None
        if answer.status_code != 200:
            return None
        shown = open_checkpoint(answer.text, self.key())
        assert self.seen.setdefault(shown.size, shown.root) == shown.root, "two of one size"
        return shown

    async def grown_to(self, size: int) -> Checkpoint:
        """Wait until a checkpoint of at least this size is shown."""
        for _ in range(int(WAIT_S / 0.02)):
            shown = await self.checkpoint()
            if shown is not None and shown.size >= size:
                return shown
            await asyncio.sleep(0.02)
        raise AssertionError(f"not {size}: {await self.reasons()}")

    async def reasons(self) -> list[str]:
        """Why the service is not ready; that it does not answer is one."""
        try:
            answer = await self.http.get(f"{self.url}/readyz")
        except httpx.TransportError as error:
            return [type(error).__name__]
        return list(answer.json().get("reasons", []))

    async def refused(self) -> list[str]:
        """Wait until the service says that it cannot go on, be it signing or taking in."""
        for _ in range(int(WAIT_S / 0.05)):
            said = [each for each in await self.reasons() if "not been checked" not in each]
            if said:
                return said
            await asyncio.sleep(0.05)
        raise AssertionError("the log does not refuse")

    async def recovered(self) -> None:
        """Wait until the service is ready: each of its tasks says so only when it has run again."""
        for _ in range(int(WAIT_S / 0.05)):
            if not await self.reasons():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"not ready: {await self.reasons()}")

    async def rows(self, sql: str) -> list[Any]:
        connection = await asyncpg.connect(self.server.url())
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()

    async def verified(self) -> subprocess.CompletedProcess[str]:
        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [
                    *(sys.executable, str(ROOT / "services" / "audit" / "verifier.py")),
                    *("--log", self.url, "--key", str(self.state_dir / "log.vkey")),
                    *("--checkpoint-copy", str(self.state_dir / "checkpoint")),
                ],
                capture_output=True,
                text=True,
                check=False,
                timeout=WAIT_S,
            )

        return await asyncio.to_thread(run)
