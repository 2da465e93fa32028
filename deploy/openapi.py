"""The OpenAPI document of each service, committed in docs/openapi: `python -m deploy.openapi`."""

import importlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI

SERVICES = ("needs", "donors", "matching", "audit", "witness")
_FOLDER = Path(__file__).parents[1] / "docs" / "openapi"


def application(service: str) -> FastAPI:
    """The service's application, wired to nothing: for looking at, not for serving."""
    module: Any = importlib.import_module(f"services.{service}.app")
    prefix = f"{service.upper()}_"
    nowhere = Path(tempfile.mkdtemp(prefix="duijie-nowhere-"))
    wanted = {
        "DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1:1/nothing",
        "KEY_SET": str(nowhere / "jwks.json"),
        "SERVICE_TOKEN_FILE": str(nowhere / "token"),
        "STATE_DIR": str(nowhere),
        **{f"{other.upper()}_URL": "http://127.0.0.1:1" for other in SERVICES},
        "NAME": "nobody.example",
        "LOGS": os.devnull,
    }
    before = dict(os.environ)
    os.environ.update({prefix + name: value for name, value in wanted.items()})
    try:
        made: FastAPI = module.create_app()
    finally:
        os.environ.clear()
        os.environ.update(before)
        # A service makes its keys where it is told; these protect nothing.
        shutil.rmtree(nowhere)
    return made


def document_path(service: str) -> Path:
    return _FOLDER / f"{service}.json"


def main() -> None:
    """Write the documents."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    for service in SERVICES:
        document = json.dumps(application(service).openapi(), ensure_ascii=False, indent=1)
        document_path(service).write_text(document + "\n")


if __name__ == "__main__":
    main()
