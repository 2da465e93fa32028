"""What the log answers, and to whom."""

import asyncio
import base64
import hashlib
import struct
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from services.audit import verifier
from shared.client import Client
from shared.events import CloudEvent, Consumer
from shared.tlog import merkle
from shared.tlog.checkpoints import Receipt, open_checkpoint
from shared.tlog.notes import VerifierKey
from tests.audit.conftest import SIZE, TOWNSHIP, an_event, events


@pytest.fixture
def supervisor(token):
    return token("supervisor", subject="supervisor-1")


def unpack(bundle):
    bodies, at = [], 0
    while at < len(bundle):
        (length,) = struct.unpack_from(">H", bundle, at)
        bodies.append(bundle[at + 2 : at + 2 + length])
        at += 2 + length
    return bodies


# ---------------------------------------------------------------- public: C2SP


async def test_anybody_can_rebuild_the_root_from_bundles(log):
    note = (await log.client.get("/checkpoint")).text
    key = VerifierKey.parse((await log.client.get("/v1/key")).text)
    bodies = []
    for path in ("000", "001.p/44"):
        answer = await log.client.get(f"/tile/entries/{path}")
        assert "immutable" in answer.headers["cache-control"]
        bodies += unpack(answer.content)
    frontier, _ = merkle.extend(merkle.Frontier(), map(merkle.leaf_hash, bodies))
    checkpoint = open_checkpoint(note, key)
    assert (checkpoint.size, checkpoint.root) == (SIZE, frontier.root)


async def test_tiles_are_the_hashes_of_the_specification(log):
    level_0 = (await log.client.get("/tile/0/000")).content
    level_1 = (await log.client.get("/tile/1/000.p/1")).content
    leaves = [level_0[at : at + 32] for at in range(0, len(level_0), 32)]
    assert len(leaves) == 256
    assert merkle.extend(merkle.Frontier(), leaves)[0].root == level_1
    partial = (await log.client.get("/tile/0/000.p/10")).content
    assert partial == level_0[:320]


@pytest.mark.parametrize(
    "path",
    [
        "/tile/0/001",
        "/tile/0/001.p/45",
        "/tile/0/002.p/1",
        "/tile/1/000",
        "/tile/1/000.p/2",
        "/tile/2/000.p/1",
        "/tile/63/000.p/1",
        "/tile/entries/001",
        "/tile/entries/x001/000",
        "/tile/entries/1",
    ],
)
async def test_tiles_that_are_not_under_the_checkpoint_are_not_served(log, path):
    answer = await log.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "tile_not_found")


async def test_a_full_tile_never_changes_while_the_log_grows(running):
    await running.fill(256)
    before = (await running.client.get("/tile/entries/000")).content
    await running.take_in("matching", events("matching", 1, 30))
    await running.signed(286)
    assert (await running.client.get("/tile/entries/000")).content == before


async def test_nothing_is_served_in_the_place_of_missing_entries(filled):
    await filled.tamper("DELETE FROM entry WHERE index = 17")
    answer = await filled.client.get("/tile/entries/000")
    assert (answer.status_code, answer.json()["code"]) == (503, "entries_missing")
    assert "17" in answer.json()["detail"]


# ---------------------------------------------------------------- public: proofs


async def test_every_entry_has_a_receipt_that_checks_offline(log):
    key = VerifierKey.parse((await log.client.get("/v1/key")).text)
    rows = (await log.client.get("/v1/columns", params={"limit": 1_000})).json()["data"]
    assert [row["index"] for row in rows] == list(range(SIZE))
    bodies = [
        body
        for path in ("000", "001.p/44")
        for body in unpack((await log.client.get(f"/tile/entries/{path}")).content)
    ]
    policy = verifier.read_keys([str(key)])
    for index in (0, 1, 127, 128, 255, 256, 257, SIZE - 1):
        answer = await log.client.get(f"/v1/receipts/{rows[index]['event_id']}")
        assert answer.headers["content-type"].startswith("text/plain")
        receipt = Receipt.parse(answer.text)
        checkpoint = open_checkpoint(receipt.checkpoint_note, key)
        leaf = merkle.leaf_hash(bodies[index])
        assert receipt.index == index
        merkle.verify_inclusion(index, checkpoint.size, leaf, receipt.hashes, checkpoint.root)
        assert verifier.prove_receipt(answer.text, leaf, policy).size == checkpoint.size


