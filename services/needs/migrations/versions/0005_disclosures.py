"""What opens the digests in events; the household's record is sealed from now on.

Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "event_disclosures",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("applicant_id", sa.UUID(), nullable=False),
        sa.Column("need_id", sa.UUID(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "octet_length(sealed) > 28", name=op.f("ck_event_disclosures_sealed_whole")
        ),
        sa.ForeignKeyConstraint(
            ["applicant_id"],
            ["applicant.id"],
            name=op.f("fk_event_disclosures_applicant_id_applicant"),
        ),
        sa.ForeignKeyConstraint(
            ["need_id"], ["need.id"], name=op.f("fk_event_disclosures_need_id_need")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_event_disclosures")),
    )
    op.create_index(
        "ix_event_disclosures_applicant", "event_disclosures", ["applicant_id", "event_id"]
    )
    op.create_index(
        "ix_event_disclosures_need",
        "event_disclosures",
        ["need_id", "event_id"],
        postgresql_where=sa.text("need_id IS NOT NULL"),
    )
    op.drop_constraint(op.f("ck_applicant_household_stated"), "applicant")
    op.create_check_constraint(
        op.f("ck_applicant_household_classed"),
        "applicant",
        "(kind = 'household') = (household_class IS NOT NULL)",
    )
