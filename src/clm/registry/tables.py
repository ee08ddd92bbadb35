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
    sa.Column("certificate_json", sa.JSON(none_as_null=True)),
    sa.Column("profile_json", sa.JSON(none_as_null=True)),
    sa.Column("origin_json", sa.JSON(none_as_null=True)),
    sa.Column("quarantined_at", UtcDateTime),
    sa.Column("quarantine_reason", sa.Text),
    sa.Column("pruned_at", UtcDateTime),
    sa.Column("known_answer_json", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("model_type", "symbol", "interval", "version", name="uq_clm_model_versions"),
    sa.CheckConstraint(f"status IN ({_STATUSES})", name="ck_clm_model_versions_status"),
    sa.Index(
        "uq_clm_one_active", "model_type", "symbol", "interval", unique=True,
        sqlite_where=sa.text("status = 'ACTIVE'"), postgresql_where=sa.text("status = 'ACTIVE'"),
    ),
    sa.Index("ix_model_type", "model_type"),
    sa.Index("ix_status", "status"),
    sa.Index("ix_version", "version"),
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
    sa.Column("slot", UtcDateTime),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("interruptions_json", sa.JSON, nullable=False),
    sa.Index("uq_clm_run_slot", "kind", "slot", unique=True),
    sa.Index(
        "uq_clm_one_open_run", "kind", unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    ),
)  # fmt: skip

run_journal = sa.Table(
    "clm_run_journal",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.String(40), nullable=False),
    sa.Column("entry", sa.String(100), nullable=False),
    sa.Column("value_json", sa.JSON, nullable=False),
    sa.UniqueConstraint("run_id", "entry", name="uq_clm_run_journal"),
)

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
    sa.Column("inputs_json", sa.JSON(none_as_null=True)),
    sa.Index("ix_clm_decisions_series", "symbol", "interval", "model_type"),
)


def _of_series() -> tuple[sa.Column[str], ...]:
    return (
        sa.Column("model_type", sa.String(50), nullable=False),
        sa.Column("symbol", sa.String(20), nullable=False),
        sa.Column("interval", sa.String(5), nullable=False),
    )


forecasts = sa.Table(
    "clm_forecasts",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    *_of_series(),
    sa.Column("version", sa.String(100), nullable=False),
    sa.Column("open_time", UtcDateTime, nullable=False),
    sa.Column("source", sa.String(10), nullable=False),
    sa.Column("forecast", sa.Double, nullable=False),
    sa.Column("variance", sa.Double, nullable=False),
    sa.Column("made_at", UtcDateTime, nullable=False),
    sa.Column("actual", sa.Double),
    sa.Column("scored_at", UtcDateTime),
    sa.Column("revised", sa.Double),
    sa.Column("candles_sha256", sa.String(64)),
    sa.UniqueConstraint(
        "model_type", "symbol", "interval", "version", "open_time", name="uq_clm_forecasts"
    ),
    sa.Index("ix_clm_forecasts_candle", "symbol", "interval", "model_type", "open_time"),
    sa.Index(
        "ix_clm_forecasts_unscored", "model_type", "symbol", "interval",
        sqlite_where=sa.text("actual IS NULL"), postgresql_where=sa.text("actual IS NULL"),
    ),
)  # fmt: skip

evidence = sa.Table(
    "clm_evidence",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    *_of_series(),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("champion_version", sa.String(100), nullable=False),
    sa.Column("reign", UtcDateTime, nullable=False),
    sa.Column("recipe_id", sa.String(100), nullable=False),
    sa.Column("challenger_version", sa.String(100), nullable=False),
    sa.Column("open_time", UtcDateTime, nullable=False),
    sa.Column("source", sa.String(10), nullable=False),
    sa.Column("actual", sa.Double, nullable=False),
    sa.Column("champion_forecast", sa.Double, nullable=False),
    sa.Column("challenger_forecast", sa.Double, nullable=False),
    sa.Column("variance", sa.Double, nullable=False),
    sa.Column("gain", sa.Double, nullable=False),
    sa.Column("bound", sa.Double, nullable=False),
    # Of clm_pooled_bets; null: nothing is pooled.
    sa.Column("pool_sha256", sa.String(64)),
    sa.Column("log_e", sa.Double, nullable=False),
    sa.Column("state_json", sa.JSON, nullable=False),
    sa.UniqueConstraint(
        "model_type", "symbol", "interval", "kind", "champion_version", "reign", "recipe_id", "open_time",
        name="uq_clm_evidence",
    ),
    sa.Index(
        "ix_clm_evidence_pooled", "model_type", "interval", "kind", "recipe_id", "open_time",
        sqlite_where=sa.text("pool_sha256 IS NOT NULL"),
        postgresql_where=sa.text("pool_sha256 IS NOT NULL"),
    ),
)  # fmt: skip

