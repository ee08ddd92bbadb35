"""The composition root: Settings → parts. The only file that knows every concrete class."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

from clm.core import plugins
from clm.core.alert import Alert
from clm.core.domain import INTERVALS, ModelType, Series, longest
from clm.core.ensembles import EnsembleKeeper
from clm.core.errors import (
    BadInput,
    ClmError,
    InvalidSetting,
)
from clm.core.evidence_policy import EvidencePolicy
from clm.core.experimenting import Experiments
from clm.core.impatient import PATIENCE_SECONDS, Impatient
from clm.core.manager import ContinuousLearningManager
from clm.core.policy import NewestPolicy, PromotionPolicy, ThresholdPolicy
from clm.core.pooling import PooledCycle
from clm.core.protocols import CheckingFamily, DataClient
from clm.core.sight import Sight
from clm.core.text import mask_url
from clm.core.watchlist import Watched, Watchlist
from clm.evaluation.evaluator import QuantumModelEvaluator
from clm.features.engineer import QuantumFeatureEngineer
from clm.jobs.receivers import Receiver, receivers_of
from clm.logs import logger
from clm.market.account import Account
from clm.market.binance import BinanceDataClient
from clm.market.connections import Connections
from clm.market.pace import Pace
from clm.registry.access import SQLKeys, SQLSessions
from clm.registry.alerts import SQLAlerts
from clm.registry.audit import SQLAudit
from clm.registry.experiments import SQLExperiments
from clm.registry.mixtures import SQLMixtures
from clm.registry.runs import SQLRunStore
from clm.registry.sql import SQLModelRegistry
from clm.registry.watchlist import SQLWatchlist
from clm.search.search import RecipeSearch
from clm.settings import Settings
from clm.shadow.tester import QuantumShadowTester
from clm.telemetry import log_alert
from clm.training.trainer import QuantumModelTrainer

#: Hyper-parameters per family over the configured ones; None: as configured.
Params = Mapping[str, Mapping[str, Any]] | None

log = logger(__name__)
#: People have less: what is stored is answered within two seconds, whatever the exchange does.
_PATIENCE_OF_WORKERS = 600.0
#: How long a worker waits for a database that is being restarted.
DATABASE_PATIENCE_SECONDS = 60.0
#: Series that an error names.
_NAMED = 20

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


#: A model type and the series it is trained over at once.
Pool = tuple[str, tuple[Series, ...]]
#: Settings that make the same recipe of a model over several series.
_OF_A_RECIPE = frozenset(
    {
        "training_lookback_days", "holdout_days", "purge_hours", "shadow_test_hours", "training_preset",
        "training_params", "training_seed",
    }
)  # fmt: skip


class ClosableClient(DataClient, Protocol):
    """A data client of an application: with a cache to drop and connections to close."""

    def clear_cache(self) -> None: ...
    def close(self) -> None: ...


class Parts:
    """Everything a cycle is made of, built from one `Settings`. Building it opens nothing.

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
        state = settings.state_dir
        account = Account(None if state is None else state / "weight.json")
        self._pace = replace(Pace.interactive() if interactive else Pace(), account=account)
        self._own: dict[Series, tuple[Watched | None, Settings]] = {}
        self._managers: dict[Series, tuple[object, ContinuousLearningManager]] = {}
        self._connections = Connections(settings.binance_url)
        self._clients: dict[Series, ClosableClient] = dict(clients or {})
        self.models = plugins.require_model_types(settings.models)
        plugins.require_model_types(settings.pooled_models)
        if settings.pooled_models and settings.promotion_policy == "newest":
            allowed = "none where the newest model is always promoted (CLM_PROMOTION_POLICY=newest)"
            raise InvalidSetting("CLM_POOLED_MODELS", ",".join(settings.pooled_models), allowed)

    @cached_property
    def watchlist(self) -> Watchlist:
        """Of the settings and of the database."""
        configured = [Series(symbol, self.settings.interval) for symbol in self.settings.symbols]
        return Watchlist(configured, SQLWatchlist(self.registry.database), time.monotonic)

    @property
    def series(self) -> tuple[Series, ...]:
        """The series watched now; the first is the default wherever none is named."""
        return self.watchlist.series()

    def settings_of(self, series: Series) -> Settings:
        """The settings of one series: what the watchlist says of it, and for the rest everybody's."""
        entry, known = self.watchlist.entry(series), self._own.get(series)
        if known is None or known[0] != entry:
            models, overrides = (entry.models, entry.overrides) if entry else (None, {})
            own = self.settings.of_series(series, models, overrides)
            known = self._own[series] = (entry, own)
        return known[1]

    def models_of(self, series: Series) -> tuple[str, ...]:
        """The model types kept alive for one series."""
        return self.settings_of(series).models

    def pool_of(self, series: Series) -> tuple[Series, ...]:
        """The series whose evidence counts for one another with that of `series`."""
        pooled = self.settings.pool_symbols
        return tuple(s for s in self.series if s.interval == series.interval) if pooled else ()

    def pools(self, wanted: Sequence[Series], models: Sequence[str] | None) -> list[Pool]:
        """What is trained over several series at once: where all of them, and the model type, are wanted.

        A model over some of its series would be another recipe.
        """
        found: list[Pool] = []
        for model_type in self.settings.pooled_models:
            if models is not None and model_type not in models:
                continue
            groups: dict[str, list[Series]] = {}
            for series in self.series:
                own = self.settings_of(series)
                # Where the newest always reigns, a recipe that competes would only take turns.
                if model_type in own.models and own.promotion_policy != "newest":
                    recipe = own.model_dump_json(include={"interval", *_OF_A_RECIPE})
                    groups.setdefault(recipe, []).append(series)
            found += [
                (model_type, tuple(group)) for group in groups.values()
                if len(group) > 1 and set(group) <= set(wanted)
            ]  # fmt: skip
        return found

    def pooled_cycle(self, pool: Pool) -> PooledCycle:
        """The cycle of one model over several series."""
        model_type, every = pool
        return PooledCycle([self.manager(series) for series in every], model_type)

    @cached_property
    def registry(self) -> SQLModelRegistry:
        patience = 0 if self._interactive else DATABASE_PATIENCE_SECONDS
        first = Series(self.settings.symbols[0], self.settings.interval)
        return SQLModelRegistry(
            self.settings.db_url, self.settings.model_dir, series=first, patience=patience
        )

    @cached_property
    def runs(self) -> SQLRunStore:
        return SQLRunStore(self.registry.database)

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
            self.models_of,
            lambda: Sight.of(self.feature_engineer),
            lambda series: self.exchange_time(),
            time.monotonic,
        )

    @cached_property
    def exchange_time(self) -> Callable[[], datetime]:
        """The exchange's time; for whoever waits in front of a screen it, or an error, comes soon."""
        ask = self.data_client(self.series[0]).server_time
        patience = PATIENCE_SECONDS if self._interactive else _PATIENCE_OF_WORKERS
        return Impatient(ask, patience, mask_url(self.settings.binance_url))

    @cached_property
    def feature_engineer(self) -> QuantumFeatureEngineer:
        past = longest(self.trainer.past(model) for model in self.models)
        return QuantumFeatureEngineer(
            use_advanced=self.settings.features == "advanced", past=past, max_jump=self.settings.max_jump
        )

    @cached_property
    def trainer(self) -> QuantumModelTrainer:
        return _trainer(self.settings)

    def trainer_of(self, settings: Settings) -> QuantumModelTrainer:
        """Everybody's, where a series' settings train as they do."""
        of_training = ("training_preset", "training_params", "training_seed")
        usual = all(getattr(settings, name) == getattr(self.settings, name) for name in of_training)
        return self.trainer if usual else _trainer(settings)

    def find_series(
        self, symbol: str | None = None, interval: str | None = None, among: Sequence[Series] | None = None
    ) -> Series:
        """A series that is watched; None: as in the first one. among: the series, where they are known.

        Raises InvalidSetting for one that is not watched, BadInput for what can be none.
        """
        every = self.series if among is None else among
        wanted = Series(
            every[0].symbol if symbol is None else symbol, every[0].interval if interval is None else interval
        )
        if wanted not in every:
            raise InvalidSetting("symbol, interval", str(wanted), listed(every))
        return wanted

    def data_client(self, series: Series) -> ClosableClient:
        """The client of one series, built once."""
        if series not in self._clients:
            self._clients[series] = self.build_client(series)
        return self._clients[series]

    def build_client(self, series: Series) -> BinanceDataClient:
        return BinanceDataClient(
            symbol=series.symbol,
            interval=series.interval,
            cache_enabled=self.settings.cache_enabled,
            cache_ttl=self.settings.cache_ttl,
            base_url=self.settings.binance_url,
            data_dir=self.settings.data_dir,
            pace=self._pace,
            connections=self._connections,
            max_jump=self.settings.max_jump,
        )

    def weight_used(self) -> dict[str, float | str | None]:
        """Request weight of the last minute; see `Pace.standing`."""
        return self._pace.standing(self.settings.binance_url)

    def manager(self, series: Series | None = None, params: Params = None) -> ContinuousLearningManager:
        """The manager of one series, built once for what is said of the series and of its pool.

        One of its own for a run with `params` of its own.
        """
        series = series or self.series[0]
        settings, pool = self.settings_of(series), self.pool_of(series)
        if params:
            return self.build_manager(series, _with(settings, params), pool)
        known = self._managers.get(series)
        if known is None or known[0] != (settings, pool):
            known = (settings, pool), self.build_manager(series, settings, pool)
            self._managers[series] = known
        return known[1]

    def build_manager(
        self, series: Series, settings: Settings, pool: tuple[Series, ...]
    ) -> ContinuousLearningManager:
        data_client, features = self.data_client(series), self.feature_engineer
        return ContinuousLearningManager(
            data_client=data_client,
            feature_engineer=features,
            model_trainer=self.trainer_of(settings),
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
            models=settings.models,
            promotion_policy=policy_of(settings),
            drift_triggers=settings.drift_triggers,
            pool=pool,
            alarm=self.alarm,
        )

    def recipe_search(self, series: Series) -> RecipeSearch:
        """What proposes recipes for a series."""
        features, trainer = self.feature_engineer, self.trainer_of(self.settings_of(series))
        return RecipeSearch(
            self.data_client(series), features, trainer, QuantumModelEvaluator(features),
            self.registry.for_series(series), self.manager(series).timeline_rule,
        )  # fmt: skip

    @cached_property
    def alerts(self) -> SQLAlerts:
        return SQLAlerts(self.registry.database)

    @cached_property
    def receivers(self) -> tuple[Receiver, ...]:
        """Who is told of incidents. Raises InvalidSetting for an address that cannot be."""
        return receivers_of([url.get_secret_value() for url in self.settings.alert_urls])

    def alarm(self, alert: Alert) -> None:
        """Into the log and on record; a known incident is only counted."""
        log_alert(alert)
        try:
            self.alerts.record(alert)
        except ClmError as error:
            log.warning("alert_not_recorded", incident=alert.incident, error=str(error))

    def alarm_over(self, kind: str, series: Series, model_type: str = "") -> None:
        """What `alarm` was called for has been mended."""
        try:
            self.alerts.settle(kind, series, model_type)
        except ClmError as error:
            log.warning("alert_not_closed", kind=kind, series=str(series), error=str(error))

    def ensemble_keeper(self, series: Series) -> EnsembleKeeper | None:
        """Of one series; None where there is but one model type to mix."""
        models = self.models_of(series)
        if len(models) < 2:
            return None
        store = SQLMixtures(self.registry.database, series)
        return EnsembleKeeper(self.registry.for_series(series), store, models)


