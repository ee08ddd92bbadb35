"""Shadow: the champion against its challengers, and what they still need."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from fastapi import Request
from nicegui import ui

from clm.dashboard.desk import Session
from clm.dashboard.frame import Fresh, empty, frame, table
from clm.dashboard.pictures import plots
from clm.dashboard.place import Place, chosen
from clm.dashboard.words import span, state_of, when

#: Points of evidence and candles of forecasts that are drawn.
_POINTS, _CANDLES = 400, 168


async def shadow(session: Session, request: Request) -> None:
    """How challengers stand, one model of a series."""
    with frame(session, "/shadow"):
        place = await chosen(session, request, "/shadow")

        async def read() -> tuple[Any, ...]:
            about = f"/api/clm/shadow/{place.model}"
            every, evidence, forecasts, _ = await asyncio.gather(
                session.stored("/api/clm/shadow", **place.series),
                session.stored(f"{about}/evidence", points=_POINTS, **place.series),
                session.stored(f"{about}/forecasts", limit=_CANDLES, **place.series),
                place.clock.hear(session),
            )
            return next(s for s in every if s["model_type"] == place.model), evidence, forecasts

        await Fresh(read, partial(_draw, place)).begin()


def _draw(place: Place, found: tuple[Any, ...]) -> None:
    standing, evidence, forecasts = found
    champion = standing["champion"]
    if champion is None:
        return empty("There is no champion yet, so nobody challenges one.", "Start a retraining", "/retrain")
    said, tone = state_of(standing)
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.label(said).classes(f"clm-{tone} font-semibold")
        ui.label(f"champion {champion['version']}, since {when(champion['since'], now=place.now())}")
        if standing["cool_down_until"]:
            ui.label(
                f"no promotion before {when(standing['cool_down_until'], now=place.now())}, after a roll-back"
            )
        revised = standing["revised_candles"]
        ui.label(f"{revised} scored candles were revised by the exchange").classes("clm-soft text-sm")
    _guard(place, standing["guard"])
    _challengers(standing)
    plots(evidence, forecasts)
    return None


def _challengers(standing: dict[str, Any]) -> None:
    ui.html("<h2>Challengers</h2>", sanitize=False)
    if not standing["challengers"]:
        return empty("None. The next retraining brings one, if it passes its checks.", "Retrain", "/retrain")
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


def _guard(place: Place, guard: dict[str, Any] | None) -> None:
    if guard is None:
        return
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>The guard</h2>", sanitize=False)
        said = f"{guard['version']} comes back at E = {guard['e_needed']:.3g}; now {guard['e']:.3g}"
        ui.label(f"{said}, after {guard['candles']} candles; until {when(guard['until'], now=place.now())}")


def _gain(share: float | None) -> str:
    if share is None:
        return "—"
    return f"{abs(share) * 100:.2f} % {'smaller' if share >= 0 else 'larger'}"
