"""Recusals are looked up by officer: they hold for all needs of an applicant.

Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index("ix_recusal_officer", "recusal", ["officer"])
