"""A sample service on a database of its own."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from shared.issuer import Issuer
from tests.shared.sample import Base, make_app


@pytest.fixture
async def sample_url(pg_admin_url: str) -> AsyncIterator[str]:
    """The address of a database with the sample's tables; dropped after the test."""
    name = f"sample_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(pg_admin_url)
    await admin.execute(f"CREATE DATABASE {name}")
    url = pg_admin_url.replace("postgresql://", "postgresql+asyncpg://").rsplit("/", 1)[0]
    engine = create_async_engine(f"{url}/{name}")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(text("INSERT INTO feed_head DEFAULT VALUES"))
        await connection.execute(
            text("CREATE TABLE late_check (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        )
    await engine.dispose()
    yield f"{url}/{name}"
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def app(sample_url: str, issuer: Issuer) -> AsyncIterator[Any]:
    application = make_app(sample_url, issuer.key_set_path)
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
async def client(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


@pytest.fixture
def maker(token: Callable[..., dict[str, str]]) -> dict[str, str]:
    return token("entry_clerk", subject="clerk-1", division="430224000000")
