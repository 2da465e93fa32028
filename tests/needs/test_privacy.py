"""Personal data: readable with the person's key only, and nowhere when that is destroyed."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from services.needs.privacy import (
    KeyStore,
    KeyStoreDamaged,
    Privacy,
    masked,
    open_disclosures,
    open_sealed,
    programme_year,
    seal,
    seal_disclosures,
)
from tests.needs.builders import (
    ACCOUNT,
    ADDRESS,
    COUNTY,
    NAME,
    OTHER_COUNTY,
    PHONE,
    a_household,
    a_need,
    an_id_number,
)
from tests.needs.conftest import MakeToken, People

# ------------------------------------------------------------------- key store


async def test_a_key_is_found_again_after_a_restart(tmp_path: Path):
    people = [uuid4() for _ in range(1_000)]
    keys = await KeyStore(tmp_path).create(people)
    again = KeyStore(tmp_path)
    assert [again.get(person) for person in people] == keys
    assert again.get(uuid4()) is None


async def test_a_destroyed_key_is_gone_from_memory_file_and_other_processes(tmp_path: Path):
    mine, other = KeyStore(tmp_path), KeyStore(tmp_path)
    kept, gone = uuid4(), uuid4()
    keys = await mine.create([kept, gone])
    assert other.get(gone) == keys[1]
    before = (tmp_path / "persons").read_bytes()
    await mine.destroy(gone)
    await mine.destroy(gone)
    assert mine.get(gone) is None
    assert other.get(gone) is None
    assert KeyStore(tmp_path).get(gone) is None
    assert KeyStore(tmp_path).get(kept) == keys[0]
    assert before[-48:] not in (tmp_path / "persons").read_bytes()


async def test_a_torn_append_is_cut_off_and_what_was_whole_stays(tmp_path: Path):
    store = KeyStore(tmp_path)
    first = uuid4()
    key = (await store.create([first]))[0]
    with (tmp_path / "persons").open("ab") as file:
        file.write(b"half a record of a process that was killed")
    second = uuid4()
    new = (await store.create([second]))[0]
    again = KeyStore(tmp_path)
    assert (again.get(first), again.get(second)) == (key, new)


async def test_a_key_without_a_row_does_no_harm(people: People):
    """The transaction failed after its keys were durable: the same household is entered again."""
    body = a_household()
    await people.sql("ALTER TABLE personal_data ADD CONSTRAINT broken CHECK (false) NOT VALID")
    await people.post("/applicants", people.clerk, body, 500)
    await people.sql("ALTER TABLE personal_data DROP CONSTRAINT broken")
    made = await people.post("/applicants", people.clerk, body, 201)
    read = await people.get(f"/applicants/{made['id']}/personal?purpose=visit", people.county)
    assert read["name"] == NAME


async def test_two_processes_append_beside_each_other(tmp_path: Path):
    KeyStore(tmp_path)
    program = (
        "import asyncio, sys, pathlib, uuid\n"
        "from services.needs.privacy import KeyStore\n"
        "store = KeyStore(pathlib.Path(sys.argv[1]))\n"
        "async def go():\n"
        "    for i in range(20):\n"
        "        await store.create([uuid.uuid4() for _ in range(10)])\n"
        "asyncio.run(go())\n"
    )
    root = Path(__file__).parents[2]
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=root)  # noqa: ASYNC220 - both at once is the point
        for _ in range(2)
    ]
    assert [child.wait() for child in children] == [0, 0]
    store = KeyStore(tmp_path)
    content = (tmp_path / "persons").read_bytes()
    assert len(content) == 400 * 76
    for at in range(0, len(content), 76):
        assert store.get(UUID(bytes=content[at : at + 16])) is not None


async def test_keys_do_not_open_under_another_kek(tmp_path: Path):
    person = uuid4()
    await KeyStore(tmp_path).create([person])
    (tmp_path / "kek").write_bytes(os.urandom(32))
    with pytest.raises(KeyStoreDamaged):
        KeyStore(tmp_path).get(person)


def test_secrets_are_for_their_owner_only(tmp_path: Path):
    Privacy(tmp_path).blind_index("x", 2026)
    for name in ("kek", "persons", "blind-index-2026", "pseudonym"):
        assert (tmp_path / "keys" / name).stat().st_mode & 0o777 == 0o600, name
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_values_belong_to_one_applicant_and_one_set_of_fields():
    key, owner = os.urandom(32), uuid4()
    sealed = seal(key, owner, {"name": NAME, "phone": PHONE})
    assert open_sealed(key, owner, ["phone", "name"], sealed)["name"] == NAME
    for other_owner, fields in ((uuid4(), ["name", "phone"]), (owner, ["name"])):
        with pytest.raises(KeyStoreDamaged):
            open_sealed(key, other_owner, fields, sealed)


def test_pseudonyms_and_blind_indexes_change_with_the_programme_year(tmp_path: Path):
    privacy, applicant = Privacy(tmp_path), uuid4()
    assert len(privacy.pseudonym(applicant, 2026)) == 32
    assert privacy.pseudonym(applicant, 2026) == Privacy(tmp_path).pseudonym(applicant, 2026)
    assert privacy.pseudonym(applicant, 2026) != privacy.pseudonym(applicant, 2027)
    assert privacy.blind_index("x", 2026) != privacy.blind_index("x", 2027)
    assert programme_year(datetime(2026, 12, 31, 15, 59, tzinfo=UTC)) == 2026
    assert programme_year(datetime(2026, 12, 31, 16, 0, tzinfo=UTC)) == 2027


def test_the_key_of_a_blind_index_ends_with_its_programme_year(tmp_path: Path):
    """Who has it can try out all ID numbers against an old copy of the database."""
    privacy = Privacy(tmp_path)
    before = privacy.blind_index("x", 2026)
    assert Privacy(tmp_path).blind_index("x", 2026) == before
    key = (tmp_path / "keys" / "blind-index-2026").read_bytes()
    privacy.blind_index("x", 2027)
    kept = [path.read_bytes() for path in (tmp_path / "keys").iterdir()]
    assert key not in kept
    assert Privacy(tmp_path).blind_index("x", 2026) != before


def test_the_key_of_all_years_becomes_the_one_of_the_year_it_is_found_in(tmp_path: Path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "blind-index").write_bytes(bytes(range(32)))
    Privacy(tmp_path).blind_index("x", 2026)
    assert (tmp_path / "keys" / "blind-index-2026").read_bytes() == bytes(range(32))
    assert not (tmp_path / "keys" / "blind-index").exists()


async def test_the_kek_may_lie_elsewhere_and_a_wrong_one_stops_the_start(tmp_path: Path):
    elsewhere, store = tmp_path / "elsewhere", tmp_path / "store"
    person = uuid4()
    key = (await KeyStore(store, elsewhere).create([person]))[0]
    assert not (store / "kek").exists()
    assert KeyStore(store, elsewhere).get(person) == key
    with pytest.raises(KeyStoreDamaged):
        KeyStore(store, tmp_path / "another")


def test_disclosures_belong_to_one_applicant_and_one_event():
    key, owner, event = os.urandom(32), uuid4(), uuid4()
    sealed = seal_disclosures(key, owner, event, ["WyJh"])
    assert open_disclosures(key, owner, event, sealed) == ["WyJh"]
    for other_owner, other_event in ((uuid4(), event), (owner, uuid4())):
        with pytest.raises(KeyStoreDamaged):
            open_disclosures(key, other_owner, other_event, sealed)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("李明", "李**"), ("欧阳小满", "欧阳**"), ("王", "王**"), ("Mary Li", "M**")],
)
def test_a_shown_name_is_the_surname(name: str, shown: str):
    assert masked(name) == shown


# ------------------------------------------------------------------ through HTTP


async def test_an_officer_of_the_division_reads_with_a_purpose_and_it_is_recorded(
    people: People, token: MakeToken
):
    applicant = await people.household()
    path = f"/applicants/{applicant}/personal"
    await people.get(path, people.county, expect=422)
    read = await people.get(f"{path}?purpose=home_visit", people.county)
    assert (read["name"], read["phone"], read["address"]) == (NAME, PHONE, ADDRESS)
    stranger = token("county_officer", subject="stranger", division=OTHER_COUNTY)
    refused = await people.get(f"{path}?purpose=curiosity", stranger, expect=403)
    assert refused["code"] == "outside_division"
    supervisor = token("supervisor", subject="provincial supervisor", division=OTHER_COUNTY)
    await people.get(f"{path}?purpose=audit", supervisor)
    entered = token("entry_clerk", subject="clerk", division="430200000000")
    await people.get(f"{path}?purpose=look", entered, expect=403)
    rows = await people.sql(
        "SELECT data FROM (SELECT data, type FROM event UNION ALL SELECT data, type FROM outbox) e"
        " WHERE type = 'needs.personal_data_read'"
    )
    purposes = {row.data["purpose"] for row in rows}
    assert {"audit", "home_visit"} <= purposes
    assert not {"curiosity", "look"} & purposes


async def test_erasing_leaves_nothing_to_read_and_may_be_repeated(people: People):
    number = an_id_number()
    personal = {"name": "欧阳小满", "id_number": number}
    applicant = await people.household(personal=personal)
    need = await people.need(applicant)
    path = f"/applicants/{applicant}/personal"
    refused = await people.call("DELETE", path, people.county, expect=403)
    assert refused["code"] == "erased_by_supervisor"
    for _ in range(2):
        await people.call("DELETE", path, people.supervisor, expect=204)
    gone = await people.get(f"{path}?purpose=audit", people.supervisor, expect=404)
    assert gone["code"] == "personal_data_erased"
    assert (await people.get(f"/applicants/{applicant}", people.county))["name"] == "**"
    assert people.app.state.privacy.keys.get(UUID(applicant)) is None
    # Work about the need goes on, and the person may come back as another applicant.
    await people.decide(need["id"], people.village, "returned", "请补充")
    await people.household(personal=personal)


async def test_a_backup_of_the_rows_says_nothing_without_the_key(people: People):
    applicant = await people.household()
    rows = await people.sql(
        "SELECT fields, sealed FROM personal_data WHERE applicant_id = :id", id=applicant
    )
    sealed = bytes(rows[0].sealed)
    for value in (NAME, PHONE, ADDRESS, ACCOUNT):
        assert value.encode() not in sealed
    await people.call("DELETE", f"/applicants/{applicant}/personal", people.supervisor)
    await people.sql(
        "INSERT INTO personal_data (applicant_id, fields, sealed) VALUES (:id, :fields, :sealed)",
        id=applicant,
        fields=rows[0].fields,
        sealed=sealed,
    )
    path = f"/applicants/{applicant}/personal?purpose=audit"
    refused = await people.get(path, people.supervisor, expect=503)
    assert refused["code"] == "personal_key_missing"


async def test_one_person_is_registered_once_a_year_whoever_enters(
    people: People, token: MakeToken
):
    personal = {"name": "李明", "id_number": an_id_number()}
    await people.household(personal=personal)
    other = token("entry_clerk", subject="another clerk", division="430200000000")
    refused = await people.post("/applicants", other, a_household(personal=personal), 409)
    assert refused["code"] == "applicant_exists"
    spaced = personal | {"id_number": personal["id_number"].lower()}
    fresh = a_household()
    batch = {"applicants": [a_household(personal=spaced), fresh, fresh | {"external_key": "k"}]}
    results = (await people.post("/applicant-batches", other, batch))["results"]
    assert [(r["outcome"], r["code"]) for r in results] == [
        ("refused", "applicant_exists"),
        ("created", None),
        ("refused", "applicant_exists"),
    ]


async def test_a_wrong_id_number_is_refused_with_its_place(people: People):
    body = a_household(personal={"name": "李明", "id_number": "430224199001011239"})
    refused = await people.post("/applicants", people.clerk, body, 422)
    assert refused["code"] == "id_number_invalid"
    assert refused["errors"][0]["loc"] == ["personal", "id_number"]
    assert "430224199001011239" not in str(refused)


async def test_personal_data_is_in_no_public_answer_no_event_and_no_log(
    people: People, caplog: pytest.LogCaptureFixture
):
    number = an_id_number()
    caplog.set_level("DEBUG")
    body = a_household()
    body["personal"]["id_number"] = number
    applicant = (await people.post("/applicants", people.clerk, body, 201))["id"]
    need = await people.published(applicant=applicant)
    on_notice = await people.need(applicant)
    await people.pass_all(on_notice["id"])
    await people.get(f"/applicants/{applicant}/personal?purpose=visit", people.county)
    answers = [
        await people.get(path)
        for path in (
            "/needs?limit=200",
            f"/needs/{need['id']}",
            "/notices?limit=200",
            "/policies",
            "/policy-activations",
            "/vocabulary/categories",
            "/divisions",
        )
    ]
    told = await people.sql(
        "SELECT row_to_json(e)::text AS line FROM event e"
        " UNION ALL SELECT row_to_json(o)::text FROM outbox o"
    )
    assert "request" in caplog.text  # logs are really looked at
    said = str(answers) + "".join(row.line for row in told) + caplog.text
    for value in (NAME, number, PHONE, ACCOUNT, ADDRESS):
        assert value not in said, value
    # No event says the village or the applicant's own id.
    lines = "".join(row.line for row in told)
    assert "430224101201" not in lines
    assert applicant not in lines


async def test_an_id_number_in_other_digits_is_refused(people: People):
    """Full-width digits would pass the check and give another blind index for the same person."""
    number = an_id_number()
    wide = number.translate({ord(digit): ord(digit) - 0x30 + 0xFF10 for digit in "0123456789"})
    for odd in (wide, "X" * 17 + number[-1], "1" * 17 + "０"):
        body = a_household(personal={"name": "李明", "id_number": odd})
        refused = await people.post("/applicants", people.clerk, body, 422)
        assert refused["code"] == "id_number_invalid", odd


async def test_a_supervisor_erases_in_their_own_division_only(people: People, token: MakeToken):
    applicant = await people.household()
    path = f"/applicants/{applicant}/personal"
    stranger = token("supervisor", subject="supervisor elsewhere", division=OTHER_COUNTY)
    refused = await people.call("DELETE", path, stranger, expect=403)
    assert refused["code"] == "outside_division"
    read = await people.get(f"{path}?purpose=check", people.supervisor)
    assert read["name"] == NAME


async def test_a_code_that_is_kept_for_ever_holds_no_number_of_a_person(people: People):
    applicant = await people.household()
    path = f"/applicants/{applicant}/personal?purpose=call_{PHONE}"
    refused = await people.get(path, people.county, expect=422)
    assert refused["code"] == "personal_data_in_text"
    need = await people.need(applicant)
    body = {"reason_code": f"same_phone_{PHONE}"}
    refused = await people.post(f"/needs/{need['id']}/recusals", people.township, body, 422)
    assert refused["code"] == "personal_data_in_text"


async def test_the_applicants_name_is_no_key(people: People):
    body = a_household(external_key=f"{NAME}-1")
    refused = await people.post("/applicants", people.clerk, body, 422)
    assert (refused["code"], refused["errors"][0]["loc"]) == ("invalid_content", ["external_key"])
    body = a_need(await people.household(), external_key=f"2020/{NAME}")
    refused = await people.post("/needs", people.clerk, body, 422)
    assert (refused["code"], refused["errors"][0]["loc"]) == ("invalid_content", ["external_key"])


async def test_who_only_enters_sees_what_they_entered(people: People, token: MakeToken):
    applicant = await people.household()
    need = await people.need(applicant)
    other = token("entry_clerk", subject="one who only enters", division=COUNTY)
    for path in (f"/applicants/{applicant}", f"/work/needs/{need['id']}"):
        refused = await people.get(path, other, expect=403)
        assert refused["code"] == "entered_by_another", path
    assert (await people.get("/work/needs", other))["data"] == []
    own = (await people.post("/applicants", other, a_household(), 201))["id"]
    mine = await people.post("/needs", other, a_need(own), 201)
    listed = (await people.get("/work/needs", other))["data"]
    assert [row["id"] for row in listed] == [mine["id"]]
    refused = await people.post(f"/needs/{need['id']}/withdrawal", other, expect=403)
    assert refused["code"] == "entered_by_another"


def test_two_first_starts_at_once_agree_on_one_secret(tmp_path: Path):
    """Each of two processes that found none would else wrap keys under a KEK of its own."""
    program = (
        "import sys; from pathlib import Path; from services.needs.privacy import _secret\n"
        "sys.stdin.readline(); print(_secret(Path(sys.argv[1])).hex())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "kek")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1


async def test_a_text_that_cannot_be_screened_for_the_name_is_not_taken(people: People):
    applicant = await people.household()
    await people.app.state.privacy.keys.destroy(UUID(applicant))
    body = a_need(applicant, text=f"{NAME}家急需")
    refused = await people.post("/needs", people.clerk, body, 503)
    assert refused["code"] == "personal_key_missing"
