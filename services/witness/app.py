"""Settings and wiring of the witness."""

from pathlib import Path
from typing import Annotated

from fastapi import FastAPI
from pydantic import AfterValidator
from pydantic_settings import SettingsConfigDict

from services.witness.domain import BODY_BYTES_MAX, trusted_logs, witness_name
from services.witness.keeper import Keeper
from services.witness.routes import router
from services.witness.state import StateDirectory
from shared.service import AloneSettings, Task, create_service

DESCRIPTION = (
    "A witness of verifiable logs: cosigns a checkpoint only if it goes on from the last one it"
    " cosigned of that log (C2SP tlog-witness). Run by somebody other than the log."
)


class Settings(AloneSettings):
    """Environment variables WITNESS_…"""

    model_config = SettingsConfigDict(env_prefix="WITNESS_")

    name: Annotated[str, AfterValidator(witness_name)]
    # A file with the public keys of the logs it knows; read at the start.
    logs: Path
    # A second cosignature, of ML-DSA-44.
    post_quantum: bool = False


def create_app(settings: Settings | None = None) -> FastAPI:
    """The witness; its settings come from the environment unless they are given."""
    settings = settings or Settings()
    keeper = Keeper(
        StateDirectory(settings.state_dir, settings.name, post_quantum=settings.post_quantum),
        trusted_logs(settings.logs.read_text()),
    )
    app = create_service(
        "witness",
        settings,
        [router],
        description=DESCRIPTION,
        tasks=[Task("witness", keeper.run, keeper.not_ready)],
        body_bytes_max=BODY_BYTES_MAX,
    )
    app.state.keeper = keeper
    return app
