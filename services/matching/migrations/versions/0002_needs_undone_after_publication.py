"""A need that was published first may be returned or rejected afterwards.

Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    name = op.f("ck_need_view_state_known")
    op.drop_constraint(name, "need_view", type_="check")
    op.create_check_constraint(
        name,
        "need_view",
        "state IN ('published', 'suspended', 'withdrawn', 'expired', 'closed', 'returned',"
        " 'rejected')",
    )
