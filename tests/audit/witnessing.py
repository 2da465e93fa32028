"""A witness of a few lines that can misbehave, served over real HTTP, and policies that name it."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI, Request, Response

from deploy.postgres import free_port
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import verify_consistency
from shared.tlog.notes import Cosigner, decode, encode


class FakeWitness:
    """Keeps the last checkpoint it cosigned; `mood` says how it answers. It checks no log's key.

    honest; away (503 to everything); refusing (503 to what it should cosign); slow (answers after
    `pause`); lost (cosigns, and gives no answer);
    forging (another's signature); beyond (signs more than the checkpoint, and answers that too);
    early (a time of long ago); absurd (409 with a huge size);
    endless (an answer without an end); odd (409 with something else)
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        self.cosigner = Cosigner(f"{name}.test", Ed25519PrivateKey.generate())
        self.mood = "honest"
        self.pause = asyncio.Event()
        self.size, self.root, self.note = 0, b"", ""
        self.asked = 0  # to cosign
        self.shown = 0  # how often it was asked what it cosigned last

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/add-checkpoint")
        async def add(request: Request) -> Response:
            self.asked += 1
            return await self._add((await request.body()).decode())

        @app.get("/{origin}/checkpoint")
        async def last(origin: str) -> Response:
            self.shown += 1
            if self.mood == "away":
                return Response(status_code=503)
            known = self.note and hashlib.sha256(self.note.split("\n")[0].encode()).hexdigest()
            return Response(self.note) if known == origin else Response(status_code=404)

        return app

    async def _add(self, body: str) -> Response:
        if self.mood == "slow":
            await self.pause.wait()
        if self.mood in {"refusing", "away"}:
            return Response("no", status_code=503)
        if self.mood == "absurd":
            return self._at(10**15)
        if self.mood == "odd":
            return Response("-1", status_code=409, media_type="text/x.tlog.size")
        if self.mood == "endless":
            return Response("x" * 10_000_000)
        head, _, note = body.partition("\n\n")
        old, *proof = head.split("\n")
        text = note[: note.index("\n\n") + 1]
        checkpoint = Checkpoint.parse(text)
        if int(old.removeprefix("old ")) != self.size:
            return self._at(self.size)
        if self.size:
            verify_consistency(
                self.size, checkpoint.size, self.root, checkpoint.root, [*map(decode, proof)]
            )
        at = int(time.time()) - (86_400 if self.mood == "early" else 0)
        cosigner = self.cosigner
        if self.mood == "forging":
            cosigner = Cosigner(cosigner.name, Ed25519PrivateKey.generate())
        more = "\nmore\n" if self.mood == "beyond" else ""
        line = cosigner.cosign(text + more, at)
        if self.mood == "forging":  # under the key id we know
            content = self.cosigner.key.key_id + decode(line.split()[2])[4:]
            line = _line(cosigner.name, content)
        self.size, self.root, self.note = checkpoint.size, checkpoint.root, note + line
        if self.mood == "lost":
            return Response("lost", status_code=504)
        return Response(f"{more[1:]}\n{line}" if more else line)

    def _at(self, size: int) -> Response:
        return Response(f"{size}\n", status_code=409, media_type="text/x.tlog.size")

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        async with served(self.app(), self.port):
            try:
                yield
            finally:
                self.pause.set()


@contextlib.asynccontextmanager
async def served(app: FastAPI, port: int) -> AsyncIterator[None]:
    """Over real HTTP, until the block ends."""
    server = uvicorn.Server(
        uvicorn.Config(
            app, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def _line(name: str, content: bytes) -> str:
    return f"— {name} {encode(content)}\n"


def policy_of(path: Path, witnesses: Sequence[FakeWitness], k: int) -> Path:
    """A policy in which k of these are a quorum, written to `path`."""
    lines = [f"witness {each.name} {each.cosigner.key} {each.url}" for each in witnesses]
    names = " ".join(each.name for each in witnesses)
    quorum = [f"group enough {k} {names}", "quorum enough"] if k else ["quorum none"]
    path.write_text("\n".join([*lines, *quorum, ""]))
    return path
