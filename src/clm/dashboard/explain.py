"""Explain: what the newest forecast is made of, and what the champion listens to."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from nicegui import ui

from clm.dashboard.desk import Refused, Session
from clm.dashboard.frame import apology, chart, frame
from clm.dashboard.place import Place, chosen
from clm.dashboard.plots import value_axis
from clm.dashboard.words import basis_points, when

_TOP = 15


async def explain(session: Session, request: Request) -> None:
    """SHAP bars of one model; asked for once, since it takes a moment."""
    with frame(session, "/explain"):
        place = await chosen(session, request, "/explain")
        wait = ui.label("Working it out: the first one takes some seconds.").classes("clm-soft")
        try:
            found = await session.get(f"/api/clm/explain/{place.model}", top=_TOP, **place.series)
        except Refused as error:
            return apology(error)
        finally:
            wait.delete()
        _draw(place, found)
    return None


def _draw(place: Place, found: dict[str, Any]) -> None:
    forecast, heard = found["forecast"], found["importance"]
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>The newest forecast</h2>", sanitize=False)
        said = f"{basis_points(forecast['log_return'])} log return, by {found['version']}"
        ui.label(f"{said}, made {when(forecast['made_at'], now=place.now())}")
        parts = forecast["contributions"]
        _bars([(p["feature"], p["contribution"] * 1e4) for p in parts], "bp", "Parts of the newest forecast")
        rest = f"base {basis_points(forecast['base'])}; {forecast['rest_features']} further features "
        ui.label(f"{rest}together {basis_points(forecast['rest'])}").classes("clm-soft text-sm")
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>What it listens to</h2>", sanitize=False)
        ui.label(f"{heard['rows']} candles, since {when(heard['since'], now=place.now())}").classes(
            "clm-soft text-sm"
        )
        _bars([(f["feature"], f["share"] * 100) for f in heard["features"]], "%", "Share of all parts")
    drift = found["drift"]
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>What has changed</h2>", sanitize=False)
        if drift is None:
            ui.label(f"Nothing to compare with: {found['drift_note']}.")
        else:
            moved = f"{drift['moved'] * 100:.0f} % of importance moved since {drift['against']}"
            ui.label(moved)


def _bars(named: list[tuple[str, float]], unit: str, told: str) -> None:
    rows = named[::-1]
    options = {
        "grid": {"left": 8, "right": 24, "top": 8, "bottom": 32, "containLabel": True},
        "tooltip": {"trigger": "axis"},
        "xAxis": value_axis(unit, nameLocation="middle", nameGap=22),
        "yAxis": value_axis(
            "", type="category", data=[name for name, _ in rows], splitLine={"show": False}
        ),
        "series": [{
            "type": "bar",
            "data": [
                {"value": round(v, 3), "itemStyle": {"color": "#3b74d9" if v >= 0 else "#c2410c"}}
                for _, v in rows
            ],
        }],
    }  # fmt: skip
    first = ", ".join(f"{name} {value:.2f} {unit}" for name, value in named[:5])
    chart(options, f"{told}: {first}", f"{4 + 1.5 * len(rows)}rem")
