"""A run over several series: each series' cycle is a task of its own, done side by side.

Tasks share nothing but the database. They write under the run's fence, so that a task whose run was lost
promotes nothing; a promotion is one transaction wherever it is made. What a task has finished is in the run's
journal at once, and is not done again by whoever takes the run up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clm.bootstrap import Application, CycleOutcome
from clm.core.domain import Progress, RetrainReport, Series
from clm.core.errors import ClmError, DatabaseUnavailable, LeaseLost, TaskEnded
from clm.core.journal import RunJournal
from clm.core.runs import Fence, Run, RunKind
from clm.jobs.cluster import DaskPool
from clm.jobs.guard import Limits
from clm.jobs.pool import LocalPool, cores
from clm.settings import DASK, Settings

_LOCAL = threading.local()
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Task:
    """One series' cycle. settings: JSON, see `Settings.for_children`; the rest: as in a `RunRequest`."""

    settings: str
    series: Series
    models: tuple[str, ...] | None
    force: bool
    fence: Fence
    params: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task: a report, or why there is none.

    error: the series failed; the others go on. lost, gone: the run has lost its lease or its database.
    """

    report: RetrainReport | None = None
    error: str | None = None
    lost: str | None = None
    gone: str | None = None


def perform(application: Application, run: Run, progress: Callable[[Progress], None]) -> CycleOutcome:
    """What a run asks for: here, or where `CLM_EXECUTOR` says when it is about several series.

    Raises LeaseLost, DatabaseUnavailable, UnknownModelType, InvalidSetting.
    """
    request, settings = run.request, application.settings
    every = application.check_request(request) if request.kind is RunKind.RETRAIN else ()
    if len(every) < 2 or settings.executor == "inline":
        return application.perform(run, progress)
    journal = RunJournal(application.runs, run)
    tasks = [
        Task(settings.for_children(), series, request.models, request.force, run.fence, request.params)
        for series in _longest_waiting_first(application, every)
    ]
    progress(_told(0, len(every), f"{len(every)} series to look at"))
    done: dict[Series, Done] = {}
    pool = _pool(settings, len(every))
    try:
        begun = {pool.submit(cycle, task): task.series for task in tasks}
        for future in as_completed(begun):
            series = begun[future]
            try:
                done[series] = _kept(pool.result(future))
            except TaskEnded as ended:
                done[series] = Done(error=str(ended))
            progress(_told(len(done), len(every), f"{series}: {_sentence(done[series])}", series))
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()
    reports = [report for series in every if (report := done[series].report) is not None]
    errors = {series: error for series in every if (error := done[series].error) is not None}
    return application.concluded(request, reports, errors, journal)


def cycle(task: Task) -> Done:
    """A task, in whatever process it is done."""
    application = _here(task.settings)
    try:
        run = application.runs.get(task.fence.run_id)
        if run.fence != task.fence:
            return Done(lost=f"run {run.run_id} is no longer this process's")
        journal = RunJournal(application.runs, run)
        with application.registry.database.under(task.fence):
            manager = application.manager(task.series, task.params)
            report = manager.run_full_cycle(task.models, task.force, journal=journal)
    except LeaseLost as error:
        return Done(lost=str(error))
    except DatabaseUnavailable as error:
        return Done(gone=str(error))
    except ClmError as error:
        return Done(error=str(error))
    return Done(report)


def _pool(settings: Settings, tasks: int) -> LocalPool | DaskPool:
    if settings.executor.startswith(DASK):
        return DaskPool("tcp://" + settings.executor.removeprefix(DASK))
    limits = Limits(settings.series_time_limit_minutes * 60, settings.run_memory_limit_mb)
    return LocalPool(min(settings.processes or cores(), tasks), limits)


def _here(settings: str) -> Application:
    """This thread's application: its tasks share it, and it ends with the process.

    Not the process's: the fence an application writes under is that of one task at a time.
    """
    known: dict[str, Application] = _LOCAL.__dict__.setdefault("applications", {})
    if settings not in known:
        known[settings] = Application(Settings.model_validate_json(settings))
    return known[settings]


def _kept(done: Done) -> Done:
    """Raises LeaseLost, DatabaseUnavailable: then the run as a whole has lost its ground."""
    if done.lost is not None:
        raise LeaseLost(done.lost)
    if done.gone is not None:
        raise DatabaseUnavailable(done.gone)
    return done


def _longest_waiting_first(application: Application, every: Sequence[Series]) -> list[Series]:
    """By the age of their oldest champion; who never had one waits longest."""

    def since(series: Series) -> datetime:
        registry = application.registry.for_series(series)
        champions = [registry.get_active(model_type) for model_type in application.models]
        return min(_NEVER if champion is None else champion.trained_at for champion in champions)

    return sorted(every, key=since)


def _told(done: int, total: int, message: str, series: Series | None = None) -> Progress:
    return Progress(step="series", message=message, done=done, total=total, series=series)


def _sentence(done: Done) -> str:
    if done.report is None:
        return f"failed: {done.error}"
    report = done.report
    trained = ", ".join(report.models_trained) or "nothing to do"
    failed = f"; {', '.join(report.failed_models)} failed" if report.failed_models else ""
    return f"{trained}{failed} ({report.duration_seconds:.1f} s)"
