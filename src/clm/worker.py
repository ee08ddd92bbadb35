"""The child process of one run: `python -m clm.worker`, told what to do on standard input.

Standard input: `{"run_id": "…", "settings": {…}}`. Whatever happens is written to the run's row; the exit
code is 0 when the run completed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from clm.bootstrap import Application
from clm.core.ambit import Part, about, heard_by
from clm.core.consoles import write_otherwise
from clm.core.domain import Progress
from clm.core.errors import ClmError, DatabaseUnavailable, LeaseLost
from clm.core.runs import RunKind, RunState
from clm.core.wire import iso, jsonable
from clm.fanout import perform
from clm.jobs.guard import LOST, Limits, WorkerGuard, owner
from clm.rebuild import remake
from clm.settings import Settings
from clm.telemetry import set_up_logging

log = structlog.get_logger()
#: Of what a run says, the newest lines are kept.
_KEPT_LINES = 200


def main() -> int:
    """Do the run named on standard input; 0 when it completed."""
    write_otherwise()
    # Bytes: what the console is like says nothing of what the service has written.
    order = json.load(sys.stdin.buffer)
    settings = Settings(**order["settings"])
    give_way(settings.worker_niceness)
    set_up_logging(**settings.logging(), beside_bars=True)
    with Application(settings) as application:
        return work(application, order["run_id"])


def give_way(niceness: int) -> None:
    """Training takes what the service and the live shadow leave over.

    On a machine that is busy with other things a worker of niceness 19 was not even begun after two minutes.
    """
    os.nice(niceness)
    # A worker has a session of its own, and Linux may weigh sessions against one another instead of
    # processes: then only the session's niceness counts. Where there is no such file, the one above does.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(f"{niceness}\n", encoding="utf-8")


def work(
    application: Application, run_id: str, listener: Callable[[Progress], None] = lambda progress: None
) -> int:
    """One attempt at a run, from QUEUED to its end; the exit code. listener: hears each step that begins."""
    runs, settings = application.runs, application.settings
    run = runs.start(run_id, owner())
    step: Progress | None = None
    limits = Limits(settings.run_time_limit_minutes * 60, settings.run_memory_limit_mb)

    # What it says is kept with the row, also for who looks later; an earlier attempt's comes first.
    lines: list[dict[str, Any]] = list(run.progress.get("log", ()))

    def keep(progress: Progress) -> None:
        runs.beat(run.fence, {**jsonable(progress), "log": lines[-_KEPT_LINES:]})

    def tell(progress: Progress) -> None:
        lines.append({
            "at": iso(datetime.now(UTC)), "message": progress.message, "step": progress.step,
            "done": progress.done, "total": progress.total,
        })  # fmt: skip
        keep(progress)
        log.info("progress", done=progress.done, total=progress.total, step=progress.message)
        listener(progress)
        nonlocal step
        step = progress

    def hear(part: Part) -> None:
        if step is None:
            return
        # A word less is no harm; whether the run is still ours, its guard finds out.
        with suppress(ClmError):
            keep(replace(step, part=part))
        listener(replace(step, part=part))

    with (
        about(run_id=run_id),
        heard_by(hear),
        WorkerGuard(runs, run.fence, limits) as guard,
        application.registry.database.under(run.fence),
    ):
        try:
            work_on = remake if run.request.kind is RunKind.REPRODUCE else perform
            outcome = work_on(application, run, tell)
        except LeaseLost as error:
            log.warning("run_lost", run_id=run_id, reason=str(error))
            return LOST
        except DatabaseUnavailable as error:
            runs.interrupt(run_id, f"the database went away: {error}")
            return 1
        except BaseException as error:
            said = str(error) or type(error).__name__
            log.error("run_failed", error=said)  # noqa: TRY400  # its traceback ends the process
            runs.finish(run_id, RunState.FAILED, error=said, fence=run.fence)
            raise
    state = RunState.FAILED if outcome.error else RunState.COMPLETED
    report = {**outcome.report, "attempt": run.attempt, "peak_memory_mb": round(guard.peak_megabytes)}
    runs.finish(run_id, state, report=report, error=outcome.error, fence=run.fence)
    return int(outcome.error is not None)


if __name__ == "__main__":
    sys.exit(main())
