"""Organizations and offers of the story: entered by a clerk, approved by a coordinator."""

from collections import Counter
from typing import Any
from uuid import UUID

from deploy.example import Example
from deploy.story.calling import Calls, StoryFailed, parts
from services.donors import contract

# Some offers serve the whole province, so who approves them has rights for it.
PROVINCE = "430000000000"
BATCH = 200


async def load(calls: Calls, example: Example) -> None:
    """Enter what is not there yet and approve what waits for it."""
    clerk = calls.person("entry_clerk", "clerk-alliance", PROVINCE)
    coordinator = calls.person("alliance_coordinator", "coordinator-hunan", PROVINCE)
    outcomes: Counter[str] = Counter()
    ids: dict[str, UUID] = {}
    registered: list[contract.OrganizationApproval] = []
    for some in parts(list(example.organizations), BATCH):
        body = contract.OrganizationBatch(organizations=some)
        items = await _created(calls, "/v1/organization-batches", clerk, body, outcomes)
        for row, item in zip(some, items, strict=True):
            ids[row.external_key or ""] = UUID(item["id"])
            if item["state"] == "registered":
                registered.append(_organization_approval(row, UUID(item["id"])))
    for waiting in parts(registered, BATCH):
        batch = contract.OrganizationApprovalBatch(approvals=waiting)
        await _approved(calls, "/v1/organization-approval-batches", coordinator, batch)
    submitted: list[contract.OfferApproval] = []
    for part in parts(list(example.offers), BATCH):
        bodies = [offer.create_body(ids[offer.organization_key]) for offer in part]
        items = await _created(
            calls, "/v1/offer-batches", clerk, contract.OfferBatch(offers=bodies), outcomes
        )
        submitted += [
            contract.OfferApproval(offer_id=UUID(item["id"]))
            for item in items
            if item["state"] == "submitted"
        ]
    for offers in parts(submitted, BATCH):
        approvals = contract.OfferApprovalBatch(approvals=offers)
        await _approved(calls, "/v1/offer-approval-batches", coordinator, approvals)
    calls.say(
        f"donors: {len(example.organizations)} organizations and {len(example.offers)} offers,"
        f" {outcomes['created']} records created, {outcomes['already_there']} already there;"
        f" {len(registered)} organizations and {len(submitted)} offers approved"
    )


async def _created(
    calls: Calls,
    path: str,
    clerk: str,
    body: contract.OrganizationBatch | contract.OfferBatch,
    outcomes: Counter[str],
) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = (await calls.post("donors", path, clerk, body))["results"]
    for item in results:
        outcomes[item["outcome"]] += 1
        if item["outcome"] == "refused":
            raise StoryFailed(f"{path} refused {item['loc']}: {item['code']}, {item['detail']}")
    return results


def _organization_approval(
    row: contract.OrganizationCreate, organization_id: UUID
) -> contract.OrganizationApproval:
    reason = None if row.uscc else "无统一社会信用代码，已电话核实。 No USCC; telephoned."
    return contract.OrganizationApproval(organization_id=organization_id, reason=reason)


async def _approved(
    calls: Calls,
    path: str,
    coordinator: str,
    body: contract.OrganizationApprovalBatch | contract.OfferApprovalBatch,
) -> None:
    for item in (await calls.post("donors", path, coordinator, body))["results"]:
        if item["outcome"] == "refused":
            raise StoryFailed(f"{path} refused: {item['code']}, {item['detail']}")
