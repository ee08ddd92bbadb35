"""Drift: how far features and volatility are from where a model was trained, and what that set off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from fastapi import Request
from nicegui import ui

from clm.dashboard.desk import Refused, Session
from clm.dashboard.frame import apology, chart, empty, frame, table
from clm.dashboard.place import Place, chosen
from clm.dashboard.plots import in_time, limits, line, up_to, value_axis, with_legend
from clm.dashboard.words import when

_DAYS = {60: "60 days", 30: "30 days", 180: "180 days", 365: "a year"}
#: Features in the pictures; the table lists more.
_LINES, _TOP = 6, 12
_TRIALS, _ROWS = 100, 10
_DAY = timedelta(days=1)
#: How the reasons of drift triggers begin.
_DRIFTED = ("Feature drift", "Regime shift", "Performance decay")


async def drift(session: Session, request: Request) -> None:
    """One model of a series; asked for once, since it may take some seconds."""
    with frame(session, "/drift"):
        place = await chosen(session, request, "/drift", days=_DAYS)
        wait = ui.label("Working it out from the candles: the first look at a new candle takes some seconds.")
        wait.classes("clm-soft")
        try:
            found, triggers, trials = await _read(session, place)
        except Refused as error:
            if error.status != 404:
                return apology(error)
            said = "Nothing was trained here yet, so nothing can have drifted."
            return empty(said, "Start a retraining", "/retrain")
        finally:
            wait.delete()
        _draw(found, triggers.get(place.model), trials)
    return None


async def _read(session: Session, place: Place) -> Any:
    return await asyncio.gather(
        session.get(f"/api/clm/drift/{place.model}", days=place.days, top=_TOP, **place.series),
        session.get("/api/clm/triggers", **place.series),
        session.get("/api/clm/trials", model=place.model, limit=_TRIALS, **place.series),
    )  # fmt: skip


def _draw(found: dict[str, Any], trigger: str | None, trials: list[dict[str, Any]]) -> None:
    now = datetime.fromisoformat(found["now"])
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>Now</h2>", sanitize=False)
        drifted = trigger is not None and trigger.startswith(_DRIFTED)
        if drifted:
            ui.label(f"{trigger}.").classes("clm-warn font-semibold")
        elif found["ready"]:
            ui.label("No drift: the triggers see none.").classes("clm-good font-semibold")
        else:
            said = (
                f"Too early to tell: drift is looked for from {found['block_days']} days after training on."
            )
            ui.label(said).classes("clm-soft font-semibold")
        if trigger is not None and not drifted:
            ui.label(f"Due for another reason: {trigger}.")
        ui.label(
            f"Held against what {found['version']} was trained on, {found['train_start'][:10]} to "
            f"{when(found['train_end'], now=now)}. Each day stands for the {found['block_days']} before it."
        ).classes("clm-soft text-sm")
    _shares(found)
    _features(found)
    _regime(found)
    _set_off(trials)


def _marks(found: dict[str, Any]) -> dict[str, str]:
    """Where training ends, if that is in the picture."""
    return {"training ends": found["train_end"]} if found["train_end"] > found["moments"][0]["at"] else {}


def _points(found: dict[str, Any], values: Iterable[float | None]) -> list[tuple[str, float | None]]:
    """Value by moment, with a break where days are missing: after a gap features have to warm up anew."""
    points: list[tuple[str, float | None]] = []
    before: datetime | None = None
    for moment, value in zip(found["moments"], values, strict=True):
        at = datetime.fromisoformat(moment["at"])
        if before is not None and at - before > 1.5 * _DAY:
            points.append((moment["at"], None))
        points.append((moment["at"], None if value is None else round(value, 4)))
        before = at
    return points


def _shares(found: dict[str, Any]) -> None:
    most = found["share_threshold"] * 100
    shares = [moment["share_moved"] * 100 for moment in found["moments"]]
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>Features that moved</h2>", sanitize=False)
        ui.label(
            f"Share of {found['features']} features beyond what 95 % of training blocks keep to. It is drift "
            f"above {most:.0f} %, more than in any training block."
        ).classes("clm-soft text-sm")
        marked = limits({f"drift above {most:.0f} %": most}, _marks(found))
        shown = line("features moved", _points(found, shares), areaStyle={"opacity": 0.12}, **marked)
        axis = value_axis("% of features", max=up_to([*shares, most], 10))
        told = f"Share of features that moved: {shares[-1]:.0f} % now, drift above {most:.0f} %"
        chart(in_time("", yAxis=axis, series=[shown]), told, "15rem")


def _features(found: dict[str, Any]) -> None:
    leading = found["leading"]
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>Which features lead</h2>", sanitize=False)
        names = ", ".join(one["feature"] for one in leading[:_LINES])
        said = "Kolmogorov–Smirnov distance (KS) less the feature's own limit; above 0 it has moved."
        ui.label(said).classes("clm-soft text-sm")
        _lines(
            found,
            "ks",
            "KS less limit",
            {"moved above 0": 0.0},
            f"KS less limit of the leading features: {names}",
        )
        ui.label(
            "Population stability index (PSI). Above 0.25 is customarily called large; over some days, whose "
            "candles depend on one another, it often is in training too, so it triggers nothing."
        ).classes("clm-soft text-sm")
        _lines(found, "psi", "PSI", {"0.25": 0.25}, f"PSI of the leading features: {names}")
        rows = [
            (partial(_named, one), f"{one['ks'][-1]:.2f} of {one['ks_limit']:.2f}", f"{one['psi'][-1]:.2f}",
             "moved" if one["moved"] else "usual")
            for one in leading
        ]  # fmt: skip
        table(("Feature", "KS of its limit", "PSI", "Is"), rows, "Leading features")


def _named(one: dict[str, Any]) -> None:
    ui.label(one["feature"]).classes("whitespace-nowrap")
    if one["family"]:
        ui.label(one["family"]).classes("clm-soft text-xs")


def _lines(found: dict[str, Any], what: str, name: str, levels: dict[str, float], told: str) -> None:
    series = []
    for one in found["leading"][:_LINES]:
        limit = one["ks_limit"] if what == "ks" else 0.0
        series.append(line(one["feature"], _points(found, (value - limit for value in one[what]))))
    if series:
        series[0] |= limits(levels, _marks(found))
    chart(in_time(name, series=series, **with_legend()), told, "18rem")


def _regime(found: dict[str, Any]) -> None:
    usual = found["regime"]
    if usual is None:
        return
    ratios = [moment["regime_ratio"] for moment in found["moments"]]
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>Volatility</h2>", sanitize=False)
        ui.label(
            f"Mean absolute return of {found['block_days']} days over that of the {usual['before_days']:.0f} "
            f"before. Outside {usual['low']:.2f} to {usual['high']:.2f}, where training kept, the regime has "
            "shifted."
        ).classes("clm-soft text-sm")
        levels = {f"{name} {usual[name]:.2f}": usual[name] for name in ("high", "low")}
        shown = line("volatility ratio", _points(found, ratios), **limits(levels, _marks(found)))
        axis = value_axis("ratio", max=up_to([*ratios, usual["high"]], 0.5))
        now = "not known" if ratios[-1] is None else f"{ratios[-1]:.2f}"
        told = f"Volatility ratio: {now} now, usual {usual['low']:.2f} to {usual['high']:.2f}"
        chart(in_time("", yAxis=axis, series=[shown]), told, "15rem")


def _set_off(trials: list[dict[str, Any]]) -> None:
    ui.html("<h2>What it set off</h2>", sanitize=False)
    found = [trial for trial in trials if (trial["trigger"] or "").startswith(_DRIFTED)]
    if not found:
        many = f"None of the last {len(trials)} trainings" if len(trials) > 1 else "No training"
        return empty(f"{many} was begun because of drift. Why others were begun:", "Retrainings", "/retrain")
    rows = [(when(trial["began_at"]), trial["trigger"], trial["outcome"]) for trial in found[:_ROWS]]
    return table(("Began", "Because", "Came to"), rows, "Trainings begun because of drift")
