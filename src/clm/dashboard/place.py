"""Which series, model and time a page is about: a choice on top, kept in the address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from nicegui import ui

from clm.dashboard.desk import Session


@dataclass(frozen=True, slots=True)
class Place:
    """A model type of a series that is watched. days: how far back, where that can be chosen."""

    symbol: str
    interval: str
    model: str
    days: int | None = None

    @property
    def series(self) -> dict[str, str]:
        """As routes take it."""
        return {"symbol": self.symbol, "interval": self.interval}

    @property
    def query(self) -> str:
        """As addresses carry it."""
        named = {**self.series, "model": self.model, "days": self.days}
        return urlencode({name: value for name, value in named.items() if value is not None})


async def chosen(
    session: Session,
    request: Request,
    path: str,
    *,
    models: bool = True,
    days: Mapping[int, str] | None = None,
) -> Place:
    """What the address names, else the first there is; draws the choice.

    models: whether a model is chosen too. days: what can be chosen of, the usual first.
    """
    every: list[dict[str, Any]] = await session.get("/api/clm/series")
    asked = request.query_params
    one = next(
        (s for s in every if (s["symbol"], s["interval"]) == (asked.get("symbol"), asked.get("interval"))),
        every[0],
    )
    model = asked.get("model", "")
    place = Place(one["symbol"], one["interval"], model if model in one["models"] else one["models"][0])
    if days is not None:
        back = {str(number): number for number in days}
        place = replace(place, days=back.get(asked.get("days", ""), next(iter(days))))

    def go(**other: Any) -> None:
        ui.navigate.to(f"{path}?{replace(place, **other).query}")

    def to_series(name: str) -> None:
        symbol, interval = name.split(" ")
        go(symbol=symbol, interval=interval)

    with ui.row().classes("gap-4 w-full"):
        names = [f"{s['symbol']} {s['interval']}" for s in every]
        ui.select(
            names, value=f"{place.symbol} {place.interval}", label="Series", with_input=len(names) > 20,
            on_change=lambda e: to_series(e.value),
        ).classes("w-48")  # fmt: skip
        if models:
            ui.select(
                one["models"], value=place.model, label="Model", on_change=lambda e: go(model=e.value)
            ).classes("w-48")
        if days is not None:
            ordered = dict(sorted(days.items()))
            ui.select(ordered, value=place.days, label="Time", on_change=lambda e: go(days=e.value)).classes(
                "w-32"
            )
    return place
