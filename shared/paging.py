"""Lists: `{data, meta, links}` with opaque cursors and a Link header (RFC 8288)."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Query, Request, Response
from pydantic import BaseModel

from shared.errors import BadRequest

R = TypeVar("R")
T = TypeVar("T")
LIMIT_MAX = 200
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Rows a page.")]
Cursor = Annotated[
    str | None,
    Query(max_length=500, pattern=r"^[A-Za-z0-9_-]+$", description="From `links.next`; opaque."),
]


class InvalidCursor(BadRequest):
    code = "invalid_cursor"

    def __init__(self) -> None:
        super().__init__("The cursor is not one of ours; begin again without it.")


class PageMeta(BaseModel):
    limit: int
    has_more: bool


class PageLinks(BaseModel):
    self: str
    next: str | None = None


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    data: list[T]
    meta: PageMeta
    links: PageLinks


def encode_cursor(*values: str | int | datetime | UUID) -> str:
    plain = [v if isinstance(v, int) else str(v) for v in values]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str, *types: type) -> tuple[Any, ...]:
    """The values of a cursor, one of str, int, datetime, UUID each."""
    try:
        plain = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(plain, list) or len(plain) != len(types):
            raise InvalidCursor
        return tuple(_decode(kind, value) for kind, value in zip(types, plain, strict=True))
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise InvalidCursor from error


def _decode(kind: type, value: Any) -> Any:
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        # The bounds of `bodies.Moment`: outside them neither clocks nor PostgreSQL have room.
        if moment.tzinfo is None or not 1900 <= moment.year <= 2200:
            raise InvalidCursor
        return moment
    if kind is int:
        number = int(value)
        if not -(2**63) <= number < 2**63:
            raise InvalidCursor
        return number
    text = str(value)
    text.encode()  # a lone surrogate, which JSON can spell, is a ValueError
    if "\x00" in text:
        raise InvalidCursor
    return kind(text)


def page(
    request: Request,
    response: Response,
    rows: Sequence[R],
    limit: int,
    cursor_of: Callable[[R], str],
    render: Callable[[R], T],
) -> Page[T]:
    """A page of `rows`, fetched with `limit + 1` so that "more" is known, not guessed."""
    shown, has_more = rows[:limit], len(rows) > limit
    following = None
    if has_more:
        url = request.url.include_query_params(cursor=cursor_of(shown[-1]))
        following = f"{url.path}?{url.query}"
        response.headers["Link"] = f'<{following}>; rel="next"'
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return Page(
        data=[render(row) for row in shown],
        meta=PageMeta(limit=limit, has_more=has_more),
        links=PageLinks(self=here, next=following),
    )
