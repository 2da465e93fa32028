"""The example: complete, deterministic, valid, fictitious, and sized so that most can be met."""

import re
from collections import Counter, defaultdict
from datetime import date

import pytest
from stdnum import luhn
from stdnum.cn import uscc

from deploy.example import COUNTIES, generate
from shared.vocabulary import codes, divisions, item_classes, units

TODAY = date(2026, 11, 23)


@pytest.fixture(scope="module")
def example():
    return generate(TODAY)


def test_it_is_as_large_as_promised(example):
    kinds = Counter(applicant.kind for applicant in example.applicants)
    assert kinds["household"] == 2_000
    assert kinds["village"] > 300
    assert kinds["institution"] > 100
    assert len(example.needs) == 3_000
    assert len(example.organizations) == 150
    assert len(example.offers) == 400


def test_equal_seeds_give_equal_examples_and_others_do_not(example):
    assert generate(TODAY) == example
    assert generate(TODAY, seed=1) != example


def test_everything_lies_in_the_two_counties_and_is_of_the_vocabulary(example):
    for applicant in example.applicants:
        assert divisions.exists(applicant.division_code)
        assert any(divisions.covers(county, applicant.division_code) for county in COUNTIES)
    for need in example.needs:
        body = need.body
        assert item_classes.get(body.item_class).category == body.category
        units.to_base(body.item_class, body.quantity, body.unit)
    for offer in example.offers:
        for line in offer.body.lines:
            assert item_classes.get(line.item_class).category == offer.body.category
            units.to_base(line.item_class, line.quantity, line.unit)
        for code in offer.body.served_division_codes:
            assert divisions.level(code) != "village"
            assert divisions.known(code)


def test_all_categories_urgencies_and_kinds_appear(example):
    assert {need.body.category for need in example.needs} == {c.value for c in codes.Category}
    urgencies = Counter(need.body.urgency for need in example.needs)
    assert set(urgencies) == {u.value for u in codes.Urgency}
    assert urgencies["life_threatening"] == 24
    assert {offer.body.kind for offer in example.offers} == {k.value for k in codes.OfferKind}
    assert {o.kind for o in example.organizations} == {k.value for k in codes.OrganizationKind}
    assert {len(offer.body.lines) for offer in example.offers} == {1, 2, 3}


def test_numbers_of_people_are_well_formed_unique_and_nobodys(example):
    people = [a.personal for a in example.applicants if a.personal is not None]
    for number in (person.id_number for person in people):
        weights = [pow(2, 17 - place, 11) for place in range(18)]
        digits = [10 if char == "X" else int(char) for char in number]
        assert sum(w * d for w, d in zip(weights, digits, strict=True)) % 11 == 1
        assert number[14] == "9"
    assert len({person.id_number for person in people}) == len(people)
    assert len({person.phone for person in people}) == len(people)
    assert all(re.fullmatch(r"17400\d{6}", person.phone) for person in people)
    accounts = [person.bank_account for person in people if person.bank_account]
    assert accounts
    assert all(luhn.is_valid(account) and account.startswith("99") for account in accounts)


def test_organization_codes_check_and_a_few_have_none(example):
    given = [o.uscc for o in example.organizations if o.uscc]
    assert len(given) == 142
    assert len(set(given)) == len(given)
    assert all(uscc.is_valid(code) for code in given)
    assert len({o.name for o in example.organizations}) == 150


def test_no_public_text_holds_a_name_or_a_number(example):
    names = {a.personal.name for a in example.applicants if a.personal is not None}
    texts = [n.body.title + (n.body.text or "") for n in example.needs]
    texts += [o.body.title + (o.body.text or "") for o in example.offers]
    for text in texts:
        assert not re.search(r"\d{5,}", text), text
        assert "{" not in text
    joined = "\n".join(texts)
    assert not [name for name in names if len(name) > 2 and name in joined]


def test_keys_are_unique_and_refer_to_what_is_there(example):
    applicants = {a.external_key: a.division_code for a in example.applicants}
    organizations = {o.external_key for o in example.organizations}
    assert len(applicants) == len(example.applicants)
    assert len({n.body.external_key for n in example.needs}) == 3_000
    assert len({o.body.external_key for o in example.offers}) == 400
    assert all(applicants[n.applicant_key] == n.division_code for n in example.needs)
    assert all(o.organization_key in organizations for o in example.offers)


def test_no_applicant_asks_for_one_thing_twice(example):
    asked = Counter((n.applicant_key, n.body.item_class) for n in example.needs)
    assert max(asked.values()) == 1


def test_a_simple_allocation_meets_most_needs_but_not_all(example):
    """First come, first served, nearest offer first: a lower bound of what matching reaches."""
    stock = defaultdict(list)
    for offer in example.offers:
        for line in offer.body.lines:
            quantity, _ = units.to_base(line.item_class, line.quantity, line.unit)
            stock[line.item_class].append([quantity, offer.body])
    kinds = {a.external_key: a.kind for a in example.applicants}
    met = 0
    for need in example.needs:
        missing, _ = units.to_base(need.body.item_class, need.body.quantity, need.body.unit)
        for held in stock[need.body.item_class]:
            allowed = held[1].eligibility.applicant_kinds
            served = held[1].served_division_codes
            if any(divisions.covers(code, need.division_code) for code in served) and (
                not allowed or kinds[need.applicant_key] in allowed
            ):
                taken = min(missing, held[0])
                held[0] -= taken
                missing -= taken
        met += missing == 0
    assert 0.55 <= met / len(example.needs) <= 0.75
