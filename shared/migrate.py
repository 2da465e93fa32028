"""Schema of a service: `python -m shared.migrate services.needs` upgrades it to the newest.

Run by the role that owns the schema, before the service starts; safe beside the previous code.
"""

import argparse
import asyncio
import os
import sys
from importlib.resources import files
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, pool
from sqlalchemy.ext.asyncio import create_async_engine

# A migration that cannot have its lock soon must fail rather than queue everybody behind it.
LOCK_TIMEOUT_MS = 5_000
_MIGRATION_LOCK = 0x_D0_1E_0001


def config_of(package: str, url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files(package) / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = url
    return config


def upgrade(package: str, url: str) -> None:
    """Bring the database at `url` (postgresql+asyncpg://…) to the head of `package`."""
    command.upgrade(config_of(package, url), "head")


def run_migrations(metadata: MetaData) -> None:
    """The whole of a service's `migrations/env.py`."""
    from alembic import context

    url = context.config.attributes["url"]

    def migrate(connection: Connection) -> None:
        context.configure(connection=connection, target_metadata=metadata, compare_type=True)
        with context.begin_transaction():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
            # Two replicas that start together migrate one after the other.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            context.run_migrations()

    async def connect() -> None:
        engine: Any = create_async_engine(url, poolclass=pool.NullPool)
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
            await connection.commit()
        await engine.dispose()

    asyncio.run(connect())


def main() -> int:
    """Upgrade one service's schema; the address is read from DATABASE_URL."""
    parser = argparse.ArgumentParser(prog="python -m shared.migrate", description=main.__doc__)
    parser.add_argument("package", help="for instance services.needs")
    arguments = parser.parse_args()
    url = os.environ.get("DATABASE_URL")
    if not url:
        print("DATABASE_URL is not set (postgresql+asyncpg://…)", file=sys.stderr)
        return 2
    upgrade(arguments.package, url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
