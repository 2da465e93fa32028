"""Allocations of the story, from their reservation to the household's confirmation.

Each step takes the allocations that stand before it and moves them on, whoever brought them there.
"""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from deploy.story.calling import Calls, StoryFailed, all_of, grouped, parts
from deploy.story.needs import CITY, EnteredNeed
from services.matching import contract
from shared.vocabulary import divisions

BATCH = 250
# Every so-manieth allocation is declined by its organization.
DECLINED = 41

Row = dict[str, Any]


async def carry_through(calls: Calls, entered: list[EnteredNeed]) -> None:
    """Accept, approve, dispatch, deliver, confirm; wait where a service has to come first."""
    await calls.wait_until("both ledgers hold what was proposed", lambda: _none(calls, "proposed"))
    rows = await calls.pages("matching", "/v1/allocations", within=CITY)
    await _accept(calls, _standing(rows, "reserved"))
    await _approve(calls, _standing(rows, "accepted"))
    await calls.wait_until(
        "the approvals are in the log", lambda: _none(calls, "approved", logged=False)
    )
    approved = _standing(rows, "approved")
    _tell(calls, "dispatched", await _by_organization(calls, approved, "dispatch"))
    dispatched = _standing(rows, "dispatched")
    slips = await _print_slips(calls, dispatched)
    _tell(calls, "delivered", await _by_organization(calls, dispatched, "deliver"))
    await _confirm(calls, entered, _standing(rows, "delivered"), slips)
    await calls.wait_until("what was confirmed is closed", lambda: _none(calls, "confirmed"))


async def _none(calls: Calls, state: str, **params: Any) -> bool:
    page = await calls.get(
        "matching", "/v1/allocations", state=state, within=CITY, limit=1, **params
    )
    return not page["data"]


def _standing(rows: list[Row], state: str) -> list[Row]:
    return [row for row in rows if row["state"] == state]


def _organization(calls: Calls, organization_id: str) -> str:
    return calls.person(
        "organization", f"person-of-{organization_id[-12:]}", org=UUID(organization_id)
    )


def _organization_of(row: Row) -> str:
    return str(row["organization_id"])


# ------------------------------------------------------------------- actions


async def _act(
    calls: Calls,
    who: str,
    action: contract.AllocationAction,
    rows: list[Row],
    *,
    reason_code: str | None = None,
    codes: dict[str, str] | None = None,
) -> Counter[str]:
    """One action on allocations, whose new states are noted; counts of what came of it.

    codes  of the slips, by allocation id
    """
    counts: Counter[str] = Counter()
    for part in parts(rows, BATCH):
        items = [
            contract.AllocationItem(
                allocation_id=UUID(row["id"]),
                reason_code=reason_code,
                code=codes[row["id"]] if codes else None,
            )
            for row in part
        ]
        body = contract.AllocationBatch(action=action, items=items)
        results = (await calls.post("matching", "/v1/allocation-batches", who, body))["results"]
        for row, item in zip(part, results, strict=True):
            row["state"] = item["state"] or row["state"]
            counts[item["code"] or item["outcome"]] += 1
    return counts


def _tell(calls: Calls, what: str, counts: list[Counter[str]]) -> None:
    total: Counter[str] = sum(counts, Counter())
    if not total:
        return
    done = total.pop("done", 0) + total.pop("already_done", 0)
    refused = "".join(f", {count} refused ({code})" for code, count in total.items())
    calls.say(f"allocations: {done:,} {what}{refused}")


async def _accept(calls: Calls, reserved: list[Row]) -> None:
    """Each organization accepts its own; a few are declined, with a reason code."""
    declined: list[Counter[str]] = []

    async def answer(organization: str, rows: list[Row]) -> Counter[str]:
        who = _organization(calls, organization)
        no = [row for row in rows if _turn(row, DECLINED)]
        if no:
            declined.append(
                await _act(calls, who, "decline", no, reason_code="stock_reserved_elsewhere")
            )
        return await _act(calls, who, "accept", [row for row in rows if not _turn(row, DECLINED)])

    _tell(calls, "accepted by their organizations", await _each(answer, reserved, _organization_of))
    _tell(calls, "declined", declined)


