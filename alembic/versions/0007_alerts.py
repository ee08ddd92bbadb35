"""Alerts are sent: when next, how often it was tried, who has it, and when an incident was over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What was raised before has no next_at: nobody is told of it now.
    for name in ("closed_at", "next_at", "sent_at"):
        op.add_column("clm_alerts", sa.Column(name, sa.DateTime(timezone=True)))
    op.add_column("clm_alerts", sa.Column("attempts", sa.Integer, nullable=False, server_default="0"))
    op.add_column("clm_alerts", sa.Column("digest", sa.String(20)))
    op.add_column("clm_alerts", sa.Column("deliveries_json", sa.JSON))
    op.create_index("ix_clm_alerts_next", "clm_alerts", ["next_at"])


def downgrade() -> None:
    op.drop_index("ix_clm_alerts_next", "clm_alerts")
    for name in ("deliveries_json", "digest", "attempts", "sent_at", "next_at", "closed_at"):
        op.drop_column("clm_alerts", name)
