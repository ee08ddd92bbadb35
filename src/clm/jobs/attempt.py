"""One attempt at a run, whoever makes it: what it says is kept, signs of life go out, its row never lies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from clm.core.ambit import Part, about, heard_by
from clm.core.domain import Progress
from clm.core.errors import ClmError, DatabaseUnavailable, LeaseLost
from clm.core.runs import Run, RunState
from clm.core.stores import RunStore
from clm.core.wire import iso, jsonable
from clm.jobs.guard import Limits, WorkerGuard
from clm.logs import logger

log = logger(__name__)
#: Of what a run says, the newest lines are kept.
_KEPT_LINES = 200


class Voice:
    """Keeps how far a run is with its row, also for who looks later; listener: hears it as well."""

    def __init__(self, store: RunStore, run: Run, listener: Callable[[Progress], None]) -> None:
        self._store, self._run, self._listener = store, run, listener
        # What an earlier attempt said comes first.
        self._lines: list[dict[str, Any]] = list(run.progress.get("log", ()))
        self._step: Progress | None = None

    def tell(self, progress: Progress) -> None:
        """A step begins. Raises LeaseLost, DatabaseUnavailable."""
        self._lines.append({
            "at": iso(datetime.now(UTC)), "message": progress.message, "step": progress.step,
            "done": progress.done, "total": progress.total,
        })  # fmt: skip
        self._keep(progress)
        log.info("progress", done=progress.done, total=progress.total, step=progress.message)
        self._listener(progress)
        self._step = progress

    def hear(self, part: Part) -> None:
        """How far the step is."""
        if self._step is None:
            return
        # A word less is no harm; whether the run is still ours, its guard finds out.
        with suppress(ClmError):
            self._keep(replace(self._step, part=part))
        self._listener(replace(self._step, part=part))

    def _keep(self, progress: Progress) -> None:
        self._store.beat(self._run.fence, {**jsonable(progress), "log": self._lines[-_KEPT_LINES:]})


class Attempt:
    """tell: to be called with each step that begins. Closed by `end`, or by what is raised."""

    def __init__(self, store: RunStore, run: Run, voice: Voice, guard: WorkerGuard) -> None:
        self._store, self._run, self._guard = store, run, guard
        self.tell = voice.tell

    def end(self, report: Mapping[str, Any], error: str | None) -> None:
        """What it came to. Raises LeaseLost."""
        more = {"attempt": self._run.attempt, "peak_memory_mb": round(self._guard.peak_megabytes)}
        state = RunState.FAILED if error else RunState.COMPLETED
        self._store.finish(
            self._run.run_id, state, report={**report, **more}, error=error, fence=self._run.fence
        )


@contextmanager
def attempt(
    store: RunStore,
    run: Run,
    limits: Limits,
    listener: Callable[[Progress], None],
    leave: Callable[[int], object] = os._exit,
) -> Iterator[Attempt]:
    """A run that was started, while it is worked on; whatever is raised is written to its row, and raised.

    leave: what the guard does where the run is lost or broke a limit; by default it ends the process.
    """
    voice = Voice(store, run, listener)
    with (
        about(run_id=run.run_id),
        heard_by(voice.hear),
        WorkerGuard(store, run.fence, limits, leave=leave) as guard,
    ):
        try:
            yield Attempt(store, run, voice, guard)
        except LeaseLost as error:
            log.warning("run_lost", run_id=run.run_id, reason=str(error))
            raise
        except DatabaseUnavailable as error:
            store.interrupt(run.run_id, f"the database went away: {error}")
            raise
        except BaseException as error:
            said = str(error) or type(error).__name__
            log.error("run_failed", error=said)  # noqa: TRY400  # its traceback is for who asked
            store.finish(run.run_id, RunState.FAILED, error=said, fence=run.fence)
            raise
