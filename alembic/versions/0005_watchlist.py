"""The watchlist: series added or taken off while the service runs. Forecasts are found by their candle."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "clm_series",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("symbol", sa.String(20), nullable=False),
        sa.Column("interval", sa.String(5), nullable=False),
        sa.Column("models_json", sa.JSON),
        sa.Column("overrides_json", sa.JSON, nullable=False),
        sa.Column("watched", sa.Boolean, nullable=False),
        sa.Column("changed_by", sa.String(100), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("symbol", "interval", name="uq_clm_series"),
    )
    columns = ["symbol", "interval", "model_type", "open_time"]
    op.create_index("ix_clm_forecasts_candle", "clm_forecasts", columns)


def downgrade() -> None:
    op.drop_index("ix_clm_forecasts_candle", "clm_forecasts")
    op.drop_table("clm_series")
