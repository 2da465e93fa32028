"""Events: recorded with the change, numbered without gaps, pulled by whoever cares."""

from shared.events.consumer import Consumer, cursor
from shared.events.feed import feed_router
from shared.events.model import CloudEvent, Emission, Event
from shared.events.outbox import emit, emit_all
from shared.events.sequencer import Sequencer
from shared.events.tables import add_event_tables

__all__ = [
    "CloudEvent",
    "Consumer",
    "Emission",
    "Event",
    "Sequencer",
    "add_event_tables",
    "cursor",
    "emit",
    "emit_all",
    "feed_router",
]