async def test_inclusion_is_proved_by_index_or_event(log):
    by_index = (await log.client.get("/v1/proofs/inclusion", params={"index": 5})).json()
    row = (await log.client.get("/v1/columns", params={"first": 5, "limit": 1})).json()
    event_id = row["data"][0]["event_id"]
    by_event = await log.client.get("/v1/proofs/inclusion", params={"event_id": event_id})
    assert by_event.json() == by_index


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({}, 400, "no_entry_named"),
        ({"index": 1, "event_id": str(UUID(int=1))}, 400, "no_entry_named"),
        ({"index": 300}, 404, "entry_not_found"),
        ({"event_id": str(UUID(int=1))}, 404, "entry_not_found"),
        ({"index": -1}, 422, "invalid_content"),
    ],
)
async def test_what_cannot_be_proved_is_said(log, query, status, code):
    answer = await log.client.get("/v1/proofs/inclusion", params=query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_an_entry_not_signed_yet_has_no_receipt(filled):
    await filled.tamper("UPDATE head SET frontier = frontier || frontier")  # stops the signing
    await filled.refused()
    await filled.tamper(
        "INSERT INTO entry (index, body, key, producer, seq, type, subject, actor, actor_role,"
        " time, mentions) SELECT 300, body, 'aaaaaaaa-0000-0000-0000-000000000000', 'audit', 1,"
        " type, subject, actor, actor_role, time, mentions FROM entry WHERE index = 0"
    )
    answer = await filled.client.get("/v1/receipts/aaaaaaaa-0000-0000-0000-000000000000")
    assert (answer.status_code, answer.json()["code"]) == (409, "entry_not_signed")


async def test_consistency_is_proved_between_any_two_sizes(log):
    leaves = []
    for path in ("000", "001.p/44"):
        tile = (await log.client.get(f"/tile/0/{path}")).content
        leaves += [tile[at : at + 32] for at in range(0, len(tile), 32)]
    for first, second in ((1, 2), (7, 256), (256, 300), (255, 257), (300, 300), (128, 299)):
        answer = await log.client.get(
            "/v1/proofs/consistency", params={"first": first, "second": second}
        )
        proof = [base64.b64decode(each) for each in answer.json()["hashes"]]
        old, new = (merkle.extend(merkle.Frontier(), leaves[:n])[0].root for n in (first, second))
        merkle.verify_consistency(first, second, old, new, proof)


@pytest.mark.parametrize(("first", "second"), [(0, 5), (6, 5), (5, 301)])
async def test_sizes_out_of_range_are_refused(log, first, second):
    answer = await log.client.get(
        "/v1/proofs/consistency", params={"first": first, "second": second}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "sizes_out_of_range")


async def test_the_verifier_is_served_as_it_is(log):
    served = (await log.client.get("/v1/verifier")).content
    with open(verifier.__file__, "rb") as file:  # noqa: ASYNC230 - a small file in a test
        assert hashlib.sha256(served).digest() == hashlib.sha256(file.read()).digest()


# ---------------------------------------------------------------- the trail


async def trail(running, headers, **query):
    answer = await running.client.get("/v1/entries", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_trail_of_one_need_in_both_orders_with_cursors(log, supervisor):
    need = str(UUID(int=4))
    seen, cursor = [], None
    while True:
        query = {"need": need, "limit": 7} | ({"cursor": cursor} if cursor else {})
        answer = await trail(log, supervisor, **query)
        seen += answer["data"]
        if not answer["meta"]["has_more"]:
            break
        cursor = answer["links"]["next"].rpartition("cursor=")[2].partition("&")[0]
    indexes = [row["index"] for row in seen]
    rows = (await log.client.get("/v1/columns", params={"limit": 1_000})).json()["data"]
    assert indexes == sorted(indexes)
    assert indexes == [row["index"] for row in rows if need in row["mentions"]]
    assert all(row["event"]["data"]["need_id"] == need for row in seen)
    newest = await trail(log, supervisor, need=need, order="newest", limit=200)
    assert [row["index"] for row in newest["data"]] == indexes[::-1]


async def test_the_trail_by_everything_else(running, supervisor):
    allocation, organization, offer = (str(uuid4()) for _ in range(3))
    await running.take_in(
        "matching",
        [
            an_event(
                "matching",
                1,
                type="matching.allocation_approved",
                subject=f"allocation/{allocation}",
                actor="officer-x",
                data={"organization_id": organization, "lines": [{"offer_id": offer}]},
            ),
            an_event("matching", 2, division="110101000000"),
            an_event("matching", 3, division=None),
        ],
    )
    filters = [
        {"allocation": allocation},
        {"organization": organization},
        {"offer": offer},
        {"officer": "officer-x"},
        {"type": "matching.allocation_approved"},
        {"division": "430224000000"},
        {"division": TOWNSHIP},
        {"before": "2026-11-01T08:00:02Z"},
        {"allocation": allocation, "offer": offer, "producer": "matching"},
    ]
    for query in filters:
        rows = (await trail(running, supervisor, **query))["data"]
        assert [row["index"] for row in rows] == [0], query
    assert (await trail(running, supervisor, since="2026-11-01T08:00:02Z"))["data"][0]["index"] == 1
    assert (await trail(running, supervisor, allocation=str(uuid4())))["data"] == []


async def test_reading_the_trail_is_logged(filled, supervisor):
    await trail(filled, supervisor, officer="officer-1", division=TOWNSHIP)
    async with filled.app.state.sessions() as session:
        rows = await session.execute(
            text(
                "SELECT actor, actorrole, division, data FROM outbox"
                " WHERE type = 'audit.trail_read' UNION ALL"
                " SELECT actor, actorrole, division, data FROM event"
                " WHERE type = 'audit.trail_read'"
            )
        )
        (row,) = rows.all()
    assert (row.actor, row.actorrole, row.division) == ("supervisor-1", "supervisor", TOWNSHIP)
    assert row.data["officer"] == "officer-1"


async def test_what_was_asked_for_is_logged_only_in_words_the_log_has(filled, supervisor):
    """The log is public and for ever: a name typed into a filter must not get there."""
    asked = {"officer": "李小明 13800138000", "type": "zhang.san"}
    for name, value in asked.items():
        assert (await trail(filled, supervisor, **{name: value}))["data"] == []
    async with filled.app.state.sessions() as session:
        rows = await session.scalars(
            text(
                "SELECT data::text FROM outbox WHERE type = 'audit.trail_read' UNION ALL"
                " SELECT data::text FROM event WHERE type = 'audit.trail_read'"
            )
        )
        told = rows.all()
    assert len(told) == 2
    assert all("not in the log" in each for each in told)
    assert not any(value in each for value in asked.values() for each in told)


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        (None, "/v1/entries", 401),
        ("organization", "/v1/entries", 403),
        ("county_officer", "/v1/entries", 403),
        ("service", "/v1/entries", 403),
        ("supervisor", "/v1/entries", 200),
        ("auditor", "/v1/entries", 200),
        (None, "/appended", 401),
        ("supervisor", "/appended", 403),
        ("service", "/appended", 200),
        (None, "/events", 401),
        ("service", "/events", 200),
        (None, "/checkpoint", 200),
        (None, "/tile/0/000", 200),
        (None, "/tile/entries/000", 200),
        (None, "/v1/proofs/inclusion?index=0", 200),
        (None, "/v1/proofs/consistency?first=1&second=2", 200),
        (None, "/v1/columns", 200),
        (None, "/v1/head", 200),
        (None, "/v1/verifier", 200),
    ],
)
async def test_who_may_ask(log, token, role, path, status):
    headers = token(role) if role else {}
    assert (await log.client.get(path, headers=headers)).status_code == status


