"""Rounds over HTTP: who may read what, pages, the frozen data, what the public is told."""

import asyncio
import hashlib
import json
from uuid import uuid4

import pytest

from services.matching.recompute import SAME, recompute
from tests.needs.builders import CITY

BODY = {"division_code": CITY, "policy": "example-1"}


@pytest.fixture(scope="module")
async def rounds(world):
    """A dry run and, on the same data, a dry run by another policy; of six needs and one offer."""
    await world.publish([{"quantity": 400, "title": f"口罩 {n}"} for n in range(6)])
    await world.open_offer()
    first = await world.round(kind="dry_run")
    second = await world.round(
        kind="dry_run", policy="example-utilitarian-1", snapshot_of=first["id"]
    )
    return first, second


async def test_an_overview_tells_totals_tiers_fairness_and_explained_samples(world, rounds):
    first, _ = rounds
    read = await world.get(f"/rounds/{first['id']}/overview", world.coordinator)
    assert (read["kind"], read["needs"], read["lines"]) == ("dry_run", 6, 1)
    assert [t["urgency"] for t in read["tiers"]] == ["life_threatening", "urgent", "normal"]
    assert read["samples"][0]["explanation"]["text_zh"].endswith("。")
    assert read["unmet_samples"][0]["text_en"].endswith(".")
    assert sum(one["needs"] for one in read["outcomes"]) >= 3


async def test_outcomes_come_in_pages_and_by_code(world, rounds):
    first, _ = rounds
    path = f"/rounds/{first['id']}/outcomes"
    rows = await world.all_of(f"{path}?limit=1", world.coordinator)
    assert len(rows) >= 3
    assert [r["need_id"] for r in rows] == sorted(r["need_id"] for r in rows)
    code = rows[0]["code"]
    same = await world.all_of(f"{path}?code={code}", world.coordinator)
    assert {r["code"] for r in same} == {code}
    [one] = await world.all_of(f"{path}?need_id={rows[0]['need_id']}", world.coordinator)
    assert one == rows[0]
    await world.get(f"{path}?code=made_up", world.coordinator, status=422)
    await world.get(f"{path}?cursor=made_up", world.coordinator, status=400)
    await world.get(f"/rounds/{uuid4()}/outcomes", world.coordinator, status=404)


async def test_proposals_are_explained_and_name_policy_and_ranking(world, rounds):
    first, _ = rounds
    [row, *_] = await world.all_of(f"/rounds/{first['id']}/proposals", world.coordinator)
    assert (row["policy"], row["ranking"]) == ("example-1", "reasoned-1")
    explained = row["explanation"]
    assert sum(f["points"] for f in explained["features"]) == row["score_permille"]
    assert sum(t["points"] for t in explained["terms"]) == row["value_permille"]


async def test_a_comparison_names_who_gains_and_who_loses(world, rounds):
    first, second = rounds
    path = f"/rounds/{first['id']}/comparison"
    read = await world.get(f"{path}?with={second['id']}", world.coordinator)
    assert (read["first"]["policy"], read["second"]["policy"]) == (
        "example-1",
        "example-utilitarian-1",
    )
    rows = await world.all_of(f"{path}/needs?with={second['id']}&limit=1", world.coordinator)
    assert len(rows) == read["gains"] + read["loses"]
    refused = await world.get(f"{path}?with={uuid4()}", world.coordinator, status=404)
    assert refused["code"] == "round_not_found"
    await world.get(path, world.coordinator, status=422)


async def test_the_frozen_data_are_sent_with_their_hash_packed_or_plain(world, rounds):
    first, _ = rounds
    url = f"{world.urls['matching']}/v1/rounds/{first['id']}/snapshot"
    for accepted in ("deflate", "identity"):
        answer = await world.client.get(
            url, headers=world.coordinator | {"Accept-Encoding": accepted}
        )
        assert answer.status_code == 200
        assert answer.headers.get("Content-Encoding", "identity") == accepted
        digest = hashlib.sha256(answer.content).hexdigest()
        assert answer.headers["ETag"] == f'"{digest}"'
        assert digest == first["snapshot"]["sha256"]
        assert json.loads(answer.content)["kind"] == "dry_run"


