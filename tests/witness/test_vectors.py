"""tlog-witness against what others wrote: the transcripts of a real witness, and C2SP's examples.

../shared/vectors/SOURCE.md names the repository, commit and path of each file.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.tlog.checkpoints import Checkpoint
from shared.tlog.notes import VerifierKey
from shared.tlog.witnessing import SIZE_MEDIA_TYPE, AddCheckpoint
from tests.witness.builders import ORIGIN, Log

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"
pytestmark = pytest.mark.skipif(
    not VECTORS.exists(), reason="the reference vectors (../shared/vectors) are not here"
)
# A request of a hurl transcript: its body, the status, and what is asserted of the answer's body.
_REQUEST = re.compile(
    r"POST http://\S+/add-checkpoint\n```\n(?P<body>.*?)```\nHTTP (?P<status>\d+)\n"
    r'\[Asserts\]\nbody (?P<how>contains|==) "(?P<said>[^"\n]*)"\n',
    re.DOTALL,
)


@dataclass(frozen=True)
class Asked:
    """The request at place `index` of a transcript, counted from 0, and its answer."""

    file: str
    index: int
    body: str
    status: int
    how: str
    said: str


# What the real witness answers and we do not, with the reason.
DEVIATIONS = {
    ("litewitness.txt", 2): (404, "tlog-witness v1.0.0 says 404 for an unknown log, it says 403"),
}


def _read(path: str) -> str:
    file = VECTORS / path
    return file.read_text() if file.exists() else ""


def _transcript(file: str) -> list[Asked]:
    found = _REQUEST.finditer(_read(f"witness-litewitness/{file}"))
    return [
        Asked(file, i, m["body"], int(m["status"]), m["how"], m["said"].replace("\\n", "\n"))
        for i, m in enumerate(found)
    ]


TRANSCRIPTS = {file: _transcript(file) for file in ("litewitness.txt", "sumdb.txt")}
C2SP = json.loads(_read("c2sp-examples/examples.json") or "{}")


def _trusted(file: str) -> str:
    """The line of our file of trusted logs that says what the transcript sets up."""
    text = _read(f"witness-litewitness/{file}")
    if bare := re.search(r"add-sigsum-log -key=([0-9a-f]{64})", text):
        # Sigsum names a log by its key's hash and writes the key bare; a vkey says both.
        origin = next(line for line in text.split("\n") if line.startswith("sigsum.org/v1/tree/"))
        return str(VerifierKey(origin, bytes.fromhex(bare[1])))
    added = re.search(r"add-key -origin '(.+?)' -key (\S+)", text)
    assert added is not None
    return f"{added[2]} {added[1]}"


def test_the_transcripts_are_read_whole():
    assert [len(asked) for asked in TRANSCRIPTS.values()] == [9, 1]
    for file, asked in TRANSCRIPTS.items():
        assert _read(f"witness-litewitness/{file}").count("POST ") == len(asked)


@pytest.mark.parametrize(
    "asked",
    [asked for transcript in TRANSCRIPTS.values() for asked in transcript],
    ids=lambda asked: f"{asked.file}-{asked.index}",
)
async def test_answer_of_litewitness(start, asked):
    """FiloSottile/torchwood, cmd/litewitness/testdata: each request after those before it."""
    async with start(name="example.com/witness", logs=_trusted(asked.file)) as witness:
        for before in TRANSCRIPTS[asked.file][: asked.index]:
            await witness.add(before.body)
        answer = await witness.add(asked.body)
        status, _ = DEVIATIONS.get((asked.file, asked.index), (asked.status, ""))
        assert answer.status_code == status, answer.text
        if asked.how == "==":
            assert answer.text == asked.said
            assert answer.headers["content-type"] == SIZE_MEDIA_TYPE
        else:
            assert asked.said in answer.text


@pytest.mark.parametrize(("file", "size"), [("litewitness.txt", 5), ("sumdb.txt", 35225469)])
async def test_what_litewitness_remembers_in_the_end(start, file, size):
    """`witnessctl list-logs` at the end of each transcript."""
    async with start(logs=_trusted(file)) as witness:
        for asked in TRANSCRIPTS[file]:
            await witness.add(asked.body)
        first = AddCheckpoint.parse(TRANSCRIPTS[file][0].body)
        assert await witness.size(Log(Checkpoint.parse(first.note).origin)) == size


def test_the_example_request_of_c2sp_is_read_and_written_alike():
    text = C2SP["add_checkpoint_request"]
    request = AddCheckpoint.parse(text)
    assert (request.old_size, len(request.proof)) == (20852014, 4)
    assert str(request) == text
    assert Checkpoint.parse(request.note).size == 20852163


async def test_the_example_request_of_c2sp_is_for_whom_it_trusts(start, witness):
    """Its keys are not published, so that it cannot be cosigned: 404, and with another key 403."""
    text = C2SP["add_checkpoint_request"]
    assert (await witness.add(text)).status_code == 404
    async with start(logs=str(Log("example.com/behind-the-sofa").key)) as trusting:
        assert (await trusting.add(text)).status_code == 403


def _refused(log: Log) -> dict[str, str]:
    """A request for each error that C2SP names, of a log cosigned at size 3."""
    bad = log.ask(3, 5).rpartition("\n— ")
    return {
        "unknown origin": Log("other.test").ask(0, 1),
        "no trusted signature or bad signature": f"{bad[0]}\n— {ORIGIN} {'A' * 91}=\n",
        "old size > new size": log.ask(5, 4),
        "old size != witness's": log.ask(2, 5),
        "bad proof": log.ask(3, 5, log.proof(2, 5)),
        "equal size, other root": log.fork(0).ask(3, 3),
    }


@pytest.mark.parametrize(
    ("named", "status"), C2SP.get("well_known_errors", {}).get("add-checkpoint", {}).items()
)
async def test_error_that_c2sp_names(witness, log, named, status):
    """C2SP/C2SP, tlog-witness.md. For an equal size with another root an earlier text says 409."""
    assert (await witness.add(log.ask(0, 3))).status_code == 200
    assert (await witness.add(_refused(log)[named])).status_code == status
    assert await witness.size(log) == 3
