"""Division codes and the names beside them: what does not agree is said, the code is kept."""

from deploy.loading.account import Remark
from deploy.loading.columns import CellRefused, Cells
from shared.vocabulary import divisions

_LEVEL_ZH = {
    "nation": "全国",
    "province": "省级",
    "city": "市级",
    "county": "县级",
    "township": "乡级",
}


def code(cells: Cells, column: str, names: tuple[str, ...]) -> tuple[str, list[Remark]]:
    """Return the division and what has to be said about it.

    names  columns with names of divisions that should contain the code, or lie inside it

    Raises CellRefused for what is no known code, and for an empty one that no name replaces.
    """
    found = cells.text(column, 40)
    if found is None:
        found, remark = _from_names(cells, column, names)
        return found, [remark]
    plain = found.ljust(12, "0") if len(found) in (2, 4, 6, 9) else found
    if not divisions.known(plain):
        raise CellRefused(
            Remark(
                "unknown_division",
                "不是已知的 12 位区划代码（Excel 中请设为文本格式）。",
                "Not a known 12-digit division code (in Excel, format the column as text).",
                column,
            )
        )
    remarks = (_contradiction(cells, name, plain) for name in names)
    return plain, [remark for remark in remarks if remark is not None]


def coarse(division_code: str) -> Remark | None:
    """A need is best known by its village; a coarser place is kept and said."""
    level = divisions.level(division_code)
    if level == "village":
        return None
    return Remark(
        "coarse_division",
        f"区划只到{_LEVEL_ZH[level]}，按原样保留，核实从该级开始。",
        f"The division is a {level}, not a village: kept; verification starts at that level.",
        "division_code",
    )


def _from_names(cells: Cells, column: str, names: tuple[str, ...]) -> tuple[str, Remark]:
    for name_column in reversed(names):
        name = cells.text(name_column, 60)
        found = divisions.find(name) if name else ()
        if len(found) == 1:
            return found[0].code, Remark(
                "division_from_name",
                f"区划代码为空，按名称取 {found[0].name_zh} {found[0].code}。",
                f"No division code: {found[0].name_en} {found[0].code} was taken by its name.",
                column,
            )
    raise CellRefused(
        Remark(
            "empty",
            "区划代码为空，名称也不能唯一确定。",
            "No division code, and the name does not tell one place.",
            column,
        )
    )


def _contradiction(cells: Cells, column: str, kept: str) -> Remark | None:
    name = cells.text(column, 60)
    if name is None:
        return None
    kept_zh, kept_en = divisions.full_name_zh(kept), divisions.names(kept)[1]
    found = divisions.find(name)
    if not found:
        return Remark(
            "unknown_place_name",
            f"名称不在区划表中，代码 {kept_zh} 保留。",
            f"The name is not in the list of divisions: the code ({kept_en}) is kept.",
            column,
        )
    if any(divisions.covers(d.code, kept) for d in found):
        return None
    inside = next((d for d in found if divisions.covers(kept, d.code)), None)
    if inside is not None:
        return Remark(
            "name_is_finer",
            f"名称 {inside.name_zh}（{inside.code}）比代码 {kept_zh} 更细，代码保留。",
            f"The name is finer ({inside.name_en}, {inside.code}) than the code ({kept_en}): "
            "the code is kept.",
            column,
        )
    other = divisions.full_name_zh(found[0].code)
    return Remark(
        "names_contradict",
        f"名称指 {other}，代码指 {kept_zh}，两者矛盾：代码保留，请核对。",
        f"The name is {found[0].name_en} ({found[0].code}), which does not lie in {kept_en}: "
        "the code is kept, please check.",
        column,
    )
