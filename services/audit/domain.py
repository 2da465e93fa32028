"""What an entry of the log is, which of the events that arrive become one, and our errors.

The body of an entry is `producer` padded to 8 characters, a space, `seq` as 20 digits, a newline,
and the event as canonical JSON (RFC 8785). The query columns are derived from that JSON by rules
simple enough to be written again in the verifier.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

import rfc8785

from services.audit.contract import AlarmRaised, Producer
from shared.bodies import render_moment
from shared.errors import BadRequest, Conflict, NotFound, Unavailable
from shared.events.model import CloudEvent

BODY_BYTES_MAX = 65_535  # SPEC: tlog-tiles: an entry bundle has 16-bit lengths
PRODUCER_WIDTH = 8
SEQ_DIGITS = 20
PREFIX_BYTES = PRODUCER_WIDTH + 1 + SEQ_DIGITS + 1
COLUMN_CHARACTERS_MAX = 200  # an index of PostgreSQL refuses keys of some 2,700 bytes
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UUID_CHARACTERS = 36
_INTEGER_MAX = 2**53 - 1  # SPEC: RFC 8785 3.2.2.3, by way of I-JSON
_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")
).encode


class EntryNotFound(NotFound):
    code = "entry_not_found"

    def __init__(self) -> None:
        super().__init__("The log has no such entry.")


class TileNotFound(NotFound):
    code = "tile_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such tile under the last checkpoint.")


class CheckpointNotFound(NotFound):
    code = "checkpoint_not_found"

    def __init__(self) -> None:
        super().__init__("The log has not signed such a checkpoint.")


class EntryNotSigned(Conflict):
    code = "entry_not_signed"

    def __init__(self) -> None:
        super().__init__("The entry is in the log, but not under a checkpoint yet; ask again soon.")


class SizesOutOfRange(BadRequest):
    code = "sizes_out_of_range"

    def __init__(self, size: int) -> None:
        super().__init__(f"It must be: 0 < first <= second <= {size}, which is what is signed.")


class NoEntryNamed(BadRequest):
    code = "no_entry_named"

    def __init__(self) -> None:
        super().__init__("Name the entry by either its index or its event_id.")


class AllocationNotLogged(NotFound):
    code = "allocation_not_logged"

    def __init__(self) -> None:
        super().__init__("No entry of the log is about such an allocation.")


class ChainTooLong(Conflict):
    code = "chain_too_long"

    def __init__(self, entries_max: int) -> None:
        super().__init__(
            f"More than {entries_max} entries belong to it: page through /v1/entries by allocation,"
            " need, offer and subject instead."
        )


class TooManyBytes(BadRequest):
    code = "too_many_bytes"

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"These entries have more than {bytes_max} bytes; ask for fewer.")


class EntriesMissing(Unavailable):
    """Stored rows are gone: nothing is served in their place."""

    code = "entries_missing"

    def __init__(self, index: int) -> None:
        super().__init__(f"The log's database lacks what belongs to entry {index}.")
        self.index = index


class LogRefused(Unavailable):
    """The log is behind, or different from, what has been signed: it must not be written."""

    code = "log_refused"


class LogContended(Unavailable):
    code = "log_contended"

    def __init__(self) -> None:
        super().__init__("Others appended first too many times in a row.")


class AppendUnknown(Unavailable):
    """The database was lost: it may be in the log or not; handed in again, it is once."""

    code = "append_unknown"

    def __init__(self, cause: str) -> None:
        super().__init__(f"It is not known whether this was appended ({cause}); hand it in again.")


class IntakeFull(Unavailable):
    code = "intake_full"

    def __init__(self) -> None:
        super().__init__("Too much waits to be appended; come again.")


class Entry(NamedTuple):
    """An entry to be: its body, and the columns it can be found by, in the order of the table.

    mentions   ids in lower case, sorted
    """

    body: bytes
    key: UUID
    producer: str
    seq: int
    type: str
    subject: str
    division: str | None
    actor: str
    actor_role: str
    time: datetime
    mentions: tuple[str, ...]

    @property
    def body_sha256(self) -> bytes:
        return hashlib.sha256(self.body).digest()


def entry_of(producer: Producer, event: CloudEvent) -> Entry:
    """The entry of an event: never fails, whatever the content, so that none can stop the log.

    What cannot be canonical JSON (a number beyond 2^53, a lone surrogate) or is longer than an
    entry may be is logged as a small replacement that names the event and its hash.
    """
    document = {
        name: value
        for name, value in event
        if value is not None  # SPEC: CloudEvents JSON 2.2: an attribute without a value is absent
    }
    document["id"], document["time"] = str(event.id), render_moment(event.time)
    prefix = f"{producer:<{PRODUCER_WIDTH}} {event.seq:0{SEQ_DIGITS}d}\n".encode()
    mentions, is_plain = _look_over(document)
    try:
        canonical = _encode(document).encode() if is_plain else rfc8785.dumps(document)
    except (ValueError, RecursionError):
        canonical = None
    if canonical is None:
        document = _replacement(document, "not_canonical", _plain(document))
    elif len(prefix) + len(canonical) > BODY_BYTES_MAX:
        document = _replacement(document, "too_large", canonical)
        canonical = None
    if canonical is None:
        canonical = rfc8785.dumps(document)
        mentions, _ = _look_over(document)
    return Entry(
        body=prefix + canonical,
        key=event.id,
        producer=producer,
        seq=event.seq,
        type=_column(document["type"]),
        subject=_column(document["subject"]),
        division=_column(document["division"]) if "division" in document else None,
        actor=_column(document["actor"]),
        actor_role=_column(document["actorrole"]),
        time=event.time,
        mentions=mentions,
    )


def _plain(document: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(document, sort_keys=True).encode()
    except RecursionError:
        return b""


def _replacement(document: Mapping[str, Any], reason: str, content: bytes) -> dict[str, Any]:
    kept = ("specversion", "id", "source", "type", "time", "subject", "sequence")
    small = {
        name: _encodable(document[name])
        for name in (*kept, "actor", "actorrole", "division")
        if name in document
    }
    return {
        **small,
        "replaced": {
            "reason": reason,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        },
    }


def _encodable(value: str) -> str:
    return value[:COLUMN_CHARACTERS_MAX].encode(errors="replace").decode()


def _column(value: str) -> str:
    # PostgreSQL's text has no NUL.
    return value[:COLUMN_CHARACTERS_MAX].replace("\x00", "\ufffd")


def _look_over(document: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Every id the event names, in its subject or anywhere in its data: sorted, each once.

    And whether all of it is plain: then `json` with sorted keys writes RFC 8785, at four times the
    speed. Not plain are floats, numbers that RFC 8785 refuses, and keys that it may sort otherwise.
    """
    found: set[str] = set()
    subject, data = str(document["subject"]), document.get("data")
    is_plain = _walk([*subject.split("/"), data], found)
    attributes = {name: value for name, value in document.items() if name != "data"}
    return tuple(sorted(found)), _walk([attributes], set()) and is_plain


