"""Forecasts, evidence, trials; certificates of versions; what a decision was made from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_SERIES = ("model_type", "symbol", "interval")


def upgrade() -> None:
    op.add_column("clm_model_versions", sa.Column("certificate_json", sa.JSON))
    op.add_column("clm_decisions", sa.Column("inputs_json", sa.JSON))
    op.create_table(
        "clm_forecasts",
        sa.Column("id", sa.Integer, primary_key=True),
        *_series_columns(),
        sa.Column("version", sa.String(100), nullable=False),
        sa.Column("open_time", _TIME, nullable=False),
        sa.Column("source", sa.String(10), nullable=False),
        sa.Column("forecast", sa.Double, nullable=False),
        sa.Column("variance", sa.Double, nullable=False),
        sa.Column("made_at", _TIME, nullable=False),
        sa.Column("actual", sa.Double),
        sa.Column("scored_at", _TIME),
        sa.Column("revised", sa.Double),
        sa.Column("candles_sha256", sa.String(64)),
        sa.UniqueConstraint(*_SERIES, "version", "open_time", name="uq_clm_forecasts"),
    )
    op.create_index(
        "ix_clm_forecasts_unscored", "clm_forecasts", [*_SERIES],
        sqlite_where=sa.text("actual IS NULL"), postgresql_where=sa.text("actual IS NULL"),
    )  # fmt: skip
    op.create_table(
        "clm_evidence",
        sa.Column("id", sa.Integer, primary_key=True),
        *_series_columns(),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("champion_version", sa.String(100), nullable=False),
        sa.Column("reign", _TIME, nullable=False),
        sa.Column("recipe_id", sa.String(100), nullable=False),
        sa.Column("challenger_version", sa.String(100), nullable=False),
        sa.Column("open_time", _TIME, nullable=False),
        sa.Column("source", sa.String(10), nullable=False),
        sa.Column("actual", sa.Double, nullable=False),
        sa.Column("champion_forecast", sa.Double, nullable=False),
        sa.Column("challenger_forecast", sa.Double, nullable=False),
        sa.Column("variance", sa.Double, nullable=False),
        sa.Column("gain", sa.Double, nullable=False),
        sa.Column("bound", sa.Double, nullable=False),
        sa.Column("others_json", sa.JSON, nullable=False),
        sa.Column("log_e", sa.Double, nullable=False),
        sa.Column("state_json", sa.JSON, nullable=False),
        sa.UniqueConstraint(
            *_SERIES, "kind", "champion_version", "reign", "recipe_id", "open_time", name="uq_clm_evidence"
        ),
    )
    op.create_table(
        "clm_trials",
        sa.Column("id", sa.Integer, primary_key=True),
        *_series_columns(),
        sa.Column("version", sa.String(100)),
        sa.Column("recipe_id", sa.String(64)),
        sa.Column("began_at", _TIME, nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("trigger", sa.Text),
        sa.Column("details_json", sa.JSON, nullable=False),
    )
    op.create_index("ix_clm_trials_series", "clm_trials", ["symbol", "interval", "model_type"])
    for statement in _PROTECTION[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    for table in ("clm_trials", "clm_evidence", "clm_forecasts"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION clm_rows_stay()")
        op.execute("DROP FUNCTION clm_forecast_stands()")
    op.drop_column("clm_decisions", "inputs_json")
    op.drop_column("clm_model_versions", "certificate_json")


def _series_columns() -> list[sa.Column[str]]:
    return [
        sa.Column("model_type", sa.String(50), nullable=False),
        sa.Column("symbol", sa.String(20), nullable=False),
        sa.Column("interval", sa.String(5), nullable=False),
    ]


_STANDS = "what was forecast and scored stands"
_FIXED = (
    "model_type",
    "symbol",
    "interval",
    "version",
    "open_time",
    "source",
    "forecast",
    "variance",
    "made_at",
    "candles_sha256",
)


def _sqlite() -> list[str]:
    def abort(name: str, event: str, table: str, message: str, when: str = "") -> str:
        head = f"CREATE TRIGGER {name} BEFORE {event} ON {table} {when}"
        return f"{head} BEGIN SELECT RAISE(ABORT, '{message}'); END"

    frozen = [
        abort(f"{table}_no_{verb.lower()}", verb, table, f"{table} is append-only")
        for table in ("clm_evidence", "clm_trials")
        for verb in ("UPDATE", "DELETE")
    ]
    return [
        *frozen,
        abort("clm_forecasts_no_delete", "DELETE", "clm_forecasts", "clm_forecasts is append-only"),
        abort("clm_forecasts_stand", f"UPDATE OF {', '.join(_FIXED)}", "clm_forecasts", _STANDS),
        abort(
            "clm_scores_stand", "UPDATE OF actual, scored_at", "clm_forecasts", _STANDS,
            "WHEN OLD.actual IS NOT NULL",
        ),
    ]  # fmt: skip


def _postgresql() -> list[str]:
    changed = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in _FIXED)
    frozen = [
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION clm_rows_stay()"
        for table in ("clm_evidence", "clm_trials")
    ]
    return [
        "CREATE FUNCTION clm_rows_stay() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$",
        *frozen,
        "CREATE TRIGGER clm_forecasts_no_delete BEFORE DELETE ON clm_forecasts "
        "FOR EACH ROW EXECUTE FUNCTION clm_rows_stay()",
        "CREATE FUNCTION clm_forecast_stands() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF {changed} OR (OLD.actual IS NOT NULL AND (NEW.actual IS DISTINCT FROM OLD.actual "
        f"OR NEW.scored_at IS DISTINCT FROM OLD.scored_at)) THEN RAISE EXCEPTION '{_STANDS}'; END IF; "
        "RETURN NEW; END $$",
        "CREATE TRIGGER clm_forecasts_stand BEFORE UPDATE ON clm_forecasts "
        "FOR EACH ROW EXECUTE FUNCTION clm_forecast_stands()",
    ]


_PROTECTION = {"sqlite": _sqlite(), "postgresql": _postgresql()}
