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
from pathlib import Path

from clm.bootstrap import Application
from clm.core.consoles import write_otherwise
from clm.core.domain import Progress
from clm.core.errors import DatabaseUnavailable, LeaseLost
from clm.core.runs import RunKind
from clm.fanout import perform
from clm.jobs.attempt import attempt
from clm.jobs.guard import LOST, Limits, owner
from clm.rebuild import remake
from clm.registry.engine import require_file
from clm.settings import Settings
from clm.telemetry import set_up_logging


def main() -> int:
    """Do the run named on standard input; 0 when it completed."""
    write_otherwise()
    # Bytes: what the console is like says nothing of what the service has written.
    order = json.load(sys.stdin.buffer)
    settings = Settings(**order["settings"])
    give_way(settings.worker_niceness)
    set_up_logging(**settings.logging(), beside_bars=True)
    require_file(settings.db_url)
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
    limits = Limits(settings.run_time_limit_minutes * 60, settings.run_memory_limit_mb)
    work_on = remake if run.request.kind is RunKind.REPRODUCE else perform
    try:
        with (
            attempt(runs, run, limits, listener) as under_way,
            application.registry.database.under(run.fence),
        ):
            outcome = work_on(application, run, under_way.tell)
            under_way.end(outcome.report, outcome.error)
    except LeaseLost:
        return LOST
    except DatabaseUnavailable:
        return 1
    return int(outcome.error is not None)


if __name__ == "__main__":
    sys.exit(main())
