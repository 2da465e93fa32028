"""Files to rows: CSV, Excel and JSON Lines, whatever is wrong with them.

No row is lost: what cannot be read becomes a row with a problem in place of its cells.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import openpyxl
from openpyxl.cell.cell import Cell, MergedCell
from openpyxl.worksheet.worksheet import Worksheet

from deploy.loading.account import Remark

SUFFIXES = (".csv", ".xlsx", ".jsonl", ".ndjson")
FILE_BYTES_MAX = 256 * 2**20
UNZIPPED_BYTES_MAX = 2 * 2**30
SHEET_CELLS_MAX = 20_000_000
# Above every bound of the API, so that a huge cell is set aside by name, not by a parser's error.
CELL_CHARACTERS_MAX = 2**24


class FileUnreadable(Exception):
    """The file as a whole cannot be read; the remark says what to do."""

    def __init__(self, remark: Remark) -> None:
        super().__init__(remark.en)
        self.remark = remark


@dataclass(frozen=True)
class RawRow:
    """One row as it stands in the file; `number` is what a person sees in an editor or Excel."""

    number: int
    cells: dict[str, str] = field(default_factory=dict)
    problem: Remark | None = None


@dataclass(frozen=True)
class Sheet:
    """The headings as written, what is wrong with them, and the rows."""

    headings: list[str]
    problem: Remark | None
    rows: list[RawRow]


def read(path: Path) -> Sheet:
    """Raise FileUnreadable when not even rows can be told apart."""
    if path.stat().st_size > FILE_BYTES_MAX:
        raise FileUnreadable(
            Remark(
                "file_too_large",
                f"文件超过 {FILE_BYTES_MAX // 2**20} MiB，请拆分后再导入。",
                f"The file is larger than {FILE_BYTES_MAX // 2**20} MiB: split it.",
            )
        )
    suffix = path.suffix.casefold()
    if suffix == ".csv":
        return _csv(path.read_bytes())
    if suffix == ".xlsx":
        return _excel(path)
    return _json_lines(path.read_bytes())


# ------------------------------------------------------------------------ CSV


def _decoded(content: bytes) -> str:
    """UTF-8 (with or without BOM), UTF-16 with BOM, else GB 18030.

    Bytes of neither become lone surrogates: the rows that hold them are set aside, not the file.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("utf-8-sig", errors="surrogateescape")


def _csv(content: bytes) -> Sheet:
    text = _decoded(content)
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    records: list[tuple[int, list[str] | Remark]] = []
    while True:
        begins = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error:
            records.append((begins, _broken_quotes(begins, reader.line_num)))
            continue
        records.append((begins, cells))
    return _sheet(records)


def _delimiter(text: str) -> str:
    heading = text.split("\n", 1)[0]
    return max((",", "\t", ";"), key=heading.count)


def _broken_quotes(begins: int, ends: int) -> Remark:
    return Remark(
        "broken_quotes",
        f"第 {begins} 行至第 {ends} 行无法读取：引号未闭合或位置不对，请改正后重新导入。",
        f"Lines {begins} to {ends} cannot be read: a quotation mark is not closed or misplaced. "
        "Mend it and import again.",
    )


def _sheet(records: list[tuple[int, list[str] | Remark]]) -> Sheet:
    """The first record is the heading; empty rows are no rows."""
    if not records or isinstance(records[0][1], Remark):
        raise FileUnreadable(
            Remark("no_heading", "没有可读的表头行。", "There is no readable heading row.")
        )
    headings = [cell.strip() for cell in records[0][1]]
    rows = []
    for number, cells in records[1:]:
        if isinstance(cells, Remark):
            rows.append(RawRow(number, problem=cells))
        elif any(cell.strip() for cell in cells):
            rows.append(_row(number, headings, cells))
    return Sheet(headings, _heading_problem(headings), rows)


def _heading_problem(headings: list[str]) -> Remark | None:
    named = [heading for heading in headings if heading]
    twice = sorted({heading for heading in named if named.count(heading) > 1})
    if twice:
        return Remark(
            "heading_twice",
            f"表头重复：{'、'.join(twice)}。",
            f"The heading has a column twice: {', '.join(twice)}.",
        )
    return None


def _row(number: int, headings: list[str], cells: list[str]) -> RawRow:
    if any("\udc80" <= char <= "\udcff" or char == "\ufffd" for cell in cells for char in cell):
        return RawRow(
            number,
            problem=Remark(
                "encoding",
                "编码无法识别，请将文件另存为 UTF-8。",
                "The encoding cannot be read: save the file as UTF-8.",
            ),
        )
    extra = any(cell.strip() for cell in cells[len(headings) :])
    if extra or len(cells) < len(headings):
        return RawRow(
            number,
            problem=Remark(
                "cell_count",
                f"本行有 {len(cells)} 个单元格，表头有 {len(headings)} 个；检查多余或缺少的逗号。",
                f"The row has {len(cells)} cells, the heading {len(headings)}: "
                "look for a missing or surplus comma.",
            ),
        )
    return RawRow(number, {h: c.strip() for h, c in zip(headings, cells, strict=False) if h})


