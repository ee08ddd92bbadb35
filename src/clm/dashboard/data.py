"""Data: the stored candles of a series, where some are missing or were revised, and how fresh they are."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from fastapi import Request
from nicegui import ui

from clm.dashboard.desk import Session
from clm.dashboard.frame import Fresh, chart, empty, frame, table
from clm.dashboard.place import chosen
from clm.dashboard.plots import WARN, in_time, value_axis
from clm.dashboard.words import basis_points, span, when

_DAYS = {30: "30 days", 2: "2 days", 7: "7 days", 90: "90 days", 365: "a year"}
_UP, _DOWN, _BACK = "#0f9d76", "#c2417c", "rgba(194,65,12,.16)"
#: What changes though no candle does.
_PASSING = frozenset({"now", "clock_note", "behind_seconds", "fresh", "weight"})
_SECONDS = 30.0
#: Areas and rows at most: the newest.
_AREAS, _ROWS = 60, 20


async def data(session: Session, request: Request) -> None:
    """One series."""
    with frame(session, "/data"):
        place = await chosen(session, request, "/data", models=False, days=_DAYS)
        read = partial(session.get, "/api/clm/data", **place.series, days=place.days)

        async def stored() -> dict[str, Any]:
            found = await read()
            return {name: value for name, value in found.items() if name not in _PASSING}

        await Fresh(read, _freshness, seconds=_SECONDS).begin()
        # Apart, so that a picture somebody has zoomed into is drawn anew only where there are other candles.
        await Fresh(stored, _draw, seconds=_SECONDS).begin()


def _draw(found: dict[str, Any]) -> None:
    if not found["kept"]:
        return empty("No candle is kept here: CLM_CACHE_ENABLED is false. Set it to true to see them.")
    if not found["bars"]:
        said = "No candle of this series is stored in this time. A retraining fetches what it needs."
        return empty(said, "Start a retraining", "/retrain")
    _candles(found)
    _gaps(found)
    _revisions(found)
    return None


def _freshness(found: dict[str, Any]) -> None:
    now = datetime.fromisoformat(found["now"]) if found["now"] else None
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>Freshness</h2>", sanitize=False)
        if found["newest_close"] is None:
            ui.label("There is no stored candle.").classes("clm-warn")
        elif now is None:
            ui.label(f"The newest candle closed {found['newest_close'][:16].replace('T', ' ')} UTC.")
            ui.label(f"How long ago is not known: {found['clock_note']}.").classes("clm-warn")
        else:
            behind = f"{span(found['behind_seconds'])} ago" if found["behind_seconds"] >= 1 else "now"
            said = f"The newest candle closed {behind} by the exchange's clock"
            ui.label(f"{said}: {when(found['newest_close'], now=now).split(' · ')[0]}.").classes(
                f"clm-{'good' if found['fresh'] else 'warn'} font-semibold"
            )
            if not found["fresh"]:
                ui.label(
                    "That is more than two candles. They are fetched by retrainings, and as they close "
                    "where CLM_LIVE_SHADOW is true."
                ).classes("clm-soft text-sm")
        _weight(found["weight"])


def _weight(weight: dict[str, Any]) -> None:
    used, limit = weight["used"], weight["limit"]
    stops = f"this service stops at {weight['budget']:,}"
    said = f"Request weight of the last minute: {used:,} of {limit:,}; {stops}."
    ui.label(said).classes("text-sm")
    share = min(1.0, used / limit)
    bar = ui.linear_progress(share, show_value=False, size="8px").classes("max-w-md")
    bar.props(f'aria-label="request weight used" aria-valuenow={share * 100:.0f} color=primary')
    ui.label(
        "Booked by every CLM of this user on this machine; who else shares the address is not in it."
    ).classes("clm-soft text-sm")
    if weight["waits"]:
        why = weight["why"] or "The exchange counts as much as is allowed"
        held = f"{why}: nothing is asked for {span(weight['waits'])}."
        ui.label(held).classes("clm-warn")


def _candles(found: dict[str, Any]) -> None:
    bars, each = found["bars"], found["candles_a_point"]
    first, last = bars[0], bars[-1]
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>Candles</h2>", sanitize=False)
        thin = f", {each} to a bar" if each > 1 else ""
        ui.label(f"{found['candles']:,} candles{thin}; stored since {found['begins'][:10]}").classes(
            "clm-soft text-sm"
        )
        low, high = min(b["low"] for b in bars), max(b["high"] for b in bars)
        told = (
            f"Candles from {first['open_time'][:10]} to {last['open_time'][:10]}: lowest {low:,.6g}, highest "
            f"{high:,.6g}, last close {last['close']:,.6g}; {found['gaps']} gaps, {len(found['revisions'])} "
            "revised candles"
        )
        chart(_picture(found), told, "24rem")


def _picture(found: dict[str, Any]) -> dict[str, Any]:
    bars, step = found["bars"], found["step_seconds"]
    areas = [
        [
            {"xAxis": hole["first"]},
            {"xAxis": _later(hole["first"], hole["candles"] * step)},
        ]
        for hole in found["holes"][-_AREAS:]
    ]
    closes = {bar["open_time"]: bar["close"] for bar in bars}
    revised = [
        {"value": [at, close], "name": "revised"} for one in found["revisions"]
        if (at := _bar_of(bars, _later(one["open_time"], step))) and (close := closes[at])
    ]  # fmt: skip
    return in_time(
        "price",
        grid={"left": 12, "right": 20, "top": 44, "bottom": 62, "containLabel": True},
        yAxis=value_axis("price", scale=True),
        dataZoom=[
            {"type": "inside", "zoomOnMouseWheel": "ctrl"},
            {"type": "slider", "height": 22, "bottom": 12},
        ],
        series=[
            {
                "type": "candlestick", "name": "candles", "large": False, "barMaxWidth": 14,
                "encode": {"x": 0, "y": [1, 2, 3, 4]},
                "data": [[b["open_time"], b["open"], b["close"], b["low"], b["high"]] for b in bars],
                "itemStyle": {
                    "color": _UP, "borderColor": _UP, "color0": _DOWN, "borderColor0": _DOWN,
                },
                "markArea": {"silent": True, "itemStyle": {"color": _BACK}, "data": areas},
            },
            {
                "type": "scatter", "name": "revised", "symbol": "diamond", "symbolSize": 11, "data": revised,
                "itemStyle": {"color": WARN}, "z": 5,
            },
        ],
    )  # fmt: skip


def _later(iso: str, seconds: float) -> str:
    return (datetime.fromisoformat(iso) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def _bar_of(bars: list[dict[str, Any]], at: str) -> str | None:
    """The bar a candle is part of."""
    return next((bar["open_time"] for bar in reversed(bars) if bar["open_time"] <= at), None)


def _gaps(found: dict[str, Any]) -> None:
    ui.html("<h2>Gaps</h2>", sanitize=False)
    if not found["gaps"]:
        return empty("None: every candle of this time is stored.")
    holes = found["holes"][::-1][:_ROWS]
    more = "" if len(holes) == found["gaps"] else f", the newest {len(holes)} listed"
    ui.label(f"{found['gaps']:,} gaps with {found['missing']:,} missing candles{more}; shaded above").classes(
        "clm-soft"
    )
    rows = [
        (f"{hole['first'][:16].replace('T', ' ')} UTC", f"{hole['candles']:,}",
         "the exchange has none" if hole["fetched"] else "never asked for, since nothing needed it yet")
        for hole in holes
    ]  # fmt: skip
    return table(("First missing", "Candles", "Why"), rows, "Gaps")


def _revisions(found: dict[str, Any]) -> None:
    ui.html("<h2>Revisions</h2>", sanitize=False)
    if not found["revisions"]:
        return empty("None: no candle that a forecast was scored by has changed since.")
    listed = found["revisions"][:_ROWS]
    rows = [
        (f"{_later(one['open_time'], found['step_seconds'])[:16].replace('T', ' ')} UTC",
         basis_points(one["before"]), basis_points(one["after"]), basis_points(one["after"] - one["before"]))
        for one in listed
    ]  # fmt: skip
    said = "Forecasts keep the score they had; the difference is on record. Marked by a diamond above."
    ui.label(said).classes("clm-soft")
    return table(("Candle", "Its return was", "Is now", "Difference"), rows, "Revisions")
