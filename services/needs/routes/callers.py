"""Who calls the routes of this service, and what they are handed; named once."""

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from services.needs.privacy import Privacy
from shared.callers import Caller, require
from shared.errors import PreconditionFailed, PreconditionRequired

Enterer = Annotated[Caller, Depends(require("needs:enter"))]
Verifier = Annotated[Caller, Depends(require("needs:verify"))]
Reader = Annotated[Caller, Depends(require("needs:read"))]
# Those who enter see what they entered, those who read see their division.
Insider = Annotated[Caller, Depends(require("needs:read", "needs:enter"))]
Committer = Annotated[Caller, Depends(require("needs:commit"))]
ObjectionDecider = Annotated[Caller, Depends(require("objections:decide"))]
PolicyActivator = Annotated[Caller, Depends(require("policy:activate"))]


def _privacy(request: Request) -> Privacy:
    return request.app.state.privacy  # type: ignore[no-any-return]  # set by create_app


Keeper = Annotated[Privacy, Depends(_privacy)]

Purpose = Annotated[
    str,
    Query(pattern=r"^[a-z][a-z0-9_]*$", max_length=64, description="Why; recorded for ever."),
]
IfMatch = Annotated[str | None, Header(max_length=40, description="The ETag of what was read.")]

Division = Annotated[
    str | None,
    Query(pattern=r"^[0-9]{12}$", description="Only what this division covers."),
]
CodeFilter = Annotated[str | None, Query(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]


def etag(version: int) -> str:
    return f'"{version}"'


def version_of(if_match: str | None) -> int:
    """SPEC RFC 9110 13.1.1 and RFC 6585 3: If-Match is required, and compares strongly."""
    if if_match is None:
        raise PreconditionRequired("Send the ETag of what you read as If-Match.")
    digits = if_match.strip().removeprefix('"').removesuffix('"')
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise PreconditionFailed("The If-Match is not the ETag of any version.")
    return int(digits)
