"""Kinds of rounds, cancellation, parts, prices, outcomes, explanations.

Rounds of before are of the kind `round`, their proposals have no explanation and no ranking.
No round may be computing while this runs: the code of before cannot store one afterwards.

Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

_ROUND = "matching_round"


def upgrade() -> None:
    _rounds()
    _proposals()
    _new_tables()
    for table, column in (("need_view", "published_seq"), ("line_view", "opened_seq")):
        op.add_column(table, sa.Column(column, sa.BigInteger(), server_default="0", nullable=False))


def _rounds() -> None:
    op.add_column(_ROUND, sa.Column("kind", sa.Text(), server_default="round", nullable=False))
    op.add_column(_ROUND, sa.Column("stage", sa.Text(), server_default="done", nullable=False))
    op.add_column(_ROUND, sa.Column("ranking", sa.Text(), nullable=True))
    op.add_column(_ROUND, sa.Column("frozen_by", sa.UUID(), nullable=True))
    op.add_column(_ROUND, sa.Column("start_from", sa.UUID(), nullable=True))
    op.execute("UPDATE matching_round SET frozen_by = id")
    op.alter_column(_ROUND, "frozen_by", nullable=False)
    for column in ("frozen_by", "start_from"):
        op.create_foreign_key(
            op.f(f"fk_matching_round_{column}_matching_round"), _ROUND, _ROUND, [column], ["id"]
        )
    checks = {
        "kind_known": "kind IN ('round', 'dry_run', 'placement')",
        "state_known": "state IN ('computing', 'computed', 'approved', 'discarded', 'cancelled')",
        "stage_known": "stage IN ('waiting', 'reading', 'comparing', 'solving', 'explaining',"
        " 'storing', 'done')",
        "dry_run_not_approved": "kind <> 'dry_run' OR state <> 'approved'",
        "decided_when": "state NOT IN ('approved', 'discarded', 'cancelled')"
        " OR decided_at IS NOT NULL",
    }
    for name in ("state_known", "decided_when"):
        op.drop_constraint(op.f(f"ck_matching_round_{name}"), _ROUND, type_="check")
    for name, condition in checks.items():
        op.create_check_constraint(op.f(f"ck_matching_round_{name}"), _ROUND, condition)
    op.create_index(
        "uq_matching_round_approved_snapshot",
        _ROUND,
        ["frozen_by"],
        unique=True,
        postgresql_where=sa.text("state = 'approved'"),
    )
    op.create_index(op.f("ix_matching_round_division_code_id"), _ROUND, ["division_code", "id"])


def _proposals() -> None:
    op.add_column("proposal", sa.Column("policy", sa.Text(), nullable=True))
    op.add_column("proposal", sa.Column("ranking", sa.Text(), nullable=True))
    op.add_column("proposal", sa.Column("value_permille", sa.SmallInteger(), nullable=True))
    op.add_column("proposal", sa.Column("explanation", postgresql.JSONB(), nullable=True))
    op.execute(
        "UPDATE proposal SET value_permille = score_permille, policy = matching_round.policy"
        " FROM matching_round WHERE matching_round.id = proposal.round_id"
    )
    for column in ("policy", "value_permille"):
        op.alter_column("proposal", column, nullable=False)


def _new_tables() -> None:
    def keys(table: str, second: str) -> list[sa.Constraint]:
        return [
            sa.ForeignKeyConstraint(
                ["round_id"],
                ["matching_round.id"],
                name=op.f(f"fk_{table}_round_id_matching_round"),
            ),
            sa.PrimaryKeyConstraint("round_id", second, name=op.f(f"pk_{table}")),
        ]

    op.create_table(
        "round_part",
        sa.Column("round_id", sa.UUID(), nullable=False),
        sa.Column("item_class", sa.Text(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        *keys("round_part", "item_class"),
    )
    op.create_table(
        "round_price",
        sa.Column("round_id", sa.UUID(), nullable=False),
        sa.Column("line_id", sa.UUID(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        *keys("round_price", "line_id"),
    )
    op.create_table(
        "outcome",
        sa.Column("round_id", sa.UUID(), nullable=False),
        sa.Column("need_id", sa.UUID(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("item_class", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("urgency", sa.Text(), nullable=False),
        sa.Column("division_code", sa.Text(), nullable=False),
        sa.Column("need_title", sa.Text(), nullable=False),
        sa.Column("lacking", sa.BigInteger(), nullable=False),
        sa.Column("given", sa.BigInteger(), nullable=False),
        sa.Column("counts", postgresql.JSONB(), nullable=False),
        sa.Column("best_line_id", sa.UUID(), nullable=True),
        sa.CheckConstraint("given >= 0 AND given < lacking", name=op.f("ck_outcome_given_bounded")),
        *keys("outcome", "need_id"),
    )
    op.create_index(op.f("ix_outcome_need_id"), "outcome", ["need_id"])
    op.create_index(
        op.f("ix_outcome_round_id_code_need_id"), "outcome", ["round_id", "code", "need_id"]
    )