def policy_of(settings: Settings) -> PromotionPolicy:
    return POLICIES[settings.promotion_policy](settings)


def _trainer(settings: Settings) -> QuantumModelTrainer:
    return QuantumModelTrainer(
        params=_training_params(settings), seed=settings.training_seed, threads=settings.training_threads
    )


def _with(settings: Settings, params: Mapping[str, Mapping[str, Any]]) -> Settings:
    """The settings with hyper-parameters over their own."""
    merged = {family: {**settings.training_params.get(family, {}), **own} for family, own in params.items()}
    return settings.model_copy(update={"training_params": {**settings.training_params, **merged}})


def check_training(settings: Settings, models: Iterable[str], params: Params = None) -> None:
    """Whether families could be trained with what is said of them, before any is. Raises BadInput.

    params: of one run, over the settings'. A family of which nothing is said is not even imported.
    """
    given = _with(settings, params) if params else settings
    for model in models:
        family = plugins.model_family(model) if given.training_params.get(model) else None
        if not isinstance(family, CheckingFamily):
            continue
        try:
            family.check(_training_params(given)[model])
        except BadInput as error:
            if params and model in params:
                raise
            said = f"CLM_TRAINING_PARAMS: {error}"
            raise InvalidSetting("CLM_TRAINING_PARAMS", error.value, error.allowed, message=said) from error


def listed(every: Sequence[Series]) -> str:
    """The first of them by name, and how many more there are."""
    more = f" and {len(every) - _NAMED:,} more, see `clm series`" if len(every) > _NAMED else ""
    return ", ".join(map(str, every[:_NAMED])) + more


def _training_params(settings: Settings) -> dict[str, dict[str, Any]]:
    """The preset for the tree families, then what the settings say per family."""
    params: dict[str, dict[str, Any]] = {
        str(family): {"preset": settings.training_preset}
        for family in (ModelType.XGBOOST, ModelType.LIGHTGBM)
    }
    for family, own in settings.training_params.items():
        params[family] = {**params.get(family, {}), **own}
    return params
