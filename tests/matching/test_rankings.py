"""Rankings over HTTP: who may propose and activate, training from decisions, one in force."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from services.matching import trainer
from services.matching.app import Settings, create_app
from services.matching.contract import rankings as contract
from services.matching.domain import TookPart
from services.matching.domain.rankings import (
    RankingNotThere,
    RankingState,
    check_activator,
    move_ranking,
)
from services.matching.operations import rankings as operations
from services.matching.queries.rankings import acceptance_facts, active_scorecard
from services.matching.ranking.memory import AcceptanceFacts
from services.matching.ranking.scorecard import reasoned
from services.matching.retrieval import facts_due
from services.matching.tables import Proposal, Ranking
from shared.callers import Caller
from shared.db import now
from shared.vocabulary.divisions import ROOT
from tests.matching.decided import DAY, decide, plain
from tests.matching.frozen import computed, fill, many, sessions_of, somebody
from tests.needs.builders import CITY, once

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
async def app(database, issuer, tmp_path):
    made = create_app(
        Settings(
            database_url=database("matching"),
            key_set=str(issuer.key_set_path),
            service_token_file=tmp_path / "token",
            state_dir=tmp_path,
            rate_per_minute_max=1_000_000,
            needs_url=NOBODY,
            donors_url=NOBODY,
            audit_url=NOBODY,
            log_level="CRITICAL",
        )
    )
    async with made.router.lifespan_context(made):
        yield made


class Office:
    """Calls as this or that coordinator."""

    def __init__(self, app: Any, client: httpx.AsyncClient, token: Any) -> None:
        self.app, self.client, self.token = app, client, token
        self.proposer = token("alliance_coordinator", subject="proposer", division=ROOT)
        self.other = token("alliance_coordinator", subject="other", division=ROOT)

    async def call(
        self, method: str, path: str, who: Any = None, body: Any = None, *, expect: int = 200
    ) -> Any:
        headers = (who or {}) | (once() if method == "POST" else {})
        answer = await self.client.request(
            method, f"/v1/rankings{path}", json=body, headers=headers
        )
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def get(self, path: str = "", **more: Any) -> Any:
        return await self.call("GET", path, **more)

    async def propose(self, name: str, who: Any = None, *, expect: int = 202) -> Any:
        return await self.call("POST", "", who or self.proposer, {"name": name}, expect=expect)

    async def activate(self, name: str, who: Any, *, expect: int = 200) -> Any:
        body = {"reason": "better figures"}
        return await self.call("POST", f"/{name}/activation", who, body, expect=expect)

    async def trained(self, name: str) -> Any:
        """Proposed, and trained by the service's own task."""
        await self.propose(name)
        for _ in range(300):
            found = await self.get(f"/{name}")
            if found["state"] != "training":
                return found
            await asyncio.sleep(0.1)
        raise AssertionError("not trained in 30 s")

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        who = self.token("service", subject="audit")
        for _ in range(50):
            answer = await self.client.get("/events?after=0&limit=500", headers=who)
            found = [(e["type"], e["data"]) for e in answer.json()]
            if found:
                return found
            await asyncio.sleep(0.1)
        return []


@pytest.fixture
async def office(app, token):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield Office(app, client, token)


# ------------------------------------------------------------------ reading


async def test_from_the_installation_on_the_reasoned_ranking_is_in_force(app, office):
    listed = await office.get()
    assert [(r["name"], r["state"], r["built_in"]) for r in listed["data"]] == [
        ("reasoned-1", "active", True)
    ]
    detail = await office.get("/reasoned-1")
    assert sum(max(*c["points"], c["unknown"]) for c in detail["curves"]) == 1000
    assert all(c["name_zh"] and c["doc_en"] for c in detail["curves"])
    async with app.state.sessions() as session:
        assert await active_scorecard(session) == reasoned()


async def test_what_is_not_there_is_not_found(office):
    assert (await office.get("/nothing", expect=404))["code"] == "ranking_not_found"
    refused = await office.activate("nothing", office.other, expect=404)
    assert refused["code"] == "ranking_not_found"


# ---------------------------------------------------------------- proposing


async def test_only_a_coordinator_of_the_country_proposes_and_activates(office, token):
    for who, code in [
        (token("county_officer", subject="x", division=ROOT), "forbidden"),
        (token("alliance_coordinator", subject="x", division=CITY), "division_not_yours"),
    ]:
        assert (await office.propose("learned-1", who, expect=403))["code"] == code
        assert (await office.activate("reasoned-1", who, expect=403))["code"] == code
    await office.call("POST", "", None, {"name": "learned-1"}, expect=401)


