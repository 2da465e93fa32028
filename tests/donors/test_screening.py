"""Texts of donors are public for ever: personal numbers are refused with their place."""

import pytest

from tests.donors.builders import CHALING, a_line, an_offer, an_organization

PHONE = "13807312345"
SAID = f"联系 {PHONE}"
CODE = "personal_data_in_text"


def check(refused, loc):
    assert refused["code"] == CODE
    assert refused["errors"][0]["loc"] == loc
    assert PHONE not in str(refused)


OFFERS = [
    ({"title": SAID}, "title"),
    ({"text": SAID}, "text"),
    ({"lines": [a_line(), a_line(item=SAID)]}, "lines.1.item"),
    ({"lines": [a_line(specification=SAID)]}, "lines.0.specification"),
]


@pytest.mark.parametrize(("changes", "loc"), OFFERS)
async def test_an_offer_is_refused_alone_and_in_a_batch_that_keeps_the_others(people, changes, loc):
    organization = (await people.organization())["id"]
    bad, good = an_offer(organization, **changes), an_offer(organization)
    refused = await people.post("/offers", people.clerk, bad, expect=422)
    check(refused, [int(part) if part.isdigit() else part for part in loc.split(".")])
    body = {"offers": [bad, good]}
    first, second = (await people.post("/offer-batches", people.clerk, body))["results"]
    assert (first["outcome"], first["code"], first["loc"]) == ("refused", CODE, loc)
    assert PHONE not in str(first)
    assert second["outcome"] == "created"


async def test_an_organization_is_refused_alone_and_in_a_batch_that_keeps_the_others(people):
    bad = an_organization(name=f"春芽协会 {PHONE}")
    check(await people.post("/organizations", people.clerk, bad, expect=422), ["name"])
    body = {"organizations": [bad, an_organization()]}
    first, second = (await people.post("/organization-batches", people.clerk, body))["results"]
    assert (first["outcome"], first["code"], first["loc"]) == ("refused", CODE, "name")
    assert PHONE not in str(first)
    assert second["outcome"] == "created"


@pytest.mark.parametrize("kind", ["organization", "offer"])
async def test_reasons_are_screened_alone_and_in_a_batch(people, kind):
    make = people.organization if kind == "organization" else people.offer
    one, other = await make(approved=False), await make(approved=False)
    for noun in ("approval", "blocking"):
        path = f"/{kind}s/{one['id']}/{noun}"
        check(await people.post(path, people.coordinator, {"reason": SAID}, 422), ["reason"])
    approvals = [
        {f"{kind}_id": one["id"], "reason": SAID},
        {f"{kind}_id": other["id"], "reason": "核对过 GB 19083-2010"},
    ]
    answer = await people.post(
        f"/{kind}-approval-batches", people.coordinator, {"approvals": approvals}
    )
    first, second = answer["results"]
    assert (first["outcome"], first["code"]) == ("refused", CODE)
    assert PHONE not in str(first)
    assert second["outcome"] == "approved"


async def test_an_edited_line_is_screened(people):
    offer = await people.offer(approved=False, submit=False)
    answer = await people.client.patch(
        f"/v1/offers/{offer['id']}/lines/{offer['lines'][0]['id']}",
        json={"specification": SAID},
        headers=people.clerk | {"If-Match": "*"},
    )
    assert answer.status_code == 422
    check(answer.json(), ["specification"])


async def test_codes_standards_and_quantities_pass(people):
    line = a_line(item="口罩 GB 19083-2010", specification="1860/1870, 1,280,000 只, 2020-01-23")
    offer = await people.offer(
        title="捐赠 20000 只口罩", text="YY 0469-2011，500000 元", lines=[line]
    )
    assert offer["served_division_codes"] == [CHALING]
