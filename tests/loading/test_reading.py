"""Files that people really send: every row is accounted for, whatever is wrong with the file."""

import json
from datetime import date
from pathlib import Path
from random import Random

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.loading.importing import NothingToImport, prepare

HUBEI = Path(__file__).parents[3] / "shared" / "data" / "hubei-2020"
ENDINGS = ("csv", "jsonl", "xlsx")
TODAY = date(2026, 11, 23)
HEADING = "key,applicant_kind,applicant_name,division_code,category,item,quantity,unit,urgency"
GOOD = "n-1,institution,茶陵县人民医院,430224000000,medical_care,医用外科口罩,500,pieces,urgent"


def prepared(folder: Path, content: str | bytes, name: str = "needs.csv"):
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return prepare(folder, TODAY)


def reasons(done) -> list[tuple[int, str | None, str | None]]:
    return [(row.row, row.why and row.why.code, row.why and row.why.column) for row in done.rows]


def warned(done) -> list[set[str]]:
    return [{remark.code for remark in row.warnings} for row in done.rows]


def row(**cells: str) -> str:
    """The good row with some cells replaced."""
    names = HEADING.split(",")
    values = dict(zip(names, GOOD.split(","), strict=True)) | cells
    return ",".join(values[name] for name in names)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_usual_encodings_are_read(tmp_path, encoding):
    done = prepared(tmp_path, f"{HEADING}\n{GOOD}\n".encode(encoding))
    [(_, record)] = done.needs
    assert record.applicant.name == "茶陵县人民医院"
    assert (record.need.item_class, record.need.quantity) == ("mask_surgical", 500)
    assert record.need.submit


def test_chinese_headings_and_cells_are_read(tmp_path):
    done = prepared(
        tmp_path,
        "编号,申请者类型,申请者名称,区划代码,类别,物品名称,数量,单位,紧急程度,说明\n"
        "甲-1,村集体,头铺村村委会,430224002201,其他,饮水工程,２０,万元,一般,枯水期缺水\n",
    )
    [(account, record)] = done.needs
    assert (record.need.quantity, record.need.unit) == (20, "ten_thousand_yuan")
    assert (record.need.item_class, record.need.urgency) == ("drinking_water", "normal")
    assert record.applicant.kind == "village"
    assert account.warnings == []


def test_a_household_is_entered_with_what_is_personal_kept_apart(tmp_path):
    heading = f"{HEADING},cause,members,phone"
    line = row(applicant_kind="农户", applicant_name="谭某某", division_code="430224002201")
    [(account, record)] = prepared(tmp_path, f"{heading}\n{line},因病,4,17400000001\n").needs
    [remark] = account.warnings
    assert (remark.code, remark.column) == ("household_incomplete", "household_class")
    assert record.applicant.name is None
    assert record.applicant.personal.phone == "17400000001"
    assert record.applicant.household.main_cause == "illness"
    assert "谭" not in record.applicant.external_key


def test_bytes_of_no_encoding_set_aside_their_rows_only(tmp_path):
    content = f"{HEADING}\n{GOOD}\n".encode() + b"n-2,institution,\xff\xff\x80,,,,,,\n"
    assert reasons(prepared(tmp_path, content)) == [(2, None, None), (3, "encoding", None)]


def test_a_missing_column_sets_every_row_aside_and_names_it(tmp_path):
    done = prepared(tmp_path, "key,item\nn-1,口罩\nn-2,口罩\n")
    assert [code for _, code, _ in reasons(done)] == ["column_missing"] * 2
    assert "division_code" in done.rows[0].why.en


@pytest.mark.parametrize(
    ("cells", "code", "column"),
    [
        ({"quantity": "-5"}, "not_a_quantity", "quantity"),
        ({"quantity": "0"}, "not_a_quantity", "quantity"),
        ({"quantity": "1.5"}, "not_a_quantity", "quantity"),
        ({"quantity": "若干"}, "not_a_quantity", "quantity"),
        ({"quantity": "9" * 14}, "not_a_quantity", "quantity"),
        ({"unit": "筐"}, "unknown_unit", "unit"),
        ({"unit": "boxes"}, "unit_not_allowed", "unit"),
        ({"category": "medicine"}, "unknown_code", "category"),
        ({"urgency": "very"}, "unknown_code", "urgency"),
        ({"item": "口罩"}, "item_not_recognised", "item"),
        ({"item": '=HYPERLINK("http://x")'.replace('"', "'")}, "formula", "item"),
        ({"item": "@SUM(A1)"}, "formula", "item"),
        ({"applicant_name": "-cmd|' /C calc'!A0"}, "formula", "applicant_name"),
        ({"applicant_name": "长" * 1_000_000}, "too_long", "applicant_name"),
        ({"applicant_name": ""}, "empty", "applicant_name"),
        ({"key": ""}, "empty", "key"),
        ({"division_code": "4.30224E+11"}, "unknown_division", "division_code"),
        ({"division_code": "430299000000"}, "unknown_division", "division_code"),
        ({"division_code": ""}, "empty", "division_code"),
    ],
)
def test_what_cannot_be_used_is_set_aside_with_its_column(tmp_path, cells, code, column):
    done = prepared(tmp_path, f"{HEADING}\n{row(**cells)}\n{row(key='n-2')}\n")
    assert reasons(done) == [(2, code, column), (3, None, None)]


