"""One database and one role per service on one server, migrated; run again, it changes nothing.

The audit service's tables belong to a second role, which only migrations use: the role the service
runs as may add to the log and cannot rewrite it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import asyncpg

from deploy.postgres import OLDEST_MAJOR, PostgresUnavailable
from services.audit import grants as audit_grants
from shared.files import write_durably
from shared.migrate import upgrade

PLATFORM = ("needs", "donors", "matching", "audit")
# The witness is meant to be run by somebody else: nothing of ours is its, and nothing of it ours.
SERVICES = (*PLATFORM, "witness")
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Place:
    """Where a service's tables are, and as whom they are made."""

    service: str
    database: str
    role: str
    owner: str


def places(prefix: str) -> list[Place]:
    return [
        Place(
            service,
            database=f"{prefix}{service}",
            role=f"{prefix}{service}",
            owner=f"{prefix}audit_owner" if service == "audit" else f"{prefix}{service}",
        )
        for service in SERVICES
    ]


def set_up(admin_url: str, state: Path, *, private: bool) -> dict[str, str]:
    """Make what is missing, migrate, and return each service's own postgresql+asyncpg:// address.

    private  the server is ours alone, so its other databases are closed to the services too

    Raises PostgresUnavailable with what to do. Not to be called on a running event loop.
    """
    wanted = places(os.environ.get("DATABASE_PREFIX", "duijie_"))
    # The private server has another port each time.
    server = "private" if private else urlsplit(admin_url).netloc.rpartition("@")[2]
    passwords = asyncio.run(
        _make_all(plain(admin_url), wanted, _Passwords(state / "passwords.json", server), private)
    )
    addresses = {}
    for place in wanted:
        owners = address(admin_url, place.database, place.owner, passwords[place.owner])
        upgrade(f"services.{place.service}", with_driver(owners))
        if place.owner != place.role:
            asyncio.run(_run(owners, audit_grants.statements(place.role)))
        own = address(admin_url, place.database, place.role, passwords[place.role])
        addresses[place.service] = with_driver(own)
    return addresses


def address(admin_url: str, database: str, role: str, password: str) -> str:
    """The administrator's address with another database, role and password."""
    parts = urlsplit(admin_url)
    host = parts.netloc.rpartition("@")[2]
    credentials = f"{quote(role)}:{quote(password, safe='')}"
    return parts._replace(
        scheme="postgresql", netloc=f"{credentials}@{host}", path=f"/{database}"
    ).geturl()


def with_driver(url: str) -> str:
    """The same address for SQLAlchemy, whose asyncpg dialect calls `sslmode` `ssl`."""
    parts = urlsplit(url)
    query = [("ssl" if key == "sslmode" else key, value) for key, value in parse_qsl(parts.query)]
    return parts._replace(scheme="postgresql+asyncpg", query=urlencode(query)).geturl()


def plain(url: str) -> str:
    """The same address without a driver's name, for asyncpg itself."""
    return urlsplit(url)._replace(scheme="postgresql").geturl()


class _Passwords:
    """The roles' passwords on one server, in a file that only we may read."""

    def __init__(self, path: Path, server: str) -> None:
        self._path = path
        self._server = server
        self._all: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}

    def __contains__(self, role: str) -> bool:
        return role in self._all.get(self._server, {})

    def of(self, roles: list[str]) -> dict[str, str]:
        """Return them; those missing are made, and kept before any role gets one."""
        ours = self._all.setdefault(self._server, {})
        missing = [role for role in roles if role not in ours]
        if missing:
            ours |= {role: secrets.token_urlsafe(24) for role in missing}
            write_durably(self._path, json.dumps(self._all, indent=1).encode(), mode=0o600)
        return {role: ours[role] for role in roles}


