"""One import from a folder to an account of every row."""

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeVar

from deploy.loading import records
from deploy.loading.account import Account, Remark, RowAccount
from deploy.loading.columns import NEED_COLUMNS, OFFER_COLUMNS, CellRefused, recognise
from deploy.loading.reading import SUFFIXES, FileUnreadable, read
from deploy.loading.records import NeedRecord, OfferRecord
from deploy.loading.sending import NotSent, Sender, send_needs, send_offers

NEED_STEMS = ("needs", "需求")
OFFER_STEMS = ("offers", "供给", "捐赠")


class NothingToImport(Exception):
    """The folder holds no file of needs or offers."""


@dataclass
class Prepared:
    """Rows with their records; rows set aside already have none."""

    rows: list[RowAccount] = field(default_factory=list)
    needs: list[tuple[RowAccount, NeedRecord]] = field(default_factory=list)
    offers: list[tuple[RowAccount, OfferRecord]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    notes: list[tuple[str, Remark]] = field(default_factory=list)

    def account(self) -> Account:
        return Account(self.rows, self.files, self.notes)


def prepare(folder: Path, today: date) -> Prepared:
    """Read and check everything; send nothing. Raise NothingToImport."""
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix.casefold() in SUFFIXES
        and path.stem.casefold() in (*NEED_STEMS, *OFFER_STEMS)
    ] if folder.is_dir() else []  # fmt: skip
    if not found:
        raise NothingToImport(
            f"{folder}: no needs or offers there. Name the files needs.csv and offers.csv "
            f"(or {', '.join(SUFFIXES[1:])})."
        )
    prepared = Prepared(files=[path.name for path in found])
    for path in found:
        _prepare_file(prepared, path, today)
    return prepared


def _prepare_file(prepared: Prepared, path: Path, today: date) -> None:
    try:
        sheet = read(path)
    except FileUnreadable as error:
        row = RowAccount(path.name, 1)
        row.set_aside(error.remark)
        prepared.rows.append(row)
        return
    is_need = path.stem.casefold() in NEED_STEMS
    columns = NEED_COLUMNS if is_need else OFFER_COLUMNS
    headings = recognise(sheet.headings, columns)
    if headings.unread:
        prepared.notes.append((path.name, _unread(headings.unread)))
    problem = sheet.problem or _missing(headings.missing) or _twice(headings.twice)
    seen: dict[str, int] = {}
    for raw in sheet.rows:
        row = RowAccount(path.name, raw.number)
        prepared.rows.append(row)
        if (why := problem or raw.problem) is not None:
            row.set_aside(why)
            continue
        texts = headings.canonical(raw.cells)
        key = texts.get("key", "")
        row.key = key[: records.KEY_MAX] or None
        try:
            _check_new(seen, key, raw.number)
            if is_need:
                need = records.need(texts)
                row.warnings += need.remarks
                prepared.needs.append((row, need))
            else:
                offer = records.offer(texts, today)
                row.warnings += offer.remarks
                prepared.offers.append((row, offer))
        except CellRefused as refused:
            row.set_aside(refused.remark)


def _check_new(seen: dict[str, int], key: str, number: int) -> None:
    if key and seen.setdefault(key, number) != number:
        raise CellRefused(
            Remark(
                "key_twice",
                f"编号与第 {seen[key]} 行重复：每行用自己的编号。",
                f"The key stands in row {seen[key]} already: each row has its own.",
                "key",
            )
        )


def _missing(columns: tuple[str, ...]) -> Remark | None:
    if not columns:
        return None
    return Remark(
        "column_missing",
        f"表头缺少列：{'、'.join(columns)}，见 docs/import.md。",
        f"The heading lacks: {', '.join(columns)}; see docs/import.md.",
        columns[0],
    )


def _twice(columns: tuple[str, ...]) -> Remark | None:
    if not columns:
        return None
    return Remark(
        "column_twice",
        f"两个表头指同一列：{'、'.join(columns)}。",
        f"Two headings mean the same column: {', '.join(columns)}.",
        columns[0],
    )


def _unread(headings: tuple[str, ...]) -> Remark:
    # Cut: a heading may be anything.
    named = ", ".join(heading[:40] for heading in headings[:20])
    return Remark(
        "column_not_read", f"不读取的列：{named}。", f"Columns that are not read: {named}."
    )


async def send(prepared: Prepared, to_needs: Sender, to_donors: Sender) -> str | None:
    """Send all records; return None, or why it had to stop (rows not sent are set aside)."""
    stopped: str | None = None
    try:
        await send_needs(to_needs, prepared.needs)
        await send_offers(to_donors, prepared.offers)
    except NotSent as error:
        stopped = str(error)
    if stopped is not None:
        _set_rest_aside(prepared.needs, stopped)
        _set_rest_aside(prepared.offers, stopped)
    return stopped


R = TypeVar("R", NeedRecord, OfferRecord)


def _set_rest_aside(rows: list[tuple[RowAccount, R]], why: str) -> None:
    for row, _ in rows:
        if row.id is None and row.why is None:
            row.set_aside(
                Remark(
                    "not_sent",
                    "导入中断，本行未送达或结果未知：再次运行同一命令即可继续。",
                    f"The import stopped ({why}); run the same command again, it goes on.",
                )
            )
