"""The verifier finds what is done to the database behind the service's back, and says where."""

import asyncio
import base64
import json
import shutil
import sys

import asyncpg
import pytest
from sqlalchemy import text

from services.audit import domain, hashes, operations, verifier
from services.audit.queries import stored
from tests.audit.conftest import SIZE, events

UNBOUND = "ALTER TABLE entry DROP CONSTRAINT ck_entry_index_not_negative"
GOOD = {"ok": True, "first_bad_index": None, "problem": None}
UNTOUCHED_COLUMNS = "key, producer, seq, type, subject, division, actor, actor_role, time, mentions"


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257])
async def test_a_healthy_log_passes(running, size):
    await running.fill(size)
    status, summary = await running.verify()
    assert (status, summary["size"]) == (0, size)
    assert summary.items() >= GOOD.items()


async def test_in_a_log_of_more_than_a_tile_of_tiles_only_what_was_changed_is_bad(running):
    size = 65_536 + 300
    await running.fill_at_once(size)
    await running.tamper("UPDATE node SET hash = sha256('x') WHERE level = 16")
    arguments = verifier._arguments(running.to_verify())
    status, findings, summary = await asyncio.to_thread(verifier.check, arguments)
    assert (status, summary["size"]) == (1, size)
    assert [(each.first, each.last) for each in findings] == [(0, 65_535)]
    assert "level 16" in summary["problem"]


async def test_without_the_copy_the_public_can_verify_too(log):
    assert (await log.verify(copy=False))[0] == 0


async def test_a_changed_byte_of_a_body_is_found(filled):
    places = ["0", "31", "octet_length(body) / 2", "octet_length(body) - 1"]
    for turn, index in enumerate([0, 7, 128, 255, 256, 257, SIZE - 2, SIZE - 1]):
        place = places[turn % len(places)]
        flip = (
            f"UPDATE entry SET body = set_byte(body, {place}, get_byte(body, {place}) # 1)"
            f" WHERE index = {index}"
        )
        await filled.tamper(flip)
        status, summary = await filled.verify()
        assert (status, summary["first_bad_index"]) == (1, index), summary
        await filled.tamper(flip)
    assert (await filled.verify())[0] == 0


