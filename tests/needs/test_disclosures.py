"""Salted digests of single values, as RFC 9901 has them, and who is shown what opens them."""

import asyncio
import base64
import hashlib
import json
import os
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from services.needs.disclosures import digest, digested, disclosure, opened
from services.needs.privacy import MASK, seal
from tests.needs.builders import (
    ACCOUNT,
    ADDRESS,
    NAME,
    OTHER_COUNTY,
    PHONE,
    VILLAGE,
    a_household,
    a_need,
    an_id_number,
    once,
)
from tests.needs.conftest import MakeToken, People

# RFC 9901 4.2.1 and 4.2.3.
SALT = "_26bc4LT-ac6q2KI6cBW5es"
MOEBIUS = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0"
MOEBIUS_DIGEST = "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0"


def some_salts(number: int) -> list[bytes]:
    return [os.urandom(16) for _ in range(number)]


def test_the_worked_example_of_the_specification():
    assert disclosure(SALT, "family_name", "Möbius") == MOEBIUS
    assert digest(MOEBIUS) == MOEBIUS_DIGEST
    said = opened(MOEBIUS)
    assert (said.salt, said.name, said.value) == (SALT, "family_name", "Möbius")
    # 4.2.3: the digest of another one, which is an element of an array and has no name.
    element = "WyJsa2x4RjVqTVlsR1RQVW92TU5JdkNBIiwgIkZSIl0"
    assert digest(element) == "w0I8EKcdCtUPkGCNUrfwVp2xEgNjtoIDlOxc9-PlOhs"


def test_every_digest_opens_or_is_a_decoy_and_their_order_tells_nothing():
    values = {"name": "欧阳小满", "members": 3, "causes": ["illness"], "phone": None}
    made = digested(values, 6, some_salts(6))
    assert len(made.digests) == 6
    assert made.digests == sorted(made.digests)
    said = {opened(text).name: opened(text).value for text in made.disclosures}
    assert said == {"name": "欧阳小满", "members": 3, "causes": ["illness"]}
    assert {digest(text) for text in made.disclosures} < set(made.digests)
    assert {len(text) for text in made.digests} == {43}


def test_how_many_values_there_are_cannot_be_told():
    none, all_of_them = (
        digested({}, 3, some_salts(3)),
        digested(dict.fromkeys("abc", 1), 3, some_salts(3)),
    )
    assert len(none.digests) == len(all_of_them.digests) == 3
    assert none.disclosures == []


def test_equal_values_have_unequal_digests():
    first, second = (digested({"members": 3}, 1, some_salts(1)) for _ in range(2))
    assert first.digests != second.digests
    plain = hashlib.sha256(json.dumps(3).encode()).digest()
    assert base64.urlsafe_b64encode(plain).rstrip(b"=").decode() not in first.digests


def test_a_value_more_than_there_is_room_for_is_an_error():
    with pytest.raises(ValueError, match="more values"):
        digested({"a": 1, "b": 2}, 1, some_salts(1))


@pytest.mark.parametrize("short", [[b""], [b"short"], []])
def test_a_salt_that_is_too_short_is_an_error(short: list[bytes]):
    with pytest.raises(ValueError, match="salts"):
        digested({"a": 1}, 1, short)


@pytest.mark.parametrize(
    "text", ["", "!", "WyJh", "e30", base64.urlsafe_b64encode(b'["a", 1, 2]').decode().rstrip("=")]
)
def test_what_is_no_disclosure_is_an_error(text: str):
    with pytest.raises(ValueError, match="not a disclosure"):
        opened(text)


# ------------------------------------------------------------------ through HTTP


async def registration(people: People) -> dict[str, Any]:
    """The data of the last registration told of."""
    rows = await people.sql(
        "SELECT data FROM (SELECT time, id, type, data FROM event"
        " UNION ALL SELECT time, id, type, data FROM outbox) AS told"
        " WHERE type = 'needs.applicant_registered' ORDER BY time DESC, id DESC LIMIT 1"
    )
    return dict(rows[0].data)


async def shown(people: People, path: str) -> list[dict[str, Any]]:
    page = await people.get(f"{path}/disclosures?purpose=audit", people.supervisor)
    return list(page["data"])