async def test_nothing_is_learned_from_too_few_decisions(app, office):
    await decide(app, 30)
    refused = await office.propose("learned-1", expect=409)
    assert refused["code"] == "decisions_too_few"
    assert "30 decisions" in refused["detail"]
    assert len((await office.get())["data"]) == 1


async def test_a_ranking_is_trained_from_what_was_decided(app, office):
    await decide(app, 600)
    found = await office.trained("learned-1")
    assert (found["state"], found["previous"], found["problem"]) == (
        "proposed",
        "reasoned-1",
        None,
    )
    figures = found["figures"]
    assert found["decisions"] == figures["decisions"] == 600
    assert figures["needs"] == 200
    assert figures["auc"]["low"] > 0
    assert figures["ndcg_at_10"]["difference"] > 0
    assert figures["left_out"] == 0
    assert len(found["card_sha256"]) == len(found["decisions_sha256"]) == 64
    by_code = {c["feature"]: c for c in found["curves"]}
    assert max(by_code["quantity_fit"]["points"]) > 400
    [(kind, data)] = await office.events()
    assert kind == "matching.ranking_proposed"
    assert data["decisions_sha256"] == found["decisions_sha256"]
    async with app.state.sessions() as session:
        assert (await active_scorecard(session)).name == "reasoned-1", "proposed is not in force"


async def test_reasons_that_say_nothing_of_fit_teach_nothing(app, office):
    await decide(app, 600, reason="no_stock")
    found = await office.trained("learned-1")
    assert found["state"] == "failed"
    assert found["problem"].startswith("decisions_too_few")
    assert "0 declined" in found["problem"]


async def test_proposals_of_other_features_teach_nothing(app, office):
    await decide(app, 600, old=True)
    assert (await office.trained("learned-1"))["state"] == "failed"


