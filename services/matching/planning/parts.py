"""A solved item class as bytes, so that a round that was broken off goes on from it; pure.

Needs and lines are named by their ids and taken from the snapshot again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from uuid import UUID

from services.matching.planning.results import Outcome, Part, Proposal
from services.matching.planning.snapshot import Snapshot
from services.matching.text.configured import likeness_version

# Raised when the same snapshot may come out differently: what was solved before is solved again.
PLAN_VERSION = 2


def made_by() -> str:
    return f"{PLAN_VERSION} {likeness_version()}"


def pack_part(part: Part) -> tuple[bytes, str]:
    """The part as compressed JSON, and the SHA-256 of that JSON."""
    plain = {
        "made_by": made_by(),
        "item_class": part.item_class,
        "proposals": [
            [
                str(p.need.need_id),
                str(p.line.line_id),
                p.quantity,
                p.features,
                p.fit,
                p.value,
                p.explanation,
            ]
            for p in part.proposals
        ],
        "outcomes": [
            [str(o.need.need_id), o.code, o.given, o.counts, o.best_line_id and str(o.best_line_id)]
            for o in part.outcomes
        ],
        "totals": part.totals,
        "prices": part.prices,
    }
    body = json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode()
    return zlib.compress(body, level=1), hashlib.sha256(body).hexdigest()


def unpack_parts(stored: Iterable[tuple[bytes, str]], snapshot: Snapshot) -> dict[str, Part]:
    """Parts by item class, without those that are damaged or made by another version."""
    needs = {need.need_id: need for need in snapshot.needs}
    lines = {line.line_id: line for line in snapshot.lines}
    parts = {}
    for packed, sha256 in stored:
        try:
            body = zlib.decompress(packed)
        except zlib.error:
            continue
        if hashlib.sha256(body).hexdigest() != sha256:
            continue
        plain = json.loads(body)
        if plain["made_by"] != made_by():
            continue
        parts[plain["item_class"]] = Part(
            item_class=plain["item_class"],
            proposals=tuple(
                Proposal(
                    needs[UUID(need)], lines[UUID(line)], quantity, tuple(features), fit, value, why
                )
                for need, line, quantity, features, fit, value, why in plain["proposals"]
            ),
            outcomes=tuple(
                Outcome(needs[UUID(need)], code, given, counts, best and UUID(best))
                for need, code, given, counts, best in plain["outcomes"]
            ),
            totals=plain["totals"],
            prices=plain["prices"],
        )
    return parts
