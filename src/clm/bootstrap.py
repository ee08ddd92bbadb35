"""What entrances ask for: each a few lines over the parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clm.core import plugins
from clm.core.domain import Decision, ModelArtifact, Progress, RetrainReport, Series
from clm.core.errors import (
    ClmError,
    DatabaseUnavailable,
    InvalidSetting,
    LeaseLost,
    NotCertified,
    TransientError,
)
from clm.core.journal import Journal, NoJournal, RunJournal
from clm.core.recompute import Recomputed, recompute
from clm.core.runs import Run, RunKind, RunRequest
from clm.core.standings import standings
from clm.core.wire import jsonable, merged_views, report_view
from clm.market.ping import ping
from clm.market.stores import candle_store
from clm.parts import Parts
from clm.registry.mend import mend


@dataclass(frozen=True, slots=True)
class CycleOutcome:
    """What a run over one or several series came to. error: set when nothing that was due succeeded."""

    report: dict[str, Any]
    error: str | None


class Application(Parts):
    """The use cases of one `Settings`."""

    def ensemble_standing(self, series: Series) -> dict[str, Any]:
        """Of one series. Raises InvalidSetting where there is but one model type to mix."""
        keeper = self.ensemble_keeper(series)
        if keeper is None:
            allowed = "at least two model types, to be mixed"
            raise InvalidSetting("CLM_MODELS", ",".join(self.models), allowed)
        standing: dict[str, Any] = jsonable(keeper.standing())
        return {"symbol": series.symbol, "interval": series.interval, **standing}

    def now(self, series: Series) -> datetime:
        """The exchange's time; the machine's where the exchange does not answer."""
        try:
            return self.data_client(series).server_time()
        except TransientError:
            return datetime.now(UTC)

    def newest_stored(self, series: Series) -> datetime | None:
        """When the newest candle of the store closes; None where there is none."""
        spans = candle_store(self.settings.data_dir).coverage(series).spans
        return datetime.fromtimestamp(spans[-1][1] / 1000, UTC) if spans else None

    def ping_exchange(self, seconds: float) -> None:
        """Returns when the exchange answers. Raises ExchangeUnavailable, RateLimited."""
        ping(self.settings.binance_url, seconds)

    def folders(self) -> list[Path]:
        """Where this application writes to on this machine."""
        url = self.registry.database.engine.url
        own = (
            [Path(url.database).absolute().parent]
            if url.get_backend_name() == "sqlite" and url.database
            else []
        )
        places = (self.settings.model_dir, self.settings.data_dir)
        return [*own, *(place.absolute() for place in places if isinstance(place, Path))]

    def standings(self, symbol: str | None = None, interval: str | None = None) -> list[dict[str, Any]]:
        """How challengers stand on one series, or on all (symbol None)."""
        chosen = self.series if symbol is None and interval is None else (self.find_series(symbol, interval),)
        found: list[dict[str, Any]] = []
        for series in chosen:
            manager = self.manager(series)
            found += standings(manager.keeper, manager.policy, self.models, self.now(series))
        return found

    def promote_by_hand(
        self, series: Series, model_type: str, version: str, *, uncertified: bool = False
    ) -> ModelArtifact:
        """A human's decision; the guard watches over it as over any other. Raises NotCertified."""
        registry = self.registry.for_series(series)
        artifact = registry.get_version(model_type, version)
        problems = artifact.certificate["problems"] if artifact.certificate else ["it has none"]
        if problems and not uncertified:
            raise NotCertified(
                f"{model_type} {version} of {series} has no leakage certificate ({'; '.join(problems)}); "
                "promoting it all the same has to be asked for"
            )
        return registry.promote(model_type, version, at=self.now(series))

    def roll_back_by_hand(self, series: Series, model_type: str, reason: str) -> ModelArtifact:
        """Back to the version the champion replaced, because a human says so."""
        return self.registry.for_series(series).rollback(model_type, reason=reason, at=self.now(series))

    def explain(self, decision_id: int) -> tuple[Series, Decision, Recomputed]:
        """A stored decision, and what comes out when it is decided again. Raises DecisionNotFound."""
        series, decision = self.registry.get_decision(decision_id)
        return series, decision, recompute(self.registry.for_series(series), decision)

    def check_request(self, request: RunRequest) -> tuple[Series, ...]:
        """The series a request is about. Raises UnknownModelType, InvalidSetting: before anything starts."""
        if request.models is not None:
            plugins.require_model_types(request.models)
        return tuple(self.find_series(symbol) for symbol in request.symbols or self.settings.symbols)

    def perform(self, run: Run, progress: Callable[[Progress], None]) -> CycleOutcome:
        """What a run asks for, here and now; of what earlier attempts have done, nothing twice."""
        if run.request.kind is RunKind.RETENTION:
            return self.retain()
        return self.run(run.request, progress, RunJournal(self.runs, run))

    def run(
        self,
        request: RunRequest,
        progress: Callable[[Progress], None] | None = None,
        journal: Journal = NoJournal(),  # noqa: B008  # it keeps nothing
    ) -> CycleOutcome:
        """The cycle of every series asked for, here and now; one series' failure does not stop the next."""
        reports: list[RetrainReport] = []
        errors: dict[Series, str] = {}
        every = self.check_request(request)
        for position, series in enumerate(every):
            listener = _placed(progress, position, len(every)) if progress else None
            try:
                report = self.manager(series).run_full_cycle(
                    request.models, request.force, progress=listener, journal=journal
                )
                reports.append(report)
            except (DatabaseUnavailable, LeaseLost):
                raise
            except ClmError as error:
                errors[series] = str(error)
        return self.concluded(request, reports, errors, journal)

    def concluded(
        self,
        request: RunRequest,
        reports: Sequence[RetrainReport],
        errors: dict[Series, str],
        journal: Journal,
    ) -> CycleOutcome:
        """What the series' cycles came to together, with what earlier attempts at the run had done."""
        view, failure = report_view(reports, errors, request.models or self.models), _failure(reports, errors)
        if not journal.earlier:
            return CycleOutcome(view, failure)
        merged = merged_views([*journal.earlier, view])
        return CycleOutcome(merged, None if merged["models_trained"] else failure)

    def retain(self) -> CycleOutcome:
        """Puts old model files away, and sees to loose ends."""
        gone = self.registry.upkeep.retain(self.settings.keep_versions) if self.settings.keep_versions else []
        return CycleOutcome({"deleted_files": gone, "mended": self.mend()}, None)

    def mend(self) -> list[str]:
        """What `clm verify --fix` does; a sentence for each thing done."""
        names = self.feature_engineer.get_feature_names()
        return mend(self.registry, names, self.now(self.series[0]), self.alarm)

    def clear_cache(self) -> None:
        """Drops cached candles and what is held in memory. Raises RunInProgress while a run is under way."""
        self.runs.refuse_while_running()
        for series in self.series:
            self.data_client(series).clear_cache()
        self._managers.clear()
        self.__dict__.pop("explainer", None)


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
    causes += [f"{r.series} {m}: {cause}" for r in reports for m, cause in r.failed_models.items()]
    return "; ".join(causes) or None
