"""Runs as rows: one of a kind under way at a time, a slot done once, whatever happens to who does it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from clm.core.alert import Alert
from clm.core.errors import IllegalTransition, LeaseLost, RunInProgress, RunNotFound, SlotTaken
from clm.core.runs import Fence, Run, RunKind, RunRequest, RunState
from clm.core.wire import jsonable, report_of_today
from clm.registry.alerts import close_alert, raise_alert
from clm.registry.database import Database
from clm.registry.tables import run_journal, runs

_OPEN = (str(RunState.QUEUED), str(RunState.RUNNING))
_RUNNING = (str(RunState.RUNNING),)


class SQLRunStore:
    """now: the clock of states and heartbeats; default: the database's, one for all who share it."""

    def __init__(self, database: Database, now: Callable[[], datetime] | None = None) -> None:
        self._database = database
        self._given_now = now

    def create(self, request: RunRequest) -> Run:
        try:
            with self._database.writing(fenced=False) as connection:
                now = self._now(connection)
                run_id = f"r{now:%Y%m%d_%H%M%S}_{secrets.token_hex(3)}"
                values = {
                    "run_id": run_id, "kind": str(request.kind), "state": str(RunState.QUEUED),
                    "created_at": now, "owner": "", "request_json": _asked(request), "progress_json": {},
                    "slot": request.slot, "attempt": 0, "interruptions_json": [],
                }  # fmt: skip
                connection.execute(runs.insert().values(values))
        except IntegrityError as exc:
            if request.slot is not None and self.of_slot(request.kind, request.slot) is not None:
                raise SlotTaken(f"the {request.kind} slot {request.slot:%Y-%m-%d %H:%M} is taken") from exc
            self.refuse_while_running(request.kind)
            raise RunInProgress("one that has just ended; try again") from exc
        return self.get(run_id)

    def refuse_while_running(self, kind: RunKind = RunKind.RETRAIN) -> None:
        """Raises RunInProgress naming the run of that kind that is queued or running, if any."""
        columns = runs.c.run_id, runs.c.progress_json
        query = sa.select(*columns).where(runs.c.kind == str(kind), runs.c.state.in_(_OPEN))
        with self._database.reading() as connection:
            found = connection.execute(query).first()
        if found is not None:
            step = found.progress_json
            at = f"step {step['done']} of {step['total']}: {step['message']}" if step else "beginning"
            raise RunInProgress(found.run_id, str(kind), at)

    def start(self, run_id: str, owner: str) -> Run:
        with self._database.writing(fenced=False) as connection:
            now = self._now(connection)
            values = {
                "state": str(RunState.RUNNING), "owner": owner, "started_at": now, "heartbeat_at": now,
                "attempt": runs.c.attempt + 1, "finished_at": None, "error": None,
            }  # fmt: skip
            self._step(connection, run_id, (str(RunState.QUEUED),), values)
        return self.get(run_id)

    def beat(self, fence: Fence, progress: Mapping[str, Any] | None = None) -> None:
        with self._database.writing(fenced=False) as connection:
            values: dict[str, Any] = {"heartbeat_at": self._now(connection)}
            if progress is not None:
                values["progress_json"] = jsonable(progress)
            self._hold(connection, fence, values)

    def note(self, fence: Fence, entry: str, value: Mapping[str, Any]) -> None:
        with self._database.writing(fenced=False) as connection:
            # No sign of life: a task on a cluster may outlive the worker whose run it is.
            self._hold(connection, fence, {"attempt": fence.attempt})
            of_entry = run_journal.c.run_id == fence.run_id, run_journal.c.entry == entry
            values = {"value_json": jsonable(value)}
            if connection.execute(run_journal.update().where(*of_entry).values(values)).rowcount == 0:
                named = {"run_id": fence.run_id, "entry": entry}
                connection.execute(run_journal.insert().values({**named, **values}))

    def journal(self, run_id: str) -> Mapping[str, Mapping[str, Any]]:
        with self._database.reading() as connection:
            columns = run_journal.c.entry, run_journal.c.value_json
            query = sa.select(*columns).where(run_journal.c.run_id == run_id).order_by(run_journal.c.id)
            return {row.entry: row.value_json for row in connection.execute(query)}

    def finish(
        self,
        run_id: str,
        state: RunState,
        *,
        report: Mapping[str, Any] | None = None,
        error: str | None = None,
        fence: Fence | None = None,
    ) -> Run:
        if not state.over or state is RunState.INTERRUPTED:
            raise IllegalTransition(f"a run cannot end as {state}")
        with self._database.writing(fenced=False) as connection:
            values = {
                "state": str(state), "finished_at": self._now(connection), "error": error,
                "report_json": jsonable(report),
            }  # fmt: skip
            self._tell_of_end(connection, run_id, state, report, error)
            if fence is not None:
                self._hold(connection, fence, values)
            else:
                self._step(connection, run_id, _OPEN, values)
        return self.get(run_id)

    def interrupt(
        self, run_id: str, reason: str, *, silent_since: datetime | None = None, planned: bool = False
    ) -> Run:
        with self._database.writing(fenced=False) as connection:
            query = sa.select(runs).where(runs.c.run_id == run_id).with_for_update()
            row = connection.execute(query).one_or_none()
            if row is None:
                raise RunNotFound(f"no run has the id {run_id!r}")
            if silent_since is not None and (row.heartbeat_at or row.created_at) >= silent_since:
                raise IllegalTransition(f"run {run_id} has given a sign of life meanwhile")
            now = self._now(connection)
            ended = {"attempt": row.attempt, "owner": row.owner, "at": now, "reason": reason}
            values = {
                "state": str(RunState.INTERRUPTED), "finished_at": now, "error": reason,
                "interruptions_json": jsonable([*row.interruptions_json, ended]),
            }  # fmt: skip
            self._step(connection, run_id, _OPEN, values)
            said = f"Run {run_id} did not come to its end (attempt {row.attempt}). Why: {reason}"
            if row.kind == str(RunKind.RETRAIN) and not planned:
                raise_alert(connection, Alert("run_interrupted", None, "", run_id, said))
        return self.get(run_id)

    def requeue(self, run_id: str) -> Run:
        over = (str(RunState.INTERRUPTED), str(RunState.FAILED))
        try:
            with self._database.writing(fenced=False) as connection:
                values = {"state": str(RunState.QUEUED), "heartbeat_at": self._now(connection), "owner": ""}
                self._step(connection, run_id, over, values)
        except IntegrityError as exc:
            self.refuse_while_running(self.get(run_id).request.kind)
            raise RunInProgress("one that has just ended; try again") from exc
        return self.get(run_id)

    def claim(self, request: RunRequest, owner: str, stale_after_seconds: float) -> Run:
        self.interrupt_stale(stale_after_seconds, request.kind)
        try:
            run = self.create(request)
        except SlotTaken:
            found = self.of_slot(request.kind, request.slot) if request.slot else None
            if found is None or found.state in (RunState.COMPLETED, RunState.CANCELLED):
                raise
            if not found.state.over:
                raise RunInProgress(found.run_id) from None
            run = self.requeue(found.run_id)
        return self.start(run.run_id, owner)

    def get(self, run_id: str) -> Run:
        row = self._one(runs.c.run_id == run_id)
        if row is None:
            raise RunNotFound(f"no run has the id {run_id!r}")
        return _run(row)

    def of_slot(self, kind: RunKind, slot: datetime) -> Run | None:
        row = self._one(sa.and_(runs.c.kind == str(kind), runs.c.slot == slot))
        return None if row is None else _run(row)

    def newest_slot(self, kind: RunKind) -> datetime | None:
        query = sa.select(sa.func.max(runs.c.slot)).where(runs.c.kind == str(kind))
        with self._database.reading() as connection:
            newest: datetime | None = connection.execute(query).scalar()
        return newest

    def latest(self, kind: RunKind = RunKind.RETRAIN) -> Run | None:
        return next(iter(self.recent(1, kind)), None)

    def recent(self, limit: int = 20, kind: RunKind = RunKind.RETRAIN) -> list[Run]:
        query = sa.select(runs).where(runs.c.kind == str(kind)).order_by(runs.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return [_run(row) for row in connection.execute(query)]

    def silent(self, older_than_seconds: float, kind: RunKind | None = None) -> list[str]:
        return self._silent(older_than_seconds, kind)[0]

    def _silent(self, older_than_seconds: float, kind: RunKind | None) -> tuple[list[str], datetime]:
        with self._database.reading() as connection:
            limit = self._now(connection) - timedelta(seconds=older_than_seconds)
            query = sa.select(runs.c.run_id).where(
                runs.c.state.in_(_OPEN), sa.func.coalesce(runs.c.heartbeat_at, runs.c.created_at) < limit
            )
            if kind is not None:
                query = query.where(runs.c.kind == str(kind))
            return list(connection.execute(query).scalars()), limit

    def interrupt_stale(self, older_than_seconds: float, kind: RunKind | None = None) -> list[Run]:
        silent, limit = self._silent(older_than_seconds, kind)
        ended = []
        for run_id in silent:
            try:
                ended.append(self.interrupt(run_id, "its worker fell silent", silent_since=limit))
            except IllegalTransition:
                # It ended by itself, or spoke, between the two looks: nothing to mark.
                continue
        return ended

    def forget(self, kind: RunKind, keep: int) -> int:
        newest = sa.select(runs.c.id).where(runs.c.kind == str(kind)).order_by(runs.c.id.desc()).limit(keep)
        with self._database.writing(fenced=False) as connection:
            kept = list(connection.execute(newest).scalars())
            if len(kept) < keep:
                return 0
            gone = connection.execute(
                runs.delete().where(
                    runs.c.kind == str(kind), runs.c.id < min(kept), runs.c.state.not_in(_OPEN)
                )
            )
        return gone.rowcount

    def _now(self, connection: sa.Connection) -> datetime:
        return self._given_now() if self._given_now is not None else self._database.now(connection)

    def _tell_of_end(
        self,
        connection: sa.Connection,
        run_id: str,
        state: RunState,
        report: Mapping[str, Any] | None,
        error: str | None,
    ) -> None:
        """Of a run that broke as a whole; where there is a report, it was told model by model."""
        kind = connection.execute(sa.select(runs.c.kind).where(runs.c.run_id == run_id)).scalar()
        if kind != str(RunKind.RETRAIN):
            # Ticks of the live shadow come again within the hour; what ails them shows in stale candles.
            return
        alert = Alert(
            "training_failed", None, "", f"{kind} run",
            f"The {kind} run {run_id} failed as a whole. Why: {error or 'nothing was said'}",
        )  # fmt: skip
        # However it ended: it lies about no more.
        close_alert(connection, Alert("run_interrupted", None, "", run_id, "").incident)
        if state is RunState.COMPLETED:
            close_alert(connection, alert.incident)
        elif state is RunState.FAILED and report is None:
            raise_alert(connection, alert)

    def _one(self, condition: sa.ColumnElement[bool]) -> sa.Row[Any] | None:
        with self._database.reading() as connection:
            return connection.execute(sa.select(runs).where(condition)).one_or_none()

    def _step(
        self, connection: sa.Connection, run_id: str, allowed: tuple[str, ...], values: Mapping[str, Any]
    ) -> None:
        done = connection.execute(
            runs.update().where(runs.c.run_id == run_id, runs.c.state.in_(allowed)).values(**values)
        )
        if done.rowcount == 1:
            return
        state = connection.execute(sa.select(runs.c.state).where(runs.c.run_id == run_id)).scalar()
        if state is None:
            raise RunNotFound(f"no run has the id {run_id!r}")
        raise IllegalTransition(f"run {run_id} is {state}: it cannot become {values['state']}")

    def _hold(self, connection: sa.Connection, fence: Fence, values: Mapping[str, Any]) -> None:
        """Writes `values` while the run is still the fence's. Raises LeaseLost, RunNotFound."""
        done = connection.execute(
            runs.update()
            .where(runs.c.run_id == fence.run_id, runs.c.attempt == fence.attempt, runs.c.state.in_(_RUNNING))
            .values(**values)
        )
        if done.rowcount == 1:
            return
        row = connection.execute(
            sa.select(runs.c.state, runs.c.attempt).where(runs.c.run_id == fence.run_id)
        ).one_or_none()
        if row is None:
            raise RunNotFound(f"no run has the id {fence.run_id!r}")
        raise LeaseLost(
            f"run {fence.run_id} is {row.state} at attempt {row.attempt}; attempt {fence.attempt} is over"
        )


def _asked(request: RunRequest) -> Any:
    """The request without what has columns of its own."""
    asked = jsonable(request)
    names = ("models", "symbols", "intervals", "force", "requested_by", "params", "version")
    return {name: asked[name] for name in names}


def _names(stored: list[str] | None) -> tuple[str, ...] | None:
    return None if stored is None else tuple(stored)


def _run(row: sa.Row[Any]) -> Run:
    asked = row.request_json
    run = Run(
        run_id=row.run_id,
        state=RunState(row.state),
        request=RunRequest(
            models=_names(asked["models"]),
            symbols=_names(asked["symbols"]),
            # Runs of before there were several intervals say nothing of them.
            intervals=_names(asked.get("intervals")),
            force=asked["force"],
            requested_by=asked["requested_by"],
            kind=RunKind(row.kind),
            slot=row.slot,
            # Runs of before know no such thing.
            params=asked.get("params"),
            version=asked.get("version"),
        ),
        created_at=row.created_at,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        finished_at=row.finished_at,
        owner=row.owner,
        attempt=row.attempt,
        interruptions=row.interruptions_json,
        progress=row.progress_json,
        report=row.report_json,
        error=row.error,
    )
    if run.report is None or run.request.kind is not RunKind.RETRAIN:
        return run
    return replace(run, report=report_of_today(run.report, run))
