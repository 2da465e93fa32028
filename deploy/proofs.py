"""Checks that an allocation's approval stands in the log: the entry itself, and its receipt.

The mathematics is that of the stand-alone verifier, which shares no code with the audit service.
"""

import json
import struct
from typing import Any

from deploy.api import Api
from services.audit.verifier import Bad, check_receipt, leaf_hash, prove_receipt, read_keys

_WIDTH = 256


class ProofFailed(Exception):
    """The log does not prove what it must; the message names the index."""


async def check_approval(audit: Api, verifier_key: str, allocation: dict[str, Any]) -> None:
    """Raise ProofFailed unless the entry is the approval of this allocation and is in the log."""
    index, policy = allocation["approval_log_index"], read_keys([verifier_key])
    receipt = await audit.text(allocation["approval_receipt"])
    _, checkpoint = check_receipt(receipt, policy)
    entry = await _entry(audit, index, checkpoint.size)
    # The first line holds producer and number; the rest is the event.
    event = json.loads(entry.partition(b"\n")[2])
    data = event.get("data", {})
    if event.get("type") != "matching.allocation_approved":
        raise ProofFailed(f"entry {index} is not an approval")
    if data.get("allocation_id") != allocation["id"]:
        raise ProofFailed(f"entry {index} is the approval of another allocation")
    try:
        prove_receipt(receipt, leaf_hash(entry), policy)
    except Bad as error:
        raise ProofFailed(f"the receipt of entry {index} does not prove it: {error}") from error


async def _entry(audit: Api, index: int, size: int) -> bytes:
    """The entry from its bundle. SPEC tlog-tiles: each entry after its length in two bytes."""
    bundle_index, offset = divmod(index, _WIDTH)
    width = min(_WIDTH, size - bundle_index * _WIDTH)
    if offset >= width:
        raise ProofFailed(f"the receipt of entry {index} is of a log of {size} entries")
    bundle = await audit.octets(f"/tile/entries/{_tile_path(bundle_index, width)}")
    at = 0
    for _ in range(offset):
        at += 2 + struct.unpack_from(">H", bundle, at)[0]
    length = struct.unpack_from(">H", bundle, at)[0]
    return bundle[at + 2 : at + 2 + length]


def _tile_path(index: int, width: int) -> str:
    """SPEC tlog-tiles: groups of three digits, all but the last after an x; .p/W when partial."""
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03d}")
    return "/".join(groups) + ("" if width == _WIDTH else f".p/{width}")
