"""Exports prove themselves: read as docs/log.md says, by nothing of the service's."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from services.audit import verifier
from services.audit.exports import CSV_COLUMNS
from shared.tlog import merkle
from shared.tlog.checkpoints import Receipt, open_checkpoint
from shared.tlog.notes import VerifierKey
from tests.audit.conftest import ORIGIN, SIZE, an_event


@pytest.fixture
def supervisor(token):
    return token("supervisor", subject="supervisor-1")


async def ask(running, headers, **query):
    return (
        await running.client.get("/v1/export", params=query, headers=headers)
    ).raise_for_status()


async def key_of(running):
    return VerifierKey.parse((await running.client.get("/v1/key")).text)


async def read_lines(running, content):
    """Header, entries, trailer; every entry is proved."""
    assert content.endswith(b"\n")
    header, *entries, trailer = map(json.loads, content[:-1].split(b"\n"))
    checkpoint = open_checkpoint(header["checkpoint"], await key_of(running))
    for each in entries:
        merkle.verify_inclusion(
            each["index"],
            checkpoint.size,
            merkle.leaf_hash(each["body"].encode()),
            [base64.b64decode(digest) for digest in each["hashes"]],
            checkpoint.root,
        )
    indexes = [each["index"] for each in entries]
    assert trailer["count"] == len(entries)
    assert indexes == sorted(set(indexes))
    assert [trailer["first_index"], trailer["last_index"]] == (
        [indexes[0], indexes[-1]] if indexes else [None, None]
    )
    return header, entries, trailer


async def read_csv(running, content):
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    key = await key_of(running)
    for row in rows:
        body = f"{row['producer']:<8} {int(row['seq']):020d}\n{row['event']}".encode()
        leaf = hashlib.sha256(b"\x00" + body).digest()
        assert base64.b64decode(row["leaf"]) == leaf
        receipt = Receipt.parse(base64.b64decode(row["proof"]).decode())
        checkpoint = open_checkpoint(receipt.checkpoint_note, key)
        assert receipt.index == int(row["index"])
        merkle.verify_inclusion(
            receipt.index, checkpoint.size, leaf, receipt.hashes, checkpoint.root
        )
        assert json.loads(row["event"])["time"] == row["time"]
    return rows


async def test_an_export_of_everything_proves_every_entry(log, supervisor):
    answer = await ask(log, supervisor)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    header, entries, trailer = await read_lines(log, answer.content)
    assert [each["index"] for each in entries] == list(range(SIZE))
    assert (header["format"], header["origin"]) == ("duijie-export@v1", ORIGIN)
    assert (header["filter"], header["after_index"]) == ({}, None)
    assert trailer["has_more"] is False


async def test_the_same_as_csv(log, supervisor):
    answer = await ask(log, supervisor, format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].endswith('.csv"')
    rows = await read_csv(log, answer.content)
    assert [int(row["index"]) for row in rows] == list(range(SIZE))
    assert tuple(rows[0]) == CSV_COLUMNS


async def test_an_export_is_of_what_was_asked_for_and_goes_on_where_it_ended(log, supervisor):
    asked = {"officer": "officer-1", "since": "2026-11-01T08:00:20Z"}
    everything = (await read_lines(log, (await ask(log, supervisor, **asked)).content))[1]
    parts: list[dict[str, Any]] = []
    after: dict[str, int] = {}
    while True:
        answer = await ask(log, supervisor, limit=13, **asked, **after)
        header, entries, trailer = await read_lines(log, answer.content)
        assert header["filter"] == {
            "officer": "officer-1",
            "since": "2026-11-01T08:00:20.000000Z",
        }
        parts += entries
        if not trailer["has_more"]:
            break
        after = {"after_index": trailer["last_index"]}
        assert len(entries) == 13
    assert [each["index"] for each in parts] == [each["index"] for each in everything]
    assert all('"actor":"officer-1"' in each["body"] for each in parts)
    assert len(parts) > 26


async def test_an_empty_export_is_whole_too(log, supervisor):
    answer = await ask(log, supervisor, officer="nobody")
    _, entries, trailer = await read_lines(log, answer.content)
    assert (entries, trailer["count"]) == ([], 0)


async def test_an_export_is_logged_with_what_was_asked_and_how_much_it_was(running, supervisor):
    await running.fill(20)
    known, unknown = str(UUID(int=5)), str(UUID(int=430224198001011234))
    asked = {"officer": "officer-1", "type": "张三", "need": known, "allocation": unknown}
    await ask(running, supervisor, **asked, after_index=3, format="csv")
    async with running.app.state.sessions() as session:
        rows = await session.execute(
            text(
                "SELECT actor, data FROM outbox WHERE type = 'audit.trail_exported'"
                " UNION ALL SELECT actor, data FROM event WHERE type = 'audit.trail_exported'"
            )
        )
        (row,) = rows.all()
    assert row.actor == "supervisor-1"
    told = {name: value for name, value in row.data.items() if value is not None}
    assert told == {
        "officer": "officer-1",
        "event_type": "(not in the log)",
        "need_id": known,
        "allocation_id": "(not in the log)",
        "format": "csv",
        "after_index": 3,
        "entries": 0,
        "size": 20,
    }


async def test_nothing_leaves_that_could_not_be_logged(running, supervisor):
    await running.fill(20)
    await running.tamper("ALTER TABLE outbox ADD CONSTRAINT full_disk CHECK (false) NOT VALID")
    answer = await running.client.get("/v1/export", headers=supervisor)
    assert answer.status_code >= 500
    assert b"needs    " not in answer.content


async def test_cells_cannot_be_formulas(running, supervisor, tmp_path):
    names = ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\n=1", "'quoted", "plain=1"]
    names += ["\uff1d1", "\uff0b1", "\uff0d1", "\uff20x"]
    taken = [
        an_event("needs", seq, actor=name, subject=name, division=name)
        for seq, name in enumerate(names, 1)
    ]
    await running.take_in("needs", taken)
    await running.signed(len(names))
    content = (await ask(running, supervisor, format="csv")).content
    rows = await read_csv(running, content)
    for row, name in zip(rows, names, strict=True):
        for cell in (row["actor"], row["subject"], row["division"]):
            assert not cell.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"))
            assert cell.removeprefix("'") == name if cell != name else name == "plain=1"
        assert json.loads(row["event"])["actor"] == name
    assert verified(running, tmp_path / "export", content)["rows"] == len(names)


async def test_what_is_gone_from_the_database_cuts_the_file(filled, supervisor):
    """Its beginning may have been sent: no trailer follows, and the connection breaks."""
    await filled.tamper("DELETE FROM entry WHERE index = 280")
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(filled, supervisor, after_index=270)


async def test_a_changed_body_fails_its_proof(filled, supervisor):
    await filled.tamper("UPDATE entry SET body = body || 'x' WHERE index = 7")
    answer = await ask(filled, supervisor, after_index=6, limit=1)
    with pytest.raises(merkle.BadProof):
        await read_lines(filled, answer.content)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
async def test_the_verifier_takes_an_export_and_refuses_one_that_was_changed(
    log, supervisor, tmp_path, form
):
    content = (await ask(log, supervisor, format=form, officer="officer-1")).content
    assert verified(log, tmp_path / "export", content)["rows"] == SIZE // 3
    assert verified(log, tmp_path / "export", content.replace(b"officer-1", b"officer-2", 1)) == {}
    if form == "jsonl":
        assert verified(log, tmp_path / "export", content[: content[:-1].rindex(b"\n") + 1]) == {}


def verified(log, path, content):
    """What the stand-alone verifier says of an export; nothing when it is bad."""
    path.write_bytes(content)
    words = ["--export", str(path), "--key", str(log.state_dir / "log.vkey")]
    status, _, summary = verifier.check(verifier._arguments(words))
    return summary if status == 0 else {}


@pytest.mark.parametrize(
    ("role", "status"), [(None, 401), ("county_officer", 403), ("auditor", 200)]
)
async def test_who_may_export(log, token, role, status):
    headers = token(role) if role else {}
    answer = await log.client.get("/v1/export", params={"limit": 1}, headers=headers)
    assert answer.status_code == status
