"""A log on paper: a few entries in memory, told over HTTP as the service would, or otherwise."""

import base64
import contextlib
import hashlib
import json
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit import domain, verifier
from shared.events import CloudEvent
from shared.tlog.checkpoints import Checkpoint, Receipt
from shared.tlog.merkle import Frontier, extend, fold, inclusion_ranges, leaf_hash, perfect_parts
from shared.tlog.notes import Cosigner, Signer
from tests.audit.conftest import BEGAN, ORIGIN, an_event

SIGNED_AT = int(BEGAN.timestamp()) + 3_600
Answer = tuple[int, bytes]
Rewrite = Callable[[str, Answer], Answer]


def root_of(leaves: Sequence[bytes]) -> bytes:
    return extend(Frontier(), leaves)[0].root


class PaperLog:
    """What a log of these events serves; `rewrite` may change any answer."""

    def __init__(self, events: Sequence[CloudEvent], cosigners: Sequence[Cosigner] = ()) -> None:
        self.entries = [domain.entry_of(each.source, each) for each in events]  # type: ignore[arg-type]
        self.signer = Signer(ORIGIN, Ed25519PrivateKey.generate())
        self.cosigners = list(cosigners)
        self.size = len(self.entries)  # signed
        self.rewrite: Rewrite = lambda _, answer: answer
        self.kept: tuple[int, ...] = ()  # sizes of checkpoints kept outside
        self.absent: tuple[str, ...] = ()  # routes an older log does not have
        self.asked: list[str] = []

    @property
    def leaves(self) -> list[bytes]:
        return [leaf_hash(entry.body) for entry in self.entries]

    def note(self, size: int | None = None, cosigners: Sequence[Cosigner] | None = None) -> str:
        size = self.size if size is None else size
        text = str(Checkpoint(ORIGIN, size, root_of(self.leaves[:size])))
        lines = [each.cosign(text, SIGNED_AT) for each in cosigners or self.cosigners]
        return self.signer.sign(text) + "".join(lines)

    def hashes(self, index: int, size: int | None = None) -> list[bytes]:
        """The inclusion proof of an entry."""

        def root(lo: int, hi: int) -> bytes:
            parts = perfect_parts((lo, hi))
            spans = [(each.index << each.level, (each.index + 1) << each.level) for each in parts]
            return fold([root_of(self.leaves[first:last]) for first, last in spans])

        return [root(*each) for each in inclusion_ranges(index, size or self.size)]

    def receipt(self, index: int) -> str:
        return str(Receipt(index, self.hashes(index), self.note()))

    def keep(self, folder: Path, sizes: Sequence[int]) -> Path:
        """The copy outside the database, with the checkpoints of these sizes; its path."""
        self.kept = tuple(sizes)
        (folder / "checkpoints").write_text("".join(f"{self.note(size, [])}\n" for size in sizes))
        (folder / "leaves").write_bytes(b"".join(self.leaves[: sizes[-1]]))
        (folder / "checkpoint").write_text(self.note(sizes[-1], []))
        return folder / "checkpoint"

    # ------------------------------------------------------------ HTTP

    def answer(self, target: str) -> Answer:
        self.asked.append(target)
        if target.startswith(self.absent or ("?",)):
            return 404, b'{"code":"not_found"}'
        parts = urlsplit(target)
        asked = {name: int(values[0]) for name, values in parse_qs(parts.query).items()}
        return self.rewrite(target, (200, self._content(parts.path, asked)))

    def _content(self, path: str, asked: dict[str, int]) -> bytes:
        first, last = asked.get("first", 0), asked.get("first", 0) + asked.get("limit", 0)
        match path.split("/")[1:]:
            case ["checkpoint"] | ["v1", "checkpoints", "signed"]:
                return self.note().encode()
            case [_, "checkpoint"]:  # of a witness
                return self.note().encode()
            case ["tile", "entries", *index]:
                first, width = self._span("/".join(index))
                return self._bundle(first, first + width)
            case ["tile", level, *index]:
                first, width = self._span("/".join(index))
                nodes = self.leaves[: self.size]
                for _ in range(int(level)):
                    full = range(0, len(nodes) // 256 * 256, 256)
                    nodes = [root_of(nodes[at : at + 256]) for at in full]
                return b"".join(nodes[first : first + width])
            case ["v1", "stored"]:
                groups = range(first, last, 64)
                return b"".join(self._group(at, min(at + 64, last)) for at in groups)
            case ["v1", "stored", "checkpoints"]:
                sizes = sorted(size for size in {*self.kept, self.size} if size > asked["after"])
                return json.dumps({"data": [*map(self._stored_checkpoint, sizes)]}).encode()
            case ["v1", "columns"]:
                rows_from = enumerate(self.entries[first:last], start=first)
                return json.dumps({"data": [self._columns(*each) for each in rows_from]}).encode()
            case ["v1", "head"]:
                frontier = extend(Frontier(), self.leaves)[0]
                return json.dumps(
                    {
                        "size": frontier.size,
                        "frontier": [base64.b64encode(peak).decode() for peak in frontier.peaks],
                        "index_min": 0 if self.entries else None,
                        "index_max": len(self.entries) - 1 if self.entries else None,
                    }
                ).encode()
        raise AssertionError(path)

    def _stored_checkpoint(self, size: int) -> dict[str, Any]:
        note = self.note(size)
        moment = datetime.fromtimestamp(SIGNED_AT, UTC).isoformat()
        lines = [
            {
                "name": each.name,
                "key_id": each.key.key_id.hex(),
                "line": each.cosign(note.partition("\n\n")[0] + "\n", SIGNED_AT),
                "at": moment,
            }
            for each in self.cosigners
        ]
        root = base64.b64encode(root_of(self.leaves[:size])).decode()
        return {
            "size": size,
            "root": root,
            "note": self.signer.sign(note.partition("\n\n")[0] + "\n"),
            "at": moment,
            "cosignatures": lines,
            "quorum_at": [moment] if lines else [],
        }

    def _span(self, path: str) -> tuple[int, int]:
        index, _, width = path.partition(".p/")
        return 256 * int(index), int(width or 256)

    def _bundle(self, first: int, last: int) -> bytes:
        bodies = [entry.body for entry in self.entries[first:last]]
        return b"".join(struct.pack(">H", len(body)) + body for body in bodies)

    def _group(self, first: int, last: int) -> bytes:
        rows = map(self._row, self.entries[first:last])
        columns = "\x1f".join(map("\x1f".join, rows)).encode()
        leaves = b"".join(self.leaves[first:last])
        block = b"\0".join(entry.body for entry in self.entries[first:last])
        return b"".join(struct.pack(">I", len(each)) + each for each in (columns, leaves, block))

    def _row(self, entry: domain.Entry) -> list[str]:
        """As the service tells it: what is null, or an empty division, as a backslash."""
        if None in (entry.seq, entry.mentions, entry.key, entry.time):
            return ["\\"] * 10
        mentions: Any = entry.mentions
        moment: Any = entry.time  # a text for what only PostgreSQL can hold
        if isinstance(moment, datetime):
            fraction = f".{moment:%f}".rstrip("0.")
            moment = f"{moment:%Y-%m-%d %H:%M:%S}{fraction}+00"
        values = (
            entry.producer,
            entry.seq,
            entry.actor,
            entry.actor_role,
            "{" + ",".join(map(str, mentions)) + "}",
            "" if entry.division is None else entry.division or None,
            entry.key,
            entry.subject,
            moment,
            entry.type,
        )
        return ["\\" if each is None else str(each) for each in values]

    def _columns(self, index: int, entry: domain.Entry) -> dict[str, Any]:
        moment: Any = entry.time
        return {
            "index": index,
            "event_id": str(entry.key),
            "producer": entry.producer,
            "seq": entry.seq,
            "type": entry.type,
            "subject": entry.subject,
            "division": entry.division,
            "actor": entry.actor,
            "actor_role": entry.actor_role,
            "time": moment.isoformat() if isinstance(moment, datetime) else moment,
            "mentions": entry.mentions and list(map(str, entry.mentions)),
        }

    def verify(self, url: str, *more: str, key: bool = True) -> tuple[int, dict[str, Any]]:
        """The verifier's status and summary; it must never raise."""
        keys = ["--key", str(self.signer.key)] if key else []
        words = ["--log", url, *keys, "--catch-up-s", "0", "--timeout-s", "20", *more]
        status, _, summary = verifier.check(verifier._arguments(words))
        return status, summary


@contextlib.contextmanager
def served(answer: Callable[[str], Answer]) -> Iterator[str]:
    """Over HTTP on this machine; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            status, content = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def events_of_two(count: int) -> list[CloudEvent]:
    """Needs and donors by turns."""
    return [an_event("donors" if at % 2 else "needs", at // 2 + 1) for at in range(count)]


def witness_path(origin: str = ORIGIN) -> str:
    return f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"
