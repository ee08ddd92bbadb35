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
from clm.core.triggers import MANUAL, SCHEDULED, of_run, summed_up

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
    reports: Sequence[RetrainReport],
    errors: Mapping[Series, str],
    models: Mapping[Series, Sequence[str]],
    trigger: str | None = None,
    began_at: datetime | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Several series' reports as one: the guide's keys on top, each series' own under `by_series`.

    errors: why a series failed as a whole, which fails all of its `models`. trigger: why the run took
    place, by default what its series say. began_at, seconds: of all of them together, by one machine's
    clock; by default from the first that began to the last that ended. Entries of the merged lists carry
    their symbol and interval.
    """
    began_at = began_at or min((r.began_at for r in reports), default=None)
    ended_at = max((r.ended_at for r in reports), default=None)
    if began_at is not None and seconds is not None:
        ended_at = began_at + timedelta(seconds=seconds)
    triggers: dict[str, str | None] = {}
    for report in reports:
        for model_type, reason in report.triggers.items():
            if reason is not None or model_type not in triggers:
                triggers[model_type] = reason
    merged: dict[str, Any] = {
        "trigger": trigger or summed_up(triggers),
        "triggers": triggers,
        "triggered_at": jsonable(min((r.triggered_at for r in reports), default=None)),
        "completed_at": jsonable(max((r.completed_at for r in reports), default=None)),
        "began_at": jsonable(began_at),
        "ended_at": jsonable(ended_at),
        "duration_seconds": _between(began_at, ended_at),
        "series_seconds": sum(r.duration_seconds for r in reports),
        "models_trained": list(dict.fromkeys(m for r in reports for m in r.models_trained)),
        "promoted_models": list(dict.fromkeys(m for r in reports for m in r.promoted_models)),
        "evaluations": [], "shadow_tests": [], "decisions": [], "failed_models": [], "failures": {},
        "notes": [], "by_series": {},
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
        _add_failures(merged["failures"], report.series, report.failures, several)
        merged["by_series"][str(report.series)] = own
    for series, error in errors.items():
        _add_failures(merged["failures"], series, dict.fromkeys(models[series], error), several)
        merged["by_series"][str(series)] = {"error": error}
    merged["failed_models"] = list(merged["failures"])
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
    if merged.get("trigger") not in (None, MANUAL, SCHEDULED):
        merged["trigger"] = summed_up(merged["triggers"])
    if merged.get("began_at") and merged.get("ended_at"):
        began, ended = (datetime.fromisoformat(merged[name]) for name in ("began_at", "ended_at"))
        merged["duration_seconds"] = _between(began, ended)
    return merged


def report_of_today(stored: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """The report of a retraining run as it is told today, whenever it was stored.

    It was: `trigger` and `failed_models` mappings, `duration_seconds` the sum over the series, and no times
    of the machine's.
    """
    told = dict(stored)
    if not isinstance(told.get("trigger", ""), Mapping):
        return told
    asked = of_run(run.request.requested_by, run.request.force)
    told = _renamed(told, asked) | {
        "began_at": jsonable(run.started_at), "ended_at": jsonable(run.finished_at),
        "series_seconds": told["duration_seconds"],
    }  # fmt: skip
    if run.started_at is not None and run.finished_at is not None:
        told["duration_seconds"] = _between(run.started_at, run.finished_at)
    told["by_series"] = {
        series: _renamed(own, None) if "trigger" in own else own
        for series, own in told.get("by_series", {}).items()
    }
    return told


def _renamed(report: Mapping[str, Any], trigger: str | None) -> dict[str, Any]:
    triggers, failures = report["trigger"], report.get("failed_models", {})
    return {
        **report, "trigger": trigger or summed_up(triggers), "triggers": triggers,
        "failed_models": list(failures), "failures": failures,
    }  # fmt: skip


def _between(began: datetime | None, ended: datetime | None) -> float:
    """Seconds."""
    return (ended - began).total_seconds() if began is not None and ended is not None else 0.0


def _joined(name: str, earlier: Any, later: Any) -> Any:
    match name, earlier, later:
        case ("by_series", Mapping(), Mapping()):
            both = {**earlier, **later}
            for series in earlier.keys() & later.keys():
                both[series] = merged_views([earlier[series], later[series]])
            return both
        case ("trigger", str(), str()):
            return later if later in (MANUAL, SCHEDULED) else earlier
        case ("triggered_at" | "began_at", str(), _):
            return min(earlier, later) if later is not None else earlier
        case ("completed_at" | "ended_at", str(), _):
            return max(earlier, later) if later is not None else earlier
        case ("duration_seconds" | "series_seconds", _, _):
            return earlier + later
        case (_, Mapping(), Mapping()):
            new = {key: item for key, item in later.items() if item is not None or key not in earlier}
            return {**earlier, **new}
        case (_, list(), list()):
            return [*earlier, *(item for item in later if item not in earlier)]
        case _:
            return later if later is not None else earlier


def _add_failures(merged: dict[str, str], series: Series, failures: Mapping[str, str], several: bool) -> None:
    for model_type, cause in failures.items():
        sentence = f"{series}: {cause}" if several else cause
        merged[model_type] = f"{merged[model_type]}; {sentence}" if model_type in merged else sentence
