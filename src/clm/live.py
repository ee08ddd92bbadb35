"""The live shadow's process: `python -m clm.live`, settings on the first line of standard input.

Every further line asks for a tick; the end of the input ends the process. Replicas share the work by slots:
the close of a candle is a slot, and one process does what is due then.
"""

from __future__ import annotations

import sys
import threading

from clm.bootstrap import Application
from clm.core.ambit import about
from clm.core.closes import newest_close
from clm.core.consoles import write_otherwise
from clm.core.errors import ClmError, LeaseLost, RunInProgress, SlotTaken
from clm.core.runs import RunKind, RunRequest, RunState
from clm.core.watchlist import common_step
from clm.jobs.guard import WorkerGuard, owner
from clm.jobs.supervisor import STALE_AFTER_SECONDS, interrupt_orphan
from clm.logs import logger
from clm.registry.engine import require_file
from clm.settings import Settings
from clm.shadow.live import LiveShadow, Tick
from clm.telemetry import set_up_logging

log = logger(__name__)
#: A slot that failed, or that somebody else is at, is looked at again after so many seconds.
_LOOK_AGAIN_SECONDS = 15.0
#: Ticks kept on record; each is a row.
_KEPT = 1000


def main() -> int:
    """Tick when told, until nobody is there to tell."""
    write_otherwise()
    settings = Settings.model_validate_json(sys.stdin.buffer.readline())
    set_up_logging(**settings.logging())
    asked, over = threading.Event(), threading.Event()

    def listen() -> None:
        for _ in sys.stdin.buffer:
            asked.set()
        over.set()
        asked.set()

    threading.Thread(target=listen, daemon=True).start()
    require_file(settings.db_url)
    with Application(settings) as application:
        shadow = application.live_shadow()
        settled = True
        while True:
            asked.wait(None if settled else _LOOK_AGAIN_SECONDS)
            asked.clear()
            if over.is_set():
                return 0
            settled = tick_slot(application, shadow)


def tick_slot(application: Application, shadow: LiveShadow) -> bool:
    """The tick of the newest candle close, unless somebody has done it; False: look again soon.

    A failure is told, and the next tick comes all the same.
    """
    runs = application.runs
    try:
        watched = application.series
        slot = newest_close(application.data_client(watched[0]).server_time(), common_step(watched))
        request = RunRequest(kind=RunKind.SHADOW, slot=slot, requested_by="schedule")
        interrupt_orphan(runs, RunKind.SHADOW)
        run = runs.claim(request, owner(), STALE_AFTER_SECONDS)
    except SlotTaken:
        return True
    except RunInProgress:
        return False
    except ClmError as error:
        log.warning("live_shadow_failed", error=str(error))
        return False
    try:
        with (
            about(run_id=run.run_id),
            WorkerGuard(runs, run.fence),
            application.registry.database.under(run.fence),
        ):
            tick = shadow.tick()
    except LeaseLost as error:
        log.warning("live_shadow_lost", error=str(error))
        return False
    except ClmError as error:
        return _close(application, run.run_id, None, str(error))
    _tell(tick)
    causes = "; ".join(f"{series}: {cause}" for series, cause in tick.errors.items())
    return _close(application, run.run_id, tick, causes or None)


def _close(application: Application, run_id: str, tick: Tick | None, error: str | None) -> bool:
    """The slot's row closed; True when it needs no other look."""
    if error is not None:
        log.warning("live_shadow_failed", error=error)
    state = RunState.FAILED if error else RunState.COMPLETED
    try:
        application.runs.finish(run_id, state, report=tick.to_json() if tick else None, error=error)
        application.runs.forget(RunKind.SHADOW, _KEPT)
    except ClmError as lost:
        log.warning("live_shadow_not_closed", error=str(lost))
        return False
    return error is None


def _tell(tick: Tick) -> None:
    log.info("live_shadow", **tick.to_json())
    for decision in tick.decisions:
        log.info(
            "decision", outcome=str(decision.outcome), label=decision.label, model=decision.model_type,
            version=decision.candidate_version, reason=decision.reason,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
