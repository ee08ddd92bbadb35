"""The tables. Their DDL is in the Alembic migrations alone; a test holds both to each other."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from clm.core.domain import VersionStatus, utc

METADATA = sa.MetaData()
_STATUSES = ", ".join(f"'{status}'" for status in VersionStatus)


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC time, also where the database knows no timezones (SQLite)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else utc(value)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


versions = sa.Table(
    "clm_model_versions",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model_type", sa.String(50), nullable=False),
    sa.Column("symbol", sa.String(20), nullable=False),
    sa.Column("interval", sa.String(5), nullable=False),
    sa.Column("version", sa.String(100), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("trained_at", UtcDateTime, nullable=False),
    sa.Column("file_path", sa.String(500), nullable=False),
    sa.Column("artifact_sha256", sa.String(64), nullable=False),
    sa.Column("metrics_json", sa.JSON, nullable=False),
    sa.Column("training_samples", sa.Integer, nullable=False),
    sa.Column("train_start", UtcDateTime, nullable=False),
    sa.Column("train_end", UtcDateTime, nullable=False),
    sa.Column("feature_schema_hash", sa.String(64), nullable=False),
    sa.Column("data_fingerprint", sa.String(64), nullable=False),
    sa.Column("params_json", sa.JSON, nullable=False),
    sa.Column("library_versions_json", sa.JSON, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("recipe_id", sa.String(64), nullable=False),
    sa.Column("parent_version", sa.String(100)),
    sa.Column("replaced_version", sa.String(100)),
    sa.Column("promoted_at", UtcDateTime),
    sa.Column("retired_at", UtcDateTime),
    sa.Column("notes", sa.Text, nullable=False),
    sa.UniqueConstraint("model_type", "symbol", "interval", "version", name="uq_clm_model_versions"),
    sa.CheckConstraint(f"status IN ({_STATUSES})", name="ck_clm_model_versions_status"),
    sa.Index(
        "uq_clm_one_active", "model_type", "symbol", "interval", unique=True,
        sqlite_where=sa.text("status = 'ACTIVE'"), postgresql_where=sa.text("status = 'ACTIVE'"),
    ),
)  # fmt: skip

runs = sa.Table(
    "clm_runs",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.String(40), nullable=False, unique=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("request_json", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("heartbeat_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("progress_json", sa.JSON, nullable=False),
    sa.Column("report_json", sa.JSON(none_as_null=True)),
    sa.Column("error", sa.Text),
    sa.Index(
        "uq_clm_one_open_run", "kind", unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    ),
)  # fmt: skip

decisions = sa.Table(
    "clm_decisions",
    METADATA,
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
    sa.Column("decided_at", UtcDateTime, nullable=False),
    sa.Index("ix_clm_decisions_series", "symbol", "interval", "model_type"),
)
