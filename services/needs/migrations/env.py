"""Alembic's entry; run by shared.migrate."""

from services.needs.tables import Base
from shared.migrate import run_migrations

run_migrations(Base.metadata)
