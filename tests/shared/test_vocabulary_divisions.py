"""Administrative divisions: what exists, what covers what, what a code alone says."""

import pytest

from shared.vocabulary import divisions
from shared.vocabulary.errors import UnknownDivision

CHALING = "430224000000"


def test_divisions_have_both_names():
    assert divisions.get(CHALING) == divisions.Division(CHALING, "茶陵县", "Chaling County")
    assert divisions.get("430200000000").name_en == "Zhuzhou City"
    assert divisions.get("610000000000").name_en == "Shaanxi Province"
    assert divisions.get("150000000000").name_en == "Inner Mongolia Autonomous Region"
    assert divisions.get("422800000000").name_en == "Enshi Tujia and Miao Autonomous Prefecture"
    assert divisions.get("411100000000").name_en == "Luohe City"
    assert divisions.get("420528000000").name_en == "Changyang Tujia Autonomous County"
    assert divisions.get(divisions.ROOT).name_zh == "全国"
    assert divisions.full_name_zh("430224002201") == "湖南省株洲市茶陵县下东街道头铺村"
    assert all(d.name_zh and d.name_en.strip() for d in divisions.divisions().values())


def test_the_file_holds_the_country_down_to_counties_and_two_counties_down_to_villages():
    levels = [divisions.level(code) for code in divisions.divisions()]
    assert levels.count("province") == 34
    assert levels.count("city") >= 340
    assert levels.count("county") >= 2_970
    assert levels.count("township") == 30
    assert levels.count("village") > 300


def test_unknown_codes_below_known_counties_are_known_but_not_listed():
    assert divisions.known("430281100200")
    assert not divisions.exists("430281100200")
    assert divisions.names("430281100200") == ("醴陵市", "Liling City")
    with pytest.raises(UnknownDivision):
        divisions.get("430281100200")


@pytest.mark.parametrize("code", ["430299000000", "990000000000", "4302", "43022400000a", ""])
def test_codes_of_nothing_are_not_known(code):
    assert not divisions.known(code)
    with pytest.raises(UnknownDivision):
        divisions.get(code)


def test_arabic_digits_of_other_scripts_are_no_codes():
    assert not divisions.known("٤٣٠٢٢٤٠٠٠٠٠٠")


def test_covering_is_by_significant_digits():
    assert divisions.covers("430200000000", "430224101205")
    assert divisions.covers(CHALING, CHALING)
    assert divisions.covers(divisions.ROOT, CHALING)
    assert not divisions.covers("430225000000", "430224101205")
    assert not divisions.covers("430224101205", CHALING)
    # A city that ends in a zero is not a province: 4310 is Chenzhou, 4301 Changsha.
    assert not divisions.covers("431000000000", "430100000000")
    assert not divisions.covers(CHALING, divisions.ROOT)
    with pytest.raises(UnknownDivision):
        divisions.covers("4302", CHALING)


def test_ancestors_come_nearest_first_and_end_at_the_root():
    assert divisions.ancestors("430224101205") == (
        "430224101000",
        CHALING,
        "430200000000",
        "430000000000",
        divisions.ROOT,
    )
    assert divisions.ancestors(divisions.ROOT) == ()
    assert divisions.ancestors("441900003000") == (
        "441900000000",
        "440000000000",
        divisions.ROOT,
    )


def test_levels_and_cuts():
    assert divisions.level("430224101205") == "village"
    assert divisions.level("431000000000") == "city"
    assert divisions.level("430224500000") == "township"
    assert divisions.level(divisions.ROOT) == "nation"
    assert divisions.cut_to_township("430224101205") == "430224101000"
    assert divisions.cut_to_township(CHALING) == CHALING
    assert divisions.cut_to("430224101205", "city") == "430200000000"


def test_every_parent_is_listed():
    for code in divisions.divisions():
        for parent in divisions.ancestors(code):
            if divisions.level(parent) != "city":
                assert divisions.exists(parent), (code, parent)


def test_names_are_found_with_and_without_their_ending():
    assert [d.code for d in divisions.find("天门市")] == ["429006000000"]
    assert [d.code for d in divisions.find("成都")] == ["510100000000"]
    assert divisions.find("朝阳区", within="110000000000")[0].code == "110105000000"
    assert divisions.find("桃花源国") == ()


def test_children_are_listed_below_their_parent():
    towns = divisions.children(CHALING)
    assert len(towns) == 18
    assert all(divisions.covers(CHALING, town.code) for town in towns)
