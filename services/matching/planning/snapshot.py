"""What a round is computed from, frozen: rows, policy, ranking and feed positions; as bytes too."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from services.matching.domain import LineTerms, NeedTerms
from services.matching.policies import Policy
from services.matching.ranking.memory import AcceptanceFacts, acceptance_facts
from services.matching.ranking.scorecard import Scorecard, reasoned


@dataclass(frozen=True)
class Snapshot:
    """What a round is computed from. needs and lines sorted by id.

    set_aside      reason code -> needs left out before the snapshot was taken
    kind           round, dry_run or placement
    card           the ranking in force, whole
    acceptance     what organizations did before, and what similar needs accepted
    start_prices   `Plan.prices` of the round this one starts from; a placement is judged by them
    earlier        of a placement: needs published in the policy's forecast_days before those it
                   considers, with all they asked for, whatever became of them: by these it judges
                   what is still to come
    """

    taken_at: datetime
    division_code: str
    needs_seq: int
    donors_seq: int
    policy: Policy
    needs: tuple[NeedTerms, ...]
    lines: tuple[LineTerms, ...]
    set_aside: dict[str, int]
    kind: str = "round"
    card: Scorecard = field(default_factory=reasoned)
    acceptance: AcceptanceFacts = field(default_factory=AcceptanceFacts)
    start_prices: dict[str, int] = field(default_factory=dict)
    earlier: tuple[NeedTerms, ...] = ()

    def sorted(self) -> Snapshot:
        """Itself with needs and lines in the order of their ids."""
        return replace(
            self,
            needs=tuple(sorted(self.needs, key=lambda n: n.need_id.bytes)),
            lines=tuple(sorted(self.lines, key=lambda m: m.line_id.bytes)),
        )


def pack(snapshot: Snapshot) -> tuple[bytes, str]:
    """The snapshot as compressed JSON with sorted keys, and the SHA-256 of that JSON."""
    plain = {
        **_fields(snapshot),
        "policy": snapshot.policy.model_dump(mode="json"),
        "card": snapshot.card.model_dump(mode="json"),
        "acceptance": snapshot.acceptance.plain(),
        "needs": [_fields(need) for need in snapshot.needs],
        "lines": [_fields(line) for line in snapshot.lines],
        "earlier": [_fields(need) for need in snapshot.earlier],
    }
    body = json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain
    ).encode()
    return zlib.compress(body), hashlib.sha256(body).hexdigest()


def _fields(one: Any) -> dict[str, Any]:
    # Not `asdict`, which copies every value of a hundred thousand rows.
    return {field.name: getattr(one, field.name) for field in fields(one)}


def _plain(value: Any) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a snapshot")


class SnapshotDamaged(RuntimeError):
    """The stored snapshot is not the one that was frozen."""


class SnapshotOutdated(RuntimeError):
    """It is what was frozen, by a version of before, in a form that this one does not read."""


def unpack(packed: bytes, sha256: str) -> Snapshot:
    """Raise SnapshotDamaged unless the bytes are those that were frozen, or SnapshotOutdated."""
    try:
        body = zlib.decompress(packed)
    except zlib.error as error:
        raise SnapshotDamaged from error
    return thaw(body, sha256)


def thaw(body: bytes, sha256: str) -> Snapshot:
    """From the JSON itself; raise SnapshotDamaged unless it is what was frozen, or
    SnapshotOutdated."""
    if hashlib.sha256(body).hexdigest() != sha256:
        raise SnapshotDamaged
    try:
        return _thawed(json.loads(body))
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotOutdated from error


def _thawed(plain: dict[str, Any]) -> Snapshot:
    return Snapshot(
        **{
            **plain,
            "taken_at": datetime.fromisoformat(plain["taken_at"]),
            "policy": Policy.model_validate(plain["policy"]),
            "needs": tuple(_need(n) for n in plain["needs"]),
            "lines": tuple(_line(m) for m in plain["lines"]),
            "earlier": tuple(_need(n) for n in plain["earlier"]),
            "card": Scorecard.model_validate(plain["card"]),
            "acceptance": acceptance_facts(plain["acceptance"]),
        }
    )


def _need(plain: dict[str, Any]) -> NeedTerms:
    return NeedTerms(
        **{
            **plain,
            "need_id": UUID(plain["need_id"]),
            "published_at": datetime.fromisoformat(plain["published_at"]),
            "needed_by": plain["needed_by"] and date.fromisoformat(plain["needed_by"]),
            "aided_at": plain["aided_at"] and datetime.fromisoformat(plain["aided_at"]),
        }
    )


def _line(plain: dict[str, Any]) -> LineTerms:
    return LineTerms(
        **{
            **plain,
            **{name: UUID(plain[name]) for name in ("line_id", "offer_id", "organization_id")},
            **{name: datetime.fromisoformat(plain[name]) for name in ("valid_from", "valid_until")},
            **{
                name: tuple(plain[name])
                for name in ("served_division_codes", "applicant_kinds", "household_classes")
            },
        }
    )
