"""The donors service: settings and wiring."""

from fastapi import FastAPI
from pydantic_settings import SettingsConfigDict

from services.donors.operations import due, totals
from services.donors.routes import routers
from shared.events import feed_router
from shared.service import Clock, ServiceSettings, Task, create_service
from shared.totals import totals_router


class Settings(ServiceSettings):
    """As every service; what falls due is looked for each `clock_s` seconds."""

    model_config = SettingsConfigDict(env_prefix="DONORS_")

    clock_s: float = 1.0


def create_app(settings: Settings | None = None) -> FastAPI:
    """Read the settings from the environment unless they are given."""
    settings = settings or Settings()
    return create_service(
        "donors",
        settings,
        [*routers, totals_router(totals.TELLER), feed_router("donors")],
        description="Organizations, their offers, and the ledger of what each offer still has.",
        clocks=[
            Clock("open offers", settings.clock_s, due.open_due),
            Clock("expire offers", settings.clock_s, due.expire_due),
        ],
        tasks=[Task("totals", totals.TELLER.run)],
    )
