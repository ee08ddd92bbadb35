"""Shadow: the champion against its challengers, and what they still need."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from nicegui import ui

from clm.dashboard.desk import Session
from clm.dashboard.frame import Fresh, chart, empty, frame, table
from clm.dashboard.place import chosen
from clm.dashboard.words import span, state_of, when


async def shadow(session: Session, request: Request) -> None:
    """How challengers stand, one model of a series."""
    with frame(session, "/shadow"):
        place = await chosen(session, request, "/shadow")

        async def read() -> dict[str, Any]:
            every = await session.get("/api/clm/shadow", **place.series)
            found: dict[str, Any] = next(s for s in every if s["model_type"] == place.model)
            return found

        await Fresh(read, _draw).begin()


def _draw(standing: dict[str, Any]) -> None:
    champion = standing["champion"]
    if champion is None:
        return empty("There is no champion yet, so nobody challenges one.", "Start a retraining", "/retrain")
    said, tone = state_of(standing)
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.label(said).classes(f"clm-{tone} font-semibold")
        ui.label(f"champion {champion['version']}, since {when(champion['since'])}")
        if standing["cool_down_until"]:
            ui.label(f"no promotion before {when(standing['cool_down_until'])}, after a roll-back")
        revised = standing["revised_candles"]
        ui.label(f"{revised} scored candles were revised by the exchange").classes("clm-soft text-sm")
    _guard(standing["guard"])
    ui.html("<h2>Challengers</h2>", sanitize=False)
    if not standing["challengers"]:
        return empty("None. The next retraining brings one, if it passes its checks.", "Retrain", "/retrain")
    _bars(standing["challengers"])
    rows = [
        (
            c["version"], f"{c['e']:.3g} of {c['e_needed']:.3g}", f"{c['candles']} candles",
            "not at this pace" if c["hours_to_go"] is None else span(c["hours_to_go"] * 3600),
            _gain(c["mse_gain"]), c["now"], c["reason"],
        )
        for c in standing["challengers"]
    ]  # fmt: skip
    heads = ("Version", "Evidence E", "Scored", "Still needs", "Squared error", "Now", "Because")
    return table(heads, rows, "Challengers")


def _guard(guard: dict[str, Any] | None) -> None:
    if guard is None:
        return
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>The guard</h2>", sanitize=False)
        said = f"{guard['version']} comes back at E = {guard['e_needed']:.3g}; now {guard['e']:.3g}"
        ui.label(f"{said}, after {guard['candles']} candles; until {when(guard['until'])}")


def _bars(challengers: list[dict[str, Any]]) -> None:
    """E of each on a log axis, and what promotes."""
    needed = max(c["e_needed"] for c in challengers)
    bars = [max(c["e"], 1e-3) for c in challengers]
    told = "; ".join(f"{c['version']}: E = {c['e']:.3g} of {c['e_needed']:.3g}" for c in challengers)
    options = {
        "grid": {"left": 130, "right": 30, "top": 30, "bottom": 30},
        "xAxis": {"type": "log", "min": min(0.01, *bars), "max": max(needed * 2, *bars)},
        "yAxis": {"type": "category", "data": [c["version"] for c in challengers]},
        "series": [{
            "type": "bar", "data": bars, "barMaxWidth": 18, "itemStyle": {"color": "#3b74d9"},
            "markLine": {
                "symbol": "none", "data": [{"xAxis": needed}], "lineStyle": {"color": "#c2410c"},
                "label": {"formatter": "promotes", "color": "#c2410c"},
            },
        }],
    }  # fmt: skip
    chart(options, f"Evidence of the challengers. {told}", f"{5 + 2 * len(bars)}rem")


def _gain(share: float | None) -> str:
    if share is None:
        return "—"
    return f"{abs(share) * 100:.2f} % {'smaller' if share >= 0 else 'larger'}"
