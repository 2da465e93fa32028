"""Bodies and events of the audit service: the only module of it that others import."""

from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from shared.bodies import Body, Moment, ReadBody
from shared.events.model import Event

Producer = Literal["needs", "donors", "matching", "audit"]
PRODUCERS: tuple[Producer, ...] = ("needs", "donors", "matching", "audit")
ExportFormat = Literal["jsonl", "csv"]
Base64Hash = Annotated[str, Field(description="A SHA-256 hash in base64.")]

# ---------------------------------------------------------------- events


class LogStarted(Event):
    """A process of the log has compared it with the copy outside the database and writes on."""

    type: ClassVar[str] = "audit.log_started"
    origin: str
    key_id: str
    size: int


class KeyAnnounced(Event):
    """A successor of the log's key: this stands under a checkpoint of the old key alone."""

    type: ClassVar[str] = "audit.key_announced"
    key: str = Field(description="The successor (C2SP signed-note).")
    signs_already: str


class KeyTakenUp(Event):
    """Checkpoints of `size_first` entries and more carry this key's signature too."""

    type: ClassVar[str] = "audit.key_taken_up"
    key: str
    size_first: int


class KeyRetired(Event):
    """The last event told while this key signs: it is destroyed once this is under a checkpoint."""

    type: ClassVar[str] = "audit.key_retired"
    key: str


NOT_IN_THE_LOG = "(not in the log)"
_LoggedId = UUID | Literal["(not in the log)"] | None


class TrailAsked(Event):
    """By what the trail was filtered.

    A word or id that the log does not have is told as `(not in the log)`: it may be anything.
    """

    allocation_id: _LoggedId = None
    need_id: _LoggedId = None
    organization_id: _LoggedId = None
    offer_id: _LoggedId = None
    subject: str | None = None
    officer: str | None = None
    producer: str | None = None
    event_type: str | None = None
    division: str | None = None
    since: Moment | None = None
    before: Moment | None = None


class TrailRead(TrailAsked):
    """Somebody read a page of the trail."""

    type: ClassVar[str] = "audit.trail_read"


class TrailExported(TrailAsked):
    """Somebody is about to be sent an export of the trail."""

    type: ClassVar[str] = "audit.trail_exported"
    format: ExportFormat
    after_index: int | None
    entries: int
    size: int = Field(description="Size of the checkpoint that all its proofs lead to.")


class ChainRead(Event):
    """Somebody read all that belongs to one allocation."""

    type: ClassVar[str] = "audit.chain_read"
    allocation_id: UUID


class TotalsDifference(Body):
    """A row of a producer's totals, and what the log adds up to; quantities as decimal digits."""

    book: str
    division_code: str | None
    item_class: str
    unit: str
    state: str
    told_quantity: str
    told_allocations: int
    logged_quantity: str
    logged_allocations: int


class SideSaid(Body):
    """What one side holds of an allocation; None when it has never told of it."""

    producer: Producer
    state: str | None
    quantity: str | None


class TotalsAlarm(Body):
    """What differs.

    ledger       the producer's ledger is not what its own movements in the log add up to; `count`
                 rows differ, the first of them are `differences`
    day_missing  nobody told the totals of `day`, nor of the `count` - 1 days after it
    sides        needs, donors and matching say different things of one allocation for too long
    malformed    what was told cannot be compared; `detail` says why
    """

    kind: Literal["ledger", "day_missing", "sides", "malformed"]
    day: date | None = None
    as_of_seq: int | None = None
    count: int | None = None
    differences: list[TotalsDifference] = Field(default_factory=list)
    allocation_id: UUID | None = None
    differs_since: Moment | None = None
    sides: list[SideSaid] = Field(default_factory=list)
    detail: str | None = None


