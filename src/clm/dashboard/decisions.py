"""Decisions: what was decided about candidates, by whom and why; each has an address of its own."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from nicegui import ui

from clm.dashboard.desk import Refused, Session
from clm.dashboard.frame import Fresh, apology, empty, frame, table
from clm.dashboard.place import chosen
from clm.dashboard.words import when

_TONES = {"PROMOTE": "good", "CONTINUE": "busy", "REJECT": "none"}


async def decisions(session: Session, request: Request) -> None:
    """The newest decisions of one series and model."""
    with frame(session, "/decisions"):
        place = await chosen(session, request, "/decisions")
        asked = {**place.series, "model": place.model, "limit": 50}
        await Fresh(lambda: session.get("/api/clm/decisions", **asked), _draw).begin()


async def decision(session: Session, number: int) -> None:
    """One decision, decided again from what is stored."""
    with frame(session, "/decisions"):
        try:
            found = await session.get(f"/api/clm/decisions/{number}")
        except Refused as error:
            return apology(error)
        ui.label(f"{found['symbol']} {found['interval']} · {found['model_type']}").classes("clm-soft")
        _card(found)
        if not found["recomputed"]:
            ui.label("A person decided: that cannot be computed again.")
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


def _draw(found: list[dict[str, Any]]) -> None:
    if not found:
        return empty("Nothing has been decided here yet.", "Start a retraining", "/retrain")
    for one in found:
        _card(one)
    return None


def _card(one: dict[str, Any]) -> None:
    with ui.element("article").classes("clm-card w-full flex flex-col gap-1"):
        tone = _TONES.get(one["outcome"], "none")
        ui.label(f"{one['outcome']} · {one['label']}").classes(f"clm-{tone} font-semibold")
        ui.label(one["reason"])
        against = f" against {one['champion_version']}" if one["champion_version"] else ""
        ui.label(f"{one['candidate_version']}{against}").classes("clm-soft text-sm")
        said = f"by {one['decided_by']} ({one['policy']}), {when(one['decided_at'])}"
        ui.label(said).classes("clm-soft text-sm")
        ui.link(f"Decision {one['id']}", f"/decisions/{one['id']}")
