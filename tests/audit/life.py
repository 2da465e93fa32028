"""The events of one allocation, from the entry of the need to its closing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from services.audit.contract import Producer
from shared.events import CloudEvent
from tests.audit.conftest import Running, an_event

QUANTITY = 50
_POLICY = "national-1"


@dataclass
class Life:
    """`events()` in the order in which they happened; `left_out` are `type` or `type:detail`."""

    left_out: frozenset[str] = frozenset()
    quantity_moved: int = QUANTITY
    log_index: int | None = None
    publish_first: bool = False
    allocation: UUID = field(default_factory=uuid4)
    need: UUID = field(default_factory=uuid4)
    offer: UUID = field(default_factory=uuid4)
    line: UUID = field(default_factory=uuid4)
    organization: UUID = field(default_factory=uuid4)
    round: UUID = field(default_factory=uuid4)

    def steps(self) -> list[tuple[str, str, dict[str, Any], str]]:
        """(step, subject, data, role)"""
        need, offer = {"need_id": self.need}, {"offer_id": self.offer}
        org, of_round = {"organization_id": self.organization}, {"round_id": self.round}
        policy = {"policy": _POLICY}
        told: list[tuple[str, dict[str, Any], str]] = [
            ("donors.organization_registered", org | {"name": "甲基金会"}, "entry_clerk"),
            ("donors.organization_approved", org | {"reason": "材料齐全"}, "alliance_coordinator"),
            ("donors.offer_drafted", offer | org, "organization"),
            ("donors.offer_submitted", offer | org, "organization"),
            ("donors.offer_approved", offer | org, "alliance_coordinator"),
            ("donors.offer_opened", offer | org | {"title": "大米"}, "alliance_coordinator"),
            ("needs.need_drafted", need, "village_officer"),
            (
                "needs.need_submitted",
                need | policy | {"first_level": "township"},
                "village_officer",
            ),
            (
                "needs.need_verified:township",
                need | policy | {"level": "township"},
                "township_officer",
            ),
            ("needs.need_verified:county", need | policy | {"level": "county"}, "county_officer"),
            ("needs.need_noticed", need | policy, "county_officer"),
            (
                "needs.need_published",
                need | policy | {"publish_first": self.publish_first},
                "clock",
            ),
            (
                "matching.round_started",
                of_round | policy | {"snapshot_sha256": "ab" * 32},
                "alliance_coordinator",
            ),
            (
                "matching.round_computed",
                of_round | policy | {"proposals_sha256": "cd" * 32},
                "service",
            ),
            ("matching.round_approved", of_round | policy, "alliance_coordinator"),
            ("matching.allocation_proposed", {}, "alliance_coordinator"),
            *self._moved("reserved"),
            ("matching.allocation_reserved", {}, "service"),
            ("matching.allocation_accepted", {}, "organization"),
            ("matching.allocation_approved", {}, "county_officer"),
            (
                "matching.allocation_dispatched",
                {"approval_log_index": self.log_index},
                "organization",
            ),
            *self._moved("dispatched"),
            ("matching.allocation_delivered", {}, "organization"),
            *self._moved("delivered"),
            ("matching.slip_issued", {}, "village_officer"),
            ("matching.allocation_confirmed", {"method": "slip_code"}, "organization"),
            ("matching.allocation_closed", {}, "service"),
            ("needs.need_closed", need, "service"),
        ]
        return [self._whole(*each) for each in told if each[0] not in self.left_out]

    def _moved(self, state: str) -> list[tuple[str, dict[str, Any], str]]:
        moved = {"allocation_id": self.allocation, "quantity": self.quantity_moved, "state": state}
        return [
            (f"donors.reservation_moved:{state}", moved | {"offer_id": self.offer}, "service"),
            (f"needs.commitment_moved:{state}", moved | {"need_id": self.need}, "service"),
        ]

    def _whole(
        self, step: str, data: dict[str, Any], role: str
    ) -> tuple[str, str, dict[str, Any], str]:
        kind = step.partition(":")[0]
        subject = {
            "needs.": f"need/{self.need}",
            "donors.of": f"offer/{self.offer}",
            "donors.re": f"offer/{self.offer}",
            "donors.or": f"organization/{self.organization}",
            "matching.r": f"round/{self.round}",
            "matching.": f"allocation/{self.allocation}",
        }
        about = next(value for start, value in subject.items() if kind.startswith(start))
        if about.startswith("allocation/"):
            data = {
                "allocation_id": self.allocation,
                "round_id": self.round,
                "need_id": self.need,
                "line_id": self.line,
                "offer_id": self.offer,
                "organization_id": self.organization,
                "quantity": QUANTITY,
                "unit": "kg",
                "policy": _POLICY,
            } | data
        plain = {name: str(v) if isinstance(v, UUID) else v for name, v in data.items()}
        return step, about, plain, role

    async def live(self, running: Running, seqs: dict[Producer, int], until: int | None = None):
        """Bring the events one batch a run of the same producer, as feeds would; the steps."""
        steps = self.steps()[:until]
        size = sum(seqs.values())
        batch: list[CloudEvent] = []
        for at, (step, subject, data, role) in enumerate(steps):
            producer: Producer = step.partition(".")[0]  # type: ignore[assignment]  # by their names
            if step == "matching.allocation_approved" and self.log_index is None:
                self.log_index = size + at
            if "approval_log_index" in data and data["approval_log_index"] is None:
                data["approval_log_index"] = self.log_index
            seqs[producer] = seqs.get(producer, 0) + 1
            batch.append(
                an_event(
                    producer,
                    seqs[producer],
                    type=step.partition(":")[0],
                    subject=subject,
                    data=data,
                    actor=f"{role}-1",
                    actorrole=role,
                )
            )
            following = steps[at + 1][0] if at + 1 < len(steps) else ""
            if not following.startswith(f"{producer}."):
                await running.take_in(producer, batch)
                batch = []
        return [step for step, *_ in steps]
