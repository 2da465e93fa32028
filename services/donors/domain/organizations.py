"""States and rules of organizations."""

from enum import StrEnum

from stdnum.cn import uscc as uscc_number

from services.donors.domain.errors import (
    InvalidUscc,
    OrganizationMoveRefused,
    ReasonMissing,
    UnknownCode,
    UnknownDivision,
)
from shared.vocabulary import divisions
from shared.vocabulary.codes import OrganizationKind


class OrganizationState(StrEnum):
    REGISTERED = "registered"
    APPROVED = "approved"
    BLOCKED = "blocked"


_ORGANIZATION_MAY_BECOME = {
    OrganizationState.REGISTERED: {OrganizationState.APPROVED, OrganizationState.BLOCKED},
    OrganizationState.APPROVED: {OrganizationState.BLOCKED},
    OrganizationState.BLOCKED: set[OrganizationState](),
}


def move_organization(state: str, target: OrganizationState) -> OrganizationState:
    if target not in _ORGANIZATION_MAY_BECOME[OrganizationState(state)]:
        raise OrganizationMoveRefused(state, target)
    return target


def check_uscc(uscc: str | None) -> None:
    """SPEC GB 32100-2015: the last of the 18 characters is a check digit over the others."""
    if uscc is not None and not uscc_number.is_valid(uscc):
        raise InvalidUscc("The Unified Social Credit Code's check digit does not fit.", "uscc")


def check_organization(kind: str, uscc: str | None, division_code: str) -> None:
    if kind not in set(OrganizationKind):
        raise UnknownCode("There is no such kind of organization.", "kind")
    if not divisions.known(division_code):
        raise UnknownDivision("There is no such division.", "division_code")
    check_uscc(uscc)


def verified_by_approval(uscc: str | None, reason: str | None) -> bool:
    """Whether an approval makes the organization a verified one: on a checked USCC only.

    Raises ReasonMissing when there is no valid USCC and nothing else is given to go by.
    """
    if uscc is not None and uscc_number.is_valid(uscc):
        return True
    if reason is None:
        raise ReasonMissing
    return False
