"""Which series, model and time a page is about: a choice on top, kept in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from nicegui import ui

from clm.dashboard.desk import Refused, Session


@dataclass(slots=True)
class Clock:
    """The exchange's, by which candles, models and decisions are told; this machine's while none answers."""

    ahead: timedelta = timedelta()

    async def hear(self, session: Session) -> None:
        """What time it is there now."""
        told = await session.slow("/api/clm/clock")
        if told["exchange"] is not None:
            self.ahead = datetime.fromisoformat(told["exchange"]) - datetime.fromisoformat(told["service"])

    def now(self) -> datetime:
        """By what was heard last."""
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True, slots=True)
class Place:
    """A model type of a series that is watched. days: how far back, where that can be chosen."""

    symbol: str
    interval: str
    model: str
    days: int | None = None
    clock: Clock = field(default_factory=Clock, compare=False)

    def now(self) -> datetime:
        """The exchange's time."""
        return self.clock.now()

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
    """What the address names, the first there is of what it does not; draws the choice.

    Raises Refused where it names what is not there: never another one's figures in its place.

    models: whether a model is chosen too. days: what can be chosen of, the usual first.
    """
    every: list[dict[str, Any]] = await session.get("/api/clm/series")
    clock = Clock()
    await clock.hear(session)
    asked = request.query_params
    one = _named(every, asked)
    model = asked.get("model") or one["models"][0]
    if model not in one["models"]:
        there = ", ".join(one["models"])
        raise Refused(
            f"no model {model!r} is kept for {one['symbol']} {one['interval']}; there: {there}", 404
        )
    place = Place(one["symbol"], one["interval"], model, clock=clock)
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


def _named(every: Sequence[dict[str, Any]], asked: Mapping[str, str]) -> dict[str, Any]:
    """The first watched series that is as the address says. Raises Refused."""
    wanted = {name: asked[name] for name in ("symbol", "interval") if asked.get(name)}
    for one in every:
        if all(one[name] == value for name, value in wanted.items()):
            return one
    named = " ".join(wanted.values())
    # Of hundreds the first tell what they look like.
    there = ", ".join(f"{one['symbol']} {one['interval']}" for one in every[:10])
    more = f" and {len(every) - 10} more" if len(every) > 10 else ""
    raise Refused(f"no series {named!r} is watched here; watched: {there}{more}", 404)
