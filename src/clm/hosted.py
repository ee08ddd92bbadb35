"""A cycle in a host application's own process: a run like any other, but the process is not ours to end."""

from __future__ import annotations

from collections.abc import Sequence

from clm.bootstrap import Application
from clm.core.domain import Progress, RetrainReport
from clm.core.journal import RunJournal
from clm.core.manager import ContinuousLearningManager
from clm.core.protocols import ProgressListener
from clm.core.runs import RunRequest
from clm.cycles import Began
from clm.jobs.attempt import attempt
from clm.jobs.guard import Limits, owner
from clm.jobs.supervisor import STALE_AFTER_SECONDS


def hosted_manager(application: Application) -> ContinuousLearningManager:
    """The manager of the first series, whose cycles are runs: `GET /status` tells of them.

    What `run_full_cycle` raises besides: RunInProgress, while another run is under way, and LeaseLost, where
    it was cancelled, given to another or took too long: it stops with the next step, the process lives on.
    """
    manager = application.manager()

    def recorded(
        models: Sequence[str] | None, force: bool, progress: ProgressListener | None
    ) -> RetrainReport:
        series = manager.series
        request = RunRequest(
            models=None if models is None else tuple(map(str, models)), symbols=(series.symbol,),
            intervals=(series.interval,), force=force, requested_by="python",
        )  # fmt: skip
        application.check_request(request)
        run = application.runs.claim(request, owner(), STALE_AFTER_SECONDS)
        # The memory is the host's.
        limits = Limits(seconds=application.settings.run_time_limit_minutes * 60)
        heard = progress or _nobody
        with (
            attempt(application.runs, run, limits, heard, leave=_stay) as under_way,
            application.registry.database.under(run.fence, thread_only=True),
        ):
            began, journal = Began(), RunJournal(application.runs, run)
            report = manager.run_full_cycle(models, force, progress=under_way.tell, journal=journal)
            outcome = application.concluded(request, [report], {}, journal, began)
            under_way.end(outcome.report, outcome.error)
        return report

    manager.recorder = recorded
    return manager


def _nobody(progress: Progress) -> None:
    """Nobody listens."""


def _stay(code: int) -> None:
    """The process is the host's; the fence refuses what the run would still write."""
