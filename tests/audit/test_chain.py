"""The chain of one allocation: what belongs to it, that it is proved, and what it lacks."""

from __future__ import annotations

import base64
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.event import listen

from services.audit import chain, hashes, sentences
from services.audit.contract import Producer
from services.audit.queries import chain as chains
from services.donors import contract as donors
from services.matching import contract as matching
from services.needs import contract as needs
from shared.events import Event
from shared.tlog import merkle
from shared.tlog.checkpoints import open_checkpoint
from shared.tlog.notes import VerifierKey
from tests.audit.conftest import an_event
from tests.audit.life import Life


@pytest.fixture
def supervisor(token):
    return token("supervisor", subject="supervisor-1")


async def ask(running, headers, allocation):
    return await running.client.get(f"/v1/allocations/{allocation}/chain", headers=headers)


async def lived(running, life, **more):
    seqs: dict[Producer, int] = {}
    steps = await life.live(running, seqs, **more)
    await running.signed(sum(seqs.values()))
    return steps


async def test_a_whole_life_is_told_in_order_and_each_step_is_proved(running, supervisor):
    life, other = Life(), Life()
    other.need, other.offer, other.line = life.need, life.offer, life.line
    other.organization, other.round = life.organization, life.round
    seqs: dict[Producer, int] = {}
    steps = await life.live(running, seqs)
    # Another allocation of the same round, need and offer: nothing of it is shown.
    other.left_out = frozenset(s for s in steps if not s.startswith("matching.allocation"))
    await other.live(running, seqs)
    await running.signed(sum(seqs.values()))

    told = (await ask(running, supervisor, life.allocation)).raise_for_status().json()
    shown = [each["type"] for each in told["steps"]]
    assert shown == [step.partition(":")[0] for step in steps]
    assert told["missing"] == []
    key = VerifierKey.parse((await running.client.get("/v1/key")).text)
    checkpoint = open_checkpoint(told["checkpoint"], key)
    assert checkpoint.size == told["size"]
    for each in told["steps"]:
        proof = [base64.b64decode(digest) for digest in each["hashes"]]
        leaf = merkle.leaf_hash(each["body"].encode())
        merkle.verify_inclusion(each["index"], checkpoint.size, leaf, proof, checkpoint.root)
    by_type = {each["type"]: each for each in told["steps"]}
    approval = by_type["matching.allocation_approved"]
    assert (approval["actor"], approval["actor_role"]) == ("county_officer-1", "county_officer")
    assert approval["policy"] == "national-1"
    assert approval["says_zh"] == "县级干部批准了分配"
    assert by_type["donors.organization_approved"]["why"] == "材料齐全"
    assert "cd" * 32 in by_type["matching.round_computed"]["says_en"]


@pytest.mark.parametrize(
    ("life", "lacks"),
    [
        (
            Life(frozenset({"needs.need_verified:county"})),
            [("needs.need_verified:county", "absent")],
        ),
        (Life(frozenset({"needs.need_noticed"})), [("needs.need_noticed", "absent")]),
        (Life(frozenset({"matching.round_approved"})), [("matching.round_approved", "absent")]),
        (Life(frozenset({"donors.offer_approved"})), [("donors.offer_approved", "absent")]),
        (
            Life(frozenset({"matching.allocation_approved"}), log_index=3),
            [("matching.allocation_approved", "absent")],
        ),
        (Life(log_index=3), [("matching.allocation_approved", "misplaced")]),
        (
            Life(frozenset({"matching.allocation_confirmed", "matching.slip_issued"})),
            [("matching.allocation_confirmed", "absent")],
        ),
        (Life(frozenset({"matching.slip_issued"})), [("matching.slip_issued", "absent")]),
        (
            Life(frozenset({"donors.reservation_moved:dispatched"})),
            [("donors.reservation_moved:dispatched", "absent")],
        ),
        (
            Life(frozenset({"needs.commitment_moved:delivered"})),
            [("needs.commitment_moved:delivered", "absent")],
        ),
        (Life(publish_first=True), [("needs.need_reviewed", "awaited")]),
    ],
    ids=lambda each: "+".join(sorted(each.left_out)) if isinstance(each, Life) else "",
)
def test_what_the_rules_demand_and_is_not_there_is_named(life, lacks):
    assert [(each.step, each.kind) for each in lacking(life)] == lacks


def lacking(life, until=None):
    return chain.lacking(life.allocation, facts_of(life, until))


def facts_of(life, until=None):
    index_of_approval, facts = None, []
    for index, (step, subject, data, _) in enumerate(life.steps()[:until]):
        kind = step.partition(":")[0]
        if kind == "matching.allocation_approved":
            index_of_approval = index
        if kind == "matching.allocation_dispatched" and life.log_index is None:
            data["approval_log_index"] = index_of_approval
        facts.append(chain.Fact(index, kind, subject, data))
    return facts


def test_a_movement_to_no_state_moves_nothing():
    life = Life(frozenset({"donors.reservation_moved:dispatched"}))
    odd = {"allocation_id": str(life.allocation), "state": ["dispatched"]}
    fact = chain.Fact(90, "donors.reservation_moved", f"offer/{life.offer}", odd)
    assert chain.lacking(life.allocation, [*facts_of(life), fact]) == [
        chain.Lack("donors.reservation_moved:dispatched", "absent")
    ]


