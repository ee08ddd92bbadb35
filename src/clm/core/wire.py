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

from clm.core.domain import ModelArtifact, RetrainReport, Run, RunState, Series, utc

#: Arrays of an EvaluationResult: for computing with, not for reading.
_ARRAYS = frozenset({"times", "forecast", "actual", "scale", "model"})


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
        named = {f.name: getattr(value, f.name) for f in fields(value) if f.name not in _ARRAYS}
        return jsonable(named)
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
    del view["state"]
    return view


def report_view(
    reports: Sequence[RetrainReport], errors: Mapping[Series, str], models: Sequence[str]
) -> dict[str, Any]:
    """Several series' reports as one: the guide's keys on top, each series' own under `by_series`.

    errors: why a series failed as a whole, which fails all of `models` there. Entries of the merged lists
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
        _add_failures(merged["failed_models"], series, dict.fromkeys(models, error), several)
        merged["by_series"][str(series)] = {"error": error}
    return merged


def _add_failures(merged: dict[str, str], series: Series, failures: Mapping[str, str], several: bool) -> None:
    for model_type, cause in failures.items():
        sentence = f"{series}: {cause}" if several else cause
        merged[model_type] = f"{merged[model_type]}; {sentence}" if model_type in merged else sentence
