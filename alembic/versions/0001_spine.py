"""Model versions, runs, decisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_APPEND_ONLY = "clm_decisions is append-only"


def upgrade() -> None:
    op.create_table(
        "clm_model_versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model_type", sa.String(50), nullable=False),
        sa.Column("symbol", sa.String(20), nullable=False),
        sa.Column("interval", sa.String(5), nullable=False),
        sa.Column("version", sa.String(100), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("trained_at", _TIME, nullable=False),
        sa.Column("file_path", sa.String(500), nullable=False),
        sa.Column("artifact_sha256", sa.String(64), nullable=False),
        sa.Column("metrics_json", sa.JSON, nullable=False),
        sa.Column("training_samples", sa.Integer, nullable=False),
        sa.Column("train_start", _TIME, nullable=False),
        sa.Column("train_end", _TIME, nullable=False),
        sa.Column("feature_schema_hash", sa.String(64), nullable=False),
        sa.Column("data_fingerprint", sa.String(64), nullable=False),
        sa.Column("params_json", sa.JSON, nullable=False),
        sa.Column("library_versions_json", sa.JSON, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("recipe_id", sa.String(64), nullable=False),
        sa.Column("parent_version", sa.String(100)),
        sa.Column("replaced_version", sa.String(100)),
        sa.Column("promoted_at", _TIME),
        sa.Column("retired_at", _TIME),
        sa.Column("notes", sa.Text, nullable=False),
        sa.UniqueConstraint("model_type", "symbol", "interval", "version", name="uq_clm_model_versions"),
        sa.CheckConstraint(
            "status IN ('CANDIDATE', 'SHADOW', 'ACTIVE', 'RETIRED')", name="ck_clm_model_versions_status"
        ),
    )
    op.create_index(
        "uq_clm_one_active", "clm_model_versions", ["model_type", "symbol", "interval"], unique=True,
        sqlite_where=sa.text("status = 'ACTIVE'"), postgresql_where=sa.text("status = 'ACTIVE'"),
    )  # fmt: skip
    op.create_table(
        "clm_runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.String(40), nullable=False, unique=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("request_json", sa.JSON, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME),
        sa.Column("heartbeat_at", _TIME),
        sa.Column("finished_at", _TIME),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("progress_json", sa.JSON, nullable=False),
        sa.Column("report_json", sa.JSON),
        sa.Column("error", sa.Text),
    )
    op.create_index(
        "uq_clm_one_open_run", "clm_runs", ["kind"], unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )  # fmt: skip
    op.create_table(
        "clm_decisions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model_type", sa.String(50), nullable=False),
        sa.Column("symbol", sa.String(20), nullable=False),
        sa.Column("interval", sa.String(5), nullable=False),
        sa.Column("candidate_version", sa.String(100), nullable=False),
        sa.Column("champion_version", sa.String(100)),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("label", sa.String(30), nullable=False),
        sa.Column("policy", sa.String(30), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("numbers_json", sa.JSON, nullable=False),
        sa.Column("decided_by", sa.String(50), nullable=False),
        sa.Column("decided_at", _TIME, nullable=False),
    )
    op.create_index("ix_clm_decisions_series", "clm_decisions", ["symbol", "interval", "model_type"])
    for statement in _APPEND_ONLY_DDL[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    for table in ("clm_decisions", "clm_runs", "clm_model_versions"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION clm_append_only()")


_APPEND_ONLY_DDL = {
    "sqlite": [
        f"CREATE TRIGGER clm_decisions_no_{verb.lower()} BEFORE {verb} ON clm_decisions "
        f"BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END"
        for verb in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE FUNCTION clm_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_APPEND_ONLY}'; END $$",
        "CREATE TRIGGER clm_decisions_append_only BEFORE UPDATE OR DELETE ON clm_decisions "
        "FOR EACH ROW EXECUTE FUNCTION clm_append_only()",
    ],
}
