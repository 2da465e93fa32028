"""Words that several bodies share."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

Urgency = Literal["life_threatening", "urgent", "normal"]
RoundKind = Literal["round", "dry_run", "placement"]
RoundState = Literal["computing", "computed", "approved", "discarded", "cancelled"]
Stage = Literal["waiting", "reading", "comparing", "solving", "explaining", "storing", "done"]
AllocationState = Literal[
    "proposed",
    "reserved",
    "accepted",
    "approved",
    "dispatched",
    "delivered",
    "confirmed",
    "closed",
    "declined",
    "expired",
    "cancelled",
    "returned",
]
AllocationAction = Literal[
    "accept", "decline", "approve", "dispatch", "deliver", "confirm", "cancel", "return"
]
Side = Literal["organization", "applicant", "matching"]
Method = Literal["slip_code", "before_officer"]
BATCH_MAX = 500
PolicyName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
SlipCode = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9A-HJKMNP-TV-Z]{4}-?[0-9A-HJKMNP-TV-Z]{4}$"),
    Field(description="As printed on the slip: eight characters without I, L, O and U."),
]
