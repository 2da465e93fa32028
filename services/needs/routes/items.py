"""Results of batch operations as bodies, and the one result of a batch of one."""

from typing import Any
from uuid import UUID

from services.needs import contract
from shared.errors import ServiceError


def item_of(result: contract.CreatedItem | ServiceError) -> contract.CreatedItem:
    if isinstance(result, contract.CreatedItem):
        return result
    loc = ".".join(str(part) for part in result.errors[0].loc) if result.errors else None
    return contract.CreatedItem(outcome="refused", code=result.code, loc=loc, detail=result.detail)


def single(results: list[contract.CreatedItem | ServiceError]) -> tuple[UUID, int]:
    """The id of the only result and its status: 201 created, 200 already there."""
    result = results[0]
    if isinstance(result, ServiceError):
        raise result
    assert result.id is not None  # noqa: S101 - created or already there, both have one
    return result.id, 201 if result.outcome == "created" else 200


# For routes that create: the other status they answer with.
KNOWN_KEY: dict[int | str, dict[str, Any]] = {
    200: {"description": "The external key was known; nothing was changed."}
}