# ---------------------------------------------------------------------- Excel


def _excel(path: Path) -> Sheet:
    """The first sheet that holds anything."""
    sheet = _first_sheet(path)
    if sheet.max_row * sheet.max_column > SHEET_CELLS_MAX:
        # A single stray cell at the far corner would make sixteen billion of them.
        raise FileUnreadable(_TOO_LARGE)
    found = list(sheet.iter_rows())
    if not found:
        raise FileUnreadable(Remark("no_heading", "工作表是空的。", "The sheet is empty."))
    headings = [str(cell.value).strip() if cell.value is not None else "" for cell in found[0]]
    rows = [
        _excel_row(number, headings, cells)
        for number, cells in enumerate(found[1:], start=2)
        if any(cell.value not in (None, "") for cell in cells)
    ]
    return Sheet(headings, _merged_heading(sheet) or _heading_problem(headings), rows)


def _first_sheet(path: Path) -> Worksheet:
    try:
        with zipfile.ZipFile(path) as archive:
            unzipped = sum(member.file_size for member in archive.infolist())
        if unzipped > UNZIPPED_BYTES_MAX:
            raise FileUnreadable(_TOO_LARGE)
        sheets = openpyxl.load_workbook(path).worksheets
        return next((sheet for sheet in sheets if sheet.max_row > 1), sheets[0])
    except FileUnreadable:
        raise
    except Exception as error:
        # openpyxl, zlib and the XML parser raise whatever a broken file makes them raise.
        raise FileUnreadable(_NOT_EXCEL) from error


_TOO_LARGE = Remark(
    "file_too_large", "工作簿过大，请拆分。", "The workbook is too large: split it."
)
_NOT_EXCEL = Remark(
    "not_excel",
    "不是可读的 .xlsx 文件，请在 Excel 中另存为 .xlsx 或 .csv。",
    "Not a readable .xlsx file: save it as .xlsx or .csv in Excel.",
)


def _merged_heading(sheet: Worksheet) -> Remark | None:
    if any(merged.min_row == 1 for merged in sheet.merged_cells.ranges):
        return Remark(
            "merged_heading",
            "表头有合并单元格：取消合并，每列一个标题，标题只占第一行。",
            "The heading has merged cells: unmerge them; one title a column, in row 1 only.",
        )
    return None


def _excel_row(number: int, headings: list[str], cells: tuple[Cell | MergedCell, ...]) -> RawRow:
    texts = {}
    for heading, cell in zip(headings, cells, strict=False):
        if cell.data_type == "f":
            return RawRow(
                number,
                problem=Remark(
                    "formula",
                    "单元格是公式：请粘贴为数值后重新导入。",
                    "The cell is a formula: paste it as a value and import again.",
                    heading or None,
                ),
            )
        if heading:
            texts[heading] = _as_text(cell.value)
    return RawRow(number, texts)


def _as_text(value: object) -> str:
    """What a person sees: whole numbers without a point, dates as YYYY-MM-DD."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return str(value).strip()


# ----------------------------------------------------------------- JSON Lines


def _json_lines(content: bytes) -> Sheet:
    text = _decoded(content)
    rows = list(_objects(text))
    headings = list(dict.fromkeys(key for row in rows for key in row.cells))
    complete = [
        row
        if row.problem
        else RawRow(row.number, {heading: row.cells.get(heading, "") for heading in headings})
        for row in rows
    ]
    return Sheet(headings, None, complete)


def _objects(text: str) -> Iterator[RawRow]:
    # split, not splitlines: U+2028 inside a string is no end of a line in JSON.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            yield RawRow(number, problem=_BROKEN_JSON)
            continue
        if not isinstance(found, dict) or any(isinstance(v, dict | list) for v in found.values()):
            yield RawRow(number, problem=_NOT_FLAT)
        elif any("\ud800" <= char <= "\udfff" for char in json.dumps(found, ensure_ascii=False)):
            yield RawRow(number, problem=_BROKEN_JSON)
        else:
            yield RawRow(number, {str(key).strip(): _as_text(v) for key, v in found.items()})


_BROKEN_JSON = Remark(
    "broken_json", "本行不是完整的 JSON。", "The line is not complete JSON: mend it."
)
_NOT_FLAT = Remark(
    "not_flat",
    "本行应是一个不含嵌套的 JSON 对象。",
    "The line must be one JSON object without objects or lists inside.",
)