async def test_the_command_says_where_in_its_last_line(filled):
    await filled.tamper("UPDATE entry SET body = set_byte(body, 60, 0) WHERE index = 100")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        verifier.__file__,
        *filled.to_verify(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert (process.returncode, errors) == (1, b"")
    lines = output.decode().splitlines()
    assert lines[0].startswith("bad index 100: ")
    assert json.loads(lines[-1])["first_bad_index"] == 100


async def test_a_changed_fact_with_everything_made_to_fit_is_found(filled):
    await filled.tamper(
        "UPDATE entry SET body = convert_to(replace(convert_from(body, 'UTF8'),"
        ' \'"level":"township"\', \'"level":"villages"\'), \'UTF8\') WHERE index = 100',
        "UPDATE node SET hash = sha256('made to fit')",
    )
    status, summary = await filled.verify()
    assert (status, summary["first_bad_index"]) == (1, 100), summary


async def test_without_the_leaf_hashes_the_smallest_range_is_named(filled):
    (filled.state_dir / "leaves").unlink()
    await filled.tamper(
        "UPDATE entry SET body = convert_to(replace(convert_from(body, 'UTF8'),"
        ' \'"level":"township"\', \'"level":"villages"\'), \'UTF8\') WHERE index = 100'
    )
    status, summary = await filled.verify()
    assert status == 1
    assert summary["first_bad_index"] <= 100 <= summary["last_possible_index"] < 256
    status, summary = await filled.verify(copy=False)
    assert status == 1
    # Of two stored checkpoints the one before holds, the one after does not.
    first, last = summary["first_bad_index"], summary["last_possible_index"]
    assert 0 <= first <= 100 <= last <= 255


async def test_forged_leaf_hashes_beside_the_copy_mislead_nobody(filled):
    leaves = filled.state_dir / "leaves"
    content = bytearray(leaves.read_bytes())
    content[32 * 5] ^= 1
    leaves.write_bytes(content)
    assert (await filled.verify())[0] == 0
    await filled.tamper("UPDATE entry SET body = set_byte(body, 60, 0) WHERE index = 100")
    status, summary = await filled.verify()
    assert status == 1
    assert summary["first_bad_index"] <= 100 <= summary["last_possible_index"]


async def test_a_changed_leaf_is_found(filled):
    await filled.tamper(
        "ALTER TABLE entry ALTER COLUMN leaf DROP EXPRESSION",
        "UPDATE entry SET leaf = sha256('x') WHERE index = 270",
    )
    status, summary = await filled.verify()
    assert (status, summary["first_bad_index"]) == (1, 270)


async def test_a_changed_query_column_is_found(filled):
    changes = [
        "key = gen_random_uuid()",
        "producer = 'matching'",
        "seq = 999",
        "type = 'x'",
        "subject = 'x'",
        "division = NULL",
        "actor = 'x'",
        "actor_role = 'x'",
        "time = time + interval '1 microsecond'",
        "mentions = '{}'",
        "mentions = ARRAY[mentions]",
        "mentions = array_append(mentions, NULL)",
        "mentions = array_append(mentions, gen_random_uuid())",
        "time = time - interval '4051 years'",  # 2026 BC
        "division = coalesce(division, '') || 'x'",
        "actor = actor || chr(31)",
    ]
    for index, change in reversed(list(enumerate(changes, start=40))):
        await filled.tamper(f"UPDATE entry SET {change} WHERE index = {index}")
        status, summary = await filled.verify()
        assert (status, summary["first_bad_index"]) == (1, index), change


async def test_a_changed_node_is_found(filled):
    await filled.tamper("UPDATE node SET hash = sha256('x') WHERE level = 8 AND index = 0")
    status, summary = await filled.verify()
    assert (status, summary["first_bad_index"]) == (1, 0)
    assert "node" in summary["problem"]


async def test_a_removed_node_is_found(filled):
    await filled.tamper("DELETE FROM node")
    status, summary = await filled.verify()
    assert (status, summary["first_bad_index"]) == (1, 0)


async def test_a_removed_entry_is_found(filled):
    for index in (SIZE - 1, 256, 100, 0):
        await filled.tamper(f"DELETE FROM entry WHERE index = {index}")
        status, summary = await filled.verify()
        assert (status, summary["first_bad_index"]) == (1, index), summary


async def test_a_removed_entry_with_the_rest_moved_up_is_found(filled):
    await filled.tamper(
        UNBOUND,
        "DELETE FROM entry WHERE index = 100",
        "UPDATE entry SET index = -index WHERE index > 100",
        "UPDATE entry SET index = -index - 1 WHERE index < 0",
    )
    status, summary = await filled.verify()
    assert (status, summary["first_bad_index"]) == (1, 100), summary


async def _roll_back(filled, size):
    """Cut the tail off everywhere in the database, so that it is a healthy, shorter log."""
    async with filled.app.state.sessions() as session:
        frontier = await hashes.frontier_at(session, size)
        at = await session.scalar(
            text("SELECT max(size) FROM checkpoint WHERE size <= :size"), {"size": size}
        )
    assert at == size
    await filled.tamper(
        f"DELETE FROM entry WHERE index >= {size}",
        f"DELETE FROM checkpoint WHERE size > {size}",
        f"DELETE FROM node WHERE level = 8 AND index >= {size >> 8}",
        f"UPDATE head SET size = {size}, frontier = '\\x{frontier.to_bytes().hex()}'",
    )


async def test_a_tail_cut_off_consistently_is_found(running):
    await running.fill(290)
    await running.take_in("matching", events("matching", 1, 10))
    await running.signed(300)
    await _roll_back(running, 290)
    status, summary = await running.verify()
    assert (status, summary["first_bad_index"]) == (1, 290), summary
    assert summary["last_possible_index"] == 299


async def test_a_tail_cut_off_and_grown_again_is_found_and_never_signed(running):
    await running.fill(290)
    await running.take_in("matching", events("matching", 1, 10))
    await running.signed(300)
    await _roll_back(running, 290)
    assert "tail is missing" in await running.refused()
    # Somebody appends past the service, as the service's own role could.
    async with running.app.state.sessions.begin() as session:
        before = await operations.head(session)
        forged = [domain.entry_of("matching", each) for each in events("matching", 1, 20)]
        assert await operations.append(session, before, forged)
    status, summary = await running.verify()
    assert (status, summary["first_bad_index"]) == (1, 290), summary


async def test_removed_checkpoints_are_found(filled):
    await filled.tamper("DELETE FROM checkpoint WHERE size > 290")
    status, summary = await filled.verify()
    assert status == 1
    assert summary["first_bad_index"] <= 290


async def test_an_added_entry_is_found(filled):
    await filled.tamper(
        f"INSERT INTO entry (index, body, {UNTOUCHED_COLUMNS})"
        f" SELECT {SIZE}, body, gen_random_uuid(), 'matching', 1, type, subject, division, actor,"
        " actor_role, time, mentions FROM entry WHERE index = 3"
    )
    status, summary = await filled.verify()
    assert (status, summary["first_bad_index"]) == (1, SIZE), summary


async def test_an_entry_added_in_the_middle_is_found(filled):
    await filled.tamper(
        UNBOUND,
        "UPDATE entry SET index = -index WHERE index >= 100",
        "UPDATE entry SET index = -index + 1 WHERE index < 0",
        f"INSERT INTO entry (index, body, {UNTOUCHED_COLUMNS})"
        " SELECT 100, body, gen_random_uuid(), 'matching', 1, type, subject, division, actor,"
        " actor_role, time, mentions FROM entry WHERE index = 3",
    )
    status, summary = await filled.verify()
    assert (status, summary["first_bad_index"]) == (1, 100), summary


@pytest.mark.parametrize(("one", "other"), [(6, 7), (10, 11), (3, 299)])
async def test_swapped_entries_are_found(filled, one, other):
    await filled.tamper(
        UNBOUND,
        f"UPDATE entry SET index = -1 WHERE index = {one}",
        f"UPDATE entry SET index = {one} WHERE index = {other}",
        f"UPDATE entry SET index = {other} WHERE index = -1",
    )
    status, summary = await filled.verify()
    assert (status, summary["first_bad_index"]) == (1, one), summary


async def test_a_changed_head_is_found_and_nothing_more_is_signed(filled):
    await filled.tamper("UPDATE head SET frontier = set_byte(frontier, 0, 7)")
    assert "head" in await filled.refused()
    status, _ = await filled.verify()
    assert status == 1


async def test_a_removed_head_is_found(filled):
    await filled.tamper("DELETE FROM head")
    assert "head" in await filled.refused()
    status, summary = await filled.verify()
    assert status == 1
    assert "head is missing" in summary["problem"]


async def test_a_forged_checkpoint_is_found(filled):
    await filled.tamper("UPDATE checkpoint SET note = replace(note, 'log.test', 'log.tess')")
    status, summary = await filled.verify()
    assert status == 1
    assert "not to be trusted" in summary["problem"]


async def test_nothing_is_said_of_a_log_that_does_not_answer(filled):
    filled.url = "http://127.0.0.1:9"
    status, summary = await filled.verify("--timeout-s", "1")
    assert status == 2
    assert not summary["ok"]


async def test_a_log_under_another_key_is_bad(filled, tmp_path, start):
    async with start("another") as another:
        await another.signed(0)
        shutil.copy(another.state_dir / "log.vkey", tmp_path / "other.vkey")
    words = ["--log", filled.url, "--key", str(tmp_path / "other.vkey")]
    status, _, summary = await asyncio.to_thread(verifier.check, verifier._arguments(words))
    assert status == 1
    assert "not signed with the given key" in summary["problem"]


async def test_receipts_check_offline(log, tmp_path):
    rows = (await log.client.get("/v1/columns", params={"first": 100, "limit": 1})).json()
    event_id = rows["data"][0]["event_id"]
    receipt = await log.client.get(f"/v1/receipts/{event_id}")
    (tmp_path / "receipt").write_text(receipt.text)
    proof = (await log.client.get("/v1/proofs/inclusion", params={"event_id": event_id})).json()
    bundle = (await log.client.get("/tile/entries/000")).content
    (tmp_path / "entry").write_bytes(verifier.unpack(bundle)[100])
    (tmp_path / "other").write_bytes(verifier.unpack(bundle)[101])
    leaf = base64.b64decode(proof["leaf"]).hex()

    def check(*more):
        words = ["--receipt", str(tmp_path / "receipt"), "--key", str(log.state_dir / "log.vkey")]
        status, _, summary = verifier.check(verifier._arguments([*words, *more]))
        return status, summary["problem"]

    assert check("--leaf", leaf) == check("--entry", str(tmp_path / "entry")) == (0, None)
    for wrong in (["--leaf", bytes(32).hex()], ["--entry", str(tmp_path / "other")]):
        status, problem = check(*wrong)
        assert status == 1
        assert "another root" in problem
    # A signature alone says nothing about any entry.
    status, problem = check()
    assert status == 2
    assert "give the entry" in problem


async def test_a_column_that_is_null_is_found_though_its_neighbour_tells_its_row(filled):
    """The text would be the same if a row could be left out and be told by another."""
    line = (
        "concat_ws(chr(31), producer, seq, actor, actor_role, mentions, coalesce(division, ''),"
        " key, subject, time, type)"
    )
    await filled.tamper(
        "SET timezone = 'UTC'",
        "ALTER TABLE entry ALTER COLUMN actor DROP NOT NULL",
        f"UPDATE entry SET type = type || chr(31) || (SELECT {line} FROM entry WHERE index = 71)"
        " WHERE index = 70",
        "UPDATE entry SET actor = NULL WHERE index = 71",
    )
    status, summary = await filled.verify()
    assert (status, summary["first_bad_index"]) == (1, 70), summary


@pytest.mark.parametrize(
    ("column", "before"),
    [
        *(("seq", "producer"), ("mentions", "actor_role"), ("key", "division")),
        *(("time", "subject"), ("actor_role", "actor")),
    ],
)
async def test_a_column_that_is_null_is_found_though_the_one_before_it_tells_it(
    filled, column, before
):
    """Of what is null nothing would be told, and the text would be the same."""
    await filled.tamper(
        "SET timezone = 'UTC'",
        f"ALTER TABLE entry ALTER COLUMN {column} DROP NOT NULL",
        f"UPDATE entry SET {before} = concat_ws(chr(31), {before}, {column}), {column} = NULL"
        " WHERE index = 70",
    )
    status, summary = await filled.verify()
    assert (status, summary["first_bad_index"]) == (1, 70), summary


FORGED = (
    f"INSERT INTO entry (index, body, {UNTOUCHED_COLUMNS}) SELECT 319, body, gen_random_uuid(),"
    " 'matching', 1, type, subject, division, actor, actor_role, time, mentions FROM entry"
    " WHERE index = 3"
)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        (["ALTER TABLE entry DROP CONSTRAINT pk_entry", FORGED], (319, 319)),
        (["CREATE TABLE more () INHERITS (entry)", FORGED.replace("entry", "more", 1)], (319, 319)),
        (
            [
                "ALTER TABLE entry DROP CONSTRAINT pk_entry",
                "UPDATE entry SET index = 306 WHERE index = 305",
                "CREATE INDEX in_order ON entry (index, seq)",
                "CLUSTER entry USING in_order",
            ],
            (305, 305),
        ),
        (
            [
                "ALTER TABLE entry ALTER COLUMN leaf DROP EXPRESSION",
                "ALTER TABLE entry ALTER COLUMN body DROP NOT NULL",
                r"UPDATE entry SET body = body || '\x00'::bytea || (SELECT body FROM entry"
                " WHERE index = 307) WHERE index = 306",
                "UPDATE entry SET body = NULL WHERE index = 307",
            ],
            (256, 511),
        ),
        (
            [
                "ALTER TABLE entry ALTER COLUMN leaf DROP EXPRESSION",
                "ALTER TABLE entry ALTER COLUMN leaf DROP NOT NULL",
                "UPDATE entry SET leaf = leaf || (SELECT leaf FROM entry WHERE index = 307)"
                " WHERE index = 306",
                "UPDATE entry SET leaf = NULL WHERE index = 307",
            ],
            (256, 511),
        ),
        (
            [
                "ALTER TABLE entry ALTER COLUMN leaf DROP EXPRESSION",
                "UPDATE entry SET leaf = (SELECT substr(leaf, 32) FROM entry WHERE index = 306)"
                " || leaf WHERE index = 307",
                "UPDATE entry SET leaf = substr(leaf, 1, 31) WHERE index = 306",
            ],
            (256, 511),
        ),
    ],
)
async def test_rows_that_read_in_bulk_like_others_are_found(running, changes, place):
    """One index twice, an index for another, two entries in one row; in a tile not looked at."""
    await running.fill(600)
    await running.tamper(*changes)
    status, summary = await running.verify()
    found = summary["first_bad_index"], summary["last_possible_index"]
    assert (status, found) == (1, place), summary


async def test_columns_count_among_the_bytes_of_an_answer(filled, monkeypatch):
    monkeypatch.setattr(stored, "BYTES_SUM_MAX", 300_000)
    path = f"/v1/stored?first=0&limit={SIZE}"
    assert (await filled.client.get(path)).status_code == 200
    await filled.tamper("UPDATE entry SET actor = repeat('x', 2000)")
    assert (await filled.client.get(path)).json()["code"] == "too_many_bytes"


async def test_a_connection_lost_between_two_questions_of_an_answer_is_no_fault_of_ours(
    filled, monkeypatch
):
    path = f"/v1/stored?first=0&limit={SIZE}"
    ask = asyncpg.Connection.fetch

    async def ask_and_lose(self, *arguments):
        answer = await ask(self, *arguments)
        self.terminate()
        return answer

    with monkeypatch.context() as changed:
        changed.setattr(stored, "ROWS_AT_ONCE", 64)
        changed.setattr(asyncpg.Connection, "fetch", ask_and_lose)
        answer = await filled.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert (await filled.client.get(path)).status_code == 200
