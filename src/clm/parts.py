"""The composition root: Settings → parts. The only file that knows every concrete class."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import Any, Protocol, Self

import structlog

from clm.core import plugins
from clm.core.alert import Alarm, Alert
from clm.core.domain import INTERVALS, ModelType, Series, longest
from clm.core.ensembles import EnsembleKeeper
from clm.core.errors import (
    ClmError,
    InvalidSetting,
)
from clm.core.evidence_policy import EvidencePolicy
from clm.core.experimenting import Experiments
from clm.core.manager import ContinuousLearningManager
from clm.core.policy import NewestPolicy, PromotionPolicy, ThresholdPolicy
from clm.core.protocols import DataClient
from clm.evaluation.evaluator import QuantumModelEvaluator
from clm.features.catalogue import ADVANCED
from clm.features.engineer import QuantumFeatureEngineer
from clm.jobs.supervisor import RunSupervisor
from clm.jobs.watch import LiveWatch
from clm.market.binance import BinanceDataClient
from clm.market.candles import validate
from clm.market.pace import Pace
from clm.registry.access import SQLKeys, SQLSessions
from clm.registry.alerts import SQLAlerts
from clm.registry.audit import SQLAudit
from clm.registry.experiments import SQLExperiments
from clm.registry.mixtures import SQLMixtures
from clm.registry.runs import SQLRunStore
from clm.registry.sql import SQLModelRegistry
from clm.search.search import RecipeSearch
from clm.serving.desk import Desk as ServingDesk
from clm.serving.explain import Explainer
from clm.serving.follower import Follower
from clm.serving.forecasts import Forecasts
from clm.serving.snapshot import Limits as AnswerLimits
from clm.settings import Settings
from clm.shadow.live import Desk, LiveShadow
from clm.shadow.tester import QuantumShadowTester
from clm.telemetry import log_alert
from clm.training.trainer import QuantumModelTrainer

#: Hyper-parameters per family over the configured ones; None: as configured.
Params = Mapping[str, Mapping[str, Any]] | None

log = structlog.get_logger()
#: How long a worker waits for a database that is being restarted.
DATABASE_PATIENCE_SECONDS = 60.0

POLICIES: dict[str, Callable[[Settings], PromotionPolicy]] = {
    "evidence": lambda settings: EvidencePolicy(
        alpha=settings.promotion_alpha,
        min_improvement=settings.min_improvement_threshold,
        shadow_candles=timedelta(hours=settings.shadow_test_hours) // INTERVALS[settings.interval],
        refresh_after_days=settings.refresh_after_days,
        alpha_rollback=settings.guard_alpha,
        guard_hours=settings.guard_hours,
        cool_down_hours=settings.cool_down_hours,
    ),
    "threshold": lambda settings: ThresholdPolicy(settings.min_improvement_threshold),
    "newest": lambda settings: NewestPolicy(),
}


class ClosableClient(DataClient, Protocol):
    """A data client of an application: with a cache to drop and connections to close."""

    def clear_cache(self) -> None: ...
    def close(self) -> None: ...


class Parts:
    """Everything built from one `Settings`. Building it opens nothing; a context manager to close it.

    interactive: somebody waits for the answer, so an exchange that is down or busy is an error at once; a
    worker has patience instead. clients: data clients to use instead of Binance's.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        interactive: bool = False,
        clients: Mapping[Series, ClosableClient] | None = None,
    ) -> None:
        self.settings = settings
        self._interactive = interactive
        self._pace = Pace.interactive() if interactive else Pace()
        self._managers: dict[Series, ContinuousLearningManager] = {}
        self._clients: dict[Series, ClosableClient] = dict(clients or {})
        self.models = plugins.require_model_types(settings.models)

    @cached_property
    def series(self) -> tuple[Series, ...]:
        """The configured series; the first is the default wherever none is named."""
        return tuple(Series(symbol, self.settings.interval) for symbol in self.settings.symbols)

    @cached_property
    def registry(self) -> SQLModelRegistry:
        patience = 0 if self._interactive else DATABASE_PATIENCE_SECONDS
        return SQLModelRegistry(
            self.settings.db_url, self.settings.model_dir, series=self.series[0], patience=patience
        )

    @cached_property
    def runs(self) -> SQLRunStore:
        return SQLRunStore(self.registry.database)

    @cached_property
    def supervisor(self) -> RunSupervisor:
        return RunSupervisor(self.runs, self.settings.for_children())

    @cached_property
    def live_watch(self) -> LiveWatch:
        """The child process of the live shadow; starts with its first tick."""
        return LiveWatch(self.settings.for_children())

    @cached_property
    def keys(self) -> SQLKeys:
        """Keys to the service: of the settings and of the database."""
        return SQLKeys(self.registry.database, self.settings.api_key)

    @cached_property
    def sessions(self) -> SQLSessions:
        return SQLSessions(self.registry.database)

    @cached_property
    def audit(self) -> SQLAudit:
        return SQLAudit(self.registry.database)

    @cached_property
    def experiments(self) -> Experiments:
        """Which arm answers a caller, and everything else about A/B experiments."""
        return Experiments(
            SQLExperiments(self.registry.database),
            lambda series: self.manager(series).keeper,
            self.models,
            self.feature_engineer.get_feature_names,
            lambda series: self.data_client(series).server_time(),
            time.monotonic,
        )

    @cached_property
    def feature_engineer(self) -> QuantumFeatureEngineer:
        past = longest(self.trainer.past(model) for model in self.models)
        return QuantumFeatureEngineer(use_advanced=self.settings.features == "advanced", past=past)

    @cached_property
    def trainer(self) -> QuantumModelTrainer:
        return self._trainer()

    def _trainer(self, params: Params = None) -> QuantumModelTrainer:
        merged = _training_params(self.settings)
        for family, own in (params or {}).items():
            merged[family] = {**merged.get(family, {}), **own}
        return QuantumModelTrainer(params=merged, seed=self.settings.training_seed)

    def find_series(self, symbol: str | None = None, interval: str | None = None) -> Series:
        """A configured series; None: as in the first one. Raises InvalidSetting for one not configured."""
        first = self.series[0]
        wanted = Series(
            first.symbol if symbol is None else symbol, first.interval if interval is None else interval
        )
        if wanted not in self.series:
            raise InvalidSetting("symbol, interval", str(wanted), ", ".join(map(str, self.series)))
        return wanted

    def data_client(self, series: Series) -> ClosableClient:
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

    def manager(self, series: Series | None = None, params: Params = None) -> ContinuousLearningManager:
        """The manager of one series, built once; one of its own for a run with `params` of its own."""
        series = series or self.series[0]
        if params:
            return self._build_manager(series, self._trainer(params))
        if series not in self._managers:
            self._managers[series] = self._build_manager(series, self.trainer)
        return self._managers[series]

    def _build_manager(self, series: Series, trainer: QuantumModelTrainer) -> ContinuousLearningManager:
        settings = self.settings
        data_client, features = self.data_client(series), self.feature_engineer
        return ContinuousLearningManager(
            data_client=data_client,
            feature_engineer=features,
            model_trainer=trainer,
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
            drift_triggers=settings.drift_triggers,
            pool=self.series if settings.pool_symbols else (),
            alarm=self.alarm,
        )

    def recipe_search(self, series: Series) -> RecipeSearch:
        """What proposes recipes for a series."""
        features = self.feature_engineer
        return RecipeSearch(
            self.data_client(series), features, self.trainer, QuantumModelEvaluator(features),
            self.registry.for_series(series), self.manager(series).timeline_rule,
        )  # fmt: skip

    @cached_property
    def alerts(self) -> SQLAlerts:
        return SQLAlerts(self.registry.database)

    def alarm(self, alert: Alert) -> None:
        """Into the log and on record; a known incident is only counted."""
        log_alert(alert)
        try:
            self.alerts.record(alert)
        except ClmError as error:
            log.warning("alert_not_recorded", incident=alert.incident, error=str(error))

    def live_shadow(self, alarm: Alarm | None = None, *, rehearsal: bool = False) -> LiveShadow:
        """The watch over all configured series; rehearsal: on a clock that is played back."""
        desks = [
            Desk(self.data_client(series), self.manager(series).keeper, self.ensemble_keeper(series))
            for series in self.series
        ]
        policy = self.manager().policy
        return LiveShadow(
            desks, self.feature_engineer, policy, self.models, alarm=alarm or self.alarm, rehearsal=rehearsal,
            experiments=self.experiments.store,
        )  # fmt: skip

    def ensemble_keeper(self, series: Series) -> EnsembleKeeper | None:
        """Of one series; None where there is but one model type to mix."""
        if len(self.models) < 2:
            return None
        store = SQLMixtures(self.registry.database, series)
        return EnsembleKeeper(self.registry.for_series(series), store, self.models)

    @cached_property
    def forecasts(self) -> Forecasts:
        """What forecasts are asked through; its follower begins with the first question."""
        settings, first = self.settings, self.series[0]
        guard_hours = self.manager().policy.guard_hours
        desks = [
            ServingDesk(
                self.data_client(series), self.registry.for_series(series), self.feature_engineer,
                self.models,
                ensemble=self.ensemble_keeper(series), guard_hours=guard_hours, alarm=self.alarm,
                others=self.experiments.open_versions,
            )
            for series in self.series
        ]  # fmt: skip
        follower = Follower(desks, self.data_client(first).server_time, self._answering)
        limits = AnswerLimits(
            model_age=timedelta(days=settings.stale_model_days),
            data_age=first.step + timedelta(minutes=1),
        )
        return Forecasts(
            follower, self.models, limits, self.feature_engineer, validate,
            self.experiments.arm_of,
        )  # fmt: skip

    def _answering(self) -> Hashable:
        """Changes whenever another version is to answer: who reigns, and the arms of experiments."""
        arms = tuple(version for series in self.series for version in self.experiments.open_versions(series))
        return self.registry.reigning(), arms

    @cached_property
    def explainer(self) -> Explainer:
        """What forecasts are made of, also those of versions that know features no longer configured."""
        engineers = (self.feature_engineer, QuantumFeatureEngineer(use_advanced=True))
        families = {feature.name: feature.family for feature in ADVANCED}
        return Explainer(self.registry, self.data_client, engineers, families)

    def close(self) -> None:
        """Ends children and connections that were opened; for children it waits as long as settings say."""
        grace = self.settings.shutdown_grace_seconds
        deadline = time.monotonic() + grace
        # Callbacks run from the last to the first, each of them whatever became of the others.
        with ExitStack() as closing:
            if "registry" in self.__dict__:
                closing.callback(self.registry.close)
            for client in self._clients.values():
                closing.callback(client.close)
            if "forecasts" in self.__dict__:
                closing.callback(self.forecasts.follower.close)
            if "live_watch" in self.__dict__:
                closing.callback(lambda: self.live_watch.close(max(1.0, deadline - time.monotonic())))
            if "supervisor" in self.__dict__:
                closing.callback(self.supervisor.close, grace)

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
