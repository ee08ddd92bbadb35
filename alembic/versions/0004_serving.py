"""Serving: what versions were made from, weights of ensembles, experiments and who was assigned what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("clm_model_versions", sa.Column("profile_json", sa.JSON))
    op.add_column("clm_model_versions", sa.Column("origin_json", sa.JSON))
    op.create_table(
        "clm_ensembles",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("symbol", sa.String(20), nullable=False),
        sa.Column("interval", sa.String(5), nullable=False),
        sa.Column("open_time", _TIME, nullable=False),
        sa.Column("state_json", sa.JSON, nullable=False),
        sa.UniqueConstraint("symbol", "interval", "open_time", name="uq_clm_ensembles"),
    )
    op.create_table(
        "clm_experiments",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("experiment_id", sa.String(40), nullable=False, unique=True),
        sa.Column("model_type", sa.String(50), nullable=False),
        sa.Column("symbol", sa.String(20), nullable=False),
        sa.Column("interval", sa.String(5), nullable=False),
        sa.Column("version_a", sa.String(100), nullable=False),
        sa.Column("version_b", sa.String(100), nullable=False),
        sa.Column("split", sa.Double, nullable=False),
        sa.Column("alpha", sa.Double, nullable=False),
        sa.Column("starts_at", _TIME, nullable=False),
        sa.Column("ends_at", _TIME, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
        sa.Column("result_json", sa.JSON),
    )
    op.create_index(
        "uq_clm_one_open_experiment", "clm_experiments", ["model_type", "symbol", "interval"], unique=True,
        sqlite_where=sa.text("state = 'open'"), postgresql_where=sa.text("state = 'open'"),
    )  # fmt: skip
    op.create_table(
        "clm_assignments",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("experiment_id", sa.String(40), nullable=False),
        sa.Column("caller", sa.String(200), nullable=False),
        sa.Column("version", sa.String(100), nullable=False),
        sa.Column("assigned_at", _TIME, nullable=False),
        sa.UniqueConstraint("experiment_id", "caller", name="uq_clm_assignments"),
    )


def downgrade() -> None:
    for table in ("clm_assignments", "clm_experiments", "clm_ensembles"):
        op.drop_table(table)
    op.drop_column("clm_model_versions", "origin_json")
    op.drop_column("clm_model_versions", "profile_json")
