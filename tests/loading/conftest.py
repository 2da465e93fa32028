"""The needs and the donors service in this process, on databases of their own."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.loading.sending import Sender
from services.donors.app import Settings as DonorsSettings
from services.donors.app import create_app as create_donors
from services.needs.app import Settings as NeedsSettings
from services.needs.app import create_app as create_needs
from shared.issuer import Issuer
from shared.vocabulary import divisions


@pytest.fixture(scope="module")
async def transports(
    module_database: Callable[[str], str], issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, httpx.ASGITransport]]:
    folder: Path = tmp_path_factory.mktemp("services")
    common: dict[str, Any] = {
        "key_set": str(issuer.key_set_path),
        "service_token_file": folder / "token",
        "rate_per_minute_max": 1_000_000,
    }
    (folder / "needs").mkdir()
    (folder / "donors").mkdir()
    apps = {
        "needs": create_needs(
            NeedsSettings(
                database_url=module_database("needs"), state_dir=folder / "needs", **common
            )
        ),
        "donors": create_donors(
            DonorsSettings(
                database_url=module_database("donors"), state_dir=folder / "donors", **common
            )
        ),
    }
    async with AsyncExitStack() as running:
        for app in apps.values():
            await running.enter_async_context(app.router.lifespan_context(app))
        yield {name: httpx.ASGITransport(app) for name, app in apps.items()}


@pytest.fixture
async def senders(
    transports: dict[str, httpx.ASGITransport], issuer: Issuer, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Sender, Sender]]:
    """Senders of one clerk a test, so that no test knows another's keys."""
    subject = f"clerk of {request.node.name}"
    token = issuer.mint(role="entry_clerk", subject=subject, division=divisions.ROOT)
    async with (
        Sender("http://needs", token, transports["needs"]) as needs,
        Sender("http://donors", token, transports["donors"]) as donors,
    ):
        yield needs, donors
