"""Who may act for whom; the one who enters never approves."""

from collections.abc import Collection
from uuid import UUID

from services.donors.domain.errors import EnteredByApprover, NotYours


def check_may_act_for(
    organization_id: UUID, entered_by: str | None, *, subject: str, org: UUID | None
) -> None:
    """An organization acts for itself; a clerk for any, but on records they entered themselves.

    entered_by  who entered the record acted on; None when it is being entered now
    """
    if org is not None:
        if org != organization_id:
            raise NotYours
    elif entered_by is not None and entered_by != subject:
        raise NotYours


def check_may_approve(
    organization_id: UUID, involved: Collection[str | None], *, subject: str, org: UUID | None
) -> None:
    """`involved` are those who entered or submitted what is to be approved."""
    if subject in involved or org == organization_id:
        raise EnteredByApprover
