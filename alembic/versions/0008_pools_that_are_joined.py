"""A series that joins what others have bet names their sum: its pool holds no longer all of their bets."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_POOLS = sa.table(
    "clm_pooled_bets", sa.column("id", sa.Integer), sa.column("sha256", sa.String),
    sa.column("members_json", sa.JSON), sa.column("before_json", sa.JSON),
)  # fmt: skip


def upgrade() -> None:
    op.add_column("clm_pooled_bets", sa.Column("before_json", sa.JSON(none_as_null=True)))
    op.add_column("clm_pooled_bets", sa.Column("left_json", sa.JSON(none_as_null=True)))
    pooled = sa.text("pool_sha256 IS NOT NULL")
    op.create_index(
        "ix_clm_evidence_pooled", "clm_evidence",
        ["model_type", "interval", "kind", "recipe_id", "open_time"],
        sqlite_where=pooled, postgresql_where=pooled,
    )  # fmt: skip


def downgrade() -> None:
    """Every pool holds all its bets again. They are added up in another order then: a last bit may differ."""
    op.drop_index("ix_clm_evidence_pooled", "clm_evidence")
    _unprotect("clm_pooled_bets")
    members: dict[str, dict[str, Any]] = {}
    for row in op.get_bind().execute(sa.select(_POOLS).order_by(_POOLS.c.id)).all():
        joined = members.get(row.before_json["sha256"], {}) if row.before_json else {}
        members[row.sha256] = dict(sorted({**joined, **row.members_json}.items()))
        if row.before_json:
            this = sa.update(_POOLS).where(_POOLS.c.id == row.id)
            op.get_bind().execute(this.values(members_json=members[row.sha256]))
    for name in ("left_json", "before_json"):
        op.drop_column("clm_pooled_bets", name)
    _protect("clm_pooled_bets")


def _unprotect(table: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    else:
        for verb in ("update", "delete"):
            op.execute(f"DROP TRIGGER {table}_no_{verb}")


def _protect(table: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION clm_rows_stay()"
        )
    else:
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table}  "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
