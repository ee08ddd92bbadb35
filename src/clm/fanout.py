"""A run over several series: each series' cycle is a task of its own, done side by side.

Tasks share nothing but the database. They write under the run's fence, so that a task whose run was lost
promotes nothing; a promotion is one transaction wherever it is made. What a task has finished is in the run's
journal at once, and is not done again by whoever takes the run up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clm.bootstrap import Application
from clm.core.ambit import about
from clm.core.domain import Progress, RetrainReport, Series
from clm.core.errors import ClmError, DatabaseUnavailable, LeaseLost, TaskEnded
from clm.core.journal import RunJournal
from clm.core.runs import Fence, Run, RunKind
from clm.cycles import Began, CycleOutcome
from clm.jobs.cluster import DaskPool
from clm.jobs.guard import Limits
from clm.jobs.pool import LocalPool, cores
from clm.parts import Pool
from clm.settings import Settings, scheduler_of
from clm.telemetry import set_up_logging

_LOCAL = threading.local()
_NEVER = datetime.min.replace(tzinfo=UTC)


#: A sentence is due when nothing has come to an end for so long and nobody works on it.
_SILENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Task:
    """One series' cycle, or that of one model over several (pool). settings: JSON, see
    `Settings.for_children`; the rest: as in a `RunRequest`.
    """

    settings: str
    work: Series | Pool
    models: tuple[str, ...] | None
    force: bool
    fence: Fence
    params: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task: reports, one for a series, or why there are none.

    error: the series failed; the others go on. lost, gone: the run has lost its lease or its database.
    """

    reports: tuple[RetrainReport, ...] = ()
    error: str | None = None
    lost: str | None = None
    gone: str | None = None


def perform(
    application: Application,
    run: Run,
    progress: Callable[[Progress], None],
    *,
    silence: float = _SILENCE_SECONDS,
) -> CycleOutcome:
    """What a run asks for: here, or where `CLM_EXECUTOR` says when it is about several series.

    silence: seconds after which it is said what a run waits for that nobody works on.
    Raises LeaseLost, DatabaseUnavailable, UnknownModelType, InvalidSetting.
    """
    request, settings = run.request, application.settings
    every = application.check_request(request) if request.kind is RunKind.RETRAIN else ()
    if len(every) < 2 or settings.executor == "inline":
        return application.perform(run, progress)
    began = Began()
    journal = RunJournal(application.runs, run)
    # A model over all series comes after each series' own, which is the first to reign where none does.
    waves: list[Sequence[Series | Pool]] = [
        _longest_waiting_first(application, every), application.pools_of(request, every)
    ]  # fmt: skip
    total = sum(map(len, waves))
    progress(_told(0, total, f"{len(every)} series to look at"))
    done: dict[Series | Pool, Done] = {}
    pool = _pool(settings, len(every))
    try:
        for wave in waves:
            asked = (request.models, request.force, run.fence, request.params)
            tasks = [Task(settings.for_children(), work, *asked) for work in wave]
            begun = {pool.submit(cycle, task): task.work for task in tasks}
            pending = set(begun)
            while pending:
                finished, pending = wait(pending, silence, return_when=FIRST_COMPLETED)
                if not finished and isinstance(pool, DaskPool) and (why := pool.lacking()) is not None:
                    progress(_told(len(done), total, why))
                for future in finished:
                    work = begun[future]
                    try:
                        done[work] = _kept(pool.result(future))
                    except TaskEnded as ended:
                        done[work] = Done(error=str(ended))
                    series = work if isinstance(work, Series) else None
                    progress(_told(len(done), total, _came_to(work, done[work]), series))
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()
    reports = [report for work in (*every, *waves[1]) for report in done[work].reports]
    errors: dict[Series, str] = {}
    for work, came in done.items():
        if came.error is None:
            continue
        if isinstance(work, Series):
            errors[work] = came.error
        else:
            reports += application.failed_pool(work, came.error)
    return application.concluded(request, reports, errors, journal, began)


def cycle(task: Task) -> Done:
    """A task, in whatever process it is done."""
    application = _here(task.settings)
    try:
        run = application.runs.get(task.fence.run_id)
        if run.fence != task.fence:
            return Done(lost=f"run {run.run_id} is no longer this process's")
        journal = RunJournal(application.runs, run)
        with about(run_id=run.run_id), application.registry.database.under(task.fence):
            if isinstance(task.work, Series):
                manager = application.manager(task.work, task.params)
                told = journal.doing
                reports = [manager.run_full_cycle(task.models, task.force, progress=told, journal=journal)]
            else:
                reports = application.pooled_cycle(task.work).run(task.force, journal)
    except LeaseLost as error:
        return Done(lost=str(error))
    except DatabaseUnavailable as error:
        return Done(gone=str(error))
    except ClmError as error:
        return Done(error=str(error))
    return Done(tuple(reports))


def _pool(settings: Settings, tasks: int) -> LocalPool | DaskPool:
    limits = Limits(settings.series_time_limit_minutes * 60, settings.run_memory_limit_mb)
    if (scheduler := scheduler_of(settings)) is not None:
        return DaskPool(scheduler, limits)
    return LocalPool(min(settings.processes or cores(), tasks), limits)


def _here(settings: str) -> Application:
    """This thread's application: its tasks share it, and it ends with the process.

    Not the process's: the fence an application writes under is that of one task at a time.
    """
    known: dict[str, Application] = _LOCAL.__dict__.setdefault("applications", {})
    if settings not in known:
        given = Settings.model_validate_json(settings)
        set_up_logging(**given.logging())
        known[settings] = Application(given)
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
        champions = [registry.get_active(model_type) for model_type in application.models_of(series)]
        return min(_NEVER if champion is None else champion.trained_at for champion in champions)

    return sorted(every, key=since)


def _told(done: int, total: int, message: str, series: Series | None = None) -> Progress:
    return Progress(step="series", message=message, done=done, total=total, series=series)


def _came_to(work: Series | Pool, done: Done) -> str:
    name = str(work) if isinstance(work, Series) else f"{work[0]} over {len(work[1])} series"
    if done.error is not None:
        return f"{name}: failed: {done.error}"
    trained = ", ".join(dict.fromkeys(m for r in done.reports for m in r.models_trained)) or "nothing to do"
    failed = ", ".join(dict.fromkeys(m for r in done.reports for m in r.failed_models))
    seconds = sum(report.duration_seconds for report in done.reports)
    return f"{name}: {trained}{f'; {failed} failed' if failed else ''} ({seconds:.1f} s)"
