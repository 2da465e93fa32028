"""Settings and create_app(): all wiring of the needs service, nothing else."""

from datetime import datetime
from pathlib import Path

from fastapi import FastAPI
from pydantic_settings import SettingsConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from services.needs.operations import totals
from services.needs.operations.publication import expire_due, publish_due, suspend_overdue
from services.needs.policies import deprivation_index, policies
from services.needs.privacy import Privacy
from services.needs.routes import ROUTERS
from shared.events import feed_router
from shared.service import Clock, ServiceSettings, Task, create_service
from shared.totals import totals_router


class Settings(ServiceSettings):
    """`NEEDS_STATE_DIR` holds the key store: lose it and all personal data is unreadable.

    clock_s   how often it is looked for what falls due: ends of notices, reviews, expiry
    kek_file  the key that wraps the keys of persons, where it is not to lie beside them
    """

    model_config = SettingsConfigDict(env_prefix="NEEDS_")

    clock_s: float = 0.5
    kek_file: Path | None = None


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or Settings()
    # A policy that is not whole must stop the start, not the first decision.
    policies()
    deprivation_index()
    privacy = Privacy(settings.state_dir, settings.kek_file)

    async def publish(session: AsyncSession, now: datetime) -> int:
        return await publish_due(session, privacy, now)

    app = create_service(
        "needs",
        settings,
        [*ROUTERS, totals_router(totals.TELLER), feed_router("needs")],
        description="Households and their identification, needs and their verification.",
        clocks=[
            Clock("publish", settings.clock_s, publish),
            Clock("review", settings.clock_s, suspend_overdue),
            Clock("expire", settings.clock_s, expire_due),
        ],
        tasks=[Task("totals", totals.TELLER.run)],
    )
    app.state.privacy = privacy
    return app
