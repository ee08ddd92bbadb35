"""Experiments as rows, and who was assigned what: one open per series and model type, each ended once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from clm.core.domain import Series
from clm.core.errors import ExperimentNotFound, ExperimentOpen
from clm.core.experiments import Arm, Experiment, State
from clm.core.wire import jsonable
from clm.registry.database import Database
from clm.registry.engine import insert_new
from clm.registry.tables import assignments, experiments

_OPEN = experiments.c.state == str(State.OPEN)


class SQLExperiments:
    """Of all series in one database. Building it connects nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, experiment: Experiment) -> Experiment:
        values = {
            "experiment_id": experiment.experiment_id, "model_type": str(experiment.model_type),
            "symbol": experiment.series.symbol, "interval": experiment.series.interval,
            "version_a": experiment.version_a, "version_b": experiment.version_b, "split": experiment.split,
            "alpha": experiment.alpha, "starts_at": experiment.starts_at, "ends_at": experiment.ends_at,
            "state": str(State.OPEN), "created_by": experiment.created_by[:100],
            "created_at": experiment.created_at,
        }  # fmt: skip
        try:
            with self._database.writing() as connection:
                connection.execute(experiments.insert().values(values))
        except IntegrityError as exc:
            of = f"{experiment.model_type} {experiment.series}"
            found = [e for e in self.open(experiment.series) if e.model_type == experiment.model_type]
            raise ExperimentOpen(found[0].experiment_id if found else "one that has just ended", of) from exc
        return self.get(experiment.experiment_id)

    def get(self, experiment_id: str) -> Experiment:
        query = sa.select(experiments).where(experiments.c.experiment_id == experiment_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise ExperimentNotFound(f"no experiment has the id {experiment_id!r}")
        return _experiment(row)

    def open(self, series: Series | None = None) -> list[Experiment]:
        query = sa.select(experiments).where(_OPEN, *_of(series)).order_by(experiments.c.id)
        with self._database.reading() as connection:
            return [_experiment(row) for row in connection.execute(query)]

    def recent(
        self, limit: int = 20, series: Series | None = None, model_type: str | None = None
    ) -> list[Experiment]:
        query = sa.select(experiments).where(*_of(series, model_type)).order_by(experiments.c.id.desc())
        with self._database.reading() as connection:
            return [_experiment(row) for row in connection.execute(query.limit(limit))]

    def end(self, experiment_id: str, at: datetime, result: Mapping[str, Any]) -> bool:
        this = sa.and_(experiments.c.experiment_id == experiment_id, _OPEN)
        experiment = self.get(experiment_id)
        with self._database.writing() as connection:
            # From here on assignments under way are over, and new ones find it ended.
            if connection.execute(sa.select(experiments.c.id).where(this).with_for_update()).first() is None:
                return False
            whole = {**result, "callers": _callers(connection, experiment)}
            ended = experiments.update().where(this).values(
                state=str(State.ENDED), ended_at=at, result_json=jsonable(whole)
            )  # fmt: skip
            return connection.execute(ended).rowcount == 1

    def assign(self, experiment: Experiment, caller: str, version: str, at: datetime) -> str | None:
        mine = sa.and_(
            assignments.c.experiment_id == experiment.experiment_id, assignments.c.caller == caller
        )
        this = sa.and_(experiments.c.experiment_id == experiment.experiment_id, _OPEN)
        with self._database.writing() as connection:
            # Not while somebody ends it: then the callers it is ended with are all there ever were.
            still = sa.select(experiments.c.id).where(this).with_for_update(read=True)
            if connection.execute(still).first() is None:
                return None
            values = {
                "experiment_id": experiment.experiment_id, "caller": caller, "version": version,
                "assigned_at": at,
            }  # fmt: skip
            connection.execute(insert_new(connection, assignments).values(values))
            stored: str = connection.execute(sa.select(assignments.c.version).where(mine)).scalar_one()
        return stored

    def callers(self, experiment: Experiment) -> dict[str, int]:
        with self._database.reading() as connection:
            return _callers(connection, experiment)


def _callers(connection: sa.Connection, experiment: Experiment) -> dict[str, int]:
    query = (
        sa.select(assignments.c.version, sa.func.count())
        .where(assignments.c.experiment_id == experiment.experiment_id)
        .group_by(assignments.c.version)
    )
    found = {str(arm): 0 for arm in Arm}
    for version, count in connection.execute(query):
        found[experiment.arm_with(version)] += count
    return found


def _of(series: Series | None, model_type: str | None = None) -> list[sa.ColumnElement[bool]]:
    mine: list[sa.ColumnElement[bool]] = []
    if series is not None:
        mine += [experiments.c.symbol == series.symbol, experiments.c.interval == series.interval]
    if model_type is not None:
        mine.append(experiments.c.model_type == str(model_type))
    return mine


def _experiment(row: sa.Row[Any]) -> Experiment:
    return Experiment(
        experiment_id=row.experiment_id, series=Series(row.symbol, row.interval), model_type=row.model_type,
        version_a=row.version_a, version_b=row.version_b, split=row.split, alpha=row.alpha,
        starts_at=row.starts_at, ends_at=row.ends_at, created_by=row.created_by, created_at=row.created_at,
        state=State(row.state), ended_at=row.ended_at, result=row.result_json,
    )  # fmt: skip
