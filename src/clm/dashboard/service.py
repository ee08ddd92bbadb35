"""Service: is it well, how is it set, who changed what."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from nicegui import ui

from clm.core.access import Role
from clm.dashboard.desk import Session
from clm.dashboard.frame import Fresh, empty, frame, table
from clm.dashboard.words import when


async def service(session: Session, request: Request) -> None:
    """Health, settings, audit."""
    with frame(session, "/service"):
        ui.html("<h2>Health</h2>", sanitize=False)
        await Fresh(lambda: session.get("/health/ready"), _health).begin()
        ui.html("<h2>Audit</h2>", sanitize=False)
        if session.caller.may(Role.ADMIN):
            await Fresh(lambda: session.get("/api/clm/audit", limit=20), _audit).begin()
        else:
            empty(f"Who changed what is for the role admin; you have {session.caller.role}.")
        ui.html("<h2>Settings in force, secrets masked</h2>", sanitize=False)
        await Fresh(lambda: session.get("/api/clm/config"), _settings, seconds=60.0).begin()
        if session.caller.name != "local":
            ui.html(
                f'<form method="post" action="{request.scope.get("root_path", "")}/logout">'
                '<button class="underline">Log out</button></form>',
                sanitize=False,
            )


def _health(found: dict[str, Any]) -> None:
    tone = "good" if found["status"] == "ready" else "warn"
    ui.label(f"The service is {found['status']}.").classes(f"clm-{tone} font-semibold")
    rows = [
        (name.replace("_", " "), "well" if check["ok"] else "not well", check["reason"])
        for name, check in (found.get("checks") or {}).items()
    ]
    table(("Part", "Is", "Because"), rows, "Health")


def _audit(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return empty("Nobody has changed anything yet.")
    cells = [
        (when(row["at"]), f"{row['actor']} ({row['role'] or 'no role'})", row["origin"], row["action"],
         json.dumps(row["detail"]) if row["detail"] else None, row["result"] or "under way")
        for row in rows
    ]  # fmt: skip
    return table(("When", "Who", "From", "What", "Asked for", "Came to"), cells, "Audit")


def _settings(found: dict[str, Any]) -> None:
    rows = [
        (f"CLM_{name.upper()}", value if isinstance(value, str) else json.dumps(value))
        for name, value in found.items()
    ]
    table(("Setting", "Value"), rows, "Settings")
