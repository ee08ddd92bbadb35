"""History: the versions of a model; promote one, roll back, compare two, make one once more."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial
from math import exp
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from nicegui import ui

from clm.core.access import Role
from clm.dashboard.desk import Refused, Session
from clm.dashboard.frame import Fresh, empty, frame, may, send, sure, table
from clm.dashboard.place import Place, chosen
from clm.dashboard.versions import choice, compared, reigns, remade
from clm.dashboard.words import metric, when


class HistoryPage:
    """One visitor's view of one model's versions."""

    def __init__(self, session: Session, place: Place) -> None:
        self._session, self._place = session, place
        asked = partial(session.get, "/api/clm/runs", kind="reproduce", limit=1)
        self.remade = Fresh(asked, lambda found: remade(session, found, self._cancel), seconds=1.0)
        self.versions = Fresh(self._read, self._draw)

    async def _read(self) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
        """The versions, and what is known of each: the last decision about it, how it stands in shadow."""
        session, place = self._session, self._place
        history, decisions, standing = await asyncio.gather(
            session.stored(f"/api/clm/history/{place.model}", limit=50, **place.series),
            session.stored("/api/clm/decisions", model=place.model, limit=500, **place.series),
            _standing(session, place),
        )
        decided = {one["candidate_version"]: one for one in reversed(decisions)}
        return history["versions"], decided, {one["version"]: one for one in standing["challengers"]}

    def _draw(self, found: tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]) -> None:
        versions, decided, challengers = found
        if not versions:
            return empty("This model has no version yet.", "Start a retraining", "/retrain")
        active = next((v for v in versions if v["status"] == "ACTIVE"), None)
        back = ui.button("Roll back", on_click=lambda: self._roll_back(active)).props("outline color=clm")
        may(self._session, Role.OPERATE, back)
        if active is None or not active["replaced_version"]:
            back.disable()
            ui.label("There is no earlier champion to roll back to.").classes("clm-soft text-sm")
        heads = (
            "Version", "Status", "Trained", "Directional accuracy", "R²", "RMSE", "Evidence E", "Because",
            "Lineage", "Does",
        )  # fmt: skip
        rows = [
            self._row(version, decided.get(version["version"]), challengers.get(version["version"]))
            for version in versions
        ]
        return table(heads, rows, "Versions")

    def _row(
        self, version: dict[str, Any], decision: dict[str, Any] | None, challenger: dict[str, Any] | None
    ) -> tuple[Any, ...]:
        held = version["metrics"]
        status = "quarantined" if version["quarantined_at"] else version["status"]
        return (
            version["version"], status, when(version["trained_at"], now=self._place.now()),
            *(metric(name, held.get(name)) for name in ("directional_accuracy", "r2", "rmse")),
            _evidence(decision, challenger), partial(_because, decision, challenger),
            partial(_lineage, version), partial(self._buttons, version),
        )  # fmt: skip

    def _buttons(self, version: dict[str, Any]) -> None:
        self._promote_button(version)
        label = f'aria-label="Reproduce {version["version"]}" flat dense color=clm'
        button = ui.button("Reproduce", on_click=partial(self._reproduce, version["version"])).props(label)
        may(self._session, Role.OPERATE, button)

    async def _reproduce(self, version: str) -> None:
        series = urlencode(self._place.series)
        path = f"/api/clm/reproduce/{self._place.model}/{version}?{series}"
        done, _ = await send(self._session, "POST", path)
        if done:
            ui.notify(f"{version} is being made once more: see above.", type="positive")
        await self.remade.look()

    async def _cancel(self, run_id: str) -> None:
        if await sure("Stop making the version once more?", "Stop"):
            await send(self._session, "POST", f"/api/clm/runs/{run_id}/cancel")
            await self.remade.look()

    def _promote_button(self, version: dict[str, Any]) -> None:
        if version["status"] == "ACTIVE":
            ui.label("answers now").classes("clm-good")
            return
        label = f'aria-label="Promote {version["version"]}" flat dense color=clm'
        button = ui.button("Promote", on_click=partial(self._promote, version["version"])).props(label)
        may(self._session, Role.ADMIN, button)

    async def _promote(self, version: str) -> None:
        place = self._place
        question = f"Make {version} the champion of {place.symbol} {place.interval} {place.model}?"
        await self._change(question, "Promote", f"promote/{place.model}/{version}", "the champion now")

    async def _roll_back(self, active: dict[str, Any] | None) -> None:
        if active is None:
            return
        place = self._place
        question = f"Retire {active['version']} and bring back {active['replaced_version']}?"
        await self._change(question, "Roll back", f"rollback/{place.model}", "the champion again")

    async def _change(self, question: str, yes: str, path: str, came_to: str) -> None:
        """Asks, does it, and says what the version that now answers is."""
        if not await sure(question, yes):
            return
        series = urlencode(self._place.series)
        done, answer = await send(self._session, "POST", f"/api/clm/{path}?{series}")
        if done:
            ui.notify(f"{answer['version']} is {came_to}.", type="positive")
        await self.versions.look()


async def _standing(session: Session, place: Place) -> dict[str, Any]:
    """Of the model; no challengers where the exchange does not tell what time it is."""
    try:
        standings = await session.stored("/api/clm/shadow", **place.series)
    except Refused:
        return {"challengers": []}
    return next(one for one in standings if one["model_type"] == place.model)


def _evidence(decision: dict[str, Any] | None, challenger: dict[str, Any] | None) -> str:
    """E now, of a challenger; else what it was when it was decided."""
    if challenger is not None:
        return f"{challenger['e']:.3g} of {challenger['e_needed']:.3g}"
    log_e = decision["numbers"].get("log_e") if decision is not None else None
    return "—" if log_e is None else f"{exp(min(log_e, 700)):.3g}"


def _because(decision: dict[str, Any] | None, challenger: dict[str, Any] | None) -> None:
    if challenger is not None:
        ui.label(challenger["reason"])
    elif decision is not None:
        ui.label(f"{decision['label']}, by {decision['decided_by']}: {decision['reason']}")
    if decision is not None:
        ui.link(f"Decision {decision['id']}", f"/decisions/{decision['id']}")
    else:
        ui.label("nothing is decided about it")


def _lineage(version: dict[str, Any]) -> None:
    """Who was champion when it was trained, by which recipe, on how many candles."""
    parent = version["parent_version"]
    with ui.row().classes("gap-x-1 gap-y-0"):
        ui.label("after" if parent else "the first")
        if parent:
            ui.label(parent).classes("clm-word")
    ui.label(f"recipe {version['recipe_id'][:8]}").classes("clm-soft text-xs")
    ui.label(f"{version['training_samples']:,} candles").classes("clm-soft text-xs")


async def history(session: Session, request: Request) -> None:
    """The versions of one model."""
    with frame(session, "/history"):
        place = await chosen(session, request, "/history")
        page = HistoryPage(session, place)
        await page.remade.begin()
        await page.versions.begin()
        await _side_by_side(session, request, place)
        await Fresh(partial(_reigns, session, place), lambda found: reigns(*found), seconds=30.0).begin()


async def _side_by_side(session: Session, request: Request, place: Place) -> None:
    """Two versions, as the address names them."""
    found = await session.get(f"/api/clm/history/{place.model}", limit=50, **place.series)
    a, b = (request.query_params.get(side, "") for side in ("a", "b"))
    names = [version["version"] for version in found["versions"]]
    known = names + [version for version in (a, b) if version and version not in names]
    choice(place, known, a, b)
    if a and b:
        path = f"/api/clm/compare/{place.model}"
        await Fresh(partial(session.get, path, a=a, b=b, **place.series), compared, seconds=60.0).begin()


async def _reigns(session: Session, place: Place) -> tuple[list[dict[str, Any]], datetime]:
    """Past reigns, and what time it is on the exchange; on this machine where it does not answer."""
    found, _ = await asyncio.gather(
        session.get(f"/api/clm/reigns/{place.model}", **place.series), place.clock.hear(session)
    )
    return found, place.now().replace(second=0, microsecond=0)
