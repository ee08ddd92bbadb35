"""The child process of one run: `python -m clm.worker`, told what to do on standard input.

Standard input: `{"run_id": "…", "settings": {…}}`. Whatever happens is written to the run's row; the exit
code is 0 when the run completed.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading

import structlog

from clm.bootstrap import Application
from clm.core.domain import Progress, RunState
from clm.core.errors import ClmError
from clm.core.wire import jsonable
from clm.settings import Settings
from clm.telemetry import set_up_logging

BEAT_SECONDS = 5.0
log = structlog.get_logger()


def main() -> int:
    """Do the run named on standard input; 0 when it completed."""
    order = json.load(sys.stdin)
    settings = Settings(**order["settings"])
    set_up_logging(settings.log_level, settings.log_format)
    with Application(settings) as application:
        return 0 if _do(application, order["run_id"]) else 1


def _do(application: Application, run_id: str) -> bool:
    runs = application.runs
    run = runs.start(run_id, owner=f"{platform.node()}:{os.getpid()}")
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            try:
                runs.beat(run_id)
            except ClmError as error:
                # The row was closed (stopped, interrupted) or the database is away: the result decides.
                log.warning("heartbeat_failed", run_id=run_id, error=str(error))

    threading.Thread(target=beat, daemon=True).start()

    def tell(progress: Progress) -> None:
        runs.beat(run_id, jsonable(progress))
        log.info("progress", run_id=run_id, done=progress.done, total=progress.total, step=progress.message)

    try:
        outcome = application.run(run.request, tell)
    except BaseException as error:
        over.set()
        runs.finish(run_id, RunState.FAILED, error=str(error) or type(error).__name__)
        raise
    over.set()
    state = RunState.FAILED if outcome.error else RunState.COMPLETED
    runs.finish(run_id, state, report=outcome.report, error=outcome.error)
    return outcome.error is None


if __name__ == "__main__":
    sys.exit(main())
