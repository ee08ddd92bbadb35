"""Domain records as JSON-ready dicts, once for REST, command line and stored runs.

Times become ISO 8601 UTC with `Z`; a number JSON cannot carry (NaN, ±inf) becomes null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from clm.core.alert import KINDS, StoredAlert
from clm.core.audit import AuditRow
from clm.core.domain import ModelArtifact, RetrainReport, Series, utc
from clm.core.runs import Run, RunState

#: Note of a cycle in which no trigger fired.
NOTHING_TO_DO = "nothing to do: no trigger fired"


def jsonable(value: Any) -> Any:
    """`value` as JSON-ready data. Raises TypeError for a kind nobody foresaw."""
    match value:
        case Enum():
            return value.value
        case None | bool() | str() | int():
            return value
        case float():
            return value if isfinite(value) else None
        case np.generic():
            return jsonable(value.item())
        case pd.Timestamp() | datetime():
            return iso(value)
        case timedelta():
            return value.total_seconds()
        case Series():
            return {"symbol": value.symbol, "interval": value.interval}
        case Mapping():
            return {str(key): jsonable(item) for key, item in value.items()}
        case Sequence() | frozenset():
            return [jsonable(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        # What is for computing with, not for reading, is in no repr either.
        return jsonable({f.name: getattr(value, f.name) for f in fields(value) if f.repr})
    raise TypeError(f"no JSON form for {type(value).__name__}")


def iso(moment: datetime | pd.Timestamp) -> str:
    """`2024-12-31T23:00:00Z`; fractions of a second only where there are any."""
    return utc(moment).isoformat().replace("+00:00", "Z")


def artifact_view(artifact: ModelArtifact) -> dict[str, Any]:
    """One version as `GET /history` lists it."""
    view: dict[str, Any] = jsonable(artifact)
    return {**view, **view.pop("series")}


def run_view(run: Run) -> dict[str, Any]:
    """One run as `GET /status` shows it: `status` instead of state."""
    view: dict[str, Any] = jsonable(run)
    # To who asks, a run is running from the moment it was accepted.
    view["status"] = str(RunState.RUNNING) if run.state is RunState.QUEUED else view["state"]
    # What it has said so far is asked for on its own: `GET /runs/{run_id}/models`.
    view["progress"] = {name: v for name, v in view["progress"].items() if name != "log"} or None
    del view["state"]
    return view


def alert_view(stored: StoredAlert, anybody: bool) -> dict[str, Any]:
    """One incident as `GET /alerts` lists it; anybody: whether somebody is to be told of incidents."""
    view: dict[str, Any] = jsonable(stored)
    alert = view.pop("alert")
    series = alert.pop("series") or {"symbol": None, "interval": None}
    kind = KINDS[stored.alert.kind]
    told = {"title": stored.alert.title, "advice": kind.advice, "severity": kind.severity}
    return {**alert, **told, **series, **view, "delivery": stored.delivery_to(anybody)}


def audit_view(row: AuditRow) -> dict[str, Any]:
    """One row of the audit trail as `GET /audit` lists it."""
    view: dict[str, Any] = jsonable(row)
    return {"id": view.pop("number"), **view.pop("deed"), **view}


def report_view(
    reports: Sequence[RetrainReport], errors: Mapping[Series, str], models: Mapping[Series, Sequence[str]]
) -> dict[str, Any]:
    """Several series' reports as one: the guide's keys on top, each series' own under `by_series`.

    errors: why a series failed as a whole, which fails all of its `models`. Entries of the merged lists
    carry their symbol and interval.
    """
    started = min((r.triggered_at for r in reports), default=None)
    ended = max((r.completed_at for r in reports), default=None)
    merged: dict[str, Any] = {
        "trigger": {},
        "triggered_at": jsonable(started),
        "completed_at": jsonable(ended),
        "duration_seconds": sum(r.duration_seconds for r in reports),
        "models_trained": list(dict.fromkeys(m for r in reports for m in r.models_trained)),
        "promoted_models": list(dict.fromkeys(m for r in reports for m in r.promoted_models)),
        "evaluations": [], "shadow_tests": [], "decisions": [], "failed_models": {}, "notes": [],
        "by_series": {},
    }  # fmt: skip
    several = len(reports) + len(errors) > 1
    for report in reports:
        own = jsonable(report)
        where = own.pop("series")
        for decision in own["decisions"]:
            # What a decision can be recomputed from is in the database, with the decision.
            del decision["inputs"], decision["decision_id"]
        for name in ("evaluations", "shadow_tests", "decisions"):
            own[name] = [{**where, **entry} for entry in own[name]]
            merged[name] += own[name]
        merged["notes"] += [f"{report.series}: {note}" if several else note for note in report.notes]
        for model_type, reason in report.trigger.items():
            if reason is not None or model_type not in merged["trigger"]:
                merged["trigger"][model_type] = reason
        _add_failures(merged["failed_models"], report.series, report.failed_models, several)
        merged["by_series"][str(report.series)] = own
    for series, error in errors.items():
        _add_failures(merged["failed_models"], series, dict.fromkeys(models[series], error), several)
        merged["by_series"][str(series)] = {"error": error}
    return merged


def merged_views(views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The reports of several attempts at one run as one, as if they had been a single one."""
    merged: dict[str, Any] = {}
    for view in views:
        for name, value in view.items():
            merged[name] = _joined(name, merged[name], value) if name in merged else value
    if merged.get("models_trained") or merged.get("failed_models"):
        # What the last attempt found nothing to do for, an earlier one had done.
        merged["notes"] = [note for note in merged.get("notes", []) if NOTHING_TO_DO not in note]
    return merged


def _joined(name: str, earlier: Any, later: Any) -> Any:
    match name, earlier, later:
        case ("by_series", Mapping(), Mapping()):
            both = {**earlier, **later}
            for series in earlier.keys() & later.keys():
                both[series] = merged_views([earlier[series], later[series]])
            return both
        case ("triggered_at", str(), _):
            return min(earlier, later) if later is not None else earlier
        case ("completed_at", str(), _):
            return max(earlier, later) if later is not None else earlier
        case ("duration_seconds", _, _):
            return earlier + later
        case (_, Mapping(), Mapping()):
            return {**earlier, **{key: item for key, item in later.items() if item is not None}}
        case (_, list(), list()):
            return [*earlier, *(item for item in later if item not in earlier)]
        case _:
            return later if later is not None else earlier


def _add_failures(merged: dict[str, str], series: Series, failures: Mapping[str, str], several: bool) -> None:
    for model_type, cause in failures.items():
        sentence = f"{series}: {cause}" if several else cause
        merged[model_type] = f"{merged[model_type]}; {sentence}" if model_type in merged else sentence