def values_of(event: dict[str, Any]) -> dict[str, Any]:
    """Name -> value, after each was read out of its own disclosure."""
    said = {}
    for row in event["disclosures"]:
        salt, name, value = json.loads(base64.urlsafe_b64decode(row["disclosure"] + "=="))
        assert (row["name"], row["value"]) == (name, value)
        assert len(base64.urlsafe_b64decode(salt + "==")) == 16
        said[name] = value
    return said


def digests_of(event: dict[str, Any]) -> set[str]:
    return {digest(row["disclosure"]) for row in event["disclosures"]}


async def test_a_registration_commits_to_every_value_of_the_household(people: People):
    number = an_id_number()
    body = a_household()
    body["personal"]["id_number"] = number
    applicant = (await people.post("/applicants", people.clerk, body, 201))["id"]
    fact = await registration(people)
    [event] = await shown(people, f"/applicants/{applicant}")
    assert values_of(event) == {
        "name": NAME,
        "id_number": number,
        "phone": PHONE,
        "bank_account": ACCOUNT,
        "address": ADDRESS,
        "division_code": VILLAGE,
        "household_class": "subsistence_allowance",
        "main_cause": "illness",
        "other_causes": [],
        "members": 3,
        "deprivations": ["food", "basic_medical_care"],
        "deprivation_score_permille": 300,
    }
    # The thirteenth, the card that this person does not have, is a decoy.
    assert len(fact["digests"]) == 13
    assert digests_of(event) < set(fact["digests"])
    assert fact["digests"] == sorted(fact["digests"])
    assert event["producer"] == "needs"


async def test_little_is_said_with_as_many_digests_as_all(people: People):
    await people.household(personal={"name": NAME})
    assert len((await registration(people))["digests"]) == 13
    await people.hospital()
    assert (await registration(people))["digests"] == []


async def test_a_need_commits_to_what_its_publication_does_not_say(people: People):
    applicant = await people.household()
    need = await people.need(applicant, submit=False, text="家中老人", cause="illness", headcount=2)
    detail = await people.detail(need["id"])
    await people.call(
        "PATCH",
        f"/needs/{need['id']}",
        people.clerk,
        {"headcount": 3},
        headers={"If-Match": f'"{detail["version"]}"'},
    )
    told = [data for _, data in await people.events_of(need["id"])]
    events = await shown(people, f"/needs/{need['id']}")
    before = {"division_code": VILLAGE, "text": "家中老人", "cause": "illness", "headcount": 2}
    assert [values_of(event) for event in events] == [before, before | {"headcount": 3}]
    assert [digests_of(event) for event in events] == [set(data["digests"]) for data in told]
    assert {event["need_id"] for event in events} == {need["id"]}
    of_applicant = await shown(people, f"/applicants/{applicant}")
    assert [event["need_id"] for event in of_applicant] == [None, need["id"], need["id"]]


async def test_the_need_of_a_hospital_tells_by_its_digests_as_much_as_a_households(people: People):
    need = await people.need(await people.hospital(), text="急需")
    [(_, drafted), _] = await people.events_of(need["id"])
    assert len(drafted["digests"]) == 4
    refused = await people.get(
        f"/needs/{need['id']}/disclosures?purpose=audit", people.supervisor, expect=404
    )
    assert refused["code"] == "personal_data_erased"


async def test_pages_of_disclosures_follow_each_other(people: People):
    applicant = await people.household()
    for _ in range(3):
        await people.need(applicant)
    path = f"/applicants/{applicant}/disclosures?purpose=audit"
    first = await people.get(f"{path}&limit=3", people.supervisor)
    assert first["meta"]["has_more"]
    rest = await people.get(first["links"]["next"].removeprefix("/v1"), people.supervisor)
    both = [event["event_id"] for event in first["data"] + rest["data"]]
    assert both == [event["event_id"] for event in await shown(people, f"/applicants/{applicant}")]
    assert len(set(both)) == 4


async def test_disclosures_are_for_a_supervisor_of_the_division_with_a_purpose(
    people: People, token: MakeToken
):
    applicant = await people.household()
    need = await people.need(applicant)
    stranger = token("supervisor", subject="supervisor elsewhere", division=OTHER_COUNTY)
    for path in (f"/applicants/{applicant}/disclosures", f"/needs/{need['id']}/disclosures"):
        await people.get(path, people.supervisor, expect=422)
        called = await people.get(f"{path}?purpose=call_{PHONE}", people.supervisor, expect=422)
        assert called["code"] == "personal_data_in_text"
        for who, code in (
            (people.county, "disclosed_to_supervisor"),
            (stranger, "outside_division"),
            (people.coordinator, "forbidden"),
        ):
            refused = await people.get(f"{path}?purpose=audit", who, expect=403)
            assert refused["code"] == code