pooled_bets = sa.Table(
    "clm_pooled_bets",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("members_json", sa.JSON, nullable=False),
    # Of a series that joined others: the sum of those before it, and its own former bet among them, if any.
    sa.Column("before_json", sa.JSON(none_as_null=True)),
    sa.Column("left_json", sa.JSON(none_as_null=True)),
)

trials = sa.Table(
    "clm_trials",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    *_of_series(),
    sa.Column("version", sa.String(100)),
    sa.Column("recipe_id", sa.String(64)),
    sa.Column("began_at", UtcDateTime, nullable=False),
    sa.Column("outcome", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("trigger", sa.Text),
    sa.Column("details_json", sa.JSON, nullable=False),
    sa.Index("ix_clm_trials_series", "symbol", "interval", "model_type"),
)

identity = sa.Table(
    "clm_identity",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(50), nullable=False, unique=True),
    sa.Column("value", sa.String(100), nullable=False),
)

alerts = sa.Table(
    "clm_alerts",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("incident", sa.String(300), nullable=False, unique=True),
    sa.Column("kind", sa.String(30), nullable=False),
    *_of_series(),
    sa.Column("subject", sa.String(100), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("first_at", UtcDateTime, nullable=False),
    sa.Column("last_at", UtcDateTime, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("closed_at", UtcDateTime),
    sa.Column("next_at", UtcDateTime),
    sa.Column("sent_at", UtcDateTime),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("digest", sa.String(20)),
    sa.Column("deliveries_json", sa.JSON(none_as_null=True)),
    sa.Index("ix_clm_alerts_next", "next_at"),
)

audit = sa.Table(
    "clm_audit",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("actor", sa.String(100), nullable=False),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("origin", sa.String(100), nullable=False),
    sa.Column("action", sa.String(300), nullable=False),
    sa.Column("detail_json", sa.JSON, nullable=False),
    sa.Column("result", sa.String(300)),
)

api_keys = sa.Table(
    "clm_api_keys",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(50), nullable=False, unique=True),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("key_sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("revoked_at", UtcDateTime),
)

sessions = sa.Table(
    "clm_sessions",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("token_sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("key_sha256", sa.String(64), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
)

ensembles = sa.Table(
    "clm_ensembles",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("symbol", sa.String(20), nullable=False),
    sa.Column("interval", sa.String(5), nullable=False),
    sa.Column("open_time", UtcDateTime, nullable=False),
    sa.Column("state_json", sa.JSON, nullable=False),
    sa.UniqueConstraint("symbol", "interval", "open_time", name="uq_clm_ensembles"),
)

experiments = sa.Table(
    "clm_experiments",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("experiment_id", sa.String(40), nullable=False, unique=True),
    *_of_series(),
    sa.Column("version_a", sa.String(100), nullable=False),
    sa.Column("version_b", sa.String(100), nullable=False),
    sa.Column("split", sa.Double, nullable=False),
    sa.Column("alpha", sa.Double, nullable=False),
    sa.Column("starts_at", UtcDateTime, nullable=False),
    sa.Column("ends_at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("created_by", sa.String(100), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("result_json", sa.JSON(none_as_null=True)),
    sa.Index(
        "uq_clm_one_open_experiment", "model_type", "symbol", "interval", unique=True,
        sqlite_where=sa.text("state = 'open'"), postgresql_where=sa.text("state = 'open'"),
    ),
)  # fmt: skip

assignments = sa.Table(
    "clm_assignments",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("experiment_id", sa.String(40), nullable=False),
    sa.Column("caller", sa.String(200), nullable=False),
    sa.Column("version", sa.String(100), nullable=False),
    sa.Column("assigned_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("experiment_id", "caller", name="uq_clm_assignments"),
)

watchlist = sa.Table(
    "clm_series",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("symbol", sa.String(20), nullable=False),
    sa.Column("interval", sa.String(5), nullable=False),
    sa.Column("models_json", sa.JSON(none_as_null=True)),
    sa.Column("overrides_json", sa.JSON, nullable=False),
    sa.Column("watched", sa.Boolean, nullable=False),
    sa.Column("changed_by", sa.String(100), nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("symbol", "interval", name="uq_clm_series"),
)
