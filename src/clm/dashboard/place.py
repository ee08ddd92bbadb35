"""Which series and model a page is about: a choice on top, kept in the address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from nicegui import ui

from clm.dashboard.desk import Session


@dataclass(frozen=True, slots=True)
class Place:
    """A model type of a series that is watched."""

    symbol: str
    interval: str
    model: str

    @property
    def series(self) -> dict[str, str]:
        """As routes take it."""
        return {"symbol": self.symbol, "interval": self.interval}

    @property
    def query(self) -> str:
        """As addresses carry it."""
        return urlencode({**self.series, "model": self.model})


async def chosen(session: Session, request: Request, path: str) -> Place:
    """What the address names, else the first there is; draws the choice."""
    every: list[dict[str, Any]] = await session.get("/api/clm/series")
    asked = request.query_params
    one = next(
        (s for s in every if (s["symbol"], s["interval"]) == (asked.get("symbol"), asked.get("interval"))),
        every[0],
    )
    model = asked.get("model", "")
    place = Place(one["symbol"], one["interval"], model if model in one["models"] else one["models"][0])

    def go(series: str, model: str) -> None:
        symbol, interval = series.split(" ")
        ui.navigate.to(f"{path}?{Place(symbol, interval, model).query}")

    with ui.row().classes("gap-4 w-full"):
        names = [f"{s['symbol']} {s['interval']}" for s in every]
        here = f"{place.symbol} {place.interval}"
        ui.select(
            names, value=here, label="Series", with_input=len(names) > 20,
            on_change=lambda e: go(e.value, place.model),
        ).classes("w-48")  # fmt: skip
        ui.select(
            one["models"], value=place.model, label="Model", on_change=lambda e: go(here, e.value)
        ).classes("w-48")
    return place
