"""One throw-away PostgreSQL for the whole run; a migrated database for whoever asks.

PYTEST_PG_URL names a server to use instead (an administrator's postgresql:// address).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import hypothesis
import pytest

from deploy.postgres import Postgres

if TYPE_CHECKING:
    from shared.issuer import Issuer
    from tests.spreading import Spreading

PG_URL = "PYTEST_PG_URL"
NewDatabase = Callable[[str], str]
MakeToken = Callable[..., dict[str, str]]
_server = pytest.StashKey[Postgres]()


# How long an example takes says something of the machine only.
hypothesis.settings.register_profile("duijie", deadline=None)
hypothesis.settings.load_profile("duijie")


def pytest_configure(config: pytest.Config) -> None:
    # The processes of a run must collect the same tests in the same order, also those made of sets.
    os.environ.setdefault("PYTHONHASHSEED", str(secrets.randbelow(2**32)))
    if os.environ.get(PG_URL):  # an outside server, or that of the process that started us
        return
    folder = Path(tempfile.mkdtemp(prefix="duijie-test-"))
    config.stash[_server] = Postgres(folder, throwaway=True).start()
    os.environ[PG_URL] = config.stash[_server].url()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Spreading:
    from tests.spreading import Spreading

    return Spreading(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # a process of several
        from tests.spreading import in_order

        items[:] = in_order(items)


def pytest_unconfigure(config: pytest.Config) -> None:
    server = config.stash.get(_server, None)
    if server is not None:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)
        del os.environ[PG_URL]


@pytest.fixture(scope="session")
def pg_admin_url() -> str:
    """The administrator's address, postgresql:// without a driver's name."""
    return os.environ[PG_URL]


@pytest.fixture(scope="session")
def databases(pg_admin_url: str) -> Iterator[_Databases]:
    with contextlib.closing(_Databases(pg_admin_url)) as made:
        yield made


@pytest.fixture
def database(databases: _Databases) -> Iterator[NewDatabase]:
    """`database("needs")`: the postgresql+asyncpg:// address of a fresh, migrated database.

    Dropped when the test ends, whoever is still connected.
    """
    with databases.lent() as new:
        yield new


@pytest.fixture(scope="module")
def module_database(databases: _Databases) -> Iterator[NewDatabase]:
    """As `database`, dropped when the module ends."""
    with databases.lent() as new:
        yield new


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    from shared.issuer import Issuer

    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="session")
def token(issuer: Issuer) -> MakeToken:
    """`token("county_officer", division="430224000000")`: the header of such a caller."""

    def make(
        role: str,
        subject: str = "tester",
        division: str | None = None,
        org: UUID | None = None,
    ) -> dict[str, str]:
        minted = issuer.mint(role=role, subject=subject, division=division, org=org)
        return {"Authorization": f"Bearer {minted}"}

    return make


@pytest.fixture
def settings_env(issuer: Issuer, tmp_path: Path) -> Callable[[str, str], dict[str, str]]:
    """`settings_env("needs", url)`: the environment every service needs, none of its own."""

    def make(service: str, database_url: str) -> dict[str, str]:
        state = tmp_path / service
        state.mkdir(exist_ok=True)
        token_file = state / "token"
        token_file.write_text(issuer.mint(role="service", subject=service))
        prefix = service.upper()
        return {
            f"{prefix}_DATABASE_URL": database_url,
            f"{prefix}_KEY_SET": str(issuer.key_set_path),
            f"{prefix}_SERVICE_TOKEN_FILE": str(token_file),
            f"{prefix}_STATE_DIR": str(state),
        }

    return make


class _Databases:
    """Clones of one template per service; a template is made by running the migrations."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._templates: dict[str, str] = {}
        # Its own thread: callers may sit on a running event loop.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="databases")

    @contextlib.contextmanager
    def lent(self) -> Iterator[NewDatabase]:
        names: list[str] = []

        def new(service: str) -> str:
            name = f"{service}_{uuid4().hex[:12]}"
            template = self._template(service)
            self._sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
            names.append(name)
            return self._url(name)

        try:
            yield new
        finally:
            self._sql(*(f"DROP DATABASE {name} WITH (FORCE)" for name in names))

    def close(self) -> None:
        self._sql(*(f"DROP DATABASE {name} WITH (FORCE)" for name in self._templates.values()))
        self._thread.shutdown()

    def _template(self, service: str) -> str:
        if service not in self._templates:
            from shared.migrate import upgrade

            name = f"template_{service}_{uuid4().hex[:8]}"
            self._sql(f"CREATE DATABASE {name}")
            self._templates[service] = name
            self._thread.submit(upgrade, f"services.{service}", self._url(name)).result()
        return self._templates[service]

    def _url(self, name: str) -> str:
        address = urlsplit(self._admin_url)
        return address._replace(scheme="postgresql+asyncpg", path=f"/{name}").geturl()

    def _sql(self, *statements: str) -> None:
        def go() -> None:
            asyncio.run(_execute(self._admin_url, statements))

        self._thread.submit(go).result()


async def _execute(url: str, statements: tuple[str, ...]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
