"""A tiny service that uses all of the plumbing, for the tests of the plumbing."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, ClassVar
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field
from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from shared.bodies import Body, Count, ReadBody, Text
from shared.callers import Caller, Public, require
from shared.db import Reading, Transaction, make_base, uuid7
from shared.errors import Conflict, responses
from shared.events import Event, add_event_tables, emit, feed_router
from shared.idempotency import Once
from shared.paging import Cursor, Limit, Page, decode_cursor, encode_cursor, page
from shared.service import ServiceSettings, create_service

Base = make_base()
add_event_tables(Base.metadata)


class Thing(Base):  # type: ignore[misc, valid-type]  # the base is made by a function
    __tablename__ = "thing"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    pieces: Mapped[int]


class ThingMade(Event):
    type: ClassVar[str] = "sample.thing_made"
    thing_id: UUID
    pieces: int


class ThingRefused(Conflict):
    code = "thing_refused"


class ThingCreate(Body):
    name: Text
    pieces: Count = Field(examples=[3])


class ThingRead(ReadBody):
    id: UUID
    name: str
    pieces: int


Maker = Annotated[Caller, Depends(require("needs:enter"))]
router = APIRouter(prefix="/v1/things", tags=["things"])


@router.post("", status_code=201, response_model=ThingRead, responses=responses(ThingRefused))
async def make_thing(
    session: Transaction, caller: Maker, body: ThingCreate, once: Once
) -> ThingRead:
    """Make a thing."""
    thing = Thing(id=uuid7(), name=body.name, pieces=body.pieces)
    session.add(thing)
    await session.flush()
    await emit(
        session,
        ThingMade(thing_id=thing.id, pieces=thing.pieces),
        subject=f"thing/{thing.id}",
        actor=caller.subject,
        role=caller.role,
        division="430224101001",
    )
    if body.name == "refuse":
        raise ThingRefused("Not this one.")
    if body.name == "bug":
        raise RuntimeError("secret detail")
    if body.name == "cut off":  # as asyncpg says it when the server is killed in mid-question
        raise asyncpg.InternalClientError("cannot switch to state 12")
    if body.name == "cut off while it is made":  # as asyncpg says it then, past SQLAlchemy
        raise asyncpg.InterfaceError("connection is closed")
    if body.name == "shut down while it is made":
        raise asyncpg.AdminShutdownError("terminating connection")
    if body.name == "breaks a rule":
        await session.execute(text("INSERT INTO feed_head (one) VALUES (false)"))
    if body.name == "loses the database":
        await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    if body.name == "slow":
        await asyncio.sleep(0.5)
    if body.name == "fails at commit":
        await session.execute(text("INSERT INTO late_check VALUES (1), (1)"))
    return await once.remember(201, ThingRead.model_validate(thing))


@router.get("", response_model=Page[ThingRead])
async def list_things(
    session: Reading,
    caller: Public,
    request: Request,
    response: Response,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ThingRead]:
    """All things, oldest first."""
    after = decode_cursor(cursor, UUID)[0] if cursor else UUID(int=0)
    rows = (
        await session.execute(
            text("SELECT id, name, pieces FROM thing WHERE id > :after ORDER BY id LIMIT :limit"),
            {"after": after, "limit": limit + 1},
        )
    ).all()
    return page(
        request, response, rows, limit, lambda r: encode_cursor(r.id), ThingRead.model_validate
    )


@router.post("/{thing_id}/parts", status_code=201, response_model=ThingRead)
async def add_part(caller: Public, once: Once, thing_id: UUID) -> ThingRead:
    """A public creation below something with an id."""
    return await once.remember(201, ThingRead(id=thing_id, name="part", pieces=1))


class SampleSettings(ServiceSettings):
    pass


def make_app(database_url: str, key_set: Path, **more: Any) -> Any:
    settings = SampleSettings(
        database_url=database_url,
        key_set=str(key_set),
        service_token_file=key_set,
        state_dir=key_set.parent,
        log_level="ERROR",
        **more.pop("settings", {}),
    )
    return create_service(
        "sample", settings, [router, feed_router("sample")], description="A sample.", **more
    )
