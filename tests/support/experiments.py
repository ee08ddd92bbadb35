"""Experiments for tests: one with every field, and a store of them in memory, as anyone might plug in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from clm.core.domain import Series
from clm.core.errors import ExperimentNotFound, ExperimentOpen
from clm.core.experiments import Experiment, State
from tests.support.bets import RIDGE
from tests.support.versions import BTC, T0


def experiment(name: str = "x1", **more: Any) -> Experiment:
    """Thirty days from T0 on."""
    given: dict[str, Any] = {
        "experiment_id": name, "series": BTC, "model_type": RIDGE, "version_a": "v1", "version_b": "v2",
        "split": 0.5, "alpha": 0.05, "starts_at": T0, "ends_at": T0 + timedelta(days=30),
        "created_by": "desk", "created_at": T0, **more,
    }  # fmt: skip
    return Experiment(**given)


class DictExperiments:
    """Experiments in memory."""

    def __init__(self) -> None:
        self._rows: dict[str, Experiment] = {}
        self._assigned: dict[tuple[str, str], str] = {}

    def create(self, new: Experiment) -> Experiment:
        for other in self.open(new.series):
            if other.model_type == new.model_type:
                raise ExperimentOpen(other.experiment_id, f"{new.model_type} {new.series}")
        self._rows[new.experiment_id] = new
        return new

    def get(self, experiment_id: str) -> Experiment:
        if experiment_id not in self._rows:
            raise ExperimentNotFound(f"no experiment has the id {experiment_id!r}")
        return self._rows[experiment_id]

    def open(self, series: Series | None = None) -> list[Experiment]:
        return [e for e in self._rows.values() if e.state is State.OPEN and series in (None, e.series)]

    def recent(
        self, limit: int = 20, series: Series | None = None, model_type: str | None = None
    ) -> list[Experiment]:
        found = [
            e
            for e in self._rows.values()
            if series in (None, e.series) and model_type in (None, e.model_type)
        ]
        return found[::-1][:limit]

    def end(self, experiment_id: str, at: datetime, result: Mapping[str, Any]) -> bool:
        found = self.get(experiment_id)
        if found.state is not State.OPEN:
            return False
        whole = {**result, "callers": self.callers(found)}
        self._rows[experiment_id] = replace(found, state=State.ENDED, ended_at=at, result=whole)
        return True

    def assign(self, found: Experiment, caller: str, version: str, at: datetime) -> str | None:
        if self.get(found.experiment_id).state is not State.OPEN:
            return None
        return self._assigned.setdefault((found.experiment_id, caller), version)

    def callers(self, found: Experiment) -> dict[str, int]:
        mine = [v for (e, _), v in self._assigned.items() if e == found.experiment_id]
        return {"A": sum(v != found.version_b for v in mine), "B": mine.count(found.version_b)}
