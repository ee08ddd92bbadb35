"""A run over series, here and now: each series' cycle, then what is trained over several at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from clm.core import plugins
from clm.core.alert import Alert
from clm.core.domain import Progress, RetrainReport, Series
from clm.core.errors import ClmError, DatabaseUnavailable, InvalidSetting, LeaseLost, TransientError
from clm.core.journal import Journal, NoJournal
from clm.core.reports import Spent, report_of, with_more
from clm.core.runs import RunRequest
from clm.core.triggers import of_run
from clm.core.wire import merged_views, report_view
from clm.parts import Pool, check_training, listed
from clm.services import Services


@dataclass(frozen=True, slots=True)
class CycleOutcome:
    """What a run over one or several series came to. error: set when nothing that was due succeeded."""

    report: dict[str, Any]
    error: str | None


@dataclass(frozen=True, slots=True)
class Began:
    """When something began, by this machine."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _clock: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Since then."""
        return time.monotonic() - self._clock


class Cycles(Services):
    """The services, and runs done by this very process."""

    def now(self) -> datetime:
        """The exchange's time; where it does not answer, what it must be showing, else the machine's."""
        try:
            return self.exchange_time()
        except TransientError:
            heard = self.forecasts.follower.now() if "forecasts" in self.__dict__ else None
            return heard or datetime.now(UTC)

    def check_request(self, request: RunRequest) -> tuple[Series, ...]:
        """The series a request is about.

        Raises UnknownModelType, InvalidSetting, BadInput (a parameter no model has): before anything starts.
        """
        plugins.require_model_types((*(request.models or ()), *(request.params or ())))
        every = self.series
        _require("symbols", request.symbols, [series.symbol for series in every])
        _require("intervals", request.intervals, [series.interval for series in every])
        chosen = tuple(
            series for series in every
            if (request.symbols is None or series.symbol in request.symbols)
            and (request.intervals is None or series.interval in request.intervals)
        )  # fmt: skip
        if not chosen:
            asked = f"{', '.join(request.symbols or ())} {', '.join(request.intervals or ())}"
            raise InvalidSetting("symbols, intervals", asked, listed(every))
        for series in chosen:
            named = (*(request.models or self.models_of(series)), *(request.params or ()))
            check_training(self.settings_of(series), named, request.params)
        return chosen

    def pools_of(self, request: RunRequest, every: Sequence[Series]) -> list[Pool]:
        """What a run trains over several series at once; nothing, where it has parameters of its own."""
        return [] if request.params else self.pools(every, request.models)

    def run(
        self,
        request: RunRequest,
        progress: Callable[[Progress], None] | None = None,
        journal: Journal = NoJournal(),  # noqa: B008  # it keeps nothing
    ) -> CycleOutcome:
        """The cycle of every series asked for, here and now; one series' failure does not stop the next."""
        began = Began()
        reports: list[RetrainReport] = []
        errors: dict[Series, str] = {}
        every = self.check_request(request)
        pools = self.pools_of(request, every)
        count = len(every) + len(pools)
        for position, series in enumerate(every):
            listener = _placed(progress, position, count) if progress else None
            try:
                report = self.manager(series, request.params).run_full_cycle(
                    request.models, request.force, progress=listener, journal=journal
                )
                reports.append(report)
            except (DatabaseUnavailable, LeaseLost):
                raise
            except ClmError as error:
                errors[series] = str(error)
        for position, pool in enumerate(pools, len(every)):
            listener = _placed(progress, position, count) if progress else None
            try:
                reports += self.pooled_cycle(pool).run(request.force, journal, listener)
            except (DatabaseUnavailable, LeaseLost):
                raise
            except ClmError as error:
                reports += self.failed_pool(pool, str(error))
        return self.concluded(request, reports, errors, journal, began)

    def failed_pool(self, pool: Pool, cause: str) -> list[RetrainReport]:
        """That a model over several series failed as a whole, for each of them."""
        model_type, every = pool
        now, said = self.now(), f"{model_type} over all series: {cause}"
        spent = Spent(now, datetime.now(UTC))
        return [report_of(series, None, spent, model_type, said) for series in every]

    def _tell_of_failures(
        self, reports: Sequence[RetrainReport], errors: Mapping[Series, str], journal: Journal
    ) -> None:
        """One incident per model that fails, and per series that does as a whole, until it is mended."""
        for series, cause in errors.items():
            said = f"Nothing could be trained for {series}{_run(journal)}. Why: {cause}"
            self.alarm(Alert("training_failed", series, "", "", said))
        for report in reports:
            self.alarm_over("training_failed", report.series)
            for model in set(report.models_trained) - set(report.failed_models):
                self.alarm_over("training_failed", report.series, model)
                self.alarm_over("drift", report.series, model)
            for model, cause in report.failures.items():
                said = f"{model} of {report.series} could not be trained{_run(journal)}. Why: {cause}"
                self.alarm(Alert("training_failed", report.series, model, "", said))

    def concluded(
        self,
        request: RunRequest,
        reports: Sequence[RetrainReport],
        errors: dict[Series, str],
        journal: Journal,
        began: Began,
    ) -> CycleOutcome:
        """What the series' cycles came to together, with what earlier attempts at the run had done."""
        by_series: dict[Series, list[RetrainReport]] = {}
        for report in reports:
            by_series.setdefault(report.series, []).append(report)
        reports = [with_more(first, more) for first, *more in by_series.values()]
        wanted = {series: request.models or self.models_of(series) for series in errors}
        self._tell_of_failures(reports, errors, journal)
        trigger = of_run(request.requested_by, request.force)
        view = report_view(reports, errors, wanted, trigger, began.at, began.seconds())
        failure = _failure(reports, errors)
        if not journal.earlier:
            return CycleOutcome(view, failure)
        merged = merged_views([*journal.earlier, view])
        return CycleOutcome(merged, None if merged["models_trained"] else failure)


def _run(journal: Journal) -> str:
    return f" in run {journal.run_id}" if journal.run_id else ""


def _require(field: str, asked: Sequence[str] | None, known: Sequence[str]) -> None:
    for name in asked or ():
        if name not in known:
            raise InvalidSetting(field, name, ", ".join(dict.fromkeys(known)))


def _placed(listener: Callable[[Progress], None], position: int, count: int) -> Callable[[Progress], None]:
    """`listener` hearing one series' progress as its share of all."""

    def placed(progress: Progress) -> None:
        before, total = position * progress.total, count * progress.total
        listener(replace(progress, done=before + progress.done, total=total))

    return placed


def _failure(reports: Sequence[RetrainReport], errors: dict[Series, str]) -> str | None:
    """Why a run failed as a whole: something was due and nothing of it succeeded."""
    if any(report.models_trained for report in reports):
        return None
    causes = [f"{series}: {cause}" for series, cause in errors.items()]
    causes += [f"{r.series} {m}: {cause}" for r in reports for m, cause in r.failures.items()]
    return "; ".join(causes) or None
