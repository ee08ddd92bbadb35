"""One policy over one group of series, step by step; a step done once is not done again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from clm.bootstrap import Application
from clm.core.domain import Series, utc
from clm.core.dumps import parse_candles
from clm.core.errors import BadInput, StorageFailed
from clm.core.journal import NoJournal
from clm.core.wire import iso
from clm.replay.client import AsOfClient
from clm.replay.scores import Scores, score_ensemble, score_series
from clm.settings import Settings
from clm.telemetry import set_up_logging

#: `never` trains once; the others are names of promotion policies.
NEVER = "never"
POLICIES = (NEVER, "newest", "threshold", "evidence")


@dataclass(frozen=True, slots=True)
class Task:
    """settings: JSON, the scratch database and folders already in it. candles: file per series.

    threads: trainings done at once; they change nothing of what comes of it.
    """

    policy: str
    series: tuple[Series, ...]
    start: datetime
    end: datetime
    step: timedelta
    settings: str
    candles: tuple[Path, ...]
    folder: Path
    threads: int = 1

    @property
    def name(self) -> str:
        """As the folder of its state is called."""
        return f"{self.policy}-{'-'.join(series.symbol for series in self.series)}"

    @property
    def steps(self) -> int:
        """How many there are from start to end."""
        return max(1, -(-(self.end - self.start) // self.step))


def walk(task: Task) -> list[Scores]:
    """Runs what is left of a task; answers what came of it: an entry per series and model type.

    With several model types there is one more per series, of their ensemble.
    """
    task.folder.mkdir(parents=True, exist_ok=True)
    clients = {
        series: AsOfClient(series, _read(file), task.start)
        for series, file in zip(task.series, task.candles, strict=True)
    }
    settings = Settings.model_validate_json(task.settings)
    settings = settings.model_copy(update={"training_threads": task.threads})
    done = steps_done(task)
    with Application(settings, clients=dict(clients)) as application:
        shadow = application.live_shadow(rehearsal=True)
        for step in range(done, task.steps):
            now = task.start + step * task.step
            _at(clients, now)
            if step == 0 or task.policy != NEVER:
                _train(application, task.series)
            _at(clients, min(now + task.step, task.end))
            if step + 1 < task.steps and task.policy != NEVER:
                # The next step's trainings go on beside the tick, which is at the same moment. Of one series:
                # they are dropped at the end of a cycle.
                application.manager(task.series[0]).anticipate()
            shadow.tick()
            _save(task, step + 1)
        _at(clients, task.end)
        return [one for series in task.series for one in _scores(application, series, clients[series], task)]


def walk_alone(task: Task) -> list[Scores]:
    """As `walk`, in a process of its own: standard output is for the result."""
    set_up_logging("error")
    return walk(task)


def _scores(application: Application, series: Series, client: AsOfClient, task: Task) -> Iterator[Scores]:
    for model_type in application.models:
        yield score_series(application, series, client, task, model_type)
    if len(application.models) > 1:
        yield score_ensemble(application, series, task)


def steps_done(task: Task) -> int:
    """As the task's folder says; 0 before it began. Raises BadInput where it is another task's."""
    file = task.folder / "state.json"
    if not file.is_file():
        return 0
    state = json.loads(file.read_text(encoding="utf-8"))
    if state["task"] != _identity(task):
        allowed = "a folder that holds no replay with other options, nor one of another CLM"
        raise BadInput("--out", str(task.folder.parent), allowed)
    return int(state["done"])


def _train(application: Application, series: tuple[Series, ...]) -> None:
    """A failed attempt is in the trial ledger, as it would be live; the champion goes on."""
    for one in series:
        application.manager(one).run_full_cycle()
    for pool in application.pools(series, None):
        application.pooled_cycle(pool).run(False, NoJournal())


def _at(clients: dict[Series, AsOfClient], now: datetime) -> None:
    for client in clients.values():
        client.now = utc(now)


def _save(task: Task, done: int) -> None:
    file = task.folder / "state.json"
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({"task": _identity(task), "done": done}), encoding="utf-8")
    os.replace(fresh, file)


def _identity(task: Task) -> dict[str, Any]:
    """What must be the same for a folder's state to be this task's."""
    return {
        "policy": task.policy, "series": [str(series) for series in task.series],
        "start": iso(task.start), "step": task.step.total_seconds(), "settings": json.loads(task.settings),
    }  # fmt: skip


def _read(file: Path) -> pd.DataFrame:
    try:
        return parse_candles(file.name, file.read_bytes())
    except OSError as exc:
        raise StorageFailed(f"{file} cannot be read: {exc.strerror}") from exc
