"""Settings and create_app(): all wiring of the needs service, nothing else."""

from datetime import datetime

from fastapi import FastAPI
from pydantic_settings import SettingsConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from services.needs.operations.publication import expire_due, publish_due, suspend_overdue
from services.needs.policies import deprivation_index, policies
from services.needs.privacy import Privacy
from services.needs.routes import ROUTERS
from shared.events import feed_router
from shared.service import Clock, ServiceSettings, create_service

# A notice that ends is seen as published within this time.
PUBLISH_EVERY_S = 0.5
OTHER_CLOCKS_EVERY_S = 5.0


class Settings(ServiceSettings):
    """`NEEDS_STATE_DIR` holds the key store: lose it and all personal data is unreadable."""

    model_config = SettingsConfigDict(env_prefix="NEEDS_")


def create_app() -> FastAPI:
    settings = Settings()  # type: ignore[call-arg]  # the fields come from the environment
    # A policy that is not whole must stop the start, not the first decision.
    policies()
    deprivation_index()
    privacy = Privacy(settings.state_dir)

    async def publish(session: AsyncSession, now: datetime) -> int:
        return await publish_due(session, privacy, now)

    app = create_service(
        "needs",
        settings,
        [*ROUTERS, feed_router("needs")],
        description="Households and their identification, needs and their verification.",
        clocks=[
            Clock("publish", PUBLISH_EVERY_S, publish),
            Clock("review", OTHER_CLOCKS_EVERY_S, suspend_overdue),
            Clock("expire", OTHER_CLOCKS_EVERY_S, expire_due),
        ],
    )
    app.state.privacy = privacy
    return app
