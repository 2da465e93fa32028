"""The database of one service: engine, one transaction a request, names of constraints, locks."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

import asyncpg
import uuid6
from fastapi import Depends, Request
from sqlalchemy import DateTime, MetaData, text
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Session

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# What a service that declares its own base gives as its `type_annotation_map` (a type checker
# cannot follow a base made by a function).
COLUMN_TYPES: dict[Any, Any] = {datetime: DateTime(timezone=True), UUID: PG_UUID(as_uuid=True)}

Sessions = async_sessionmaker[AsyncSession]


def make_base() -> type[DeclarativeBase]:
    """A declarative base of its own for each service, so that no service sees another's tables."""

    class Base(DeclarativeBase):
        metadata = MetaData(naming_convention=NAMING_CONVENTION)
        type_annotation_map: ClassVar = COLUMN_TYPES

    return Base


def uuid7() -> UUID:
    """A time-ordered id (RFC 9562), so that new rows go to the right edge of an index."""
    return UUID(int=uuid6.uuid7().int)


def now() -> datetime:
    """The time, aware, UTC. Called at the border only; rules take it as an argument."""
    return datetime.now(UTC)


def make_engine(url: str, *, pool_size: int = 10, statement_timeout_s: int = 30) -> AsyncEngine:
    """An engine whose statements and idle transactions end by themselves."""
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_pre_ping=True,
        hide_parameters=True,  # an error's text goes to the log, which holds no personal data
        connect_args={
            "timeout": 10,
            "server_settings": {
                "statement_timeout": str(statement_timeout_s * 1000),
                "idle_in_transaction_session_timeout": str(statement_timeout_s * 1000),
                "timezone": "UTC",
            },
        },
    )


class Pool:
    """Connections for one kind of work: another kind, however much there is, cannot take them all.

    size              connections kept open; at need as many more
    sessions          transactions
    reading_sessions  AUTOCOMMIT: single statements without BEGIN and ROLLBACK
    """

    def __init__(self, url: str, size: int, session_class: type[Session] = Session) -> None:
        self.engine = make_engine(url, pool_size=size)
        self.sessions: Sessions = async_sessionmaker(
            self.engine, expire_on_commit=False, sync_session_class=session_class
        )
        reading = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self.reading_sessions: Sessions = async_sessionmaker(reading, expire_on_commit=False)


async def _transaction(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.callers.sessions.begin() as session:
        yield session


async def _reading(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.callers.reading_sessions() as session:
        yield session


# scope="function": with the default scope the commit runs after the answer has been sent.
Transaction = Annotated[AsyncSession, Depends(_transaction, scope="function")]
# Single statements outside a transaction (AUTOCOMMIT): no BEGIN and no ROLLBACK round trips.
Reading = Annotated[AsyncSession, Depends(_reading, scope="function")]


def constraint_of(error: IntegrityError) -> str | None:
    """The name of the constraint that refused the statement."""
    cause: Any = error.orig
    while cause is not None:
        if name := getattr(cause, "constraint_name", None):
            return str(name)
        cause = cause.__cause__
    return None


# What asyncpg may raise of a connection that is killed while it asks; SQLAlchemy lets it through.
CutOff = asyncpg.InternalClientError
# What asyncpg raises itself; SQLAlchemy lets it through when it is asked directly, or while
# SQLAlchemy makes a connection.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, CutOff)
# What a statement may raise when the database is lost, and more: `is_passing` tells.
STORAGE_ERRORS = (OSError, DBAPIError, PoolTimeout, *DRIVER_ERRORS)

# SQLSTATE classes: connection lost, transaction rolled back (deadlock), resources, intervention.
_PASSING = frozenset({"08", "40", "53", "57"})


@contextlib.asynccontextmanager
async def driver_of(session: AsyncSession) -> AsyncIterator[Any]:
    """The session's connection as asyncpg has it, for COPY, and where SQLAlchemy's way to it would
    cost as much as the work: some ten entries appended, some hundred read. Errors are
    SQLAlchemy's all the same.
    """
    driver: Any = await session.run_sync(
        lambda each: each.connection().connection.driver_connection
    )
    try:
        yield driver
    except CutOff:  # cut off while it asked: nobody else may get it
        driver.terminate()
        raise
    except DRIVER_ERRORS as error:
        state = getattr(error, "sqlstate", None) or ""
        kind = IntegrityError if state.startswith("23") else DBAPIError
        is_lost = driver.is_closed()
        raise kind(
            None, None, error, hide_parameters=True, connection_invalidated=is_lost
        ) from error


def is_passing(error: Exception) -> bool:
    """Whether the database could not be asked or had to give up, and may well answer next time."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        return error.connection_invalidated or state[:2] in _PASSING
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _PASSING
    return isinstance(error, (OSError, PoolTimeout, CutOff, asyncpg.InterfaceError))


async def lock(session: AsyncSession, key: str) -> None:
    """Wait for the advisory lock of `key`; it is given back when the transaction ends."""
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:k, 0))"), {"k": key})


async def try_lock(session: AsyncSession, key: str) -> bool:
    """Take the advisory lock of `key` until the transaction ends, or say that another has it."""
    taken = await session.scalar(
        text("SELECT pg_try_advisory_xact_lock(hashtextextended(:k, 0))"), {"k": key}
    )
    return bool(taken)
