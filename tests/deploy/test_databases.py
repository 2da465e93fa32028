"""Each service in a database of its own, with a role that opens no other."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from deploy import databases
from deploy.postgres import Postgres, PostgresUnavailable


@pytest.fixture(scope="module")
def server(module_folder):
    """A server of this module's own: roles are shared by all databases of a server."""
    with Postgres(module_folder / "pg", throwaway=True) as started:
        yield started


@pytest.fixture(scope="module")
async def addresses(server, tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    made = await asyncio.to_thread(databases.set_up, server.url(), state, private=True)
    assert await asyncio.to_thread(databases.set_up, server.url(), state, private=True) == made
    assert (state / "passwords.json").stat().st_mode & 0o777 == 0o600
    return made


@asynccontextmanager
async def connected(url):
    connection = await asyncpg.connect(databases.plain(url))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("service", databases.SERVICES)
async def test_a_service_opens_its_own_database_only(addresses, service):
    async with connected(addresses[service]) as own:
        assert await own.fetchval("SELECT current_database()") == f"duijie_{service}"
        assert await own.fetchval("SELECT to_regclass('alembic_version')") is not None
    others = [f"duijie_{other}" for other in databases.SERVICES if other != service]
    for database in (*others, "postgres"):
        there = urlsplit(databases.plain(addresses[service]))._replace(path=f"/{database}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(there.geturl())


async def test_the_audit_service_cannot_rewrite_its_log(addresses):
    async with connected(addresses["audit"]) as audit:
        rewritable = await audit.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace"
            " AND has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE')"
        )
        log = {"entry", "node", "checkpoint"}
        assert log.isdisjoint(row["relname"] for row in rewritable)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await audit.execute("DELETE FROM entry")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await audit.execute("ALTER TABLE entry DISABLE TRIGGER ALL")


async def test_an_outside_role_without_rights_is_told_what_it_lacks(server, tmp_path):
    async with connected(server.url()) as admin:
        await admin.execute("GRANT CONNECT ON DATABASE postgres TO PUBLIC")
        await admin.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'")
    weak = databases.address(server.url(), "postgres", "weak", "weak")
    with pytest.raises(PostgresUnavailable, match='ALTER ROLE "weak" CREATEROLE CREATEDB'):
        await asyncio.to_thread(databases.set_up, weak, tmp_path, private=False)


async def test_an_outside_role_with_just_the_rights_is_enough(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_PREFIX", "second_")
    async with connected(server.url()) as admin:
        await admin.execute("GRANT CONNECT ON DATABASE postgres TO PUBLIC")
        await admin.execute("CREATE ROLE maker LOGIN PASSWORD 'maker' CREATEROLE CREATEDB")
    maker = databases.address(server.url(), "postgres", "maker", "maker")
    made = await asyncio.to_thread(databases.set_up, maker, tmp_path, private=False)
    async with connected(made["needs"]) as needs:
        assert await needs.fetchval("SELECT current_user") == "second_needs"


async def test_the_databases_of_another_checkout_are_not_taken_over(addresses, server, tmp_path):
    with pytest.raises(PostgresUnavailable, match="DATABASE_PREFIX"):
        await asyncio.to_thread(databases.set_up, server.url(), tmp_path, private=False)


async def test_a_server_that_does_not_answer_is_named(tmp_path):
    nowhere = "postgresql://postgres:x@127.0.0.1:1/postgres"
    with pytest.raises(PostgresUnavailable, match=r"127\.0\.0\.1:1.*DATABASE_URL"):
        await asyncio.to_thread(databases.set_up, nowhere, tmp_path, private=False)


async def test_a_wrong_password_is_said_without_showing_it(server, tmp_path):
    secret = uuid4().hex
    wrong = databases.address(server.url(), "postgres", "postgres", secret)
    with pytest.raises(PostgresUnavailable, match="refuses") as refusal:
        await asyncio.to_thread(databases.set_up, wrong, tmp_path, private=False)
    assert secret not in str(refusal.value)


def test_addresses_are_rewritten_for_the_driver():
    given = "postgres://boss:p%40ss@db.example:5432/postgres?sslmode=require"
    own = databases.address(given, "duijie_needs", "duijie_needs", "a/b")
    assert own == "postgresql://duijie_needs:a%2Fb@db.example:5432/duijie_needs?sslmode=require"
    assert databases.with_driver(own) == (
        "postgresql+asyncpg://duijie_needs:a%2Fb@db.example:5432/duijie_needs?ssl=require"
    )
