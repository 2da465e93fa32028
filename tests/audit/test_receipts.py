"""Receipts by the many: for whoever keeps them with what they prove."""

from __future__ import annotations

from uuid import uuid4

import pytest

from shared.tlog import merkle
from shared.tlog.checkpoints import Receipt, open_checkpoint
from shared.tlog.notes import VerifierKey
from tests.audit.conftest import SIZE


async def test_each_entry_comes_with_its_receipt(log):
    rows = (await log.client.get("/v1/columns", params={"limit": 1_000})).json()["data"]
    wanted = [rows[at]["event_id"] for at in (0, 17, 255, 256, SIZE - 1)]
    asked = {"event_id": [*wanted, str(uuid4())]}
    answer = (await log.client.get("/v1/receipts", params=asked)).raise_for_status().json()
    assert [each["event_id"] for each in answer["data"]] == wanted
    key = VerifierKey.parse((await log.client.get("/v1/key")).text.split("\n")[0])
    for each in answer["data"]:
        receipt = Receipt.parse(each["receipt"])
        checkpoint = open_checkpoint(receipt.checkpoint_note, key)
        leaf = merkle.leaf_hash(each["entry"].encode())
        assert receipt.index == each["index"]
        merkle.verify_inclusion(
            each["index"], checkpoint.size, leaf, receipt.hashes, checkpoint.root
        )


@pytest.mark.parametrize("count", [0, 101])
async def test_how_many_at_once_is_bounded(log, count):
    params = {"event_id": [str(uuid4()) for _ in range(count)]}
    assert (await log.client.get("/v1/receipts", params=params)).status_code == 422


async def test_what_no_quorum_has_cosigned_has_no_receipt_yet(filled):
    """Whoever keeps a receipt keeps the one that more than the log vouches for."""
    rows = (await filled.client.get("/v1/columns", params={"limit": 1})).json()["data"]
    params = {"event_id": rows[0]["event_id"]}
    assert len((await filled.client.get("/v1/receipts", params=params)).json()["data"]) == 1
    filled.app.state.quorum = b"a policy that no witness has met"
    answer = await filled.client.get("/v1/receipts", params=params)
    assert (answer.status_code, answer.json()["code"]) == (404, "checkpoint_not_found")
