"""What became of each row: counted, printed, and written beside the platform's state."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

Outcome = Literal["created", "already_there", "set_aside"]

# How many different remarks are printed; the files hold all of them.
PRINTED_MAX = 40


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to be said about a row, without repeating what its cells hold.

    column  the canonical column it is about, None for the row as a whole
    """

    code: str
    zh: str
    en: str
    column: str | None = None


@dataclass(slots=True)
class RowAccount:
    """One row of one file. `why` and `column` say why it was set aside and what to do."""

    file: str
    row: int
    key: str | None = None
    outcome: Outcome = "set_aside"
    record: str | None = None
    id: str | None = None
    state: str | None = None
    why: Remark | None = None
    warnings: list[Remark] = field(default_factory=list)

    def set_aside(self, why: Remark) -> None:
        self.outcome, self.why = "set_aside", why

    def warn(self, remark: Remark) -> None:
        self.warnings.append(remark)


@dataclass(frozen=True)
class Account:
    """All rows of one import, and what was said about whole files."""

    rows: list[RowAccount]
    files: list[str]
    notes: list[tuple[str, Remark]]

    def counted(self) -> dict[str, int]:
        outcomes = Counter(row.outcome for row in self.rows)
        return {
            "rows": len(self.rows),
            "created": outcomes["created"],
            "already_there": outcomes["already_there"],
            "set_aside": outcomes["set_aside"],
            "with_warnings": sum(bool(row.warnings) for row in self.rows),
            "drafts": sum(row.state == "draft" for row in self.rows),
        }

    def write(self, folder: Path, at: datetime) -> tuple[Path, Path]:
        """Write account-<time>.json and .csv; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / f"account-{at:%Y%m%dT%H%M%S%fZ}"
        as_json, as_csv = stem.with_suffix(".json"), stem.with_suffix(".csv")
        document = {
            "at": at.isoformat().replace("+00:00", "Z"),
            "files": self.files,
            "counted": self.counted(),
            "notes": [{"file": file, **asdict(remark)} for file, remark in self.notes],
            "rows": [asdict(row) for row in self.rows],
        }
        as_json.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
        # With a BOM: Excel reads Chinese from a CSV file only then.
        with as_csv.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            writer.writerows([_harmless(cell) for cell in _cells(row)] for row in self.rows)
        return as_json, as_csv

    def tell(self, say: Callable[[str], None]) -> None:
        counted = self.counted()
        say(
            f"{counted['rows']} rows 行: {counted['created']} created 新建, "
            f"{counted['already_there']} already there 已存在, "
            f"{counted['set_aside']} set aside 未导入; "
            f"{counted['drafts']} drafts 草稿, {counted['with_warnings']} with remarks 有提示"
        )
        for file, remark in self.notes:
            say(f"  {file}: {remark.en} {remark.zh}")
        aside = [(row, row.why) for row in self.rows if row.why is not None]
        warned = [(row, remark) for row in self.rows for remark in row.warnings]
        for heading, said in (("set aside 未导入", aside), ("remarks 提示", warned)):
            if said:
                say(f"{heading}:")
                _tell_grouped(said, say)


_COLUMNS = (
    "file", "row", "key", "outcome", "record", "id", "state", "column", "code", "what_zh",
    "what_en", "warnings",
)  # fmt: skip


def _cells(row: RowAccount) -> list[str]:
    why = row.why or Remark("", "", "")
    return [
        row.file, str(row.row), row.key or "", row.outcome, row.record or "", row.id or "",
        row.state or "", why.column or "", why.code, why.zh, why.en,
        " | ".join(f"{w.column or ''}: {w.zh} {w.en}" for w in row.warnings),
    ]  # fmt: skip


def _harmless(cell: str) -> str:
    # A key comes from the file: what a spreadsheet would take for a formula is quoted.
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _tell_grouped(said: Iterable[tuple[RowAccount, Remark]], say: Callable[[str], None]) -> None:
    groups: dict[tuple[str, Remark], list[int]] = {}
    for row, remark in said:
        groups.setdefault((row.file, remark), []).append(row.row)
    for (file, remark), numbers in list(groups.items())[:PRINTED_MAX]:
        where = f"{file} row {_ranges(numbers)}"
        column = f", column {remark.column}" if remark.column else ""
        say(f"  {where}{column} ({len(numbers)}): {remark.zh} {remark.en}")
    if len(groups) > PRINTED_MAX:
        say(f"  … and {len(groups) - PRINTED_MAX} more kinds; the account files hold all.")


def _ranges(numbers: list[int]) -> str:
    """[2, 3, 4, 9] -> "2-4, 9", cut after some."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    words = [str(a) if a == b else f"{a}-{b}" for a, b in parts]
    return ", ".join(words[:6]) + (", …" if len(words) > 6 else "")
