"""Runs that can be taken up again, slots done once; alerts, audit, keys; files put away or set aside."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    for name, kind in (("quarantined_at", _TIME), ("quarantine_reason", sa.Text()), ("pruned_at", _TIME)):
        op.add_column("clm_model_versions", sa.Column(name, kind))
    op.add_column("clm_runs", sa.Column("slot", _TIME))
    op.add_column("clm_runs", sa.Column("attempt", sa.Integer, nullable=False, server_default="0"))
    op.add_column("clm_runs", sa.Column("interruptions_json", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("clm_runs", sa.Column("journal_json", sa.JSON, nullable=False, server_default="{}"))
    op.create_index("uq_clm_run_slot", "clm_runs", ["kind", "slot"], unique=True)
    op.create_table(
        "clm_identity",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(50), nullable=False, unique=True),
        sa.Column("value", sa.String(100), nullable=False),
    )
    op.create_table(
        "clm_alerts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("incident", sa.String(300), nullable=False, unique=True),
        sa.Column("kind", sa.String(30), nullable=False),
        sa.Column("model_type", sa.String(50), nullable=False),
        sa.Column("symbol", sa.String(20), nullable=False),
        sa.Column("interval", sa.String(5), nullable=False),
        sa.Column("subject", sa.String(100), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("first_at", _TIME, nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
    )
    op.create_table(
        "clm_audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("origin", sa.String(100), nullable=False),
        sa.Column("action", sa.String(300), nullable=False),
        sa.Column("detail_json", sa.JSON, nullable=False),
        sa.Column("result", sa.String(300)),
    )
    op.create_table(
        "clm_api_keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(50), nullable=False, unique=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("key_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("revoked_at", _TIME),
    )
    op.create_table(
        "clm_sessions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("token_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("key_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
    )
    for statement in _PROTECTION[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    for table in ("clm_sessions", "clm_api_keys", "clm_audit", "clm_alerts", "clm_identity"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION clm_audit_stands()")
    # The CLM of 0002 knows one kind of run: it would show the newest tick of the watch as its last training.
    op.execute("DELETE FROM clm_runs WHERE kind <> 'retrain'")
    op.drop_index("uq_clm_run_slot", "clm_runs")
    for column in ("journal_json", "interruptions_json", "attempt", "slot"):
        op.drop_column("clm_runs", column)
    for column in ("pruned_at", "quarantine_reason", "quarantined_at"):
        op.drop_column("clm_model_versions", column)


_SAYS = "clm_audit is append-only; a result is written once"
_FIXED = ("at", "actor", "role", "origin", "action", "detail_json")
_PROTECTION = {
    "sqlite": [
        f"CREATE TRIGGER clm_audit_no_delete BEFORE DELETE ON clm_audit "
        f"BEGIN SELECT RAISE(ABORT, '{_SAYS}'); END",
        f"CREATE TRIGGER clm_audit_stands BEFORE UPDATE OF {', '.join(_FIXED)} ON clm_audit "
        f"BEGIN SELECT RAISE(ABORT, '{_SAYS}'); END",
        f"CREATE TRIGGER clm_audit_result_stands BEFORE UPDATE OF result ON clm_audit "
        f"WHEN OLD.result IS NOT NULL BEGIN SELECT RAISE(ABORT, '{_SAYS}'); END",
    ],
    "postgresql": [
        "CREATE FUNCTION clm_audit_stands() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF TG_OP = 'DELETE' OR OLD.result IS NOT NULL OR "
        + " OR ".join(f"NEW.{column}::text IS DISTINCT FROM OLD.{column}::text" for column in _FIXED)
        + f" THEN RAISE EXCEPTION '{_SAYS}'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER clm_audit_stands BEFORE UPDATE OR DELETE ON clm_audit "
        "FOR EACH ROW EXECUTE FUNCTION clm_audit_stands()",
    ],
}