async def test_what_is_sent_of_a_round_is_all_it_takes_to_compute_it_again(world, rounds):
    for of in rounds:
        url = f"{world.urls['matching']}/v1/rounds/{of['id']}/snapshot"
        frozen = (await world.client.get(url, headers=world.coordinator)).content
        read = await world.get(f"/rounds/{of['id']}", world.coordinator)
        said: list[str] = []
        assert await asyncio.to_thread(recompute, frozen, read, None, said.append) == SAME, said


async def test_rounds_are_for_coordinators_and_auditors(world, rounds):
    first, _ = rounds
    auditor = world.token("auditor", subject="auditor")
    elsewhere = world.token("alliance_coordinator", subject="else", division="430300000000")
    organization = world.token("organization", subject="org", org=uuid4())
    compared = f"comparison?with={first['id']}"
    within = f"comparison/needs?with={first['id']}"
    for path in ("overview", "outcomes", "snapshot", "proposals", compared, within):
        url = f"{world.urls['matching']}/v1/rounds/{first['id']}/{path}"
        for who in (auditor, elsewhere, organization, world.county, world.clerk):
            answer = await world.client.get(url, headers=who)
            assert answer.status_code == (200 if who is auditor else 403), (path, answer.text)
            if who is elsewhere:
                assert answer.json()["code"] == "division_not_yours"
        await world.get(f"/rounds/{first['id']}/{path}", status=401)


async def test_a_dry_run_is_not_approved_and_what_is_computed_is_not_cancelled(world, rounds):
    first, _ = rounds
    refused = await world.post(f"/rounds/{first['id']}/approval", world.coordinator, status=409)
    assert refused["code"] == "dry_run"
    path = f"/rounds/{first['id']}/cancellation"
    refused = await world.post(path, world.coordinator, {"reason": "late"}, status=409)
    assert refused["code"] == "round_state"
    await world.post(path, world.county, {"reason": "late"}, status=403)
    refused = await world.post(
        path, world.coordinator, {"reason": "请致电 13812345678"}, status=422
    )
    assert refused["code"] == "personal_data_in_text"


async def test_what_a_round_builds_on_must_be_there(world, rounds):
    first, _ = rounds
    for more in (
        {"snapshot_of": str(uuid4())},
        {"start_from": str(uuid4())},
        {"kind": "placement", "start_from": first["id"]},
        {"kind": "placement", "snapshot_of": first["id"]},
    ):
        refused = await world.post("/rounds", world.coordinator, BODY | more, status=422)
        assert refused["code"] == "round_unknown"
    await world.post("/rounds", world.coordinator, BODY | {"kind": "made_up"}, status=422)


async def test_policies_are_public_with_their_order_of_power_in_words(world):
    listed = await world.get("/policies")
    names = [row["policy"]["name"] for row in listed["data"]]
    assert "national-1" in names
    one = await world.get("/policies/national-1")
    assert [step["place"] for step in one["order_of_power"]] == [1, 2, 3]
    assert [step["code"] for step in one["order_of_power"]] == ["conditions", "tiers", "welfare"]
    assert "危及生命" in one["order_of_power"][1]["text_zh"]
    assert "life-threatening" in one["order_of_power"][1]["text_en"]
    missing = await world.get("/policies/made-up", status=404)
    assert missing["code"] == "policy_not_found"


async def test_the_public_is_told_what_the_last_approved_round_means_for_a_need(world, rounds):
    found = await world.round()
    needs = await world.all_of(f"/rounds/{found['id']}/outcomes", world.coordinator)
    [unmet, *_] = needs
    refused = await world.get(f"/needs/{unmet['need_id']}/outcome", status=404)
    assert refused["code"] == "not_considered"
    await world.post(f"/rounds/{found['id']}/approval", world.coordinator)
    told = await world.get(f"/needs/{unmet['need_id']}/outcome")
    assert told["outcome"] == unmet
    assert (told["round_id"], told["text_zh"]) == (found["id"], unmet["text_zh"])
    others = {n["need_id"] for n in needs} - {unmet["need_id"]}
    assert not any(other in json.dumps(told) for other in others)
    refused = await world.get(f"/needs/{uuid4()}/outcome", status=404)
    assert refused["code"] == "need_not_found"
