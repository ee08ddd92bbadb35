"""Decisions: what was decided about candidates, by whom and why; each has an address of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from nicegui import ui

from clm.dashboard.desk import Refused, Session
from clm.dashboard.frame import Fresh, apology, empty, frame, table
from clm.dashboard.place import Clock
from clm.dashboard.words import when

_TONES = {"PROMOTE": "good", "CONTINUE": "busy", "REJECT": "none"}
_OUTCOMES = {"": "All", "PROMOTE": "Promote", "CONTINUE": "Continue", "REJECT": "Reject"}
#: What the address may say of which decisions are wanted.
_ASKED = ("symbol", "interval", "model", "outcome", "text", "since", "until")
_AT_ONCE, _AT_MOST = 50, 500


async def decisions(session: Session, request: Request) -> None:
    """The newest decisions, of everything unless the address or the form says of what."""
    with frame(session, "/decisions"):
        asked = {n: request.query_params[n].strip() for n in _ASKED if request.query_params.get(n)}
        limit = _limit(request.query_params.get("limit", ""))
        _form(await session.get("/api/clm/series"), asked)
        query = {**asked, "since": _day(asked, "since"), "until": _day(asked, "until", after=1)}

        clock = Clock()
        await clock.hear(session)

        def draw(found: list[dict[str, Any]]) -> None:
            _draw(clock, found, asked, limit)

        read = "/api/clm/decisions"
        await Fresh(lambda: session.get(read, **query, every=True, limit=limit), draw).begin()


def _limit(said: str) -> int:
    return min(int(said), _AT_MOST) if said.isascii() and said.isdigit() and int(said) else _AT_ONCE


def _day(asked: Mapping[str, str], name: str, after: int = 0) -> str | None:
    """The beginning of a day of UTC, or of the one after; the route refuses what is no day."""
    said = asked.get(name)
    try:
        return said and f"{date.fromisoformat(said) + timedelta(days=after)}T00:00:00Z"
    except (ValueError, OverflowError):
        return said


def _go(asked: Mapping[str, Any]) -> None:
    ui.navigate.to(f"/decisions?{urlencode({n: v for n, v in asked.items() if v})}")


def _form(every: list[dict[str, Any]], asked: dict[str, str]) -> None:
    """What is chosen stands in the address, so that it can be sent to somebody."""
    series = {"": "All"} | {f"{s['symbol']} {s['interval']}": f"{s['symbol']} {s['interval']}" for s in every}
    models = {"": "All"} | {model: model for one in every for model in one["models"]}
    here = f"{asked.get('symbol', '')} {asked.get('interval', '')}".strip()

    def of_series(chosen: str) -> None:
        symbol, _, interval = chosen.partition(" ")
        _go({**asked, "symbol": symbol, "interval": interval})

    with ui.row().classes("items-end gap-x-4 gap-y-2 w-full").props('role=search aria-label="Decisions"'):
        ui.select(
            series, value=here if here in series else "", label="Series", with_input=len(series) > 20,
            on_change=lambda e: of_series(e.value or ""),
        ).classes("w-40")  # fmt: skip
        for name, label, options in (("model", "Model", models), ("outcome", "Decided", _OUTCOMES)):
            held = asked.get(name, "")
            ui.select(
                options, value=held if held in options else "", label=label,
                on_change=lambda e, name=name: _go({**asked, name: e.value}),
            ).classes("w-36")  # fmt: skip
        fields = {
            name: ui.input(label, value=asked.get(name, "")).classes(width).props(kind)
            for name, label, width, kind in (
                ("text", "Reason has", "w-48", "maxlength=100 clearable"),
                ("since", "From day (UTC)", "w-40", "type=date stack-label"),
                ("until", "To day (UTC)", "w-40", "type=date stack-label"),
            )
        }

        def look() -> None:
            _go({**asked, **{name: field.value for name, field in fields.items()}})

        for field in fields.values():
            field.on("keydown.enter", look)
        ui.button("Look", on_click=look).props("outline color=clm")
        if asked:
            ui.link("All decisions", "/decisions")


#: Who decided → why there is nothing to compute again.
_NOT_COMPUTED = {
    "user": "A person decided: that cannot be computed again.",
    "lifecycle": "It follows from what happened to the version: there is no evidence to weigh again.",
}


async def decision(session: Session, number: int) -> None:
    """One decision, decided again from what is stored."""
    with frame(session, "/decisions"):
        clock = Clock()
        try:
            await clock.hear(session)
            found = await session.get(f"/api/clm/decisions/{number}")
        except Refused as error:
            return apology(error)
        _card(clock, found)
        if not found["recomputed"]:
            ui.label(_NOT_COMPUTED.get(found["decided_by"], "It is not computed again.")).classes("clm-soft")
        elif found["same"]:
            ui.label("Decided again from the stored rows, it comes to the same.").classes("clm-good")
        else:
            said = "; ".join(found["differences"])
            ui.label(f"Decided again, it comes to something else: {said}.").classes("clm-warn")
        rows = [(name.replace("_", " "), value) for name, value in found["numbers"].items()]
        if rows:
            table(("Number", "Value"), rows, "The numbers behind it")
        ui.link("All decisions", "/decisions")
    return None


def _draw(clock: Clock, found: list[dict[str, Any]], asked: Mapping[str, str], limit: int) -> None:
    if not found and asked:
        return empty("No decision is like that.", "All decisions", "/decisions")
    if not found:
        return empty("Nothing has been decided here yet.", "Start a retraining", "/retrain")
    for one in found:
        _card(clock, one)
    if len(found) == limit < _AT_MOST:
        more = urlencode({**asked, "limit": min(limit * 2, _AT_MOST)})
        ui.link("More, older ones", f"/decisions?{more}")
    return None


def _card(clock: Clock, one: dict[str, Any]) -> None:
    with ui.element("article").classes("clm-card w-full flex flex-col gap-1"):
        tone = _TONES.get(one["outcome"], "none")
        with ui.row().classes("items-baseline gap-x-3 gap-y-0"):
            ui.label(f"{one['outcome']} · {one['label']}").classes(f"clm-{tone} font-semibold")
            ui.label(f"{one['symbol']} {one['interval']} · {one['model_type']}").classes("clm-soft")
        ui.label(one["reason"])
        against = f" against {one['champion_version']}" if one["champion_version"] else ""
        ui.label(f"{one['candidate_version']}{against}").classes("clm-soft text-sm")
        by = dict.fromkeys((one["decided_by"], one["policy"]))
        said = f"by {', '.join(by)}, {when(one['decided_at'], now=clock.now())}"
        ui.label(said).classes("clm-soft text-sm")
        ui.link(f"Decision {one['id']}", f"/decisions/{one['id']}")
