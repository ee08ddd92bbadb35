"""History: the versions of a model; promote one, roll back, compare two, make one once more."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from nicegui import ui

from clm.core.access import Role
from clm.dashboard.desk import Refused, Session
from clm.dashboard.frame import Fresh, empty, frame, may, send, sure, table
from clm.dashboard.place import Place, chosen
from clm.dashboard.versions import choice, compared, exchange_now, reigns, remade
from clm.dashboard.words import metric, when


class HistoryPage:
    """One visitor's view of one model's versions."""

    def __init__(self, session: Session, place: Place) -> None:
        self._session, self._place = session, place
        path = f"/api/clm/history/{place.model}"
        asked = partial(session.get, "/api/clm/runs", kind="reproduce", limit=1)
        self.remade = Fresh(asked, lambda found: remade(session, found, self._cancel), seconds=1.0)
        self.versions = Fresh(partial(session.get, path, limit=50, **place.series), self._draw)

    def _draw(self, found: dict[str, Any]) -> None:
        versions = found["versions"]
        if not versions:
            return empty("This model has no version yet.", "Start a retraining", "/retrain")
        active = next((v for v in versions if v["status"] == "ACTIVE"), None)
        back = ui.button("Roll back", on_click=lambda: self._roll_back(active)).props("outline color=clm")
        may(self._session, Role.OPERATE, back)
        if active is None or not active["replaced_version"]:
            back.disable()
            ui.label("There is no earlier champion to roll back to.").classes("clm-soft text-sm")
        heads = (
            "Version", "Status", "Trained", "Directional accuracy", "R²", "RMSE", "Candles", "From", "Does",
        )  # fmt: skip
        return table(heads, [self._row(version) for version in versions], "Versions")

    def _row(self, version: dict[str, Any]) -> tuple[Any, ...]:
        held = version["metrics"]
        status = "quarantined" if version["quarantined_at"] else version["status"]
        return (
            version["version"], status, when(version["trained_at"], now=self._place.now()),
            *(metric(name, held.get(name)) for name in ("directional_accuracy", "r2", "rmse")),
            f"{version['training_samples']:,}", version["parent_version"] or version["recipe_id"],
            partial(self._buttons, version),
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
    found = await session.get(f"/api/clm/reigns/{place.model}", **place.series)
    history = await session.get(f"/api/clm/history/{place.model}", limit=50, **place.series)
    trained = {version["version"]: version["trained_at"] for version in history["versions"]}
    try:
        standings = await session.get("/api/clm/shadow", **place.series)
    except Refused:
        standings = []
    now = exchange_now(standings, place.model, trained) or datetime.now(UTC)
    return found, now.replace(second=0, microsecond=0)
