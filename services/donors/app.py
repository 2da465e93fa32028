"""The donors service: settings and wiring."""

from fastapi import FastAPI
from pydantic_settings import SettingsConfigDict

from services.donors.operations import due
from services.donors.routes import routers
from shared.events import feed_router
from shared.service import Clock, ServiceSettings, create_service


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
        [*routers, feed_router("donors")],
        description="Organizations, their offers, and the ledger of what each offer still has.",
        clocks=[
            Clock("open offers", settings.clock_s, due.open_due),
            Clock("expire offers", settings.clock_s, due.expire_due),
        ],
    )
