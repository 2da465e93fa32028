"""Imports into the real services: accounted for, repeated without effect, gone on with."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import httpx
import pytest

from deploy.api import Api
from deploy.loading.importing import prepare, send
from deploy.loading.sending import Sender
from tests.loading.test_reading import HEADING, HUBEI, row

TODAY = date(2026, 11, 23)
OFFER_HEADING = (
    "key,organization_name,organization_kind,uscc,division_code,category,item,quantity,"
    "daily_quantity,unit,served_division_codes"
)


async def imported(folder, senders):
    done = prepare(folder, TODAY)
    stopped = await send(done, *senders)
    return done.account(), stopped


def write(folder: Path, needs: Sequence[str] = (), offers: Sequence[str] = ()) -> Path:
    if needs:
        (folder / "needs.csv").write_text("\n".join([HEADING, *needs]) + "\n")
    if offers:
        (folder / "offers.csv").write_text("\n".join([OFFER_HEADING, *offers]) + "\n")
    return folder


async def test_rows_become_submitted_needs_and_drafts(tmp_path, senders):
    write(tmp_path, [row(), row(key="n-2", quantity="")])
    account, stopped = await imported(tmp_path, senders)
    assert stopped is None
    assert [r.outcome for r in account.rows] == ["created", "created"]
    assert [r.state for r in account.rows] == ["submitted", "draft"]
    assert all(r.id for r in account.rows)


async def test_what_threatens_life_is_published_at_once(tmp_path, senders):
    write(tmp_path, [row(urgency="life_threatening")])
    account, _ = await imported(tmp_path, senders)
    assert account.rows[0].state == "published"


async def test_importing_twice_changes_nothing(tmp_path, senders):
    write(
        tmp_path,
        [row(), row(key="n-2", quantity="")],
        ["o-1,甲厂,enterprise,,420100000000,medical_care,N95,,500,pieces,420000000000"],
    )
    first, _ = await imported(tmp_path, senders)
    second, _ = await imported(tmp_path, senders)
    assert [r.outcome for r in first.rows] == ["created"] * 3
    assert [r.outcome for r in second.rows] == ["already_there"] * 3
    assert [(r.id, r.state) for r in first.rows] == [(r.id, r.state) for r in second.rows]


async def test_a_text_with_a_phone_is_set_aside_by_the_platform(tmp_path, senders):
    write(tmp_path, [row(item="医用外科口罩 联系13800138000"), row(key="n-2")])
    account, stopped = await imported(tmp_path, senders)
    assert stopped is None
    [aside, good] = account.rows
    assert (aside.outcome, aside.why.code) == ("set_aside", "personal_data_in_text")
    assert aside.why.column in {"item", "title"}
    assert good.outcome == "created"


async def test_a_wrong_credit_code_sets_its_offers_aside_and_no_others(tmp_path, senders):
    line = "{},{},enterprise,{},420100000000,medical_care,N95,100,,pieces,420000000000"
    write(tmp_path, offers=[line.format("o-1", "甲厂", "91420100MA4KWRONG1"),
                            line.format("o-2", "乙厂", "")])  # fmt: skip
    account, _ = await imported(tmp_path, senders)
    assert [r.outcome for r in account.rows] == ["set_aside", "created"]
    assert account.rows[0].why.column == "uscc"
    assert account.rows[1].state == "submitted"


async def test_one_organization_in_many_rows_is_registered_once(
    tmp_path, senders, transports, issuer
):
    line = "{},丙厂,enterprise,,420100000000,medical_care,{},100,,pieces,420000000000"
    write(tmp_path, offers=[line.format("o-1", "N95"), line.format("o-2", "防护服")])
    await imported(tmp_path, senders)
    clerk = issuer.mint(role="alliance_coordinator", subject="coordinator")
    async with Api("http://donors", transports["donors"]) as api:
        found = [o async for o in api.pages("/v1/organizations", clerk, {"q": "丙厂"})]
    assert len(found) == 1


class LosesAnswers(httpx.AsyncBaseTransport):
    """Every second answer is lost after the service has done what was asked."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner, self._calls = inner, 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        self._calls += 1
        if self._calls % 2:
            raise httpx.ReadError("lost", request=request)
        return answer


async def test_a_lost_answer_is_asked_for_again_and_nothing_is_done_twice(
    tmp_path, transports, issuer
):
    token = issuer.mint(role="entry_clerk", subject="unlucky", division="000000000000")
    write(tmp_path, [row(), row(key="n-2")])
    async with Sender("http://needs", token, LosesAnswers(transports["needs"])) as unlucky:
        account, stopped = await imported(tmp_path, (unlucky, unlucky))
    assert stopped is None
    assert [r.outcome for r in account.rows] == ["created", "created"]
    async with Api("http://needs", transports["needs"]) as api:
        everybodys = [need async for need in api.pages("/v1/work/needs", token)]
    listed = [need["id"] for need in everybodys if need["entered_by"] == "unlucky"]
    assert sorted(listed) == sorted(r.id for r in account.rows)


async def test_a_refused_caller_stops_the_import_and_every_row_says_so(
    tmp_path, transports, issuer
):
    token = issuer.mint(role="auditor", subject="auditor")
    write(tmp_path, [row(), row(key="n-2")])
    async with Sender("http://needs", token, transports["needs"]) as sender:
        account, stopped = await imported(tmp_path, (sender, sender))
    assert "403" in stopped
    assert [(r.outcome, r.why.code) for r in account.rows] == [("set_aside", "not_sent")] * 2


async def test_an_import_that_stopped_goes_on(tmp_path, senders, transports, issuer):
    write(tmp_path, [row()], ["o-1,丁厂,enterprise,,420100000000,medical_care,N95,9,,pieces,"])
    refused = issuer.mint(role="auditor", subject="auditor")
    async with Sender("http://donors", refused, transports["donors"]) as sender:
        account, stopped = await imported(tmp_path, (senders[0], sender))
    assert stopped
    assert [r.outcome for r in account.rows] == ["created", "set_aside"]
    account, stopped = await imported(tmp_path, senders)
    assert stopped is None
    assert [r.outcome for r in account.rows] == ["already_there", "created"]


async def test_the_tables_of_2020_are_accounted_for_twice_in_a_row(senders):
    if not HUBEI.is_dir():
        pytest.skip("the reference data hubei-2020 is not beside the project")
    first, stopped = await imported(HUBEI, senders)
    assert stopped is None
    assert Counter(r.outcome for r in first.rows) == {"created": 2_184}
    needs = Counter(r.state for r in first.rows if r.record == "need")
    assert needs == {"draft": 1_893, "published": 267}
    assert Counter(r.state for r in first.rows if r.record == "offer") == {"draft": 24}
    second, _ = await imported(HUBEI, senders)
    assert Counter(r.outcome for r in second.rows) == {"already_there": 2_184}
    assert [r.id for r in first.rows] == [r.id for r in second.rows]
