"""Rows of every table, of the kind a service writes, and what a table holds as text that can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from clm.core.pooled_bets import PooledBets
from clm.registry.tables import METADATA, UtcDateTime

T0 = datetime(2024, 5, 1, 0, 30, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)
_RUNNING = "r20240501_003003_abcdef"
_SERIES = {"model_type": "lightgbm", "symbol": "BTCUSDT", "interval": "1h"}


def _version(number: int, status: str, **more: Any) -> dict[str, Any]:
    trained = T0 + number * 24 * HOUR
    return {
        **_SERIES, "version": f"v2024050{number}_003000", "status": status, "trained_at": trained,
        "file_path": f"lightgbm_v2024050{number}_003000_BTCUSDT_1h.txt", "artifact_sha256": f"{number}" * 64,
        "metrics_json": {"rmse": 0.1 + 0.2, "mae": 5e-324, "directional_accuracy": None},
        "training_samples": 8000, "train_start": trained - 8000 * HOUR, "train_end": trained - 48 * HOUR,
        "feature_schema_hash": "f" * 64, "data_fingerprint": "d" * 64, "params_json": {"num_trees": 200},
        "library_versions_json": {"lightgbm": "4.7.0"}, "seed": 2**31 - 1, "recipe_id": "ours",
        "notes": "two lines\n“quoted” 日本 🚀", "certificate_json": {"problems": []}, **more,
    }  # fmt: skip


def _run(number: int, state: str, **more: Any) -> dict[str, Any]:
    asked = {"models": None, "symbols": ["BTCUSDT"], "force": False, "requested_by": "schedule"}
    return {
        "run_id": f"r20240501_00300{number}_abcdef", "kind": "retrain", "state": state, "request_json": asked,
        "created_at": T0, "started_at": T0, "heartbeat_at": T0 + HOUR, "owner": "host:1",
        "progress_json": {"done": 1, "total": 5}, "attempt": 0, "interruptions_json": [], **more,
    }  # fmt: skip


def _forecast(number: int, **more: Any) -> dict[str, Any]:
    return {
        **_SERIES, "version": "v20240501_003000", "open_time": T0 + number * HOUR, "source": "live",
        "forecast": 1 / 3 * 10**-number, "variance": 2.2250738585072014e-308, "made_at": T0 + number * HOUR,
        "candles_sha256": "c" * 64, **more,
    }  # fmt: skip


_OWN = (-7.2e-9, 1.7976931348623157e308)
_POOL = PooledBets({"BTCUSDT": _OWN, "ETHUSDT": (0.1, 0.2)})


def _bet(number: int) -> dict[str, Any]:
    return {
        **_SERIES, "kind": "challenge", "champion_version": "v20240501_003000", "reign": T0,
        "recipe_id": "ours", "challenger_version": "v20240503_003000", "open_time": T0 + number * HOUR,
        "source": "live", "actual": 0.1, "champion_forecast": -1e-17,
        "challenger_forecast": 0.30000000000000004, "variance": 1e-5, "gain": _OWN[0],
        "bound": _OWN[1],
        "pool_sha256": _POOL.sha256 if number == 1 else None,
        "others_json": {"ETHUSDT": [0.1, 0.2]} if number == 1 else {}, "log_e": 2.995732273553991,
        "state_json": {"ledgers": [[0.1, 0.7]], "peak": 3.0},
    }  # fmt: skip


#: Columns that older databases have and this CLM has no more: what they hold is told otherwise.
GONE: Mapping[str, Mapping[str, type[sa.JSON]]] = {
    "clm_evidence": {"others_json": sa.JSON},
    "clm_runs": {"journal_json": sa.JSON},
}
#: Told apart by table; tables that are not here get rows made up from their columns.
ROWS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "clm_model_versions": (
        _version(1, "RETIRED", promoted_at=T0, retired_at=T0 + 24 * HOUR, pruned_at=T0 + 900 * HOUR),
        _version(2, "ACTIVE", promoted_at=T0 + 24 * HOUR, replaced_version="v20240501_003000"),
        _version(3, "SHADOW", parent_version="v20240502_003000", certificate_json=None),
        _version(4, "CANDIDATE", quarantined_at=T0 + 99 * HOUR, quarantine_reason="altered"),
    ),
    "clm_runs": (
        _run(1, "completed", finished_at=T0 + HOUR, report_json={"models_trained": ["lightgbm"]}, slot=T0),
        _run(2, "failed", finished_at=T0 + HOUR, error="the exchange\ndid not answer", attempt=2),
        _run(3, "running", journal_json={"BTCUSDT 1h lightgbm": {"begun": 1}}),
    ),
    "clm_run_journal": (
        {"run_id": _RUNNING, "entry": "BTCUSDT 1h", "value_json": {"step": "refit"}},
        {"run_id": _RUNNING, "entry": "BTCUSDT 1h lightgbm", "value_json": {"begun": 1}},
    ),
    "clm_decisions": tuple(
        {
            **_SERIES, "candidate_version": f"v2024050{n}_003000", "champion_version": champion,
            "outcome": outcome, "label": label, "policy": "evidence", "reason": "E reached 24.1 of 20",
            "numbers_json": {"log_e": 3.1805515, "gain": None}, "decided_by": "policy",
            "decided_at": T0 + n * 24 * HOUR, "inputs_json": inputs,
        }
        for n, outcome, label, champion, inputs in (
            (1, "PROMOTE", "first", None, {"policy": {"name": "evidence"}, "as_of": None}),
            (2, "PROMOTE", "better", "v20240501_003000", {"own_until": 0.1}),
            (3, "CONTINUE", "evidence", "v20240502_003000", None),
        )
    ),
    "clm_forecasts": (
        _forecast(1, actual=0.001, scored_at=T0 + 3 * HOUR, revised=0.0011),
        _forecast(2, actual=-0.001, scored_at=T0 + 4 * HOUR),
        _forecast(3),
    ),
    "clm_evidence": (_bet(1), _bet(2)),
    "clm_pooled_bets": ({"sha256": _POOL.sha256, "members_json": dict(_POOL.members)},),
    "clm_trials": tuple(
        {
            **_SERIES, "version": version, "recipe_id": "ours", "began_at": T0, "outcome": outcome,
            "reason": "as it was", "seconds": 1.25, "trigger": "Never trained", "details_json": {"rss": 311},
        }
        for version, outcome in (("v20240501_003000", "promoted"), (None, "failed"))
    ),
    "clm_alerts": (
        {
            "incident": "parity BTCUSDT 1h", "kind": "parity", **_SERIES, "subject": "v20240502_003000",
            "message": "three forecasts differ", "first_at": T0, "last_at": T0 + HOUR, "times": 3,
        },
    ),
}  # fmt: skip


def fill(connection: sa.Connection) -> None:
    """Puts rows into every table of CLM that is there and empty, into the columns that are there."""
    there = sa.inspect(connection)
    for table in METADATA.sorted_tables:
        if not there.has_table(table.name) or connection.execute(sa.select(table.c.id).limit(1)).first():
            continue
        present = {column["name"] for column in there.get_columns(table.name)}
        # Columns that came later are left out of the statement, as an older CLM does not know them.
        columns = {c.name: c.type for c in table.c} | dict(GONE.get(table.name, {}))
        older = sa.Table(
            table.name, sa.MetaData(), *(sa.Column(n, kind) for n, kind in columns.items() if n in present)
        )
        for row in ROWS.get(table.name) or (_made_up(table, 1), _made_up(table, 2)):
            values = {name: value for name, value in row.items() if name in present}
            connection.execute(older.insert().values(values))


def _made_up(table: sa.Table, number: int) -> dict[str, Any]:
    return {c.name: _value(c, number) for c in table.c if not (c.primary_key or (c.nullable and number == 2))}


def _value(column: sa.Column[Any], number: int) -> Any:
    match column.type:
        case UtcDateTime():
            return T0 + number * HOUR
        case sa.JSON():
            return {column.name: number}
        case sa.Boolean():
            return number == 1
        case sa.String(length=length):
            return f"{column.name} {number}"[:length]
        case _:
            return number


Contents = dict[str, dict[int, dict[str, str | None]]]


def contents(connection: sa.Connection) -> Contents:
    """Every table of CLM's, every row by its id, every value as a text that tells the last bit."""
    there = sa.inspect(connection)
    found: Contents = {}
    for table in METADATA.sorted_tables:
        if there.has_table(table.name):
            gone = GONE.get(table.name, {})
            present = (column["name"] for column in there.get_columns(table.name))
            columns = sorted(name for name in present if name not in gone)
            query = sa.select(*(_plain(table.c[name]) for name in columns)).select_from(table)
            rows = [dict(zip(columns, map(_text, row), strict=True)) for row in connection.execute(query)]
            found[table.name] = {int(str(row["id"])): row for row in rows}
    return found


def _plain(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """JSON as it is stored: its null is not NULL."""
    return sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column


def _text(value: object) -> str | None:
    match value:
        case None:
            return None
        case float():
            # SQLite knows no negative zero.
            return (value + 0.0).hex()
        case datetime():
            return value.isoformat(timespec="microseconds")
        case _:
            return str(value)
