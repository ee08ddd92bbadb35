"""Replays: what each promotion policy would have come to, as reports of `clm replay` have it."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from nicegui import ui

from clm.dashboard.desk import Refused, Session
from clm.dashboard.frame import apology, chart, empty, frame, table
from clm.dashboard.plots import COLOURS, in_time, limits, line, with_legend
from clm.dashboard.words import when

_COMMAND = "clm replay --start 2024-01-01 --end 2025-01-01"
#: Dash patterns of model types: colours tell policies apart.
_DASHES = ("solid", "dashed", "dotted")


async def replays(session: Session, request: Request) -> None:
    """The list, or one report of it."""
    with frame(session, "/replays"):
        every, name = await session.get("/api/clm/replays"), request.query_params.get("name")
        if name is None:
            return _list(every)
        ui.link("All replays", "/replays")
        if name not in [one["name"] for one in every]:
            return empty("There is no replay of this name.")
        try:
            found = await session.get(f"/api/clm/replays/{quote(name, safe='')}")
        except Refused as error:
            return apology(error)
        _report(found, request.query_params.get("series"))
    return None


def _list(found: list[dict[str, Any]]) -> None:
    if not found:
        return _how()
    ui.label(
        "The whole loop over history, with the clock played back: what would each policy have come to?"
    ).classes("clm-soft")
    rows = [
        (partial(_open, one), partial(_state, one),
         f"{one['start'][:10]} to {one['end'][:10]}" if one["start"] else None,
         ", ".join(one["series"]) or None, ", ".join(one["policies"]) or None,
         ", ".join(one["models"]) or None, when(one["written_at"]))
        for one in found
    ]  # fmt: skip
    table(("Replay", "State", "Time", "Series", "Policies", "Models", "Written"), rows, "Replays")
    for problem in filter(None, (one["problem"] for one in found)):
        ui.label(f"{problem[:1].upper()}{problem[1:]}.").classes("clm-warn")
    return None


def _how() -> None:
    with ui.element("div").classes("clm-card w-full flex flex-col gap-2"):
        ui.label("There is no replay yet. This makes one in CLM_REPLAY_DIR, from where the service reads it:")
        ui.label(_COMMAND).classes("font-mono text-sm").style("overflow-wrap:anywhere")
        ui.label(
            "A year of weekly steps takes some minutes a policy and symbol; it can be broken off and goes on."
        ).classes("clm-soft text-sm")


def _address(name: str, **more: str) -> str:
    return f"/replays?{urlencode({'name': name, **more})}"


def _open(one: dict[str, Any]) -> None:
    if one["state"] == "ready":
        ui.link(one["name"], _address(one["name"]))
    else:
        ui.label(one["name"])


def _state(one: dict[str, Any]) -> None:
    ui.label(one["state"]).classes("clm-good" if one["state"] == "ready" else "clm-warn")


def _report(found: dict[str, Any], asked: str | None) -> None:
    models, pooled = (
        ", ".join(found["models"]),
        "; all symbols share their evidence" if found["pooled"] else "",
    )
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>Policies compared</h2>", sanitize=False)
        ui.label(
            f"{found['name']}: {found['start'][:10]} to {found['end'][:10]} UTC, a step every "
            f"{found['step_days']:g} days, {models}{pooled}."
        )
        ui.label("Every hour is out-of-sample for the model that answered it.").classes("clm-soft text-sm")
    scores = found["scores"]
    if not scores:
        return empty("This replay scored nothing.")
    every = list(dict.fromkeys(f"{one['symbol']} {one['interval']}" for one in scores))
    series = asked if asked in every else every[0]
    if len(every) > 1:
        ui.select(
            every, value=series, label="Series", with_input=len(every) > 20,
            on_change=lambda e: ui.navigate.to(_address(found["name"], series=e.value)),
        ).classes("w-48")  # fmt: skip
    chosen = [one for one in scores if f"{one['symbol']} {one['interval']}" == series]
    table(_HEADS, [_row(one) for one in chosen], f"Policies compared on {series}")
    ui.label(
        "Loss: squared error over that of forecasting zero, both normalised by the volatility known "
        "beforehand; below 1 is better than zero. Harmful: promotions after which the replaced champion "
        "would have forecast the next 30 days better; of two equal models half are."
    ).classes("clm-soft text-sm")
    _pictures(series, chosen)
    return None


_HEADS = (
    "Policy", "Model", "Hours", "Loss", "R²", "R² clipped", "Direction", "Promoted", "Back", "Harmful", "Age",
    "Trained",
)  # fmt: skip


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    direction, age = one["directional_accuracy"], one["mean_age_days"]
    failed = f", {one['failed']} failed" if one["failed"] else ""
    return (
        one["policy"], one["model_type"], f"{one['hours']:,}",
        f"{one['loss']:.5f}", f"{one['r2']:+.3%}", f"{one['r2_clipped']:+.3%}",
        None if direction is None else f"{direction:.2%}",
        ", ".join(f"{number} {label}" for label, number in sorted(one["promotions"].items())) or None,
        str(one["rollbacks"]), f"{one['harmful']} of {one['looked_back']}" if one["looked_back"] else None,
        None if age is None else f"{age:.0f} d",
        f"{one['trained']}{failed}, {one['seconds']:.0f} s" if one["trained"] else None,
    )  # fmt: skip


def _pictures(series: str, scores: list[dict[str, Any]]) -> None:
    models = list(dict.fromkeys(one["model_type"] for one in scores))
    policies = list(dict.fromkeys(one["policy"] for one in scores))
    gains, ages = [], []
    for one in scores:
        name = f"{one['policy']}, {one['model_type']}" if len(models) > 1 else one["policy"]
        colour = COLOURS[policies.index(one["policy"]) % len(COLOURS)]
        dash = _DASHES[models.index(one["model_type"]) % len(_DASHES)]
        look = {
            "itemStyle": {"color": colour}, "lineStyle": {"width": 1.8, "type": dash, "color": colour}
        }  # fmt: skip
        gains.append(line(name, [(day, gain) for day, gain, _ in one["curve"]], **look))
        if one["mean_age_days"] is not None:
            ages.append(line(name, [(day, age) for day, _, age in one["curve"]], **look))
    gains[0] |= limits({"": 0.0})
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>Gain over forecasting zero</h2>", sanitize=False)
        ui.label(f"{series}, cumulative, in hours' worth of zero's loss; up is better").classes(
            "clm-soft text-sm"
        )
        chart(in_time("hours", series=gains, **with_legend()), f"Cumulative gain: {_ends(gains)}", "22rem")
    if not ages:
        return
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>Age of the champion</h2>", sanitize=False)
        chart(in_time("days", series=ages, **with_legend()), f"Days since training: {_ends(ages)}", "16rem")


def _ends(lines: list[dict[str, Any]]) -> str:
    """Where each line ends."""
    return ", ".join(f"{one['name']} {one['data'][-1][1]:.1f}" for one in lines if one["data"])