class AlarmRaised(Event):
    """Something the log watches is not what it must be; which fields are there depends on what.

    sequence_gap       `seq` arrived where `seq_due` was due; the entry is in the log
    sequence_late      `seq` arrived after higher numbers; the entry is in the log
    content_repeated   an event id, or a number, that is in the log already came again with other
                       content; the log keeps the first, `body_sha256` is the hash of the second
    quorum_missing     too few witnesses have cosigned since `since`; the newest signed checkpoint
                       has `size` entries, and `witnesses` are those it waits for. It ends with
                       `audit.quorum_met`
    producer_silent    the feed of `producer` has not answered since `since`. It ends with
                       `audit.producer_heard`
    totals_differ      what the log adds up to is not what `producer` told; see `totals`
    """

    type: ClassVar[str] = "audit.alarm_raised"
    alarm: Literal[
        "sequence_gap",
        "sequence_late",
        "content_repeated",
        "quorum_missing",
        "producer_silent",
        "totals_differ",
    ]
    producer: Producer | None = None
    seq: int | None = None
    seq_due: int | None = None
    event_id: UUID | None = None
    body_sha256: str | None = None
    size: int | None = None
    since: Moment | None = None
    witnesses: list[str] | None = None
    totals: TotalsAlarm | None = None


class QuorumMet(Event):
    """Enough witnesses have cosigned again: the alarm `quorum_missing` is over."""

    type: ClassVar[str] = "audit.quorum_met"
    size: int = Field(description="Entries under the newest checkpoint that has a quorum.")
    witnesses: list[str] = Field(description="Who cosigned it, by their names in the policy.")


class ProducerHeard(Event):
    """The producer's feed answers again: the alarm `producer_silent` is over."""

    type: ClassVar[str] = "audit.producer_heard"
    producer: Producer


class EntryAppended(Body):
    """Data of `audit.entry_appended` in `GET /appended`: an entry under a signed checkpoint.

    This is a listing of the log in the shape of a feed, not an event of ours: it is never logged.
    """

    type: ClassVar[str] = "audit.entry_appended"
    index: int
    producer: str
    seq: int
    event_id: UUID
    size_signed: int = Field(description="Size of the first checkpoint that covers the entry.")


# ---------------------------------------------------------------- bodies


class InclusionProof(ReadBody):
    """RFC 9162 2.1.3: that the entry is in the tree of `size`."""

    index: int
    size: int
    leaf: Base64Hash
    hashes: list[Base64Hash]
    checkpoint: str = Field(description="The signed checkpoint of `size`.")


class ReceiptRead(ReadBody):
    """All that a holder needs offline: the entry, and the receipt of its leaf hash."""

    event_id: UUID
    index: int
    entry: str = Field(description="Its leaf hash is SHA-256(0x00, entry in UTF-8).")
    receipt: str = Field(description="C2SP tlog-proof.")


class ReceiptsRead(ReadBody):
    """In the order of the log; what is not under such a checkpoint yet is left out."""

    data: list[ReceiptRead]


class ConsistencyProof(ReadBody):
    """RFC 9162 2.1.4: that the tree of `first` is a prefix of the tree of `second`."""

    first: int
    second: int
    hashes: list[Base64Hash]


class Columns(ReadBody):
    """The query columns of one entry as they are stored, to be compared with its body."""

    index: int
    event_id: UUID
    producer: str
    seq: int
    type: str
    subject: str
    division: str | None
    actor: str
    actor_role: str
    time: datetime
    mentions: list[UUID]


class ColumnsRead(ReadBody):
    """Rows from `first` on, in order; as stored, unsigned ones too."""

    data: list[Columns]


class StoredCosignature(ReadBody):
    """A cosignature as it is stored; `line` is what counts."""

    name: str
    key_id: str = Field(description="Hex.")
    line: str
    at: datetime


class StoredCheckpoint(ReadBody):
    """A checkpoint as it is stored, to be compared with its note and with the entries.

    quorum_at   when each policy's quorum was met
    """

    size: int
    root: Base64Hash
    note: str
    at: datetime
    cosignatures: list[StoredCosignature]
    quorum_at: list[datetime]


class StoredCheckpoints(ReadBody):
    """Those of more than `after` entries, smallest first."""

    data: list[StoredCheckpoint]


