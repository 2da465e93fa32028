"""The last checkpoint cosigned of each log, which never goes back.

Revises: nothing
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "cosigned",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.CheckConstraint("size >= 0", name=op.f("ck_cosigned_size_not_negative")),
        sa.CheckConstraint("octet_length(root) = 32", name=op.f("ck_cosigned_root_is_sha256")),
        sa.CheckConstraint("at >= 0", name=op.f("ck_cosigned_at_not_negative")),
        sa.PrimaryKeyConstraint("origin", name=op.f("pk_cosigned")),
    )
    op.execute(
        """
        CREATE FUNCTION refuse_going_back() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF TG_OP = 'UPDATE' AND NEW.origin = OLD.origin AND NEW.at >= OLD.at
             AND (NEW.size > OLD.size OR (NEW.size = OLD.size AND NEW.root = OLD.root)) THEN
            RETURN NEW;
          END IF;
          RAISE EXCEPTION '%: what was cosigned is never taken back', TG_OP
            USING ERRCODE = 'restrict_violation';
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER never_back BEFORE UPDATE OR DELETE ON cosigned"
        " FOR EACH ROW EXECUTE FUNCTION refuse_going_back()"
    )
    op.execute(
        "CREATE TRIGGER never_emptied BEFORE TRUNCATE ON cosigned"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_going_back()"
    )
