"""What witnesses cosigned, which checkpoints have a quorum, and who asks the witnesses.

Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

INSERT_ONLY = ("cosignature", "quorum")


def upgrade() -> None:
    op.create_table(
        "cosignature",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", "key_id", "size", name=op.f("pk_cosignature")),
    )
    op.create_index(op.f("ix_cosignature_size"), "cosignature", ["size"])
    op.create_table(
        "quorum",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("policy", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(policy) = 32", name=op.f("ck_quorum_policy_is_sha256")),
        sa.PrimaryKeyConstraint("size", "policy", name=op.f("pk_quorum")),
    )
    op.create_index("ix_quorum_policy_size", "quorum", ["policy", "size"])
    for table in INSERT_ONLY:
        op.execute(
            f"CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER never_emptied BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    op.create_table(
        "witnessing",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("missing_since", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("one", name=op.f("ck_witnessing_one_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_witnessing")),
    )
    op.execute("INSERT INTO witnessing DEFAULT VALUES")
