"""The published vocabulary and the divisions, for whoever enters or shows needs."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from services.needs import contract
from services.needs.domain.errors import CodeListNotFound
from shared import vocabulary
from shared.callers import Public
from shared.errors import responses
from shared.vocabulary import divisions

router = APIRouter(prefix="/v1", tags=["vocabulary"])

ListName = Annotated[str, Path(pattern=r"^[a-z][a-z_]*$", max_length=64)]
Parent = Annotated[
    str,
    Query(pattern=r"^[0-9]{12}$", description="Its direct children; the nation by default."),
]


@router.get(
    "/vocabulary/{list_name}",
    response_model=list[contract.TermRead],
    responses=responses(CodeListNotFound),
)
async def read_code_list(caller: Public, list_name: ListName) -> list[contract.TermRead]:
    """One code list with Chinese and English names, for instance `categories` or `units`."""
    terms = vocabulary.document().get(list_name)
    if terms is None:
        raise CodeListNotFound
    return [contract.TermRead(**term) for term in terms]


@router.get("/divisions", response_model=list[contract.DivisionRead])
async def list_divisions(
    caller: Public, parent: Parent = divisions.ROOT
) -> list[contract.DivisionRead]:
    """The divisions directly below one, in the order of their codes."""
    return [
        contract.DivisionRead(
            code=division.code,
            level=divisions.level(division.code),
            name_zh=division.name_zh,
            name_en=division.name_en,
        )
        for division in divisions.children(parent)
    ]
