"""How each model of a run fares, while it runs and afterwards: read off its row and its journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clm.core.domain import Outcome, Series
from clm.core.runs import Run, RunState
from clm.core.wire import report_of_today

#: Steps of a cycle → what is being done.
_DOING = {
    "candles": "fetching", "features": "fetching", "evaluation fit": "training", "canary": "training",
    "refit": "training", "holdout": "evaluating", "shadow": "evaluating", "decision": "evaluating",
}  # fmt: skip
_CAME_TO = {
    str(Outcome.PROMOTE): "promoted", str(Outcome.CONTINUE): "continued", str(Outcome.REJECT): "rejected",
}  # fmt: skip
Journal = Mapping[str, Mapping[str, Any]]


def turns(run: Run, journal: Journal, wanted: Sequence[tuple[Series, Sequence[str]]]) -> list[dict[str, Any]]:
    """One JSON-ready entry per series and model type that the run is about, in the order of `wanted`.

    state: queued, fetching, training, evaluating, promoted, continued, rejected, failed; not due (no trigger
    fired), not reached (the run ended before), broken off (it ended meanwhile). said: why, or what is being
    done; version: the candidate, once there is one.
    """
    return [
        {"symbol": series.symbol, "interval": series.interval, "model_type": model_type,
         **_turn(run, journal.get(f"{series} {model_type}", {}), journal.get(str(series), {}), series,
                 model_type)}
        for series, models in wanted
        for model_type in models
    ]  # fmt: skip


def _turn(
    run: Run, entry: Mapping[str, Any], apart: Mapping[str, Any], series: Series, model_type: str
) -> dict[str, Any]:
    """apart: where the series' own task stands, in whatever process it is done."""
    report = entry.get("report")
    if report is not None:
        return _ended(report_of_today(report, run), model_type)
    of_series = ((run.report or {}).get("by_series") or {}).get(str(series)) or {}
    if "error" in of_series:
        return _told("failed", of_series["error"])
    if run.state.over:
        return _over(run, entry)
    here = run.progress.get("series") == {"symbol": series.symbol, "interval": series.interval}
    for at, holds in ((run.progress, here), (apart, apart.get("attempt") == run.attempt)):
        if holds and at.get("model_type") in (None, model_type) and at.get("step") in _DOING:
            return _told(_DOING[at["step"]], at.get("message"))
    return _told("training" if entry.get("begun") else "queued")


def _ended(report: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    for decision in report.get("decisions", ()):
        if decision["model_type"] == model_type:
            came_to = _CAME_TO[decision["outcome"]]
            return _told(came_to, decision["reason"], decision["candidate_version"])
    return _told("failed", report.get("failures", {}).get(model_type))


def _over(run: Run, entry: Mapping[str, Any]) -> dict[str, Any]:
    if entry.get("begun"):
        return _told("broken off", run.error)
    if run.state is RunState.COMPLETED:
        return _told("not due", "no trigger fired")
    return _told("not reached", run.error)


def _told(state: str, said: str | None = None, version: str | None = None) -> dict[str, Any]:
    return {"state": state, "said": said, "version": version}
