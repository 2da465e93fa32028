"""Headings and cells: which column is meant, and what a cell says.

A cell that says something we cannot use raises CellRefused: the row is set aside with the column
and what to do. Nothing here repeats the cell, so that no account holds what a row holds.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from deploy.loading.account import Remark
from shared.vocabulary import codes, units

QUANTITY_MAX = 10**12


@dataclass(frozen=True)
class Column:
    """`names` are the headings people write besides the canonical one."""

    code: str
    names: tuple[str, ...]
    required: bool = False


_KEY = Column("key", ("编号", "序号", "唯一编号", "id"), required=True)
_THING = (
    Column("category", ("类别", "需求类别", "捐赠类别"), required=True),
    Column("item", ("物品", "物品名称", "品名", "名称"), required=True),
    Column("item_class", ("小类", "物品小类")),
    Column("specification", ("规格", "规格型号", "标准")),
    Column("quantity", ("数量", "需求数量", "捐赠数量")),
    Column("unit", ("单位", "计量单位"), required=True),
    Column("title", ("标题",)),
    Column("text", ("说明", "备注", "详情")),
)
NEED_COLUMNS = (
    _KEY,
    Column("applicant_kind", ("申请者类型", "申请主体类型"), required=True),
    Column("applicant_name", ("申请者", "申请者名称", "医院名称", "单位名称", "户主姓名"), True),
    Column("division_code", ("区划代码", "行政区划代码"), required=True),
    Column("county_name", ("区县", "县区", "县(市、区)", "地区")),
    *_THING,
    Column("urgency", ("紧急程度", "紧急度")),
    Column("headcount", ("人数", "受益人数")),
    Column("cause", ("原因", "致贫原因")),
    Column("needed_by", ("需要日期", "截止日期")),
    # Of households only.
    Column("household_class", ("农户类别",)),
    Column("members", ("家庭人口", "人口数")),
    Column("other_causes", ("其他致贫原因",)),
    Column("deprivations", ("未达标项",)),
    Column("id_number", ("身份证号", "公民身份号码")),
    Column("disability_card", ("残疾证号",)),
    Column("phone", ("电话", "联系电话", "手机号")),
    Column("bank_account", ("银行账号", "银行卡号")),
    Column("address", ("住址", "地址")),
    # Read and not used: whoever imports verifies nothing.
    Column("review_status", ("审核状态",)),
)
OFFER_COLUMNS = (
    _KEY,
    Column("organization_name", ("机构名称", "企业名称", "捐赠单位"), required=True),
    Column("organization_kind", ("机构类型",), required=True),
    Column("uscc", ("统一社会信用代码", "信用代码")),
    Column("division_code", ("区划代码", "行政区划代码"), required=True),
    Column("province_name", ("省份", "省")),
    Column("city_name", ("城市", "市", "地区")),
    *_THING,
    Column("kind", ("提供方式", "捐赠类型")),
    Column("item_group", ("物品大类",)),
    Column("daily_quantity", ("日产量", "每日数量")),
    Column("lot_min", ("最小批量", "起送量")),
    Column("served_division_codes", ("服务区划代码", "捐赠区划代码")),
    Column("valid_from", ("有效期起",)),
    Column("valid_until", ("有效期止",)),
)


class CellRefused(Exception):
    """The row cannot be used as it is."""

    def __init__(self, remark: Remark) -> None:
        super().__init__(remark.en)
        self.remark = remark


@dataclass(frozen=True)
class Headings:
    """Heading as written -> canonical column; what is missing and what nobody reads."""

    by_heading: Mapping[str, str]
    missing: tuple[str, ...]
    unread: tuple[str, ...]
    twice: tuple[str, ...]

    def canonical(self, cells: Mapping[str, str]) -> dict[str, str]:
        return {
            self.by_heading[heading]: text
            for heading, text in cells.items()
            if heading in self.by_heading
        }


def recognise(headings: Iterable[str], columns: tuple[Column, ...]) -> Headings:
    words = {_folded(w): column.code for column in columns for w in (column.code, *column.names)}
    named = [heading for heading in headings if heading]
    by_heading = {h: words[_folded(h)] for h in named if _folded(h) in words}
    found = list(by_heading.values())
    return Headings(
        by_heading,
        missing=tuple(c.code for c in columns if c.required and c.code not in found),
        unread=tuple(h for h in named if h not in by_heading),
        twice=tuple(sorted({code for code in found if found.count(code) > 1})),
    )


def _folded(heading: str) -> str:
    plain = unicodedata.normalize("NFKC", heading).casefold()
    return re.sub(r"[\s_\-*]+", "", plain)


class Cells:
    """The cells of one row by canonical column; empty ones read as None."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def text(self, column: str, characters_max: int) -> str | None:
        found = self._texts.get(column, "")
        if not found:
            return None
        if len(found) > characters_max:
            raise CellRefused(
                Remark(
                    "too_long",
                    f"超过 {characters_max} 个字，请缩短。",
                    f"More than {characters_max} characters: shorten it.",
                    column,
                )
            )
        if _looks_like_a_formula(found):
            raise CellRefused(
                Remark(
                    "formula",
                    "像公式（以 = @ + - 开头）：请改为普通文字。",
                    "It looks like a formula (begins with = @ + -): write it as plain text.",
                    column,
                )
            )
        if any(unicodedata.category(char) == "Cc" and char not in "\n\r\t" for char in found):
            raise CellRefused(
                Remark("control", "含有控制字符。", "It holds control characters.", column)
            )
        return found

    def needed(self, column: str, characters_max: int) -> str:
        found = self.text(column, characters_max)
        if found is None:
            raise CellRefused(Remark("empty", "不能为空。", "It must not be empty.", column))
        return found

    def whole(self, column: str, maximum: int = QUANTITY_MAX) -> int | None:
        """A positive whole number; thousands separators and a point with zeros are read."""
        found = self.text(column, 200)
        if found is None:
            return None
        plain = unicodedata.normalize("NFKC", found).replace(" ", "")
        plain = re.sub(r"(?<=\d),(?=\d{3}(\D|$))", "", plain)
        plain = re.sub(r"\.0+$", "", plain)
        if not re.fullmatch(r"[0-9]{1,15}", plain) or not 1 <= int(plain) <= maximum:
            raise CellRefused(
                Remark(
                    "not_a_quantity",
                    f"应为 1 至 {maximum} 的整数；小数请换用更小的单位，不知道就留空。",
                    f"It must be a whole number from 1 to {maximum}: take a smaller unit for "
                    "fractions, leave it empty when it is not known.",
                    column,
                )
            )
        return int(plain)

    def day(self, column: str) -> date | None:
        found = self.text(column, 40)
        if found is None:
            return None
        try:
            return date.fromisoformat(found.replace("/", "-")[:10])
        except ValueError:
            raise CellRefused(
                Remark("not_a_date", "日期应为 YYYY-MM-DD。", "A date is YYYY-MM-DD.", column)
            ) from None

    def term(self, column: str, terms: type[codes.Term]) -> str | None:
        """The code of a list, from the code or either name."""
        found = self.text(column, 200)
        if found is None:
            return None
        for term in terms:
            if found.casefold() in (term.value, term.name_zh, term.name_en.casefold()):
                return term.value
        raise CellRefused(
            Remark(
                "unknown_code",
                "不在代码表中，可用：" + "、".join(f"{t.value}（{t.name_zh}）" for t in terms),
                "Not in the code list; use one of: " + ", ".join(t.value for t in terms),
                column,
            )
        )

    def terms(self, column: str, terms: type[codes.Term]) -> list[str]:
        found = self.text(column, 400) or ""
        parts = [part.strip() for part in re.split(r"[,，、;；|]", found) if part.strip()]
        read = [Cells({column: part}).term(column, terms) for part in parts]
        return [code for code in read if code is not None]

    def unit(self, column: str) -> str:
        found = units.find(self.needed(column, 40))
        if found is None:
            raise CellRefused(
                Remark(
                    "unknown_unit",
                    "单位不在单位表中，见 docs/import.md。",
                    "Not a unit of the list: see docs/import.md.",
                    column,
                )
            )
        return found.code


def _looks_like_a_formula(text: str) -> bool:
    if text[0] in "=@\t\r":
        return True
    # -5 is a wrong quantity and is told so; +86 138… a phone; -cmd|' is neither.
    return text[0] in "+-" and not re.fullmatch(r"[+\-][0-9 .,\-]+", text)
