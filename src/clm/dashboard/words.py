"""Times, numbers and states in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

#: No line is broken between a number and its unit.
_NBSP = "\u00a0"
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
#: An E that is shown as 1 is not ahead.
_AHEAD = 1.01
#: Metrics → their name, factor, decimals and unit.
_METRICS = {
    "directional_accuracy": ("directional accuracy", 100, 1, f"{_NBSP}%"),
    "r2": ("R²", 100, 2, f"{_NBSP}%"),
    "rmse": ("RMSE", 1e4, 1, f"{_NBSP}bp"),
    "mae": ("MAE", 1e4, 1, f"{_NBSP}bp"),
}


def when(iso: str | None, *, now: datetime | None = None) -> str:
    """`2024-12-31 00:00 UTC · 3 h ago`; a dash for none."""
    if iso is None:
        return "—"
    moment = datetime.fromisoformat(iso).astimezone(UTC)
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    away = f"{span(abs(seconds))} ago" if seconds >= 0 else f"in {span(abs(seconds))}"
    return f"{moment:%Y-%m-%d %H:%M} UTC · {away}"


def span(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`, `12 d`."""
    for unit, size in _UNITS:
        if seconds >= size:
            value = seconds / size
            return f"{value:.1f} {unit}" if value < 10 and unit in ("h", "d") else f"{value:.0f} {unit}"
    return "0 s"


def metric(name: str, value: float | None) -> str:
    """A metric with its unit; a dash where it is undefined. 1 bp = 0.0001 of log return."""
    _, factor, decimals, unit = _METRICS.get(name, (name, 1, 4, ""))
    return "—" if value is None else f"{value * factor:.{decimals}f}{unit}".replace("-", "−")


def basis_points(log_return: float) -> str:
    """A return with its sign and its unit."""
    return f"{log_return * 1e4:+.2f}{_NBSP}bp".replace("-", "−")


def metrics(found: Mapping[str, float | None] | None) -> str:
    """The four that matter, in one line."""
    found = found or {}
    return " · ".join(f"{_METRICS[n][0]} {metric(n, found.get(n))}" for n in _METRICS if n in found) or "—"


def state_of(standing: Mapping[str, Any], r2: Mapping[str, float | None] | None = None) -> tuple[str, str]:
    """How a model of a series fares, in words, and how good that is: good, busy, warn or none.

    r2: the champion's against forecasting zero, by where: no champion that loses to zero is called healthy.
    """
    champion = standing["champion"]
    if champion is None:
        return "no champion yet: start a retraining", "none"
    due = champion.get("refresh_due")
    ahead = [c for c in standing["challengers"] if c["e"] >= _AHEAD]
    if ahead:
        best = max(ahead, key=lambda c: float(c["e"]))
        return f"challenger ahead, E = {best['e']:.3g} of {best['e_needed']:.3g}", "busy"
    if standing["guard"]:
        guard = standing["guard"]
        return f"guarded until {guard['until'][:10]}, E = {guard['e']:.3g} of {guard['e_needed']:.3g}", "busy"
    if due is not None and champion["age_days"] is not None and _past_due(champion):
        return f"stale: {champion['age_days']:.0f} days old", "warn"
    lost = [
        f"{metric('r2', value)} {where}"
        for where, value in (r2 or {}).items()
        if value is not None and value < 0
    ]
    said, tone = (f"unproven: R² against zero is {', '.join(lost)}", "warn") if lost else ("healthy", "good")
    if standing["challengers"]:
        said += f"; {len(standing['challengers'])} challenger(s) in shadow"
    return said, tone


def _past_due(champion: Mapping[str, Any]) -> bool:
    """Whether it is older than a refresh allows, by the exchange's clock, which its age is told by."""
    since, due = datetime.fromisoformat(champion["since"]), datetime.fromisoformat(champion["refresh_due"])
    return bool(champion["age_days"] > (due - since).total_seconds() / 86_400 + 1)


def run_span(run: Mapping[str, Any]) -> str:
    """How long a run has taken."""
    begun = run.get("started_at") or run.get("created_at")
    if begun is None:
        return "—"
    end = run.get("finished_at")
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return span(max(0.0, (until - datetime.fromisoformat(begun)).total_seconds()))