async def test_one_is_trained_at_a_time_and_a_name_is_given_once(app, office):
    await decide(app, 600)
    headers = [office.proposer | once() for _ in range(2)]
    answers = await asyncio.gather(
        *(
            office.client.post("/v1/rankings", json={"name": f"learned-{n}"}, headers=header)
            for n, header in enumerate(headers)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    [refused] = [answer.json() for answer in answers if answer.status_code == 409]
    assert refused["code"] == "ranking_in_training"
    assert (await office.propose("reasoned-1", expect=409))["code"] in {
        "ranking_name_taken",
        "ranking_in_training",
    }


async def test_the_same_key_answers_the_same(app, office):
    await decide(app, 300)
    headers = office.proposer | once()
    answers = [
        await office.client.post("/v1/rankings", json={"name": "learned-1"}, headers=headers)
        for _ in range(2)
    ]
    assert [a.status_code for a in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()


async def test_a_note_names_nobody(office):
    body = {"name": "learned-1", "note": "ask 13912345678"}
    refused = await office.call("POST", "", office.proposer, body, expect=422)
    assert refused["code"] == "personal_data_in_text"


# --------------------------------------------------------------- activation


async def a_proposed(app: Any, name: str = "learned-1", by: str = "proposer") -> None:
    card = reasoned().model_copy(update={"name": name})
    async with app.state.sessions.begin() as session:
        await session.execute(
            insert(Ranking),
            [
                plain(
                    Ranking,
                    name=name,
                    state="proposed",
                    card=card.model_dump(mode="json"),
                    card_sha256=card.sha256(),
                    previous="reasoned-1",
                    proposed_by=by,
                )
            ],
        )


async def test_another_person_puts_it_into_force(app, office):
    await a_proposed(app)
    refused = await office.activate("learned-1", office.proposer, expect=403)
    assert refused["code"] == "took_part"
    active = await office.activate("learned-1", office.other)
    assert (active["state"], active["activated_by"]) == ("active", "other")
    assert (await office.get("/reasoned-1"))["state"] == "retired"
    again = await office.activate("learned-1", office.other, expect=409)
    assert again["code"] == "ranking_state"
    async with app.state.sessions() as session:
        assert (await active_scorecard(session)).name == "learned-1"
    [(kind, data)] = await office.events()
    assert (kind, data["ranking"], data["replaced"]) == (
        "matching.ranking_activated",
        "learned-1",
        "reasoned-1",
    )


async def test_the_one_before_can_be_brought_back(app, office):
    await a_proposed(app)
    await office.activate("learned-1", office.other)
    back = await office.activate("reasoned-1", office.proposer)
    assert (back["state"], back["retired_at"]) == ("active", None)
    assert (await office.get("/learned-1"))["state"] == "retired"


async def test_two_activations_at_once_leave_one_in_force(app):
    """On two connections, neither of which sees what the other has not committed."""
    for name in ("learned-1", "learned-2"):
        await a_proposed(app, name)
    everybody = frozenset({"policy:activate"})
    caller = Caller("other", frozenset({"alliance_coordinator"}), everybody, ROOT)

    async def activate(name: str) -> None:
        async with app.state.sessions.begin() as session:
            await operations.activate(session, caller, name, "both at once", now())
            await asyncio.sleep(0.2)

    await asyncio.gather(activate("learned-1"), activate("learned-2"))
    async with app.state.sessions() as session:
        rows = await session.execute(select(Ranking.name, Ranking.state))
        states = {row.name: row.state for row in rows}
    assert sorted(states.values()) == ["active", "retired", "retired"]
    assert states["reasoned-1"] == "retired"


async def test_the_database_refuses_a_second_in_force_and_the_proposer_s_own(app):
    wrongs: tuple[dict[str, Any], ...] = (
        {"state": "active", "activated_by": "x", "card": {}},
        {"state": "proposed", "activated_by": "y", "proposed_by": "y", "card": {}},
        {"state": "active", "activated_by": None, "card": {}},
        {"state": "proposed"},
    )
    for wrong in wrongs:
        with pytest.raises(IntegrityError):
            async with app.state.sessions.begin() as session:
                await session.execute(insert(Ranking), [plain(Ranking, name="learned-9", **wrong)])


async def test_the_next_round_counts_with_the_ranking_in_force(database):
    async with sessions_of(database("matching")) as sessions:
        await fill(sessions, *many(40, 20, classes=2))
        await a_proposed(SimpleNamespace(state=SimpleNamespace(sessions=sessions)))
        async with sessions.begin() as session:
            await operations.activate(session, somebody(division=ROOT), "learned-1", "so", now())
        assert (await computed(sessions)).ranking == "learned-1"
        async with sessions() as session:
            proposals = list(await session.scalars(select(Proposal)))
    assert len(proposals) > 10
    assert {proposal.ranking for proposal in proposals} == {"learned-1"}
    ranks = [proposal.explanation["rank"] for proposal in proposals]
    assert min(ranks) == 1 < max(ranks), "learning weighs decisions by their place in the list"
    assert all(p.explanation["rank"] <= p.explanation["compared"] for p in proposals)


async def test_rules_without_a_database():
    with pytest.raises(TookPart):
        check_activator("a", "a")
    with pytest.raises(RankingNotThere):
        move_ranking(RankingState.FAILED, RankingState.ACTIVE)


# ------------------------------------------------- trained again, and facts


async def test_training_that_keeps_ending_the_process_is_given_up(database):
    engine = create_async_engine(database("matching"))
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with sessions.begin() as session:
        await session.execute(
            insert(Ranking),
            [plain(Ranking, name="learned-1", state="training", previous="reasoned-1", attempts=3)],
        )
    assert await trainer.train_one(sessions) == 0
    async with sessions() as session:
        row = await session.get_one(Ranking, "learned-1")
        assert (row.state, row.problem) == ("failed", "training_failed")
    await engine.dispose()


async def test_facts_count_what_organizations_did_and_remember_accepted_pairs(app):
    ids = await decide(app, 30)
    async with app.state.sessions() as session:
        facts = await acceptance_facts(session, now())
        before = await acceptance_facts(session, DAY - timedelta(days=1))
        elsewhere = await acceptance_facts(session, now(), {"mask_surgical"})
    [counts] = facts.counts
    assert counts.accepted + counts.declined == len(ids)
    assert len(facts.precedents) == counts.accepted > 0
    assert facts.precedents[0].need_text == "帐篷 帐篷 "
    assert before == elsewhere == AcceptanceFacts()


def test_counting_what_was_accepted_takes_at_most_a_hundredth_of_the_time():
    at = now()
    assert facts_due(at, at) - at == timedelta(seconds=30)
    slow = timedelta(seconds=7)
    assert facts_due(at, at + slow) - at >= 100 * slow


async def test_lists_go_on_where_the_page_ended(app, office):
    for number in range(3):
        await a_proposed(app, f"learned-{number}")
    first = await office.get("?limit=3")
    assert first["meta"]["has_more"] is True
    rest = (await office.client.get(first["links"]["next"])).json()
    names = [r["name"] for r in (*first["data"], *rest["data"])]
    assert sorted(names) == ["learned-0", "learned-1", "learned-2", "reasoned-1"]
    active = await office.get("?state=active")
    assert [r["name"] for r in active["data"]] == ["reasoned-1"]


def test_events_hold_no_person():
    fields = set(contract.RankingProposed.model_fields) | set(
        contract.RankingActivated.model_fields
    )
    assert not {name for name in fields if name.endswith("_by")}