def _turn(row: Row, every: int) -> bool:
    # By the random part of the id: the same allocation always meets the same fate.
    return int(UUID(row["id"])) % every == 0


async def _approve(calls: Calls, accepted: list[Row]) -> None:
    """Officers of the county who verified none of the needs approve."""

    async def approve(county: str, rows: list[Row]) -> Counter[str]:
        officer = calls.person("county_officer", f"county-approver-{county}", county)
        return await _act(calls, officer, "approve", rows)

    _tell(calls, "approved", await _each(approve, accepted, lambda row: _at(row, "county")))


def _at(row: Row, level: str) -> str:
    return divisions.cut_to(str(row["division_code"]), level)


async def _by_organization(
    calls: Calls, rows: list[Row], action: contract.AllocationAction
) -> list[Counter[str]]:
    async def act(organization: str, part: list[Row]) -> Counter[str]:
        return await _act(calls, _organization(calls, organization), action, part)

    return await _each(act, rows, _organization_of)


async def _each(
    act: Callable[[str, list[Row]], Coroutine[Any, Any, Counter[str]]],
    rows: list[Row],
    key: Callable[[Row], str],
) -> list[Counter[str]]:
    """One act for each group of rows, side by side."""
    return await all_of(act(who, part) for who, part in grouped(rows, key).items())


# -------------------------------------------------------------- confirmation


async def _print_slips(calls: Calls, rows: list[Row]) -> dict[str, str]:
    """Slips for every other allocation, printed by the township: allocation id -> code."""

    async def issue(township: str, part: list[Row]) -> dict[str, str]:
        officer = calls.person("township_officer", f"slip-printer-{township}", township)
        codes: dict[str, str] = {}
        for some in parts(part, BATCH):
            body = contract.SlipBatch(allocation_ids=[UUID(row["id"]) for row in some])
            for item in (await calls.post("matching", "/v1/slip-batches", officer, body))[
                "results"
            ]:
                if item["outcome"] == "refused":
                    raise StoryFailed(f"A slip was refused: {item['code']}, {item['detail']}")
                codes[item["allocation_id"]] = item["slip"]
        return codes

    groups = grouped([row for row in rows if _turn(row, 2)], lambda row: _at(row, "township"))
    printed = await all_of(issue(township, part) for township, part in groups.items())
    return {key: code for codes in printed for key, code in codes.items()}


async def _confirm(
    calls: Calls, entered: list[EnteredNeed], rows: list[Row], slips: dict[str, str]
) -> None:
    """Half by the code on the slip, read to who brought it; half before a village officer."""
    # Codes are kept nowhere: those printed before a story was killed are printed again.
    lost = [row for row in rows if _turn(row, 2) and row["id"] not in slips]
    codes = slips | await _print_slips(calls, lost)
    homes = {str(need.id): need.division_code for need in entered}

    async def by_code(organization: str, part: list[Row]) -> Counter[str]:
        who = _organization(calls, organization)
        return await _act(calls, who, "confirm", part, codes=codes)

    async def before_officer(home: str, part: list[Row]) -> Counter[str]:
        officer = calls.person("village_officer", f"village-officer-{home}", home)
        return await _act(calls, officer, "confirm", part)

    def home_of(row: Row) -> str:
        return homes.get(str(row["need_id"]), str(row["division_code"]))

    coded = [row for row in rows if _turn(row, 2)]
    seen = [row for row in rows if not _turn(row, 2)]
    _tell(calls, "confirmed by slip code", await _each(by_code, coded, _organization_of))
    _tell(calls, "confirmed before a village officer", await _each(before_officer, seen, home_of))