async def test_nobody_takes_a_step_in_another_s_name(running, supervisor):
    step = "matching.allocation_approved"
    life = Life(frozenset({step}), log_index=3)
    seqs: dict[Producer, int] = {}
    steps = await life.live(running, seqs)
    seqs["donors"] += 1
    forged = an_event(
        "donors",
        seqs["donors"],
        type=step,
        subject=f"allocation/{life.allocation}",
        data={"allocation_id": str(life.allocation)},
    )
    await running.take_in("donors", [forged])
    await running.signed(sum(seqs.values()))
    told = (await ask(running, supervisor, life.allocation)).raise_for_status().json()
    assert [each["type"] for each in told["steps"]] == [each.partition(":")[0] for each in steps]
    assert [(each["step"], each["kind"]) for each in told["missing"]] == [(step, "absent")]


@pytest.mark.parametrize(
    ("late", "early"),
    [
        ("needs.need_noticed", "needs.need_published"),
        ("needs.need_verified:county", "needs.need_published"),
        ("matching.allocation_delivered", "matching.allocation_confirmed"),
    ],
)
def test_a_step_that_stands_after_what_it_must_precede_is_named(late, early):
    life = Life()
    facts = facts_of(life)
    steps = [step for step, *_ in life.steps()]
    at, other = steps.index(late), steps.index(early)
    facts[at], facts[other] = (
        replace(facts[at], index=other),
        replace(facts[other], index=at),
    )
    facts.sort(key=lambda fact: fact.index)
    found = {(each.step, each.kind) for each in chain.lacking(life.allocation, facts)}
    named = early if late.startswith("matching.") else late
    # Along the allocation's own path it is the later step that is told: it stands too early.
    assert (named, "misplaced") in found


def test_another_quantity_in_a_ledger_is_named():
    kinds = {(each.step, each.kind) for each in lacking(Life(quantity_moved=49))}
    assert ("donors.reservation_moved:reserved", "differs") in kinds
    assert ("needs.commitment_moved:delivered", "differs") in kinds


def test_next_steps_are_awaited_until_the_allocation_ends():
    life = Life()
    steps = [step for step, *_ in life.steps()]
    until = steps.index("matching.allocation_dispatched") + 1
    assert [(each.step, each.kind) for each in lacking(life, until)] == [
        ("matching.allocation_delivered", "awaited"),
        ("matching.allocation_confirmed", "awaited"),
        ("matching.allocation_closed", "awaited"),
        ("donors.reservation_moved:dispatched", "awaited"),
        ("needs.commitment_moved:dispatched", "awaited"),
    ]
    facts = [
        chain.Fact(at, step.partition(":")[0], subject, data)
        for at, (step, subject, data, _) in enumerate(
            life.steps()[: steps.index("matching.allocation_accepted")]
        )
    ]
    own = f"allocation/{life.allocation}"
    facts.append(chain.Fact(90, "matching.allocation_declined", own, facts[-1].data))
    assert [(each.step, each.kind) for each in chain.lacking(life.allocation, facts)] == [
        ("donors.reservation_moved:released", "awaited"),
        ("needs.commitment_moved:released", "awaited"),
    ]


async def test_the_reading_of_a_chain_is_logged_and_is_no_part_of_it(running, supervisor):
    life = Life()
    steps = await lived(running, life)
    await ask(running, supervisor, life.allocation)
    async with running.app.state.sessions() as session:
        rows = await session.execute(
            text(
                "SELECT actor, subject FROM outbox WHERE type = 'audit.chain_read'"
                " UNION ALL SELECT actor, subject FROM event WHERE type = 'audit.chain_read'"
            )
        )
        (row,) = rows.all()
    assert (row.actor, row.subject) == ("supervisor-1", f"allocation/{life.allocation}")
    read = {"allocation_id": str(life.allocation)}
    await running.take_in(
        "audit", [an_event("audit", 1, type="audit.chain_read", subject=row.subject, data=read)]
    )
    told = (await ask(running, supervisor, life.allocation)).json()
    assert len(told["steps"]) == len(steps)


async def test_a_chain_costs_the_same_statements_whatever_its_length(running):
    life = Life()
    steps = await lived(running, life)
    async with running.app.state.sessions() as session:
        connection = await session.connection()
        statements: list[str] = []
        listen(
            connection.sync_connection, "before_cursor_execute", lambda *a: statements.append(a[2])
        )
        rows = await chains.entries_of(session, life.allocation)
        assert len(rows) == len(steps)
        await hashes.inclusion_paths(session, chains.indexes_of(rows), len(rows))
    assert len(statements) == 3  # its own entries, those around it, and the hashes of one level


async def test_what_no_chain_can_be_made_of_is_said(running, supervisor, token, monkeypatch):
    await running.signed(0)
    answer = await ask(running, supervisor, uuid4())
    assert (answer.status_code, answer.json()["code"]) == (404, "allocation_not_logged")
    answer = await ask(running, token("county_officer"), uuid4())
    assert answer.status_code == 403
    life = Life()
    await lived(running, life)
    monkeypatch.setattr("services.audit.queries.chain.ENTRIES_MAX", 10)
    answer = await ask(running, supervisor, life.allocation)
    assert (answer.status_code, answer.json()["code"]) == (409, "chain_too_long")
    assert "10" in answer.json()["detail"]


def test_every_event_of_a_chain_has_a_sentence_in_both_languages():
    told_elsewhere = {"matching.round_discarded", "matching.round_cancelled"}
    for contract in (needs, donors, matching):
        for kind in vars(contract).values():
            if not (isinstance(kind, type) and issubclass(kind, Event) and hasattr(kind, "type")):
                continue
            about = kind.type.partition(".")[2].partition("_")[0]
            if about in {"need", "offer", "organization", "allocation", "round", "objection"}:
                if kind.type in {*chain.OF_OTHERS, *told_elsewhere}:
                    continue
                zh, en = sentences.of_event(kind.type, "county_officer", {})
                assert kind.type not in (zh, en), kind.type
