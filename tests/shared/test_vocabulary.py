"""The published vocabulary: codes, units, item classes and the reading of what people write."""

import csv
import json
from pathlib import Path

import pytest

from shared.vocabulary import codes, divisions, document, item_classes, units
from shared.vocabulary.errors import (
    QuantityNotPositive,
    UnitNotAllowed,
    UnknownItemClass,
    UnknownUnit,
)

HUBEI = Path(__file__).parents[3] / "shared" / "data" / "hubei-2020"

# What each item of the real table of 2020 is; checked by eye, not generated.
HUBEI_CLASSES = {
    "普通医用口罩": "mask_medical",
    "一次性医用口罩": "mask_medical",
    "医用口罩": "mask_medical",
    "医用外科口罩": "mask_surgical",
    "医用防护口罩 | N95口罩": "mask_respirator",
    "N95": "mask_respirator",
    "防冲击眼罩/护目镜/防护眼镜": "eye_protection",
    "防护面罩": "face_shields",
    "防护帽/医用帽/圆帽": "caps",
    "防护服": "protective_clothing",
    "手术衣": "surgical_gowns",
    "隔离衣": "isolation_gowns",
    "乳胶手套": "gloves",
    "75%酒精": "alcohol_disinfectant",
    "手部皮肤消毒液": "hand_sanitizer",
    "84消毒液": "chlorine_disinfectant",
    "过氧乙酸": "peracetic_acid",
    "活力碘": "iodine_disinfectant",
    "防污染鞋套": "shoe_covers",
    "防污染靴套": "boot_covers",
    "长筒胶鞋/防污染靴": "boots",
    "医用紫外线消毒车": "uv_disinfection",
    "空气消毒设备": "air_disinfection",
    "床罩": "bed_covers",
    "医用面罩式雾化器": "nebulizers",
    "测体温设备": "thermometers",
    "红外成像测温仪": "thermometers",
    "核酸检测试剂盒": "nucleic_acid_tests",
    "PCR检测产品": "nucleic_acid_tests",
    "实时荧光定量PCR仪": "pcr_instruments",
    "实时荧光定量PCR系统": "pcr_instruments",
}


def test_every_term_has_both_names_and_lists_are_serializable():
    published = json.loads(json.dumps(document()))
    for name, entries in published.items():
        assert entries, name
        assert len({entry["code"] for entry in entries}) == len(entries), name
        for entry in entries:
            assert entry["name_zh"], entry
            assert entry["name_en"].isascii(), entry
    assert len(published["categories"]) == 9
    assert len(published["causes"]) == 12


def test_a_term_is_its_code():
    assert codes.Category("medical_care") == "medical_care"
    assert codes.Category.MEDICAL_CARE.name_zh == "医疗卫生"
    assert f"{codes.Urgency.URGENT}" == "urgent"


def test_every_category_has_classes_and_every_class_counts_in_units_that_convert():
    for category in codes.Category:
        assert len(item_classes.of_category(category)) >= 4, category
    for item_class in item_classes.item_classes().values():
        assert units.get(item_class.base_unit).base == item_class.base_unit, item_class.code
        for unit in item_class.units:
            convertible = units.get(unit).base == item_class.base_unit
            assert convertible or unit in item_class.own_factors, (item_class.code, unit)


def test_no_keyword_of_a_category_belongs_to_two_classes():
    owner: dict[tuple[str, str], str] = {}
    for item_class in item_classes.item_classes().values():
        for keyword in {w.casefold() for w in (*item_class.keywords, item_class.name_zh)}:
            key = (item_class.category, keyword)
            assert owner.setdefault(key, item_class.code) == item_class.code, key


@pytest.mark.parametrize(
    ("item_class", "quantity", "unit", "expected"),
    [
        ("school_fees", 3, "ten_thousand_yuan", (30_000, "yuan")),
        ("grain", 50, "jin", (25_000, "grams")),
        ("grain", 2, "tonnes", (2_000_000, "grams")),
        ("gloves", 500, "pairs", (1_000, "pieces")),
        ("agronomist_hours", 3, "days", (24, "hours")),
        ("protective_clothing", 40, "sets", (40, "pieces")),
        ("alcohol_disinfectant", 12, "bottles", (12, "pieces")),
        ("edible_oil", 5, "litres", (5_000, "millilitres")),
    ],
)
def test_quantities_convert_into_the_base_unit_of_their_class(item_class, quantity, unit, expected):
    assert units.to_base(item_class, quantity, unit) == expected


def test_quantities_that_cannot_be_converted_are_refused():
    with pytest.raises(UnitNotAllowed):
        units.to_base("mask_surgical", 5, "boxes")
    with pytest.raises(UnknownUnit):
        units.to_base("mask_surgical", 5, "crates")
    with pytest.raises(UnknownItemClass):
        units.to_base("unheard_of", 5, "pieces")
    with pytest.raises(QuantityNotPositive):
        units.to_base("mask_surgical", 0, "pieces")


def test_units_are_found_by_what_people_write():
    written = {"个": "pieces", "公斤": "kilograms", "KG": "kilograms", "万元": "ten_thousand_yuan"}
    for text, code in written.items():
        found = units.find(text)
        assert found is not None
        assert found.code == code
    assert units.find("副") is None


def test_no_unit_word_means_two_units():
    seen: dict[str, str] = {}
    for unit in units.units().values():
        for word in {w.casefold() for w in (unit.code, unit.name_zh, unit.name_en, *unit.aliases)}:
            assert seen.setdefault(word, unit.code) == unit.code, word


@pytest.mark.parametrize(("item", "expected"), HUBEI_CLASSES.items())
def test_items_of_2020_are_classified(item, expected):
    assert item_classes.classify("medical_care", item) == expected


def test_what_says_too_little_is_not_guessed():
    assert item_classes.classify("medical_care", "口罩") is None
    assert item_classes.classify("medical_care", "消毒液") is None
    assert item_classes.classify("medical_care", "fire escape") is None
    assert item_classes.classify("no_such_category", "大米") is None


def test_the_whole_table_of_2020_is_covered():
    if not HUBEI.is_dir():
        pytest.skip("the reference data hubei-2020 is not beside the project")
    for name in ("needs.csv", "offers.csv"):
        with (HUBEI / name).open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                expected = HUBEI_CLASSES[row["item"]]
                assert item_classes.classify(row["category"], row["item"]) == expected
                assert divisions.known(row["division_code"])
                assert row["unit"] in item_classes.get(expected).units