class LogHead(ReadBody):
    """The state of the log as it is stored: what the verifier compares with what it computes."""

    size: int
    frontier: list[Base64Hash]
    index_min: int | None
    index_max: int | None


class WitnessRead(ReadBody):
    """A witness of the log's policy, and the newest of our checkpoints it has cosigned."""

    name: str
    key: str = Field(description="Its public key (C2SP signed-note).")
    size: int | None = Field(description="None: it has cosigned nothing yet.")
    cosigned_at: datetime | None = Field(description="The time the witness says.")


class WitnessesRead(ReadBody):
    """Who cosigns the log, and how far there is a quorum."""

    size_signed: int
    size_published: int | None = Field(
        description="Of the newest checkpoint with a quorum; the signed one if none is asked for."
    )
    quorum_missing_since: datetime | None = Field(description="An alarm is on; None: it is not.")
    data: list[WitnessRead]


class TrailEntry(ReadBody):
    """One entry of the trail, with the event as the producer told it."""

    index: int
    event_id: UUID
    producer: str
    seq: int
    type: str
    subject: str
    division: str | None
    actor: str
    actor_role: str
    time: datetime
    cosigned_at: datetime | None = Field(
        description="By then a quorum of witnesses had seen a checkpoint that covers the entry."
    )
    event: dict[str, Any] | None = Field(description="None if the stored body cannot be read.")


class ChainStep(ReadBody):
    """One entry of an allocation's chain: who, what, when, why, under which policy, proved."""

    index: int
    event_id: UUID
    producer: str
    seq: int
    type: str
    subject: str
    time: datetime
    actor: str
    actor_role: str
    division: str | None
    policy: str | None = Field(description="The version of policy it was done under.")
    why: str | None = Field(description="The reason told, or its code.")
    says_zh: str
    says_en: str
    body: str = Field(description="The entry; its leaf hash is SHA-256(0x00, body in UTF-8).")
    hashes: list[Base64Hash] | None = Field(
        description="Inclusion proof under the chain's checkpoint; None while it is not under it."
    )


class ChainLack(ReadBody):
    """What the rules demand and the chain does not show.

    awaited     the next steps, not taken yet
    absent      a step without which a later one that was taken should not have been possible
    misplaced   a step that stands before what must precede it, or names another entry
    differs     a ledger moved another quantity than the allocation's
    """

    step: str = Field(examples=["matching.allocation_confirmed"])
    kind: Literal["awaited", "absent", "misplaced", "differs"]
    says_zh: str
    says_en: str


class AllocationChain(ReadBody):
    """All entries that belong to one allocation, in the order of the log."""

    allocation_id: UUID
    origin: str
    size: int = Field(description="Of the checkpoint.")
    checkpoint: str = Field(description="The one checkpoint that all proofs lead to.")
    steps: list[ChainStep]
    missing: list[ChainLack]


class TotalRead(ReadBody):
    """What a producer's ledger held in one state, as told and as the log adds it up.

    `allocations` counts records of allocations; `lines` is the second book, over the whole nation.
    Amounts are in the unit named, as decimal digits: a sum may be more than JSON's numbers hold.
    """

    producer: str
    day: date
    occasion: str
    as_of_seq: int = Field(description="The event of the producer after which it held this.")
    told_at: Moment
    book: str
    division_code: str | None = Field(description="A county; null when not known, or the nation.")
    division_zh: str | None
    division_en: str | None
    item_class: str
    item_class_zh: str | None
    item_class_en: str | None
    unit: str
    state: str
    state_zh: str | None
    state_en: str | None
    told_quantity: str
    told_allocations: int
    logged_quantity: str
    logged_allocations: int
    quantity_difference: str = Field(description="Told less logged.")


class TellingRead(ReadBody):
    """Totals as one producer told them; `differences` is null until they are compared."""

    producer: str
    day: date
    occasion: str
    as_of_seq: int
    parts: int
    told_at: Moment
    compared_at: Moment | None
    differences: int | None
