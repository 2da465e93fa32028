"""Types of bodies: what comes in is bounded and knows every field; what goes out is rendered as is.

Bounds repeat those the database has, so that bad input is a clear 422 and never a failed statement.
"""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)

# PostgreSQL cannot store NUL in text; refused here so that it is the caller's error.
_NO_NUL = r"^[^\x00]*$"

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_NUL)]
LongText = Annotated[str, StringConstraints(min_length=1, max_length=2_000, pattern=_NO_NUL)]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
DivisionCode = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{12}$"),
    Field(description="12-digit statistical division code.", examples=["430224101000"]),
]
ExternalKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f]+$"),
    Field(description="The submitter's own key of the record; unique for one source."),
]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Quantity = Annotated[int, Field(ge=1, le=10**12, description="Whole units.")]
BaseQuantity = Annotated[int, Field(ge=1, le=10**15, description="In the item class's base unit.")]


def render_moment(moment: datetime) -> str:
    """RFC 3339 in UTC with six decimals, as in every body and event."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _in_range(moment: datetime) -> datetime:
    # PostgreSQL and the arithmetic of clocks both need room around the value.
    if not 1900 <= moment.year <= 2200:
        raise ValueError("the year must lie between 1900 and 2200")
    return moment


Moment = Annotated[
    AwareDatetime,
    AfterValidator(_in_range),
    PlainSerializer(render_moment, return_type=str, when_used="json"),
]


class Body(BaseModel):
    """What a caller sends, and what an event says: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ReadBody(BaseModel):
    """What we answer, read from rows; rows are not validated against newer bounds."""

    model_config = ConfigDict(from_attributes=True, frozen=True)
