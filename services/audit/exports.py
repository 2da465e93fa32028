"""The two forms of an export, both of which prove themselves (docs/log.md, "Exports"); pure.

JSON Lines: a header with the checkpoint, one object an entry with its proof, a trailer that shows
whether the file was cut. CSV: for spreadsheets; each row carries a whole receipt.
"""

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.audit.domain import PREFIX_BYTES
from shared.bodies import render_moment
from shared.tlog.checkpoints import Receipt

FORMAT = "duijie-export@v1"
CSV_COLUMNS = (
    *("index", "time", "producer", "seq", "type", "subject", "division", "actor", "actor_role"),
    *("event", "leaf", "proof"),
)
# A spreadsheet takes what begins with one of these for a formula, and runs it; some take the wide
# forms, as Chinese keyboards write them, for the same.
_FORMULA = (*"=+-@\t\r\n'", *"\uff1d\uff0b\uff0d\uff20")


@dataclass(frozen=True)
class Exported:
    """One entry with its proof."""

    row: Any
    hashes: Sequence[bytes]

    @property
    def index(self) -> int:
        return int(self.row[0])

    @property
    def body(self) -> str:
        # Only tampering makes a body that is no UTF-8; it must fail its proof, not the export.
        return bytes(self.row.body).decode(errors="replace")


@dataclass(frozen=True)
class Told:
    """What is said of a whole export."""

    origin: str
    created_at: datetime
    asked: Mapping[str, str]
    after_index: int | None
    checkpoint: str


class JsonLines:
    media_type = "application/x-ndjson"

    def __init__(self, told: Told) -> None:
        self._told = told

    def head(self) -> str:
        return _line(
            {
                "format": FORMAT,
                "origin": self._told.origin,
                "created_at": render_moment(self._told.created_at),
                "filter": self._told.asked,
                "after_index": self._told.after_index,
                "checkpoint": self._told.checkpoint,
            }
        )

    def entry(self, each: Exported) -> str:
        hashes = [_encode(digest) for digest in each.hashes]
        return _line({"index": each.index, "body": each.body, "hashes": hashes})

    def end(self, indexes: Sequence[int], has_more: bool) -> str:
        return _line(
            {
                "count": len(indexes),
                "first_index": indexes[0] if indexes else None,
                "last_index": indexes[-1] if indexes else None,
                "has_more": has_more,
            }
        )


class Csv:
    media_type = "text/csv; charset=utf-8"

    def __init__(self, told: Told) -> None:
        self._told = told

    def head(self) -> str:
        # The mark makes spreadsheets read UTF-8.
        return "\ufeff" + _record(CSV_COLUMNS)

    def entry(self, each: Exported) -> str:
        row = each.row
        receipt = str(Receipt(each.index, each.hashes, self._told.checkpoint))
        return _record(
            (
                *(each.index, render_moment(row.time), row.producer, row.seq),
                *(_harmless(row.type), _harmless(row.subject), _harmless(row.division or "")),
                *(_harmless(row.actor), _harmless(row.actor_role)),
                each.body[PREFIX_BYTES:],
                _encode(row.leaf),
                _encode(receipt.encode()),
            )
        )

    def end(self, indexes: Sequence[int], has_more: bool) -> str:
        return ""


FORMS: dict[str, type[JsonLines | Csv]] = {"jsonl": JsonLines, "csv": Csv}


def _line(fields: Mapping[str, object]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n"


def _record(cells: Sequence[object]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow(cells)  # SPEC: RFC 4180 2.1
    return written.getvalue()


def _harmless(cell: str) -> str:
    # An apostrophe of its own is doubled, so that the guard can be taken off again.
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