async def _make_all(
    admin_url: str, wanted: list[Place], kept: _Passwords, private: bool
) -> dict[str, str]:
    try:
        async with _connected(admin_url) as admin:
            await _check_server(admin)
            await _refuse_anothers(admin, wanted, kept)
            passwords = kept.of(sorted({r for place in wanted for r in (place.role, place.owner)}))
            for role, password in passwords.items():
                await _make_role(admin, role, password)
            for place in wanted:
                await _make_database(admin, place)
            if private:
                for database in ("postgres", "template1"):
                    await admin.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
            return passwords
    except asyncpg.InsufficientPrivilegeError as error:
        raise PostgresUnavailable(f"The role of DATABASE_URL may not do enough: {error}") from error


async def _check_server(admin: asyncpg.Connection) -> None:
    version = admin.get_server_version()
    if version.major < OLDEST_MAJOR:
        raise PostgresUnavailable(
            f"The server of DATABASE_URL is PostgreSQL {version.major}; "
            f"{OLDEST_MAJOR} or later is needed."
        )
    may = await admin.fetchrow(
        "SELECT rolname, rolsuper OR (rolcreaterole AND rolcreatedb) AS enough"
        " FROM pg_roles WHERE rolname = current_user"
    )
    if not may["enough"]:
        raise PostgresUnavailable(
            f"The role {may['rolname']} of DATABASE_URL may not create roles and databases. "
            f'As an administrator: ALTER ROLE "{may["rolname"]}" CREATEROLE CREATEDB'
        )


async def _refuse_anothers(
    admin: asyncpg.Connection, wanted: list[Place], kept: _Passwords
) -> None:
    """A role of these names whose password we do not keep is somebody else's."""
    roles = {role for place in wanted for role in (place.role, place.owner)}
    there = await admin.fetch(
        "SELECT rolname FROM pg_roles WHERE rolname = any($1::text[])", sorted(roles)
    )
    others = [row["rolname"] for row in there if row["rolname"] not in kept]
    if others:
        raise PostgresUnavailable(
            f"The server already has the roles {', '.join(others)}, made by another checkout or "
            "before `make clean`. Drop them and their databases, or choose other names with "
            "DATABASE_PREFIX=another_"
        )


async def _make_role(admin: asyncpg.Connection, role: str, password: str) -> None:
    exists = await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    await admin.execute(
        f"{'ALTER' if exists else 'CREATE'} ROLE {_name(role)} LOGIN NOCREATEDB NOCREATEROLE"
        f" PASSWORD '{password}'"  # base64url letters of our own making
    )
    # Since 16 who creates a role does not automatically act for it; owning a database needs that.
    if not await admin.fetchval("SELECT pg_has_role(current_user, $1, 'SET')", role):
        await admin.execute(f"GRANT {_name(role)} TO CURRENT_USER WITH SET TRUE, INHERIT TRUE")


async def _make_database(admin: asyncpg.Connection, place: Place) -> None:
    database, owner, role = _name(place.database), _name(place.owner), _name(place.role)
    if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", place.database):
        # The built-in provider sorts alike on every system; before 17 plain C does.
        provider = (
            " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
            if admin.get_server_version().major >= 17
            else ""
        )
        await admin.execute(
            f"CREATE DATABASE {database} OWNER {owner} TEMPLATE template0"
            f" ENCODING 'UTF8' LOCALE 'C'{provider}"
        )
    await admin.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    if place.owner != place.role:
        await admin.execute(f"GRANT CONNECT ON DATABASE {database} TO {role}")


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


async def _run(url: str, statements: list[str]) -> None:
    async with _connected(plain(url)) as connection, connection.transaction():
        for statement in statements:
            await connection.execute(statement)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    where = urlsplit(url).netloc.rpartition("@")[2]
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        raise PostgresUnavailable(
            f"No PostgreSQL answers at {where} ({error or 'too slow'}). "
            "Correct DATABASE_URL, or unset it to use a private server."
        ) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise PostgresUnavailable(
            f"The server at {where} refuses the connection: {error}. Correct DATABASE_URL."
        ) from error
    try:
        yield connection
    finally:
        await connection.close()
