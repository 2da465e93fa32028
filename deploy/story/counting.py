"""What the story came to: every number is counted by asking the services."""

import asyncio
import json
import sys
import time
from typing import Any
from uuid import UUID

from deploy.platform import Summary
from deploy.state import ROOT
from deploy.story.calling import Calls, StoryFailed, all_of, both
from deploy.verify import VERIFIER
from shared.vocabulary import divisions

SERVED = {"confirmed", "closed"}
QUIET_S = 0.6
SETTLE_S_MAX = 30.0
LEDGERS = ("needs", "donors", "matching")


async def count(calls: Calls, began: float) -> Summary:
    """Count and verify; `began` is when the story did (monotonic)."""
    reader = calls.person("city_officer", "national-reader", divisions.ROOT)
    await _tell_totals(calls)
    await _settled(calls)
    await _say_totals(calls)
    (published, closed, offers_open, allocations), verified = await both(
        _lists(calls, reader), _verify(calls)
    )
    published += closed
    served = {row["need_id"] for row in allocations if row["state"] in SERVED}
    households = {
        need["applicant_id"]
        for need in published
        if need["id"] in served and need["applicant_kind"] == "household"
    }
    summary = Summary(
        needs_published=len(published),
        offers_open=len(offers_open),
        allocations=len(allocations),
        households_served=len(households),
        log_size=int(verified["size"] or 0),
        log_verified=verified["ok"] is True,
        seconds=round(time.monotonic() - began, 1),
        need_id=_first(n["id"] for n in published if n["met"] == "unmet"),
        allocation_id=_first(a["id"] for a in allocations if a["state"] in SERVED),
        organization_id=_first(a["organization_id"] for a in allocations),
    )
    calls.say(
        f"counted: {summary.needs_published:,} needs published, {summary.offers_open:,} offers"
        f" open, {summary.allocations:,} allocations, {summary.households_served:,} households"
        f" served; the log of {summary.log_size:,} entries"
        f" {'verifies' if summary.log_verified else 'DOES NOT VERIFY: ' + verified['problem']}"
    )
    return summary


async def _lists(calls: Calls, reader: str) -> list[list[dict[str, Any]]]:
    """Published needs, closed needs, open offers, allocations."""
    return await all_of(
        [
            calls.pages("needs", "/v1/work/needs", reader, state="published"),
            calls.pages("needs", "/v1/work/needs", reader, state="closed"),
            calls.pages("donors", "/v1/offers", state="open"),
            calls.pages("matching", "/v1/allocations"),
        ]
    )


def _first(ids: Any) -> UUID | None:
    found = next(iter(ids), None)
    return None if found is None else UUID(found)


async def _tell_totals(calls: Calls) -> None:
    """An unannounced stocktaking: each ledger tells what it holds, in its feed."""
    supervisor = calls.person("supervisor", "national-supervisor", divisions.ROOT)
    await all_of(
        calls.post(service, "/v1/totals", supervisor, unless="totals_just_told")
        for service in LEDGERS
    )


async def _say_totals(calls: Calls) -> None:
    """Whether the log adds up to what was told."""
    newest: dict[str, Any] = {}

    async def compared() -> bool:
        for row in reversed((await calls.get("audit", "/v1/tellings"))["data"]):
            newest[row["producer"]] = row["differences"]
        return set(newest) == set(LEDGERS) and None not in newest.values()

    await calls.wait_until("the totals are compared with the log", compared)
    rows = await calls.pages("audit", "/v1/totals")
    differing = sum(newest.values())
    calls.say(
        f"totals: needs, donors and matching told what their ledgers hold ({len(rows):,} sums);"
        f" the log {f'DIFFERS in {differing:,}' if differing else 'adds up to the same'}"
    )


async def _settled(calls: Calls) -> None:
    """Until the log has stopped growing: the feeds of what was done last are being taken in."""
    end, size, since = time.monotonic() + SETTLE_S_MAX, -1, time.monotonic()
    while time.monotonic() < end:
        current = (await calls.get("audit", "/v1/head"))["size"]
        if current != size:
            size, since = current, time.monotonic()
        elif time.monotonic() - since >= QUIET_S:
            return
        await asyncio.sleep(0.1)


async def _verify(calls: Calls) -> dict[str, Any]:
    """The answer of the stand-alone verifier, run as a process of its own."""
    state = calls.platform.state / "audit"
    verifier = await asyncio.create_subprocess_exec(
        sys.executable, str(VERIFIER), "--log", calls.platform.audit_url, "--json",
        "--checkpoint-copy", str(state / "checkpoint"), "--key", str(state / "log.vkey"),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await verifier.communicate()
    except asyncio.CancelledError:
        verifier.kill()
        await verifier.wait()
        raise
    try:
        answer: dict[str, Any] = json.loads(out.decode().strip().splitlines()[-1])
        return {"problem": "", **answer, "ok": answer["ok"] and verifier.returncode == 0}
    except (ValueError, IndexError, KeyError) as error:
        raise StoryFailed(f"The verifier said nothing usable: {err.decode()[-500:]}") from error
