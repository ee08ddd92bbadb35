"""A run's journal is rows of a table: an entry is written without reading all that were written before.

Before, it was one JSON object in the run's row: with N series, N times as much to read and write an entry.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_RUNS = sa.table(
    "clm_runs",
    sa.column("id", sa.Integer),
    sa.column("run_id", sa.String),
    sa.column("journal_json", sa.JSON),
)
_JOURNAL = sa.table(
    "clm_run_journal", sa.column("id", sa.Integer), sa.column("run_id", sa.String),
    sa.column("entry", sa.String), sa.column("value_json", sa.JSON),
)  # fmt: skip


def upgrade() -> None:
    op.create_table(
        "clm_run_journal",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.String(40), nullable=False),
        sa.Column("entry", sa.String(100), nullable=False),
        sa.Column("value_json", sa.JSON, nullable=False),
        sa.UniqueConstraint("run_id", "entry", name="uq_clm_run_journal"),
    )
    connection = op.get_bind()
    for run_id in connection.execute(sa.select(_RUNS.c.run_id).order_by(_RUNS.c.id)).scalars().all():
        of_run = sa.select(_RUNS.c.journal_json).where(_RUNS.c.run_id == run_id)
        entries = connection.execute(of_run).scalar() or {}
        if entries:
            op.bulk_insert(
                _JOURNAL, [{"run_id": run_id, "entry": n, "value_json": v} for n, v in entries.items()]
            )
    op.drop_column("clm_runs", "journal_json")


def downgrade() -> None:
    op.add_column("clm_runs", sa.Column("journal_json", sa.JSON, nullable=False, server_default="{}"))
    connection = op.get_bind()
    run_ids = connection.execute(sa.select(_JOURNAL.c.run_id).distinct()).scalars().all()
    for run_id in run_ids:
        of_run = sa.select(_JOURNAL.c.entry, _JOURNAL.c.value_json).where(_JOURNAL.c.run_id == run_id)
        journal = {row.entry: row.value_json for row in connection.execute(of_run.order_by(_JOURNAL.c.id))}
        connection.execute(_RUNS.update().where(_RUNS.c.run_id == run_id).values(journal_json=journal))
    op.drop_table("clm_run_journal")