async def test_a_bad_cursor_is_refused(log, supervisor):
    answer = await log.client.get("/v1/entries", params={"cursor": "x"}, headers=supervisor)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


# ---------------------------------------------------------------- the log as a feed


async def test_matching_can_follow_what_is_signed(filled, token, tmp_path):
    (tmp_path / "token").write_text(token("service")["Authorization"].removeprefix("Bearer "))
    heard: list[CloudEvent] = []

    async def hear(session, batch):
        heard.extend(batch)

    client = Client(filled.url, tmp_path / "token")
    consumer = Consumer("log", client, hear, path="/appended", batch_size=100)
    following = asyncio.create_task(consumer.run(filled.app.state.sessions))
    await filled.take_in("matching", events("matching", 1, 5))
    for _ in range(100):
        if len(heard) == SIZE + 5:
            break
        await asyncio.sleep(0.05)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await client.aclose()
    assert [each.seq for each in heard] == list(range(1, SIZE + 6))
    assert [each.data["index"] for each in heard] == list(range(SIZE + 5))
    assert all(each.data["size_signed"] > each.data["index"] for each in heard)
    assert heard[-1].data["producer"] == "matching"
    assert consumer.stopped_at is None


async def test_the_listing_never_changes(filled, token):
    async def ask():
        answer = await filled.client.get("/appended?after=250&limit=20", headers=token("service"))
        return answer.json()

    before = await ask()
    await filled.take_in("matching", events("matching", 1, 5))
    await filled.signed(SIZE + 5)
    assert await ask() == before


