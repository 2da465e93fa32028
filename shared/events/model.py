"""What an event is: a past-tense fact of a contract, sent as a CloudEvent 1.0.

SPEC: CloudEvents 1.0.2 JSON event format, with the extension attributes `sequence` (the producer's
gap-free number, decimal), `actor`, `actorrole`, `division` and `traceparent`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from shared.bodies import Body, Moment


class Event(Body):
    """A fact of a service's contract: ids, codes and amounts; no personal data, no floats."""

    type: ClassVar[str]


@dataclass(frozen=True)
class Emission:
    """An event with who caused it and what it is about.

    subject   `<noun>/<id>`, for instance `need/0197…`
    actor     the caller's subject, or `clock:<service>` for what fell due
    role      the role the actor acted in
    division  12 digits or None; cut to the township before it is stored
    """

    event: Event
    subject: str
    actor: str
    role: str
    division: str | None = None


class CloudEvent(BaseModel):
    """One event as it stands in a feed."""

    model_config = ConfigDict(frozen=True, extra="allow")

    specversion: str = "1.0"
    id: UUID
    source: str
    type: str
    time: Moment
    subject: str
    datacontenttype: str = "application/json"
    data: dict[str, Any]
    sequence: str
    actor: str
    actorrole: str
    division: str | None = None
    traceparent: str | None = None

    @property
    def seq(self) -> int:
        return int(self.sequence)
