"""Allocations of the story, from their reservation to the household's confirmation.

Each step takes the allocations that stand before it and moves them on, whoever brought them there.
"""

from collections import Counter
from collections.abc import Callable
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
    await _accept(calls)
    await _approve(calls)
    await calls.wait_until(
        "the approvals are in the log", lambda: _none(calls, "approved", logged=False)
    )
    await _by_organization(calls, "approved", "dispatch")
    slips = await _print_slips(calls, await _standing(calls, "dispatched"))
    await _by_organization(calls, "dispatched", "deliver")
    await _confirm(calls, entered, slips)
    await calls.wait_until("what was confirmed is closed", lambda: _none(calls, "confirmed"))


async def _none(calls: Calls, state: str, **params: Any) -> bool:
    page = await calls.get(
        "matching", "/v1/allocations", state=state, within=CITY, limit=1, **params
    )
    return not page["data"]


async def _standing(calls: Calls, state: str) -> list[Row]:
    return await calls.pages("matching", "/v1/allocations", state=state, within=CITY)


def _organization(calls: Calls, organization_id: str) -> dict[str, str]:
    return calls.person(
        "organization", f"person-of-{organization_id[-12:]}", org=UUID(organization_id)
    )


def _organization_of(row: Row) -> str:
    return str(row["organization_id"])


# ------------------------------------------------------------------- actions


async def _act(
    calls: Calls, who: dict[str, str], action: contract.AllocationAction, items: list[Row]
) -> Counter[str]:
    """One action on rows of {allocation_id, reason_code?, code?}; counts of what came of it."""
    counts: Counter[str] = Counter()
    for part in parts(items, BATCH):
        body = contract.AllocationBatch(
            action=action, items=[contract.AllocationItem.model_validate(item) for item in part]
        )
        results = (await calls.post("matching", "/v1/allocation-batches", who, body))["results"]
        counts.update(item["code"] or item["outcome"] for item in results)
    return counts


def _tell(calls: Calls, what: str, counts: list[Counter[str]]) -> None:
    total: Counter[str] = sum(counts, Counter())
    if not total:
        return
    done = total.pop("done", 0) + total.pop("already_done", 0)
    refused = "".join(f", {count} refused ({code})" for code, count in total.items())
    calls.say(f"allocations: {done:,} {what}{refused}")


def _items(rows: list[Row], **said: Any) -> list[Row]:
    return [{"allocation_id": row["id"], **said} for row in rows]


async def _accept(calls: Calls) -> None:
    """Each organization accepts its own; a few are declined, with a reason code."""
    accepted: list[Counter[str]] = []
    declined: list[Counter[str]] = []

    async def answer(organization: str, rows: list[Row]) -> None:
        who = _organization(calls, organization)
        no = [row for row in rows if _turn(row, DECLINED)]
        yes = [row for row in rows if not _turn(row, DECLINED)]
        accepted.append(await _act(calls, who, "accept", _items(yes)))
        if no:
            items = _items(no, reason_code="stock_reserved_elsewhere")
            declined.append(await _act(calls, who, "decline", items))

    rows = await _standing(calls, "reserved")
    await all_of(answer(key, part) for key, part in grouped(rows, _organization_of).items())
    _tell(calls, "accepted by their organizations", accepted)
    _tell(calls, "declined", declined)


def _turn(row: Row, every: int) -> bool:
    # By the random part of the id: the same allocation always meets the same fate.
    return int(UUID(row["id"])) % every == 0


async def _approve(calls: Calls) -> None:
    """Officers of the county who verified none of the needs approve."""

    async def approve(county: str, rows: list[Row]) -> Counter[str]:
        officer = calls.person("county_officer", f"county-approver-{county}", county)
        return await _act(calls, officer, "approve", _items(rows))

    rows = grouped(await _standing(calls, "accepted"), lambda row: _at(row, "county"))
    _tell(calls, "approved", await all_of(approve(county, part) for county, part in rows.items()))


def _at(row: Row, level: str) -> str:
    return divisions.cut_to(str(row["division_code"]), level)


async def _by_organization(calls: Calls, state: str, action: contract.AllocationAction) -> None:
    rows = grouped(await _standing(calls, state), _organization_of)
    counts = await all_of(
        _act(calls, _organization(calls, key), action, _items(part)) for key, part in rows.items()
    )
    _tell(calls, {"dispatch": "dispatched", "deliver": "delivered"}[action], counts)


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


async def _confirm(calls: Calls, entered: list[EnteredNeed], slips: dict[str, str]) -> None:
    """Half by the code on the slip, read to who brought it; half before a village officer."""
    rows = await _standing(calls, "delivered")
    # Codes are kept nowhere: those printed before a story was killed are printed again.
    lost = [row for row in rows if _turn(row, 2) and row["id"] not in slips]
    slips = slips | await _print_slips(calls, lost)
    homes = {str(need.id): need.division_code for need in entered}

    async def by_code(organization: str, part: list[Row]) -> Counter[str]:
        items = [{"allocation_id": row["id"], "code": slips[row["id"]]} for row in part]
        return await _act(calls, _organization(calls, organization), "confirm", items)

    async def before_officer(home: str, part: list[Row]) -> Counter[str]:
        officer = calls.person("village_officer", f"village-officer-{home}", home)
        return await _act(calls, officer, "confirm", _items(part))

    def home_of(row: Row) -> str:
        return homes.get(str(row["need_id"]), str(row["division_code"]))

    coded = [row for row in rows if _turn(row, 2)]
    seen = [row for row in rows if not _turn(row, 2)]
    _tell(calls, "confirmed by slip code", await _each(by_code, coded, _organization_of))
    _tell(calls, "confirmed before a village officer", await _each(before_officer, seen, home_of))


async def _each(
    confirm: Callable[[str, list[Row]], Any], rows: list[Row], key: Callable[[Row], str]
) -> list[Counter[str]]:
    return await all_of(confirm(who, part) for who, part in grouped(rows, key).items())
