"""Tokens: the same thing gives the same token, whatever the script, spelling or form."""

from importlib.resources import files

import pytest

from services.matching.text.synonyms import synonyms
from services.matching.text.tokens import TEXT_CHARS_MAX, is_chinese, tokens


def test_chinese_is_cut_into_characters_and_pairs():
    assert tokens("危房改造") == ["危", "房", "改", "造", "危房", "房改", "改造", "=危房改造"]


def test_english_words_become_stems_and_words_that_say_nothing_are_dropped():
    assert tokens("Repairs to the leaking roofs") == ["repair", "leak", "roof"]


def test_full_width_and_half_width_forms_are_the_same_text():
    assert tokens("Ｎ９５口罩") == tokens("n95口罩")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("N95口罩", "医用防护口罩"),
        ("84消毒液", "含氯消毒液"),
        ("84 消毒液", "次氯酸钠"),
        ("wheelchairs", "轮椅"),
        ("face shields", "防护面屏"),
        ("face-shield", "面罩"),
        ("活力碘", "povidone iodine"),
    ],
)
def test_forms_of_one_thing_share_its_concept(one: str, other: str):
    assert {t for t in tokens(one) if t[0] == "="} & {t for t in tokens(other) if t[0] == "="}


def test_a_longer_form_hides_the_form_of_another_thing_that_starts_with_it():
    concepts = {t for t in tokens("面罩式雾化器") if t[0] == "="}
    assert concepts == {"=雾化器"}


def test_a_wider_thing_inside_a_name_is_found_as_well():
    assert {"=医用外科口罩", "=口罩"} <= set(tokens("医用外科口罩"))


def test_one_thing_written_once_is_counted_once():
    assert tokens("医用防护口罩").count("=医用防护口罩") == 1
    assert tokens("医用防护口罩 防护口罩").count("=医用防护口罩") == 2
    assert tokens("500ml").count("500ml") == 1


def test_a_number_is_not_the_end_of_another_number():
    assert "=含氯消毒液" not in tokens("184消毒液")


@pytest.mark.parametrize("written", ["500ml", "500 mL", "0.5L", "500毫升", "0.5 升", "５００ｍｌ"])
def test_a_measure_has_one_spelling(written: str):
    assert "500ml" in tokens(written)


@pytest.mark.parametrize("written", ["1,000 kg", "1,000kg大米", "1000 kg", "1 tonne", "大米,1吨"])
def test_thousands_may_be_parted_by_commas(written: str):
    assert "1000000000mg" in tokens(written)
    assert "0mg" not in tokens(written)


def test_a_comma_may_also_part_two_things():
    assert "5000000mg" in tokens("口罩100，5kg大米")
    assert "0mg" not in tokens("1,00 kg")


@pytest.mark.parametrize("written", ["GB 19083-2010", "GB19083", "gb/t 19083"])
def test_a_standard_has_one_spelling(written: str):
    assert "gb19083" in tokens(written)


def test_a_number_behind_a_letter_is_no_measure():
    assert tokens("B12g") == ["b12g"]


def test_a_brand_is_not_a_length():
    assert tokens("3M 1860") == ["3m", "1860"]


def test_mixed_runs_keep_both_scripts():
    assert {"pcr", "=pcr仪", "荧光", "仪"} <= set(tokens("荧光定量PCR仪"))


def test_any_chinese_character_makes_a_text_chinese():
    assert is_chinese("N95口罩")
    assert not is_chinese("N95 mask 500ml")


def test_a_text_is_read_to_its_bound_and_no_further():
    assert len(tokens("米 " * TEXT_CHARS_MAX)) == TEXT_CHARS_MAX / 2
    assert tokens("") == []


def test_every_form_of_the_list_is_found_as_its_own_concept():
    text = files("services.matching.text").joinpath("synonyms.tsv").read_text(encoding="utf-8")
    for line in text.splitlines()[1:]:
        canonical, _, others = line.partition("\t")
        for form in (canonical, *filter(None, others.split("|"))):
            assert "=" + canonical.lower() in tokens(form), form


def test_no_form_of_the_list_stands_for_two_things():
    assert len(synonyms().words) > 50  # raises otherwise
