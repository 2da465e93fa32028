"""What is played: a named emergency, and the people in it, each with a name of their own."""

from dataclasses import dataclass

from deploy.platform import Platform
from shared.vocabulary import divisions


@dataclass(frozen=True)
class Emergency:
    """A named emergency: where, by which policy, and for how many days a daily rate is taken."""

    policy: str
    division: str
    days: int
    reason: str


HUBEI_2020 = Emergency(
    policy="emergency-hubei-2020",
    division="420000000000",
    days=10,
    reason="2020年初湖北疫情应急：先发布后核实。Emergency in Hubei, early 2020: publish first.",
)


class Cast:
    """The people played: one token each, minted when first needed."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._tokens: dict[tuple[str, str], str] = {}

    @property
    def coordinator(self) -> str:
        return self._token("alliance_coordinator", "emergency-coordinator", divisions.ROOT)

    @property
    def approver(self) -> str:
        """A second coordinator: who computes the round does not approve what comes of it."""
        return self._token("alliance_coordinator", "emergency-approver", divisions.ROOT)

    def officer(self, division: str) -> str:
        """Of the level at which a need of this division is verified first."""
        level = divisions.level(division)
        roles = {"village": "village_committee", "township": "township_officer"}
        role = roles.get(level, "county_officer" if level == "county" else "city_officer")
        return self._token(role, f"emergency-officer-{division}", division)

    def representative(self, division: str) -> str:
        return self._token("village_officer", f"emergency-representative-{division}", division)

    def organization(self, organization_id: str) -> str:
        key = ("organization", organization_id)
        if key not in self._tokens:
            self._tokens[key] = self._platform.token(
                "organization", f"emergency-organization-{organization_id}", org=organization_id
            )
        return self._tokens[key]

    def _token(self, role: str, subject: str, division: str) -> str:
        key = (role, subject)
        if key not in self._tokens:
            self._tokens[key] = self._platform.token(role, subject, division=division)
        return self._tokens[key]