async def test_each_reading_is_an_event_that_joins_no_two_years(people: People):
    applicant = await people.household()
    need = await people.need(applicant)
    await shown(people, f"/applicants/{applicant}")
    await shown(people, f"/needs/{need['id']}")
    rows = await people.sql(
        "SELECT subject, data FROM (SELECT time, subject, type, data FROM event"
        " UNION ALL SELECT time, subject, type, data FROM outbox) AS told"
        " WHERE type = 'needs.disclosures_read' ORDER BY time DESC LIMIT 2"
    )
    of_need, of_applicant = rows
    assert of_need.subject == f"need/{need['id']}"
    assert of_need.data == {"need_id": need["id"], "applicant": None, "purpose": "audit"}
    assert of_applicant.subject == f"applicant/{of_applicant.data['applicant']}"
    assert of_applicant.data["need_id"] is None


async def test_after_erasure_the_digests_open_for_nobody(people: People):
    applicant = await people.household()
    need = await people.need(applicant, cause="illness")
    path = f"/applicants/{applicant}"
    backup = await people.sql(
        "SELECT * FROM event_disclosures WHERE applicant_id = :id", id=applicant
    )
    assert len(backup) == 2
    await people.call("DELETE", f"{path}/personal", people.supervisor, expect=204)
    assert not await people.sql(
        "SELECT 1 FROM event_disclosures WHERE applicant_id = :id", id=applicant
    )
    for erased in (path, f"/needs/{need['id']}"):
        refused = await people.get(
            f"{erased}/disclosures?purpose=audit", people.supervisor, expect=404
        )
        assert refused["code"] == "personal_data_erased"
    seen = await people.get(path, people.county)
    assert (seen["household"], seen["deprivation_score_permille"]) == (None, None)
    assert (await people.detail(need["id"]))["cause"] is None
    # Entered afterwards, it says as much: nothing opens its digests.
    later = await people.need(applicant, cause="illness")
    [(_, drafted), _] = await people.events_of(later["id"])
    assert (await people.detail(later["id"]))["cause"] is None
    assert len(drafted["digests"]) == 4
    # Restored from a backup, the rows are there, and nobody has the key.
    await people.sql("UPDATE applicant SET erased_at = NULL WHERE id = :id", id=applicant)
    for row in backup:
        await people.sql(
            "INSERT INTO event_disclosures VALUES (:event_id, :applicant_id, :need_id, :sealed)",
            **row._mapping,
        )
    refused = await people.get(f"{path}/disclosures?purpose=audit", people.supervisor, expect=503)
    assert refused["code"] == "personal_key_missing"


async def test_a_households_record_is_nowhere_in_the_clear(people: People):
    """Not in its own row, and not in the answer that is kept to be repeated."""
    body = a_household()
    body["household"] |= {"main_cause": "disability", "deprivations": ["safe_housing"]}
    await people.post("/applicants", people.clerk, body, 201)
    for table in ("applicant", "personal_data", "idempotency", "event_disclosures", "outbox"):
        for row in await people.sql(f'SELECT t::text AS line FROM "{table}" t'):
            assert "safe_housing" not in row.line, table
    rows = await people.sql("SELECT answer FROM idempotency")
    assert not any(b"safe_housing" in bytes(row.answer) for row in rows)


async def test_a_needs_answer_is_kept_without_its_cause_and_the_surname(people: People):
    applicant = await people.household()
    body = a_need(applicant, submit=True, cause="disability")
    headers = people.clerk | once()
    first, again = [
        await people.client.post("/v1/needs", json=body, headers=headers) for _ in range(2)
    ]
    assert (first.status_code, again.content) == (201, first.content)
    assert (first.json()["cause"], first.json()["applicant_name"]) == (None, MASK)
    seen = await people.detail(first.json()["id"])
    assert (seen["cause"], seen["applicant_name"]) == ("disability", "欧阳**")
    for row in await people.sql("SELECT answer FROM idempotency"):
        assert "disability" not in bytes(row.answer).decode()
        assert "欧阳" not in bytes(row.answer).decode()


