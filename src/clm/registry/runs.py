"""Runs as rows: one queued or running at a time, also between processes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from clm.core.domain import Run, RunRequest, RunState
from clm.core.errors import IllegalTransition, RunInProgress, RunNotFound
from clm.core.wire import jsonable
from clm.registry.engine import reading, writing
from clm.registry.tables import runs

_KIND = "retrain"
_OPEN = (str(RunState.QUEUED), str(RunState.RUNNING))


class SQLRunStore:
    """now: the machine's clock; a run is a matter of this machine, not of the exchange."""

    def __init__(self, engine: sa.Engine, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._engine = engine
        self._now = now

    def create(self, request: RunRequest) -> Run:
        now = self._now()
        run_id = f"r{now:%Y%m%d_%H%M%S}_{secrets.token_hex(3)}"
        values = {
            "run_id": run_id, "kind": _KIND, "state": str(RunState.QUEUED), "created_at": now, "owner": "",
            "request_json": jsonable(request), "progress_json": {},
        }  # fmt: skip
        try:
            with writing(self._engine) as connection:
                connection.execute(runs.insert().values(values))
        except IntegrityError as exc:
            self.refuse_while_running()
            raise RunInProgress("one that has just ended; try again") from exc
        return self.get(run_id)

    def refuse_while_running(self) -> None:
        """Raises RunInProgress naming the run that is queued or running, if any."""
        query = sa.select(runs.c.run_id).where(runs.c.kind == _KIND, runs.c.state.in_(_OPEN))
        with reading(self._engine) as connection:
            found = connection.execute(query).scalar()
        if found is not None:
            raise RunInProgress(found)

    def start(self, run_id: str, owner: str) -> Run:
        now = self._now()
        values = {"state": str(RunState.RUNNING), "owner": owner, "started_at": now, "heartbeat_at": now}
        return self._step(run_id, (str(RunState.QUEUED),), values)

    def beat(self, run_id: str, progress: Mapping[str, Any] | None = None) -> None:
        values: dict[str, Any] = {"heartbeat_at": self._now()}
        if progress is not None:
            values["progress_json"] = jsonable(progress)
        self._step(run_id, (str(RunState.RUNNING),), values)

    def finish(
        self,
        run_id: str,
        state: RunState,
        *,
        report: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> Run:
        if not state.over:
            raise IllegalTransition(f"a run cannot end as {state}")
        values = {"state": str(state), "finished_at": self._now(), "error": error}
        return self._step(run_id, _OPEN, {**values, "report_json": jsonable(report)})

    def get(self, run_id: str) -> Run:
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one_or_none()
        if row is None:
            raise RunNotFound(f"no run has the id {run_id!r}")
        return _run(row)

    def latest(self) -> Run | None:
        return next(iter(self.recent(1)), None)

    def recent(self, limit: int = 20) -> list[Run]:
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(runs).order_by(runs.c.id.desc()).limit(limit))
            return [_run(row) for row in rows]

    def interrupt_stale(self, older_than_seconds: float) -> list[Run]:
        limit = self._now() - timedelta(seconds=older_than_seconds)
        query = sa.select(runs.c.run_id).where(
            runs.c.state.in_(_OPEN), sa.func.coalesce(runs.c.heartbeat_at, runs.c.created_at) < limit
        )
        with reading(self._engine) as connection:
            silent = list(connection.execute(query).scalars())
        ended = []
        for run_id in silent:
            try:
                ended.append(self.finish(run_id, RunState.INTERRUPTED, error="its worker fell silent"))
            except IllegalTransition:
                # It ended by itself between the two looks: nothing to mark.
                continue
        return ended

    def _step(self, run_id: str, allowed: tuple[str, ...], values: Mapping[str, Any]) -> Run:
        with writing(self._engine) as connection:
            done = connection.execute(
                runs.update().where(runs.c.run_id == run_id, runs.c.state.in_(allowed)).values(**values)
            )
        run = self.get(run_id)
        if done.rowcount != 1:
            wanted = values.get("state", "beating")
            raise IllegalTransition(f"run {run_id} is {run.state}: it cannot become {wanted}")
        return run


def _run(row: sa.Row[Any]) -> Run:
    asked = row.request_json
    return Run(
        run_id=row.run_id,
        state=RunState(row.state),
        request=RunRequest(
            models=tuple(asked["models"]) if asked["models"] is not None else None,
            symbols=tuple(asked["symbols"]) if asked["symbols"] is not None else None,
            force=asked["force"],
            requested_by=asked["requested_by"],
        ),
        created_at=row.created_at,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        finished_at=row.finished_at,
        owner=row.owner,
        progress=row.progress_json,
        report=row.report_json,
        error=row.error,
    )
