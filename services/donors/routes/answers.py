"""What the items of a batch look like in its answer, and ETags of offers."""

import re
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Header

from services.donors import contract
from services.donors.domain.errors import Unfit
from services.donors.operations import Entered
from services.donors.tables import Offer, Organization
from shared.errors import PreconditionFailed, PreconditionRequired, ServiceError
from shared.screening import PersonalDataInText

IfMatch = Annotated[
    str | None,
    Header(max_length=1_000, description="ETag of the offer as it was read."),
]


def created(
    outcomes: Sequence[Entered[Organization] | Entered[Offer] | ServiceError],
) -> contract.BatchResult:
    return contract.BatchResult(results=[_created(outcome) for outcome in outcomes])


def _created(
    outcome: Entered[Organization] | Entered[Offer] | ServiceError,
) -> contract.CreatedItem:
    if isinstance(outcome, ServiceError):
        return contract.CreatedItem(
            outcome="refused", code=outcome.code, loc=_path(outcome), detail=outcome.detail
        )
    remark = outcome.remark
    return contract.CreatedItem(
        outcome="created" if outcome.new else "already_there",
        id=outcome.record.id,
        state=outcome.record.state,
        code=None if remark is None else remark.code,
        loc=None if remark is None else _path(remark),
        detail=None if remark is None else remark.detail,
    )


def _path(error: ServiceError) -> str | None:
    if not isinstance(error, Unfit | PersonalDataInText):
        return None
    return ".".join(str(part) for part in error.loc)


def approved(
    ids: Sequence[UUID], outcomes: Sequence[Organization | Offer | ServiceError]
) -> contract.ApprovalBatchResult:
    return contract.ApprovalBatchResult(
        results=[
            contract.ApprovedItem(
                id=id_, outcome="refused", code=outcome.code, detail=outcome.detail
            )
            if isinstance(outcome, ServiceError)
            else contract.ApprovedItem(id=id_, outcome="approved", state=outcome.state)
            for id_, outcome in zip(ids, outcomes, strict=True)
        ]
    )


def etag(offer: Offer) -> str:
    return f'"{offer.version}"'


def versions(if_match: str | None) -> frozenset[int] | None:
    """The versions named by If-Match; None for `*`.

    SPEC RFC 9110 13.1.1: the strong comparison, so a weak tag matches nothing.
    """
    if if_match is None:
        raise PreconditionRequired("Send If-Match with the ETag of the offer you have read.")
    if if_match.strip() == "*":
        return None
    tags = [tag.strip() for tag in if_match.split(",")]
    named = frozenset(int(tag[1:-1]) for tag in tags if re.fullmatch(r'"[0-9]{1,9}"', tag))
    if not named:
        raise PreconditionFailed("If-Match names no version of the offer.")
    return named
