"""The Markdown of a round and its picture, from what the API tells."""

from typing import Any
from uuid import uuid4
from xml.etree import ElementTree

from deploy.report import markdown, picture

TOWNSHIP = "430224101000"


def a_row(code: str, before: int, after: int) -> dict[str, Any]:
    return {
        "division_code": code,
        "name_zh": f"{code}镇",
        "name_en": code,
        "needs": 4,
        "before_ppm": before,
        "after_ppm": after,
    }


LEVEL = {
    "level": "township",
    "divisions": 2,
    "before": {"gini_ppm": 120_000, "lowest": None, "highest": None},
    "after": {"gini_ppm": 50_000, "lowest": None, "highest": None},
    "table": [a_row(TOWNSHIP, 250_000, 500_000), a_row("430224102000", 900_000, 800_000)],
}


def an_overview(**fields) -> dict[str, Any]:
    return {
        "text_zh": "共一轮。",
        "text_en": "One round.",
        "needs": 3,
        "lines": 2,
        "pairs": 5,
        "gap_ppm": 7,
        "price_of_fairness_ppm": 1_700,
        "tiers": [],
        "outcomes": [{"code": "gone_to_more_urgent", "needs": 1}],
        "fairness": [LEVEL],
        "samples": [],
        "unmet_samples": [],
        **fields,
    }


def a_need(title: str, **fields) -> dict[str, Any]:
    return {
        "need_id": str(uuid4()),
        "item_class": "mask_medical",
        "division_code": TOWNSHIP,
        "need_title": title,
        **fields,
    }


def test_a_report_tells_what_was_given_and_why_not():
    given = a_need(
        "口罩甲", quantity=1_200, unit="piece", offer_title="日产口罩", organization_name="厂|一"
    )
    unmet = a_need("口罩\n乙", text_zh="缺 5 个。", text_en="Nothing of 5 met.")
    round_of = {"policy": "national-1", "ranking": "reasoned-1"}
    text = markdown.written(markdown.Report(round_of, an_overview(), [given], [unmet]), "round.svg")
    assert "口罩甲 | " in text
    assert "1,200 piece ← 日产口罩 (厂\\|一)" in text
    assert "| 口罩 乙 |" in text
    assert "缺 5 个。 Nothing of 5 met." in text
    assert "1 of 2 given something" in text
    assert "| `gone_to_more_urgent` | 1 |" in text
    assert "| township | 2 | 12.00 % | 5.00 % |" in text
    assert "(round.svg)" in text


def test_a_picture_is_xml_with_two_dots_a_division_at_their_rates():
    root = ElementTree.fromstring(picture.rates(LEVEL))  # noqa: S314 - our own text
    dots = root.findall("{http://www.w3.org/2000/svg}circle")
    along = [int(dot.attrib["cx"]) - picture.NAME_PX for dot in dots]
    assert along == [picture.SCALE_PX * rate // 100 for rate in (25, 50, 90, 80)]
