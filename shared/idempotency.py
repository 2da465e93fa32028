"""Idempotency-Key on every POST that creates: the answer is stored with what it answers for.

SPEC: draft-ietf-httpapi-idempotency-key-header: 400 when missing, 422 with another body, 409 while
the first is under way. The key belongs to one caller and one route.

Bodies hold personal data that can be tried out, an ID number above all, so there is no plain hash
of one: it is keyed with the client's own key, and of that only a hash is kept.
"""

import hashlib
import hmac
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy import text

from shared.callers import Public
from shared.db import Transaction, now, try_lock
from shared.errors import BadRequest, Conflict, ErrorReply, Invalid

B = TypeVar("B", bound=BaseModel)
IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=200, pattern=r"^[\x21-\x7e]+$", description="Random, unique for one creation."
    ),
]


class IdempotencyKeyMissing(BadRequest):
    code = "idempotency_key_missing"


class IdempotencyKeyReused(Invalid):
    code = "idempotency_key_reused"


class RequestInFlight(Conflict):
    code = "request_in_flight"


class _Once:
    """What a creating route remembers its answer with."""

    def __init__(self, session: Any, identity: dict[str, Any]) -> None:
        self._session, self._identity = session, identity

    async def remember(self, status: int, answer: B) -> B:
        """Store the answer in the transaction of its effects and return it."""
        await self._session.execute(
            text(
                "INSERT INTO idempotency (client, route, key, body_hash, status, answer, at)"
                " VALUES (:client, :route, :key, :body_hash, :status, :answer, :at)"
            ),
            {
                **self._identity,
                "status": status,
                "answer": answer.model_dump_json().encode(),
                "at": now(),
            },
        )
        return answer


async def once(
    request: Request,
    session: Transaction,
    caller: Public,
    idempotency_key: IdempotencyKey = None,
) -> _Once:
    if idempotency_key is None:
        raise IdempotencyKeyMissing("This needs an Idempotency-Key header.")
    client = caller.subject if caller else "public"
    # Quoted: the path is not judged yet, and may hold what PostgreSQL cannot keep.
    route = f"{request.method} {quote(request.url.path)}"
    key = hashlib.sha256(idempotency_key.encode()).hexdigest()
    body_hash = hmac.digest(idempotency_key.encode(), await request.body(), "sha256")
    if not await try_lock(session, f"idempotency {client} {route} {key}"):
        raise RequestInFlight("A request with this Idempotency-Key is under way; ask again.")
    row = (
        await session.execute(
            text(
                "SELECT body_hash, status, answer FROM idempotency"
                " WHERE client = :client AND route = :route AND key = :key"
            ),
            {"client": client, "route": route, "key": key},
        )
    ).one_or_none()
    identity = {
        "client": client,
        "route": route,
        "key": key,
        "body_hash": body_hash,
    }
    if row is None:
        return _Once(session, identity)
    if bytes(row.body_hash) != body_hash:
        raise IdempotencyKeyReused("This Idempotency-Key was used with another body.")
    raise ErrorReply(row.status, bytes(row.answer))


Once = Annotated[_Once, Depends(once, scope="function")]