@pytest.mark.parametrize(("written", "read"), [("1,000", 1000), ("12.0", 12), (" 7 ", 7)])
def test_quantities_are_read_as_people_write_them(tmp_path, written, read):
    done = prepared(tmp_path, f"{HEADING}\n{row(quantity=f'''{chr(34)}{written}{chr(34)}''')}\n")
    assert done.needs[0][1].need.quantity == read


def test_a_row_without_a_quantity_becomes_a_draft_that_says_so(tmp_path):
    done = prepared(tmp_path, f"{HEADING}\n{row(quantity='')}\n")
    [(account, record)] = done.needs
    assert record.need.quantity is None
    assert not record.need.submit
    assert "no_quantity" in {remark.code for remark in account.warnings}


def test_a_key_used_twice_is_set_aside_the_second_time(tmp_path):
    done = prepared(tmp_path, f"{HEADING}\n{GOOD}\n\n{GOOD}\n")
    assert reasons(done) == [(2, None, None), (4, "key_twice", "key")]
    assert "row 2" in done.rows[1].why.en


def test_rows_of_another_length_are_set_aside(tmp_path):
    done = prepared(tmp_path, f"{HEADING}\n{GOOD},surplus\nn-2,institution\n{row(key='n-3')}\n")
    assert [code for _, code, _ in reasons(done)] == ["cell_count", "cell_count", None]


def test_an_open_quotation_mark_is_said_with_its_lines(tmp_path):
    done = prepared(tmp_path, f'{HEADING}\n{GOOD}\n"n-2,institution\nn-3,more\n')
    assert reasons(done)[0] == (2, None, None)
    assert reasons(done)[1][:2] == (3, "broken_quotes")
    assert "3 to 4" in done.rows[1].why.en


def test_places_that_contradict_each_other_are_said_and_the_code_kept(tmp_path):
    heading = f"{HEADING},county_name"
    lines = [
        row(key="n-1", division_code="420500000000") + ",天门市",
        row(key="n-2", division_code="421000000000") + ",松滋市",
        row(key="n-3", division_code="421300000000") + ",城南新区",
        row(key="n-4", division_code="430224002201") + ",茶陵县",
        row(key="n-5", division_code="") + ",炎陵县",
    ]
    done = prepared(tmp_path, "\n".join([heading, *lines]) + "\n")
    assert warned(done) == [
        {"coarse_division", "names_contradict"},
        {"coarse_division", "name_is_finer"},
        {"coarse_division", "unknown_place_name"},
        set(),
        {"coarse_division", "division_from_name"},
    ]
    codes = [record.applicant.division_code for _, record in done.needs]
    assert codes[0] == "420500000000"
    assert codes[4] == "430225000000"


def test_unread_columns_are_noted_once(tmp_path):
    done = prepared(tmp_path, f"{HEADING},微信群\n{GOOD},x\n")
    assert [remark.code for _, remark in done.notes] == ["column_not_read"]


def test_json_lines_are_read_line_by_line(tmp_path):
    good = dict(zip(HEADING.split(","), GOOD.split(","), strict=True)) | {"quantity": 500}
    lines = [json.dumps(good), '{"key": "n-2", ', json.dumps([1]), json.dumps({"key": {"a": 1}})]
    done = prepared(tmp_path, "\n".join(lines), "needs.jsonl")
    assert reasons(done) == [
        (1, None, None),
        (2, "broken_json", None),
        (3, "not_flat", None),
        (4, "not_flat", None),
    ]
    assert done.needs[0][1].need.quantity == 500


