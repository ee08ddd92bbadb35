"""The composition root: Settings → Application. The only file that knows every concrete class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from clm.core import plugins
from clm.core.domain import ModelType, Progress, RetrainReport, RunRequest, Series
from clm.core.errors import ClmError, InvalidSetting
from clm.core.manager import ContinuousLearningManager
from clm.core.policy import NewestPolicy, PromotionPolicy, ThresholdPolicy
from clm.core.wire import report_view
from clm.evaluation.evaluator import QuantumModelEvaluator
from clm.features.engineer import QuantumFeatureEngineer
from clm.jobs.supervisor import RunSupervisor
from clm.market.binance import BinanceDataClient
from clm.market.pace import Pace
from clm.registry.runs import SQLRunStore
from clm.registry.sql import SQLModelRegistry
from clm.settings import Settings
from clm.shadow.tester import QuantumShadowTester
from clm.training.trainer import QuantumModelTrainer

POLICIES: dict[str, Callable[[Settings], PromotionPolicy]] = {
    "threshold": lambda settings: ThresholdPolicy(settings.min_improvement_threshold),
    "newest": lambda settings: NewestPolicy(),
}


@dataclass(frozen=True, slots=True)
class CycleOutcome:
    """What a run over one or several series came to. error: set when nothing that was due succeeded."""

    report: dict[str, Any]
    error: str | None


class Application:
    """Everything built from one `Settings`. Building it opens nothing; a context manager to close it.

    interactive: somebody waits for the answer, so an exchange that is down or busy is an error at once; a
    worker has patience instead.
    """

    def __init__(self, settings: Settings, *, interactive: bool = False) -> None:
        self.settings = settings
        self._pace = Pace.interactive() if interactive else Pace()
        self._managers: dict[Series, ContinuousLearningManager] = {}
        self._clients: dict[Series, BinanceDataClient] = {}
        self.models = plugins.require_model_types(settings.models)

    @cached_property
    def series(self) -> tuple[Series, ...]:
        """The configured series; the first is the default wherever none is named."""
        return tuple(Series(symbol, self.settings.interval) for symbol in self.settings.symbols)

    @cached_property
    def registry(self) -> SQLModelRegistry:
        return SQLModelRegistry(self.settings.db_url, self.settings.model_dir, series=self.series[0])

    @cached_property
    def runs(self) -> SQLRunStore:
        return SQLRunStore(self.registry.engine)

    @cached_property
    def supervisor(self) -> RunSupervisor:
        return RunSupervisor(self.runs, self.settings.model_dump_json())

    @cached_property
    def feature_engineer(self) -> QuantumFeatureEngineer:
        return QuantumFeatureEngineer(use_advanced=self.settings.features == "advanced")

    def find_series(self, symbol: str | None = None, interval: str | None = None) -> Series:
        """A configured series; None: as in the first one. Raises InvalidSetting for one not configured."""
        wanted = Series(symbol or self.series[0].symbol, interval or self.series[0].interval)
        if wanted not in self.series:
            raise InvalidSetting("symbol, interval", str(wanted), ", ".join(map(str, self.series)))
        return wanted

    def data_client(self, series: Series) -> BinanceDataClient:
        """The client of one series, built once."""
        if series not in self._clients:
            self._clients[series] = self._build_client(series)
        return self._clients[series]

    def _build_client(self, series: Series) -> BinanceDataClient:
        return BinanceDataClient(
            symbol=series.symbol,
            interval=series.interval,
            cache_enabled=self.settings.cache_enabled,
            cache_ttl=self.settings.cache_ttl,
            base_url=self.settings.binance_url,
            data_dir=self.settings.data_dir,
            pace=self._pace,
        )

    def manager(self, series: Series | None = None) -> ContinuousLearningManager:
        """The manager of one series, built once."""
        series = series or self.series[0]
        if series not in self._managers:
            self._managers[series] = self._build_manager(series)
        return self._managers[series]

    def _build_manager(self, series: Series) -> ContinuousLearningManager:
        settings = self.settings
        data_client, features = self.data_client(series), self.feature_engineer
        return ContinuousLearningManager(
            data_client=data_client,
            feature_engineer=features,
            model_trainer=QuantumModelTrainer(params=_training_params(settings), seed=settings.training_seed),
            model_evaluator=QuantumModelEvaluator(features),
            shadow_tester=QuantumShadowTester(data_client, features),
            model_registry=self.registry,
            retrain_interval_days=settings.retrain_interval_days,
            shadow_test_hours=settings.shadow_test_hours,
            min_improvement_threshold=settings.min_improvement_threshold,
            training_lookback_days=settings.training_lookback_days,
            holdout_days=settings.holdout_days,
            purge_hours=settings.purge_hours,
            retrain_after_candles=settings.retrain_after_candles,
            models=self.models,
            promotion_policy=POLICIES[settings.promotion_policy](settings),
        )

    def check_request(self, request: RunRequest) -> tuple[Series, ...]:
        """The series a request is about. Raises UnknownModelType, InvalidSetting: before anything starts."""
        if request.models is not None:
            plugins.require_model_types(request.models)
        return tuple(self.find_series(symbol) for symbol in request.symbols or self.settings.symbols)

    def run(self, request: RunRequest, progress: Callable[[Progress], None] | None = None) -> CycleOutcome:
        """The cycle of every series asked for, here and now; one series' failure does not stop the next."""
        reports: list[RetrainReport] = []
        errors: dict[Series, str] = {}
        every = self.check_request(request)
        for position, series in enumerate(every):
            listener = _placed(progress, position, len(every)) if progress else None
            try:
                report = self.manager(series).run_full_cycle(request.models, request.force, progress=listener)
                reports.append(report)
            except ClmError as error:
                errors[series] = str(error)
        view = report_view(reports, errors, request.models or self.models)
        return CycleOutcome(view, _failure(reports, errors))

    def clear_cache(self) -> None:
        """Drops cached candles and what is held in memory. Raises RunInProgress while a run is under way."""
        self.runs.refuse_while_running()
        for series in self.series:
            self.data_client(series).clear_cache()
        self._managers.clear()

    def close(self) -> None:
        """Ends children and connections that were opened."""
        if "supervisor" in self.__dict__:
            self.supervisor.close()
        for client in self._clients.values():
            client.close()
        if "registry" in self.__dict__:
            self.registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _training_params(settings: Settings) -> dict[str, dict[str, Any]]:
    """The preset for the tree families, then what the settings say per family."""
    params: dict[str, dict[str, Any]] = {
        str(family): {"preset": settings.training_preset}
        for family in (ModelType.XGBOOST, ModelType.LIGHTGBM)
    }
    for family, own in settings.training_params.items():
        params[family] = {**params.get(family, {}), **own}
    return params


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
