"""What series bet together on a candle is stored once, under its hash, and named by each series' bet.

Before, every bet kept those of all other series beside it: with N series N times as much, read with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_EVIDENCE = sa.table(
    "clm_evidence", sa.column("id", sa.Integer), sa.column("symbol", sa.String),
    sa.column("gain", sa.Double), sa.column("bound", sa.Double), sa.column("others_json", sa.JSON),
    sa.column("pool_sha256", sa.String),
)  # fmt: skip
_POOLS = sa.table(
    "clm_pooled_bets", sa.column("id", sa.Integer), sa.column("sha256", sa.String),
    sa.column("members_json", sa.JSON),
)  # fmt: skip
_PAGE = 1000
#: Symbol → [gain, bound].
Members = Mapping[str, list[float]]


def upgrade() -> None:
    op.create_table(
        "clm_pooled_bets",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("members_json", sa.JSON, nullable=False),
    )
    _unprotect("clm_evidence")
    op.add_column("clm_evidence", sa.Column("pool_sha256", sa.String(64)))
    stored: set[str] = set()
    for rows in _pages(sa.select(_EVIDENCE)):
        pools, named = {}, []
        for row in rows:
            if row.others_json:
                members = dict(sorted({**row.others_json, row.symbol: [row.gain, row.bound]}.items()))
                name = _sha256(members)
                pools[name] = members
                named.append({"row": row.id, "pool": name})
        new = [{"sha256": n, "members_json": m} for n, m in pools.items() if n not in stored]
        if new:
            op.bulk_insert(_POOLS, new)
        stored |= pools.keys()
        _update(named, pool_sha256=sa.bindparam("pool"))
    op.drop_column("clm_evidence", "others_json")
    for table in ("clm_evidence", "clm_pooled_bets"):
        _protect(table)


def downgrade() -> None:
    _unprotect("clm_evidence")
    op.add_column("clm_evidence", sa.Column("others_json", sa.JSON))
    pools = {row.sha256: row.members_json for row in op.get_bind().execute(sa.select(_POOLS))}
    for rows in _pages(sa.select(_EVIDENCE)):
        beside = [
            {
                "row": row.id,
                "others": {s: bet for s, bet in pools.get(row.pool_sha256, {}).items() if s != row.symbol},
            }
            for row in rows
        ]
        _update(beside, others_json=sa.bindparam("others", type_=sa.JSON))
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("clm_evidence", "others_json", existing_type=sa.JSON, nullable=False)
        op.drop_column("clm_evidence", "pool_sha256")
    else:
        _rebuild()
    op.drop_table("clm_pooled_bets")
    _protect("clm_evidence")


def _rebuild() -> None:
    """SQLite alters no column: the table is made once more, as it was, and the rows moved."""
    op.rename_table("clm_evidence", "clm_evidence_newer")
    made = op.create_table(
        "clm_evidence",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model_type", sa.String(50), nullable=False),
        sa.Column("symbol", sa.String(20), nullable=False),
        sa.Column("interval", sa.String(5), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("champion_version", sa.String(100), nullable=False),
        sa.Column("reign", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recipe_id", sa.String(100), nullable=False),
        sa.Column("challenger_version", sa.String(100), nullable=False),
        sa.Column("open_time", sa.DateTime(timezone=True), nullable=False),
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
            "model_type", "symbol", "interval", "kind", "champion_version", "reign", "recipe_id", "open_time",
            name="uq_clm_evidence",
        ),
    )  # fmt: skip
    columns = ", ".join(column.name for column in made.columns)
    op.execute(f"INSERT INTO clm_evidence ({columns}) SELECT {columns} FROM clm_evidence_newer")  # noqa: S608
    op.drop_table("clm_evidence_newer")


def _pages(query: sa.Select[Any]) -> Any:
    """All rows of the evidence by their ids, so many at a time."""
    last = 0
    while (
        rows := op.get_bind()
        .execute(query.where(_EVIDENCE.c.id > last).order_by(_EVIDENCE.c.id).limit(_PAGE))
        .all()
    ):
        yield rows
        last = rows[-1].id


def _update(values: list[dict[str, Any]], **to: Any) -> None:
    if values:
        this = sa.update(_EVIDENCE).where(_EVIDENCE.c.id == sa.bindparam("row"))
        op.get_bind().execute(this.values(**to), values)


def _sha256(members: Members) -> str:
    return sha256(json.dumps([[symbol, *bet] for symbol, bet in members.items()]).encode()).hexdigest()


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
