"""Parts of the History page: who was champion when, two versions side by side, a version made once more."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from html import escape
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from clm.core.access import Role
from clm.dashboard.desk import Session
from clm.dashboard.frame import chart, empty, may, table
from clm.dashboard.place import Place
from clm.dashboard.plots import TIME
from clm.dashboard.words import metric, run_span, when

#: Reigns that are drawn; all that were read are listed.
_DRAWN = 12
#: Points of one reign's bar, so that it answers wherever it is pointed at.
_POINTS = 40
#: Of axes: to be read on light and on dark.
_SOFT = "#7a8899"
_VERDICTS = {
    "identical": ("The same bytes came out.", "good"),
    "within tolerance": ("Other bytes came out, with the same forecasts to a millionth.", "good"),
    "different": ("Something else came out.", "warn"),
}


def reigns(found: list[dict[str, Any]], now: datetime) -> None:
    """A timeline, and the same as a list. now: of the exchange."""
    ui.html("<h2>Who was champion when</h2>", sanitize=False)
    if not found:
        return empty("Nobody yet.")
    _timeline(found[:_DRAWN], now)
    rows = [
        (
            one["version"], when(one["since"], now=now),
            when(one["until"], now=now) if one["until"] else "answers now",
            f"{one['label']}, by {one['decided_by']}: {one['reason']}", _decision(one["decision_id"]),
        )
        for one in found
    ]  # fmt: skip
    return table(("Version", "From", "Until", "Because", "Decision"), rows, "Who was champion when")


def _decision(number: int) -> Callable[[], object]:
    return lambda: ui.link(f"Decision {number}", f"/decisions/{number}")


def _timeline(found: list[dict[str, Any]], now: datetime) -> None:
    names = list(dict.fromkeys(one["version"] for one in found))[::-1]
    series, told = [], []
    for one in found:
        since = datetime.fromisoformat(one["since"])
        until = max(since, datetime.fromisoformat(one["until"]) if one["until"] else now)
        step = (until - since) / _POINTS
        said = f"{one['version']}, {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
        why = escape(f"{one['label']}: {one['reason']}").replace("{", "(").replace("}", ")")
        series.append({
            "type": "line", "name": one["version"], "symbol": "circle", "symbolSize": 11,
            "lineStyle": {"width": 11, "cap": "round"}, "color": "#12863a" if not one["until"] else "#3b74d9",
            "data": [[(since + k * step).isoformat(), one["version"]] for k in range(_POINTS + 1)],
            "tooltip": {"formatter": f"<b>{escape(said)}</b><br>{why}"},
        })  # fmt: skip
        told.append(said)
    options = {
        "grid": {"left": 8, "right": 24, "top": 10, "bottom": 8, "containLabel": True},
        "tooltip": {"trigger": "item", "confine": True, "extraCssText": "max-width:24rem;white-space:normal"},
        "xAxis": {"type": "time", "axisLabel": {"hideOverlap": True, "color": _SOFT, "formatter": TIME}},
        "yAxis": {"type": "category", "data": names, "axisLabel": {"color": _SOFT}},
        "series": series,
    }  # fmt: skip
    chart(options, f"Who was champion when. {escape('; '.join(told))}", f"{4 + 1.7 * len(names)}rem")


def choice(place: Place, versions: list[str], a: str, b: str) -> None:
    """Which two are shown side by side; kept in the address."""
    ui.html("<h2>Two versions side by side</h2>", sanitize=False)
    if len(versions) < 2:
        return empty("There are not two versions yet.", "Start a retraining", "/retrain")

    def go(**chosen: str) -> None:
        ui.navigate.to(f"/history?{place.query}&{urlencode({'a': a, 'b': b, **chosen})}")

    with ui.row().classes("items-center gap-4 w-full"):
        ui.select(versions, value=a or None, label="A", on_change=lambda e: go(a=e.value)).classes("w-56")
        ui.select(versions, value=b or None, label="B", on_change=lambda e: go(b=e.value)).classes("w-56")
    return None


def compared(found: dict[str, Any]) -> None:
    """What differs is marked; what is the same is shown when asked for."""
    facts = found["facts"]
    differs = sum(not fact["same"] for fact in facts)
    features = found["features"]
    ui.label(f"{differs} of {len(facts)} things differ.").classes("font-semibold")
    if features["both"] is not None:
        said = f"{features['both']} features are in both"
        for side in ("a", "b"):
            only = features[f"only_{side}"]
            if only:
                said += f"; only in {found[side]}: {', '.join(only[:8])}{' …' if len(only) > 8 else ''}"
        ui.label(f"{said}.").classes("clm-soft")

    @ui.refreshable
    def rows(every: bool) -> None:
        shown = [
            (
                f"{fact['group']}: {fact['name']}", _value(fact["name"], fact["a"]),
                _value(fact["name"], fact["b"]), "the same" if fact["same"] else _differs,
            )
            for fact in facts
            if every or not fact["same"]
        ]  # fmt: skip
        table(("What", "A", "B", "Is"), shown, "Two versions side by side")

    ui.checkbox("Also what is the same", on_change=lambda e: rows.refresh(e.value))
    rows(False)


def _differs() -> None:
    ui.label("≠ differs").classes("clm-warn font-semibold whitespace-nowrap")


def _value(name: str, value: Any) -> str:
    if isinstance(value, float):
        return (
            metric(name, value) if name in ("directional_accuracy", "r2", "rmse", "mae") else f"{value:.5g}"
        )
    if isinstance(value, str) and len(value) == 64:
        return f"{value[:16]}…"
    if isinstance(value, str) and value.endswith("Z") and value[:4].isdigit():
        return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M} UTC"
    return "—" if value is None else value if isinstance(value, str) else json.dumps(value)


def remade(session: Session, found: list[dict[str, Any]], cancel: Callable[[str], Awaitable[None]]) -> None:
    """The newest run that made a version once more, and what came of it."""
    if not found:
        return
    run = found[0]
    request, report = run["request"], run["report"] or {}
    named = f"{request['models'][0]} {request['version']} of {request['symbols'][0]}"
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html(f"<h2>{escape(named)}, made once more</h2>", sanitize=False)
        if run["status"] == "running":
            said = run["progress"]["message"] if run["progress"] else "starting the worker"
            bar = ui.linear_progress(show_value=False, size="8px").props("indeterminate color=primary")
            bar.props('aria-label="it is being made once more"')
            ui.label(f"{said} · {run_span(run)}").props("role=status")
            button = ui.button("Cancel", on_click=lambda: cancel(run["run_id"])).props("outline color=clm")
            may(session, Role.OPERATE, button.classes("self-start"))
        elif report.get("verdict"):
            said, tone = _VERDICTS[report["verdict"]]
            ui.label(said).classes(f"clm-{tone} font-semibold").props("role=status")
            for one in report["differences"]:
                ui.label(f"{one['what']}: {one['said']}").classes("text-sm")
            rows = f"from {report['rows']:,} rows of {report['candles_from']}'s candles"
            ui.label(f"{rows}, {report['seconds']:.1f} s; {when(run['finished_at'])}").classes(
                "clm-soft text-sm"
            )
            for note in report["notes"]:
                ui.label(note).classes("clm-soft text-sm")
        else:
            why = f": {run['error']}" if run["error"] else ""
            ui.label(f"It {_ENDED.get(run['status'], run['status'])}{why}.").classes("clm-warn").props(
                "role=status"
            )


_ENDED = {"failed": "could not be tried", "cancelled": "was cancelled", "interrupted": "was interrupted"}
