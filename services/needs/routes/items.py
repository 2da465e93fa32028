"""Results of batch operations as bodies, the one result of a batch of one, and how it is shown."""

from typing import Any, TypeVar
from uuid import UUID

from services.needs import contract
from services.needs.privacy import MASK
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


Shown = TypeVar("Shown", contract.ApplicantRead, contract.NeedDetail)


def made(shown: Shown, kind: contract.ApplicantKind) -> Shown:
    """What a creation answers: that is kept in the clear to be repeated, and outlasts an erasure,
    so it says no more than is known after one."""
    hidden: dict[str, Any] = dict.fromkeys(("household", "deprivation_score_permille", "cause"))
    if kind == "household":
        hidden |= dict.fromkeys(("name", "applicant_name"), MASK)
    fields = hidden.keys() & type(shown).model_fields.keys()
    return shown.model_copy(update={name: hidden[name] for name in fields})


# For routes that create: the other status they answer with.
KNOWN_KEY: dict[int | str, dict[str, Any]] = {
    200: {"description": "The external key was known; nothing was changed."}
}