def workbook(folder: Path, change=lambda sheet: None) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].append(HEADING.split(","))
    cells: list[object] = list(GOOD.split(","))
    cells[3], cells[6] = 430224000000, 500
    book.worksheets[0].append(cells)
    change(book.worksheets[0])
    book.save(folder / "needs.xlsx")


def test_excel_is_read_with_its_row_numbers(tmp_path):
    workbook(tmp_path)
    done = prepare(tmp_path, TODAY)
    assert reasons(done) == [(2, None, None)]
    [(_, record)] = done.needs
    assert record.applicant.division_code == "430224000000"
    assert record.need.quantity == 500


def test_a_formula_in_excel_sets_its_row_aside(tmp_path):
    workbook(tmp_path, lambda sheet: sheet.__setitem__("G2", "=SUM(A1:A9)"))
    assert reasons(prepare(tmp_path, TODAY)) == [(2, "formula", "quantity")]


def test_a_merged_heading_sets_all_rows_aside(tmp_path):
    workbook(tmp_path, lambda sheet: sheet.merge_cells("A1:B1"))
    assert [code for _, code, _ in reasons(prepare(tmp_path, TODAY))] == ["merged_heading"]


def test_a_broken_workbook_is_said_however_it_is_broken(tmp_path):
    workbook(tmp_path)
    whole = (tmp_path / "needs.xlsx").read_bytes()
    chance = Random(20)
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 30)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        done = prepared(tmp_path, bytes(broken), "needs.xlsx")
        assert all(row.why or row.key for row in done.rows)


def test_a_stray_cell_in_the_far_corner_is_said(tmp_path):
    workbook(tmp_path, lambda sheet: sheet.__setitem__("XFD1048576", "x"))
    assert reasons(prepare(tmp_path, TODAY)) == [(1, "file_too_large", None)]


def test_a_file_that_is_no_workbook_is_said(tmp_path):
    done = prepared(tmp_path, b"<html>", "needs.xlsx")
    assert reasons(done) == [(1, "not_excel", None)]


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode), st.sampled_from(ENDINGS))
def test_no_file_stops_the_import(tmp_path_factory, content, ending):
    """Whatever the bytes: an account, never an exception."""
    folder = tmp_path_factory.mktemp("any")
    heading = b"" if ending == "xlsx" else f"{HEADING}\n".encode()
    for start in (b"", heading):
        done = prepared(folder, start + content, f"needs.{ending}")
        assert all(row.why or row.key for row in done.rows)


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(NothingToImport, match="no needs or offers"):
        prepare(tmp_path, TODAY)


def test_a_daily_rate_is_kept_beside_a_missing_quantity(tmp_path):
    done = prepared(
        tmp_path,
        "key,organization_name,organization_kind,division_code,province_name,city_name,category,"
        "item,daily_quantity,unit,served_division_codes,valid_from,valid_until\n"
        "o-1,示例口罩厂,企业,140000000000,山西,西安市,medical_care,N95,50000,只,"
        "430224002201|420000000000,2026-11-01,2026-12-01\n",
        "offers.csv",
    )
    [(account, record)] = done.offers
    [line] = record.offer.lines
    assert (line.quantity, line.daily_quantity, line.item_class) == (
        None,
        50_000,
        "mask_respirator",
    )
    assert record.offer.served_division_codes == ["430224002000", "420000000000"]
    assert not record.offer.submit
    codes = {remark.code for remark in account.warnings}
    assert codes == {"daily_rate_only", "names_contradict", "served_township"}


def test_the_account_holds_every_row_and_repeats_no_cell(tmp_path):
    done = prepared(tmp_path, f"{HEADING}\n{row(item='=secret()')}\n{row(key='n-2')}\n")
    account = done.account()
    as_json, as_csv = account.write(tmp_path / "out", _noon())
    written = as_json.read_text() + as_csv.read_text(encoding="utf-8-sig")
    assert "secret" not in written
    assert "茶陵县人民医院" not in written
    assert json.loads(as_json.read_text())["counted"]["rows"] == 2
    said: list[str] = []
    account.tell(said.append)
    assert "2 rows" in said[0]


def _noon():
    from datetime import UTC, datetime

    return datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_the_tables_of_2020_are_prepared_whole():
    if not HUBEI.is_dir():
        pytest.skip("the reference data hubei-2020 is not beside the project")
    done = prepare(HUBEI, TODAY)
    assert len(done.rows) == 2_184
    assert (len(done.needs), len(done.offers)) == (2_160, 24)
    assert sum(record.need.submit for _, record in done.needs) == 267
    assert sum("names_contradict" in said for said in warned(done)) == 28
