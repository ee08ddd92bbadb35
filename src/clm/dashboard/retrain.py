"""Retrain: what is asked for, how far it is, how the earlier ones ended."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from fastapi import Request
from nicegui import ui

from clm.core.access import Role
from clm.dashboard.desk import Session
from clm.dashboard.frame import Fresh, empty, frame, may, send, sure, table
from clm.dashboard.words import run_span, when


class RetrainPage:
    """One visitor's page. It looks at the newest run once a second."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def show(self) -> None:
        """Draws everything."""
        session = self._session
        with frame(session, "/retrain"):
            series = await session.get("/api/clm/series")
            with ui.element("section").classes("clm-card w-full flex flex-col gap-3"):
                self._form(series)
            self._running = Fresh(self._read, self._progress, seconds=1.0)
            await self._running.begin()
            ui.html("<h2>Earlier retrainings</h2>", sanitize=False)
            await Fresh(lambda: session.get("/api/clm/runs", limit=10), _earlier, seconds=5.0).begin()

    def _form(self, series: list[dict[str, Any]]) -> None:
        models = list(dict.fromkeys(model for one in series for model in one["models"]))
        symbols = list(dict.fromkeys(one["symbol"] for one in series))
        with ui.row().classes("items-center gap-4 w-full"):
            self._models = ui.select(models, multiple=True, label="Models (none: all)").classes("w-56")
            self._symbols = ui.select(symbols, multiple=True, label="Symbols (none: all)").classes("w-56")
            self._force = ui.checkbox("Force: whatever the triggers say")
        button = ui.button("Retrain", on_click=self._start).classes("self-start")
        may(self._session, Role.OPERATE, button)

    async def _start(self) -> None:
        body = {
            "models": self._models.value or None, "symbols": self._symbols.value or None,
            "force": bool(self._force.value),
        }  # fmt: skip
        done, answer = await send(self._session, "POST", "/api/clm/retrain", body)
        if done:
            ui.notify(f"Retraining {answer['run_id']} has started.", type="positive")
        await self._running.look()

    async def _cancel(self, run_id: str) -> None:
        if await sure(f"Cancel the retraining {run_id}? What it has finished stays.", "Cancel it"):
            await send(self._session, "POST", f"/api/clm/runs/{run_id}/cancel")
            await self._running.look()

    async def _read(self) -> dict[str, Any]:
        run: dict[str, Any] = await self._session.get("/api/clm/status")
        shown = {name: value for name, value in run.items() if name not in ("heartbeat_at", "owner")}
        told: dict[str, Any] = {"models": [], "log": []}
        if run["run_id"] is not None:
            told = await self._session.get(f"/api/clm/runs/{run['run_id']}/models")
        return {**shown, "took": run_span(run), "models": told["models"], "log": told["log"]}

    def _progress(self, run: dict[str, Any]) -> None:
        if run["run_id"] is None:
            return empty("No retraining has run yet. Start the first one above: it trains every model.")
        at = run["progress"] or {"done": 0, "total": 1, "message": "starting the worker"}
        over = run["status"] != "running"
        share = 1.0 if run["status"] == "completed" else at["done"] / max(1, at["total"])
        with ui.element("section").classes("clm-card w-full flex flex-col gap-2"):
            ui.html(f"<h2>{run['run_id']}: {run['status']}</h2>", sanitize=False).props("role=status")
            bar = ui.linear_progress(share, show_value=False, size="12px")
            bar.props(f'aria-label="progress" aria-valuenow={share * 100:.0f} color=primary')
            if not over:
                ui.label(f"step {at['done']} of {at['total']}: {at['message']} · {run['took']}")
            else:
                ui.label(f"took {run['took']}, ended {when(run.get('finished_at'))}").classes("clm-soft")
            if run.get("error"):
                ui.label(run["error"]).classes("clm-warn")
            _models(run["models"])
            for note in (run.get("report") or {}).get("notes") or ():
                ui.label(note).classes("clm-soft")
            if over:
                ui.link("All decisions", "/decisions")
            else:
                button = ui.button("Cancel", on_click=lambda: self._cancel(run["run_id"]))
                may(self._session, Role.OPERATE, button.props("outline color=clm").classes("self-start"))
            _log(run["log"])
        return None


#: State of a model in a run → its tone.
_TONES = {
    "promoted": "good", "continued": "good", "failed": "warn", "broken off": "warn", "not reached": "warn",
    "fetching": "busy", "training": "busy", "evaluating": "busy",
}  # fmt: skip
#: Models in a table; of more, those come first that fail or are worked on.
_LISTED = 40


def _models(turns: list[dict[str, Any]]) -> None:
    """How each model fares now, or what came of it."""
    if not turns:
        return
    counted = Counter(turn["state"] for turn in turns)
    ui.label(", ".join(f"{number} {state}" for state, number in counted.items())).classes("clm-soft")
    order = {"warn": 0, "busy": 1, "good": 2}
    if len(turns) > _LISTED:
        turns = sorted(turns, key=lambda turn: order.get(_TONES.get(turn["state"], ""), 3))[:_LISTED]
    rows = [
        (
            f"{turn['symbol']} {turn['interval']}", turn["model_type"], partial(_state, turn["state"]),
            " · ".join(filter(None, (turn["version"], turn["said"]))) or None,
        )
        for turn in turns
    ]  # fmt: skip
    table(("Series", "Model", "State", "Because"), rows, "What came of each model")


def _state(state: str) -> None:
    ui.label(state).classes(f"clm-{_TONES.get(state, 'none')} font-semibold whitespace-nowrap")


def _log(lines: list[dict[str, Any]]) -> None:
    """What the run said, newest first; kept with the run, so that a reload loses nothing."""
    if not lines:
        return
    ui.html("<h3>What it said, newest first</h3>", sanitize=False)
    with ui.element("div").classes("clm-log w-full").props('role=log tabindex=0 aria-label="Log of the run"'):
        for line in reversed(lines):
            ui.label(f"{line['at'][11:19]}  {line['message']}")


def _earlier(runs: list[dict[str, Any]]) -> None:
    if not runs:
        return empty("There is none yet.")
    rows = [
        (run["run_id"], run["status"], when(run["created_at"]), run_span(run),
         (run["request"] or {}).get("requested_by"), run["error"])
        for run in runs
    ]  # fmt: skip
    return table(("Run", "State", "Asked for", "Took", "By", "Error"), rows, "Earlier retrainings")


async def retrain(session: Session, request: Request) -> None:
    """Start a retraining and watch it."""
    await RetrainPage(session).show()
