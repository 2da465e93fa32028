"""Alembic's entry; run by shared.migrate."""

from services.witness.tables import Base
from shared.migrate import run_migrations

run_migrations(Base.metadata)