async def test_a_follower_that_has_seen_another_log_is_refused(filled, token):
    async def ask(after, after_id):
        asked = {"after": after, "after_id": str(after_id)}
        return await filled.client.get("/appended", params=asked, headers=token("service"))

    followed = await filled.client.get("/appended?after=250&limit=20", headers=token("service"))
    ids = {int(each["sequence"]): each["id"] for each in followed.json()}
    assert next(each["sequence"] for each in (await ask(251, ids[251])).json()) == "252"
    # What a log set back to a backup has there instead.
    await filled.tamper("UPDATE entry SET key = gen_random_uuid() WHERE index = 259")
    for after, after_id in ((260, ids[260]), (252, ids[251]), (0, ids[251]), (SIZE + 9, ids[251])):
        answer = await ask(after, after_id)
        assert (answer.status_code, answer.json()["code"]) == (409, "feed_behind")


async def test_the_wait_for_news_ends_when_something_is_signed(filled, token):
    waiting = asyncio.create_task(
        filled.client.get(f"/appended?after={SIZE}&wait=20", headers=token("service"))
    )
    await asyncio.sleep(0.2)
    await filled.take_in("matching", events("matching", 1, 1))
    answer = await asyncio.wait_for(waiting, 19)
    assert [each["data"]["index"] for each in answer.json()] == [SIZE]


async def test_the_logs_own_events_are_logged_once_and_do_not_loop(start, token):
    async with start(own_feed=True) as running:
        await running.signed(1)
        await running.client.get("/v1/entries", headers=token("supervisor"))
        await running.signed(2)
        await asyncio.sleep(0.3)
        rows = (await running.client.get("/v1/columns")).json()["data"]
        assert [row["type"] for row in rows] == ["audit.log_started", "audit.trail_read"]
        assert (await running.verify())[0] == 0
