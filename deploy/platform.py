"""A running platform, as the main job, the import and the checks see it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from shared.issuer import Issuer


@dataclass(frozen=True)
class Platform:
    """Addresses of the four services and of a witness, the development issuer, the state folder."""

    needs_url: str
    donors_url: str
    matching_url: str
    audit_url: str
    witness_url: str
    issuer: Issuer
    state: Path

    def url(self, service: str) -> str:
        return self.urls[service]

    @property
    def urls(self) -> dict[str, str]:
        return {
            "needs": self.needs_url,
            "donors": self.donors_url,
            "matching": self.matching_url,
            "audit": self.audit_url,
        }

    def token(
        self,
        role: str,
        subject: str,
        division: str | None = None,
        org: UUID | str | None = None,
    ) -> str:
        return self.issuer.mint(role=role, subject=subject, division=division, org=org)


@dataclass(frozen=True)
class Summary:
    """What the main job did, every number counted by asking the services, and where to look."""

    needs_published: int
    offers_open: int
    allocations: int
    households_served: int
    log_size: int
    log_verified: bool
    seconds: float
    # For the examples that are printed; None where there is none.
    need_id: UUID | None = None
    allocation_id: UUID | None = None
    organization_id: UUID | None = None

    def counted(self) -> dict[str, int | float | bool]:
        """The seven numbers of the last line of `make run`."""
        examples = {"need_id", "allocation_id", "organization_id"}
        return {key: value for key, value in asdict(self).items() if key not in examples}
