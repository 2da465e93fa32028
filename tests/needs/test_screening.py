"""Personal data in free text is found, and what only looks like numbers passes."""

import csv
from pathlib import Path

import pytest

from shared.screening import PersonalDataInText, find, find_in_key, refuse_personal_data
from tests.needs.builders import a_need
from tests.needs.conftest import People

HUBEI = Path(__file__).parents[3] / "shared" / "data" / "hubei-2020"
ID = "430224199001011231"
CARD = "6222021901000000008"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"身份证{ID}", "an ID number"),
        (f"本人{ID}无劳动能力", "an ID number"),
        ("430224 19900101 1231", "an ID number"),
        ("430224-1990-0101-1231", "an ID number"),
        ("４３０２２４１９９００１０１１２３１", "an ID number"),
        ("四三〇二二四一九九〇〇一〇一一二三一", "an ID number"),
        ("4302\u200b2419\u200b9001\u200b0112\u200b31", "an ID number"),
        ("11010519491231002X", "an ID number"),
        ("11010519491231002ｘ", "an ID number"),
        # The check digit is wrong: somebody is meant all the same.
        ("430224199001011239", "an ID number"),
        ("110105491231002", "an ID number"),
        (f"9{ID}", "an ID number"),
        ("13807312345", "a phone number"),
        ("138 0731 2345", "a phone number"),
        ("138-0731-2345", "a phone number"),
        ("１３８０７３１２３４５", "a phone number"),
        ("+86 138 0731 2345", "a phone number"),
        ("8613807312345", "a phone number"),
        ("联系李主任13807312345，谢谢", "a phone number"),
        ("0731-28680123", "a phone number"),
        ("（0731）28680123", "a phone number"),
        ("400-800-1234", "a phone number"),
        ("请拨打电话 28680123", "a phone number"),
        ("QQ: 12345678", "a phone number"),
        (CARD, "a bank account"),
        ("6222 0219 0100 0000 008", "a bank account"),
        ("账号：1234567890", "a bank account"),
    ],
)
def test_what_looks_like_personal_data_is_found(text: str, kind: str):
    found = find(text)
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize(
    "text",
    [
        "GB 19083-2010, 建议3M 1860/1870/9123,防飞沫血液体液款",
        "YY/T 0969-2013",
        "YY 0469-2010、YY 0469-2011",
        "GB/T 32610-2016 / EN 14683:2019",
        "ASTM F2100-19",
        "1000000只",
        "单价 1,280,000 元，共 3 台",
        "预算 40000000 元",
        "2020-01-23 至 2020-02-28",
        "20200123",
        "2020年1月23日 10:30",
        "规格 100*200*300 mm，功率 220V 50Hz",
        "容量 500ml×24 瓶，批号 20200215",
        "ISBN 978-7-111-12345-6",
        "账户资金 500000 元",
        "电话机 20 部",
        "N95 / KN95 / FFP2 口罩 12000 个",
        "DN20 PE 水管 1500 米",
        "1234567890",
    ],
)
def test_standards_quantities_prices_and_dates_pass(text: str):
    assert find(text) is None


def test_the_place_is_that_in_the_text_as_it_was_sent():
    text = "请联系１３８ ０７３１ ２３４５！"
    found = find(text)
    assert found is not None
    assert text[found.begin : found.end] == "１３８ ０７３１ ２３４５"


def test_the_applicants_own_name_is_found_and_others_pass():
    for text in ("李小三家缺水", "李 小 三家缺水", "户主：李·小三"):
        assert find(text, "李小三") is not None, text
    assert find("李小四家缺水", "李小三") is None
    assert find("the living room", "Li Vin") is None
    assert find("Ask Li Ving", "Li Ving") is not None
    assert find("李家村", "李") is None


def test_the_refusal_names_field_and_place_and_repeats_nothing():
    with pytest.raises(PersonalDataInText) as refused:
        refuse_personal_data({"title": "缺水", "text": f"证号{ID}"})
    assert refused.value.field == "text"
    assert "3 to 20" in refused.value.detail
    assert ID not in refused.value.detail
    assert ID not in str(refused.value.errors)


def test_a_key_may_be_any_number_but_an_id_number():
    assert find_in_key(f"household {ID}") is not None
    assert find_in_key(ID) is not None
    for key in ("hubei-need-0001", "20200123-13807312345", "a" + ID, "9f" * 30):
        assert find_in_key(key) is None, key


@pytest.mark.skipif(not HUBEI.exists(), reason="the reference data is not beside this checkout")
@pytest.mark.parametrize("name", ["needs.csv", "offers.csv"])
def test_all_real_texts_of_hubei_pass(name: str):
    with (HUBEI / name).open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for field, text in row.items():
                if field not in {"key", "division_code"}:
                    assert not text or find(text) is None, (row["key"], field)


async def test_every_free_text_of_the_api_is_screened(people: People):
    applicant = await people.household()
    for field in ("title", "text", "item", "specification"):
        body = a_need(applicant, **{field: f"联系 13807312345 {field}"})
        refused = await people.post("/needs", people.clerk, body, 422)
        assert refused["code"] == "personal_data_in_text"
        assert refused["errors"][0]["loc"] == [field]
        assert "13807312345" not in str(refused)
    need = await people.need(applicant)
    refused = await people.decide(need["id"], people.village, "returned", "打 13807312345", 422)
    assert refused["code"] == "personal_data_in_text"
    refused = await people.decide(need["id"], people.village, "returned", "欧阳小满不在家", 422)
    assert refused["code"] == "personal_data_in_text"
    await people.pass_all(need["id"])
    refused = await people.post(
        f"/needs/{need['id']}/objections", None, {"reason": "欧阳 小满有车"}, 422
    )
    assert refused["code"] == "personal_data_in_text"
    refused = await people.post(
        "/applicants",
        people.clerk,
        {"kind": "institution", "division_code": "430224000000", "name": "诊所 13807312345"},
        422,
    )
    assert refused["code"] == "personal_data_in_text"