async def test_a_creation_answers_each_time_what_is_known_after_an_erasure(people: People):
    household = a_household(external_key=uuid4().hex)
    applicant = await created(people, "/applicants", household)
    need = a_need(applicant["id"], cause="disability", external_key=uuid4().hex)
    entered = await created(people, "/needs", need)
    assert (applicant["household"], applicant["name"]) == (None, MASK)
    assert (entered["cause"], entered["applicant_name"]) == (None, MASK)
    await people.call(
        "DELETE", f"/applicants/{applicant['id']}/personal", people.supervisor, expect=204
    )
    assert await people.get(f"/applicants/{applicant['id']}", people.county) == applicant
    assert await people.detail(entered["id"]) == entered


async def created(people: People, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer: the same whether it is the first, repeated, or to another request that names what
    is there."""
    headers = people.clerk | once()
    answers = [
        await people.client.post(f"/v1{path}", json=body, headers=each)
        for each in (headers, headers, people.clerk | once())
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 200]
    first, again, known = [answer.json() for answer in answers]
    assert first == again == known
    return dict(first)


async def test_what_is_not_a_households_is_named_in_its_needs_answer(people: People):
    need = await people.need(await people.hospital())
    assert need["applicant_name"] == need["institution_name"] == "茶陵县人民医院"


async def test_an_erasure_while_a_need_is_entered_takes_its_cause_too(people: People):
    applicant = await people.household()
    body = a_need(applicant, cause="illness")
    path = f"/applicants/{applicant}/personal"
    async with people.app.state.sessions.begin() as session:
        # The entering has read the applicant, and waits for the policies.
        await session.execute(text("LOCK TABLE policy_activation"))
        entering = asyncio.create_task(people.post("/needs", people.clerk, body, 201))
        while await waiting_for_locks(people) < 1:  # noqa: ASYNC110 - only the database knows
            await asyncio.sleep(0.01)
        erasing = asyncio.create_task(people.call("DELETE", path, people.supervisor, expect=204))
        while not erasing.done() and await waiting_for_locks(people) < 2:  # noqa: ASYNC110 - so
            await asyncio.sleep(0.01)
    need, _ = await asyncio.gather(entering, erasing)
    assert (await people.detail(need["id"]))["cause"] is None


async def waiting_for_locks(people: People) -> int:
    rows = await people.sql(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock'"
    )
    return len(rows)


async def test_no_plain_hash_of_what_was_sent_is_kept(people: People):
    """The body of a request holds an ID number: whoever has its hash tries them all."""
    body = a_household()
    content = json.dumps(body).encode()
    answer = await people.client.post(
        "/v1/applicants",
        content=content,
        headers=people.clerk
        | {"Idempotency-Key": "a-key-to-look-for", "Content-Type": "application/json"},
    )
    assert answer.status_code == 201
    rows = await people.sql("SELECT key, body_hash FROM idempotency")
    assert hashlib.sha256(content).digest() not in {bytes(row.body_hash) for row in rows}
    assert "a-key-to-look-for" not in {row.key for row in rows}


async def test_a_row_from_before_the_record_was_sealed_is_read_and_erased(people: People):
    applicant = await people.household()
    row = (
        await people.sql("SELECT fields FROM personal_data WHERE applicant_id = :id", id=applicant)
    )[0]
    assert "household" in row.fields
    record = {"household_class": "general", "main_cause": "illness", "members": 2}
    privacy = people.app.state.privacy
    key = privacy.keys.get(UUID(applicant))
    await people.sql(
        "UPDATE personal_data SET fields = '{name}', sealed = :sealed WHERE applicant_id = :id",
        sealed=seal(key, UUID(applicant), {"name": NAME}),
        id=applicant,
    )
    await people.sql(
        "UPDATE applicant SET household = CAST(:record AS jsonb), deprivation_score_permille = 350"
        " WHERE id = :id",
        record=json.dumps(record),
        id=applicant,
    )
    seen = await people.get(f"/applicants/{applicant}", people.county)
    assert seen["household"]["main_cause"] == "illness"
    assert seen["deprivation_score_permille"] == 350
    await people.call("DELETE", f"/applicants/{applicant}/personal", people.supervisor, expect=204)
    rows = await people.sql(
        "SELECT household, deprivation_score_permille FROM applicant WHERE id = :id", id=applicant
    )
    assert tuple(rows[0]) == (None, 300)
