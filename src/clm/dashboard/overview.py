"""Overview: a card per series and model, and what needs somebody."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from nicegui import ui

from clm.core.domain import INTERVALS
from clm.dashboard.desk import Session
from clm.dashboard.frame import Fresh, empty, frame
from clm.dashboard.pictures import TELLING, sparks
from clm.dashboard.place import Clock
from clm.dashboard.words import metrics, state_of, when
from clm.jobs.schedule import cron_trigger

#: Series on one page: each costs a few reads.
_AT_ONCE = 12


async def overview(session: Session, page: int) -> None:
    """Which model answers, since when, why, and is it still good."""
    with frame(session, "/"):
        clock = Clock()
        await Fresh(partial(_read, session, clock, page), partial(_draw, clock, page)).begin()


async def _read(session: Session, clock: Clock, page: int) -> dict[str, Any]:
    series, alerts, run, settings, skill, _ = await asyncio.gather(
        session.stored("/api/clm/series"), session.get("/api/clm/alerts", limit=20),
        session.get("/api/clm/status"), session.get("/api/clm/config"),
        session.stored("/api/clm/skill", offset=(page - 1) * _AT_ONCE, limit=_AT_ONCE),
        clock.hear(session),
    )  # fmt: skip
    live = {(one["symbol"], one["interval"], one["model_type"]): one for one in skill["champions"]}
    cards = []
    for one in series[(page - 1) * _AT_ONCE : page * _AT_ONCE]:
        place = {"symbol": one["symbol"], "interval": one["interval"]}
        standings, champions, decisions, chosen = await asyncio.gather(
            session.stored("/api/clm/shadow", **place),
            session.stored("/api/clm/models", **place),
            session.stored("/api/clm/decisions", limit=20, **place),
            session.stored("/api/clm/decisions", limit=100, outcome="PROMOTE", **place),
        )  # fmt: skip
        for standing in standings:
            model = standing["model_type"]
            said = [next((d for d in each if d["model_type"] == model), None) for each in (chosen, decisions)]
            known = live.get((one["symbol"], one["interval"], model))
            cards.append((standing, champions.get(model) or {}, said, known))
    told = {name: run.get(name) for name in ("status", "run_id", "progress", "finished_at", "error")}
    return {
        "cards": cards,
        "alerts": alerts,
        "run": told,
        "series": len(series),
        "schedule": settings["schedule"],
    }


def _next(cron: str, clock: Clock) -> str:
    if cron == "off":
        return "No retraining is scheduled: CLM_SCHEDULE is off."
    slot = cron_trigger(cron).next(clock.now())
    # A schedule that never comes is refused as the settings are read.
    assert slot is not None  # noqa: S101
    return f"The next scheduled one: {when(slot.isoformat(), now=clock.now())}."


def _draw(clock: Clock, page: int, found: dict[str, Any]) -> None:
    _attention(found, clock)
    if not found["cards"]:
        return empty("No series is watched on this page.", "To the first page", "/")
    with ui.element("div").classes("clm-cards"):
        for standing, champion, said, live in found["cards"]:
            _card(clock, standing, champion, said, live)
    pages = -(-found["series"] // _AT_ONCE)
    if pages > 1:
        with ui.row().classes("items-center").props('role=navigation aria-label="Pages of series"'):
            if page > 1:
                ui.link("Previous", f"/?page={page - 1}")
            ui.label(f"page {page} of {pages} · {found['series']} series").classes("clm-soft")
            if page < pages:
                ui.link("Next", f"/?page={page + 1}")
    return None


def _attention(found: dict[str, Any], clock: Clock) -> None:
    run = found["run"]
    with ui.element("section").classes("clm-card w-full flex flex-col gap-1"):
        ui.html("<h2>What needs you</h2>", sanitize=False)
        # What is over, such as a promotion, needs nobody.
        lasting = [alert for alert in found["alerts"] if alert["closed_at"] is None]
        for alert in lasting:
            ui.label(alert["title"]).classes("clm-warn font-semibold")
            ui.label(f"{alert['message']} ({when(alert['last_at'])})").classes("clm-warn")
            ui.label(f"What to do: {alert['advice']}").classes("clm-soft text-sm")
        if not lasting:
            ui.label("Nothing: there is no alert.").classes("clm-good")
        if run["status"] == "running":
            said = run["progress"]["message"] if run["progress"] else "starting"
            ui.label(f"A retraining runs: {said}.").classes("clm-busy")
        elif run["run_id"]:
            why = f": {run['error']}" if run["error"] else ""
            ui.label(f"The last retraining {run['status']}{why}, {when(run['finished_at'])}.").classes(
                "clm-soft"
            )
        else:
            ui.label("No retraining has run yet.")
        ui.label(_next(found["schedule"], clock)).classes("clm-soft")
        ui.link("To the retrainings", "/retrain")


def _r2(
    champion: dict[str, Any], live: dict[str, Any] | None, reigns: dict[str, Any] | None
) -> dict[str, float | None]:
    """A champion's R² against zero, on its holdout and, once there are enough candles to say so, live."""
    found = {"on its holdout": (champion.get("metrics") or {}).get("r2")}
    if live is not None and reigns is not None and live["version"] == reigns["version"]:
        found["live"] = live["r2"] if live["candles"] >= TELLING else None
    return found


def _card(
    clock: Clock,
    standing: dict[str, Any],
    champion: dict[str, Any],
    decided: list[dict[str, Any] | None],
    live: dict[str, Any] | None,
) -> None:
    """decided: the last promotion and the last decision of all."""
    reigns, model = standing["champion"], standing["model_type"]
    said, tone = state_of(standing, _r2(champion, live, reigns))
    where = f"symbol={standing['symbol']}&interval={standing['interval']}&model={model}"
    with ui.element("article").classes("clm-card flex flex-col gap-1"):
        ui.html(f"<h2>{standing['symbol']} {standing['interval']} · {model}</h2>", sanitize=False)
        ui.label(said).classes(f"clm-{tone} font-semibold")
        if reigns is None:
            ui.link("Start a retraining", "/retrain")
            return
        ui.label(f"{reigns['version']} · {reigns['age_days']:.1f} days old")
        since = when(reigns["since"], now=clock.now())
        ui.label(f"champion since {since}").classes("clm-soft text-sm")
        chosen, last = decided
        if chosen is not None and chosen["candidate_version"] == reigns["version"]:
            ui.label(f"chosen as {chosen['label']}: {chosen['reason']}").classes("text-sm")
        ui.label(f"on its holdout: {metrics(champion.get('metrics'))}").classes("clm-soft text-sm")
        if live is not None and live["version"] == reigns["version"]:
            sparks(live, INTERVALS[standing["interval"]].total_seconds() / 3600)
        if last is not None and last["id"] != (chosen or {}).get("id"):
            said = f"last decision {last['outcome']} ({last['label']}): {last['reason']}"
            ui.label(said).classes("text-sm")
        with ui.row().classes("gap-3 text-sm"):
            ui.link("Evidence", f"/shadow?{where}")
            ui.link("Versions", f"/history?{where}")
            ui.link("Explain", f"/explain?{where}")