def _walk(open_values: list[Any], found: set[str]) -> bool:
    is_plain = True
    while open_values:
        value = open_values.pop()
        if isinstance(value, str):
            if len(value) == _UUID_CHARACTERS and _UUID.fullmatch(value):
                found.add(value.lower())
        elif isinstance(value, dict):
            open_values.extend(value.values())
            is_plain = is_plain and all(map(str.isascii, value))
        elif isinstance(value, list):
            open_values.extend(value)
        elif value is not None:
            is_plain = is_plain and isinstance(value, int) and abs(value) <= _INTEGER_MAX
    return is_plain


class Batch(NamedTuple):
    """What one caller hands in: entries of one producer, in the order they are to be appended in.

    after   where the producer's cursor must stand, to be moved to the last entry's number;
            None: it is not from a feed, no cursor is looked at or moved
    """

    producer: Producer
    entries: Sequence[Entry]
    after: int | None = None


def due(
    batches: Sequence[Batch], cursors: Mapping[str, int]
) -> tuple[list[Batch | None], dict[str, int]]:
    """The batches that go on where their cursor stands, None for the others, and the new cursors.

    A batch may go on where the one before it ends.
    """
    ends: dict[str, int] = {}
    found: list[Batch | None] = []
    for batch in batches:
        stands = ends.get(batch.producer, cursors[batch.producer])
        found.append(batch if batch.after in (None, stands) else None)
        if batch.after == stands:
            ends[batch.producer] = batch.entries[-1].seq
    return found, ends


class Held(NamedTuple):
    """Where an entry stands in the log, and the hash of its body."""

    at: int
    body_sha256: bytes


@dataclass(slots=True)
class _Placed:
    """Where an entry will stand; hashed only if another claims its id or its number."""

    at: int
    entry: Entry

    @property
    def body_sha256(self) -> bytes:
        return self.entry.body_sha256


@dataclass(frozen=True)
class Known:
    """What the log holds already of some entries, and each producer's highest number in it."""

    size: int
    by_key: Mapping[UUID, Held]
    by_seq: Mapping[tuple[str, int], Held]
    last_seqs: Mapping[str, int]


@dataclass(frozen=True)
class Sifted:
    """new        the entries to append, in order
    alarms     what is wrong with the rest
    indexes    one for each entry given: where it stands; None if other content stands in its place
    last_seqs  each producer's highest number in the log when `new` is in it
    """

    new: list[Entry]
    alarms: list[AlarmRaised]
    indexes: list[int | None]
    last_seqs: dict[str, int]


def sift(entries: Iterable[Entry], known: Known) -> Sifted:
    """Which entries are new, and what is wrong with the rest.

    An exact repeat is nothing. A repeat with other content is an alarm and is not logged. A gap, or
    a number that comes late, is an alarm, and is logged: dropping what came would make it worse.
    """
    by_key: dict[UUID, Held | _Placed] = dict(known.by_key)
    by_seq: dict[tuple[str, int], Held | _Placed] = dict(known.by_seq)
    last_seqs = dict(known.last_seqs)
    sifted = Sifted([], [], [], last_seqs)
    for entry in entries:
        numbered = (entry.producer, entry.seq)
        if entry.key in by_key or numbered in by_seq:
            held = [each for each in (by_key.get(entry.key), by_seq.get(numbered)) if each]
            repeated = all(each.body_sha256 == entry.body_sha256 for each in held)
            if not repeated:
                sifted.alarms.append(_alarm("content_repeated", entry, None))
            sifted.indexes.append(held[0].at if repeated else None)
            continue
        last = last_seqs.get(entry.producer, 0)
        if entry.seq != last + 1:
            alarm = "sequence_gap" if entry.seq > last else "sequence_late"
            sifted.alarms.append(_alarm(alarm, entry, last + 1))
        index = known.size + len(sifted.new)
        sifted.new.append(entry)
        sifted.indexes.append(index)
        by_key[entry.key] = by_seq[numbered] = _Placed(index, entry)
        if entry.seq > last:
            last_seqs[entry.producer] = entry.seq
    return sifted


def following(entries: Iterable[Entry], last_seqs: Mapping[str, int]) -> dict[str, int] | None:
    """Each producer's highest number after these entries; None unless each has the next one."""
    after = dict(last_seqs)
    for entry in entries:
        if entry.seq != after[entry.producer] + 1:
            return None
        after[entry.producer] = entry.seq
    return after


def _alarm(alarm: Any, entry: Entry, seq_due: int | None) -> AlarmRaised:
    return AlarmRaised(
        alarm=alarm,
        producer=entry.producer,
        seq=entry.seq,
        seq_due=seq_due,
        event_id=entry.key,
        body_sha256=entry.body_sha256.hex(),
    )


def hearing(
    *,
    heard_at: datetime,
    silent_since: datetime | None,
    asks_since: datetime,
    now: datetime,
    heartbeat: timedelta,
) -> Literal["silent", "heard"] | None:
    """Whether a producer's silence begins to be an alarm, or ends to be one; None: neither.

    silent_since   what the alarm named that stands: when it had last been heard
    asks_since     since when we have asked it: that nobody asked is not its silence
    """
    if silent_since is not None:
        return "heard" if heard_at > silent_since else None
    return "silent" if now - max(heard_at, asks_since) >= heartbeat else None


def event_in(body: bytes) -> dict[str, Any] | None:
    """The event in a stored body; None when it cannot be read, which only tampering can cause."""
    try:
        document = json.loads(body[PREFIX_BYTES:])
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def division_bounds(code: str) -> tuple[str, str]:
    """The lowest and highest code that `code` covers; 12 digits each. The root covers all."""
    significant = len(code.rstrip("0"))
    width = next(each for each in (0, 2, 4, 6, 9, 12) if significant <= each)
    return code[:width].ljust(12, "0"), code[:width].ljust(12, "9")


def contiguous(indexes: Iterable[int], first: int) -> int | None:
    """The first index missing from the ascending `indexes`, which should begin at `first`."""
    due = first
    for index in indexes:
        if index != due:
            return due
        due += 1
    return None
