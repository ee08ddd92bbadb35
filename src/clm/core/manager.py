"""ContinuousLearningManager: the cycle of one series, from trigger to report.

    trigger → candles → features → one `ModelAttempt` per model that is due → report

It owns no thread, no file and no clock: `now` comes from the data client, everything else from its parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from clm.core import plugins
from clm.core.alert import Alarm, Alert, unheard
from clm.core.ambit import about
from clm.core.attempt import STEPS, Attempted, Material, ModelAttempt, Say
from clm.core.bookkeeper import Bookkeeper
from clm.core.domain import (
    ModelArtifact,
    ModelType,
    Progress,
    RetrainReport,
    Series,
    longest,
    utc,
)
from clm.core.drift_watch import DriftWatch
from clm.core.errors import ClmError, DatabaseUnavailable, InvalidSetting, LeaseLost
from clm.core.evidence_policy import EvidencePolicy
from clm.core.gathering import Gatherer, Tell
from clm.core.journal import Journal, NoJournal
from clm.core.policy import PromotionPolicy
from clm.core.protocols import (
    Clock,
    DataClient,
    EagerTrainer,
    FeatureEngineer,
    ModelEvaluator,
    ModelRegistry,
    ModelTrainer,
    PastEngineer,
    PreparedRegistry,
    ProgressListener,
    ShadowTester,
)
from clm.core.reports import Spent, joined, report_of, trial_of
from clm.core.timeline import TimelineRule
from clm.core.triggers import FORCED, TriggerRule
from clm.core.wire import report_view

DEFAULT_MODELS = (str(ModelType.XGBOOST), str(ModelType.LIGHTGBM))
_COMMON_STEPS = 2
#: Versions among which the last one of the series' own recipes is looked for.
_HISTORY = 20


#: (models, force, progress) → the report of `run_full_cycle`, which it calls with a journal.
Recorder = Callable[[Sequence[str] | None, bool, ProgressListener | None], RetrainReport]
_UNRECORDED = NoJournal()


def _machine_time() -> datetime:
    return datetime.now(UTC)


class ContinuousLearningManager:
    """Keeps the models of one series alive.

    retrain_interval_days, training_lookback_days, holdout_days: days; shadow_test_hours, purge_hours: hours;
    min_improvement_threshold: fraction, 0.02 = 2 %, read by the default policy only. models: families to
    keep alive. pool: series that share their evidence with this one. drift_triggers: also retrain
    when performance decays, features drift or the regime shifts. alarm: hears of a champion that gave way.
    clock, wall: seconds, and the time of day, by the machine.
    Raises InvalidSetting for windows that cannot be, UnknownModelType.
    """

    def __init__(
        self,
        data_client: DataClient,
        feature_engineer: FeatureEngineer,
        model_trainer: ModelTrainer,
        model_evaluator: ModelEvaluator,
        shadow_tester: ShadowTester,
        model_registry: ModelRegistry,
        retrain_interval_days: float = 7,
        shadow_test_hours: float = 24,
        min_improvement_threshold: float = 0.02,
        training_lookback_days: float = 365,
        *,
        holdout_days: float = 30,
        purge_hours: float = 24,
        retrain_after_candles: int = 0,
        models: Sequence[str] = DEFAULT_MODELS,
        promotion_policy: PromotionPolicy | None = None,
        pool: Sequence[Series] = (),
        drift_triggers: bool = True,
        alarm: Alarm = unheard,
        clock: Clock = time.monotonic,
        wall: Callable[[], datetime] = _machine_time,
    ) -> None:
        self.series = data_client.series
        self.models = plugins.require_model_types(tuple(str(m) for m in models))
        self.timeline_rule = TimelineRule(
            lookback=timedelta(days=_positive("training_lookback_days", training_lookback_days)),
            holdout=timedelta(days=_positive("holdout_days", holdout_days)),
            shadow=timedelta(hours=_positive("shadow_test_hours", shadow_test_hours)),
            purge=timedelta(hours=_positive("purge_hours", purge_hours)),
        )
        self.timeline_rule.require(self.series.step)
        self.trigger_rule = TriggerRule(
            max_age=timedelta(days=_positive("retrain_interval_days", retrain_interval_days)),
            after_candles=retrain_after_candles,
        )
        self._data = data_client
        self._features = feature_engineer
        self._registry = model_registry.for_series(self.series)
        self.policy = promotion_policy or EvidencePolicy(
            min_improvement=min_improvement_threshold,
            shadow_candles=self.timeline_rule.shadow // self.series.step,
        )
        others = tuple(model_registry.for_series(other) for other in pool if other != self.series)
        self.keeper = Bookkeeper(self._registry, self.timeline_rule, others)
        self.attempt = ModelAttempt(
            trainer=model_trainer,
            evaluator=model_evaluator,
            shadow_tester=shadow_tester,
            keeper=self.keeper,
            policy=self.policy,
            rule=self.timeline_rule,
            alarm=alarm,
        )
        self._clock, self._wall, self._alarm = clock, wall, alarm
        #: Makes a run of a cycle that is none yet; None: it is nowhere on record.
        self.recorder: Recorder | None = None
        self.gatherer = Gatherer(data_client, feature_engineer, self.timeline_rule)
        #: What the trainings that were begun before their cycle were begun with.
        self._ready: Material | None = None
        self._look_back(self.models)
        parts = (data_client, feature_engineer, self._registry, self.timeline_rule.purge)
        self._drift = DriftWatch(*parts) if drift_triggers else None

    def check_if_retrain_needed(self) -> dict[str, str | None]:
        """Why each known model type should be retrained now; None: no need.

        Whether it can be, here, is `untrainable_here` of `get_model_status_summary`.
        """
        now = utc(self._data.server_time())
        return {m: self._trigger(m, now) for m in self._known_types()}

    def get_model_status_summary(self) -> dict[str, dict[str, Any]]:
        """Per known model type: active_version, trained_at, promoted_at, metrics, notes; None without one.

        untrainable_here: what this process lacks to train it, and how to get that; None: nothing.
        """
        return {
            m: {**_summary(self._registry.get_active(m)), "untrainable_here": plugins.lacking(m)}
            for m in self._known_types()
        }

    def anticipate(self) -> None:
        """Begins what a cycle would train now because of age, for a caller with something to do before it.

        The cycle comes to the same, only sooner. Raises what candles or features raise.
        """
        now = utc(self._data.server_time())
        due = tuple(m for m in self.models if self.trigger_rule.reason(*self._newest(m), now) is not None)
        if due:
            self._look_back(due)
            self._ready = self.gatherer.material(now, lambda done, step, message: None)
            self._begin(due, self._ready)

    def run_full_cycle(
        self,
        models: Sequence[str] | None = None,
        force: bool = False,
        *,
        progress: ProgressListener | None = None,
        journal: Journal = _UNRECORDED,
    ) -> RetrainReport:
        """Retrain what needs it; `force`: whatever the triggers say.

        models: None for the manager's own. A model that failed is in `report.failed_models`, its cause in
        `report.failures`, and leaves its champion as it was. journal: of the run this is part of; what that
        has finished is left out. Raises UnknownModelType, DatabaseUnavailable, LeaseLost, and what candles
        or features raise.
        """
        if self.recorder is not None and journal is _UNRECORDED:
            return self.recorder(models, force, progress)
        began, began_at = self._clock(), self._wall()
        wanted = self.models if models is None else plugins.require_model_types(tuple(map(str, models)))
        now = utc(self._data.server_time())
        reasons = {m: self._trigger(m, now, self._alarm) or (FORCED if force else None) for m in wanted}
        due = tuple(m for m in wanted if reasons[m] is not None and not journal.finished(self.series, m))
        voice = _Voice(self.series, len(due), progress)
        reports: list[RetrainReport] = []
        if due:
            self.prepare()
            self._look_back(due)
            with about(series=str(self.series)):
                material = self._material(now, voice.say)
            with self._begun_early(due, material):
                for position, model_type in enumerate(due):
                    say = voice.of(model_type, position)
                    reports.append(self.try_one(model_type, material, reasons[model_type], say, journal))
            voice.finished()
        elif self._ready is not None:
            self._forget()
        return joined(self.series, reports, reasons, Spent(now, began_at, self._clock() - began))

    def prepare(self) -> None:
        """Before anything is fetched or trained. Raises StorageFailed where no model could be stored."""
        if isinstance(self._registry, PreparedRegistry):
            self._registry.prepare()

    def try_one(
        self,
        model_type: str,
        material: Material,
        reason: str | None,
        say: Say,
        journal: Journal,
        attempt: ModelAttempt | None = None,
        entry: str | None = None,
    ) -> RetrainReport:
        """One model's turn, kept in the trial ledger and the run's journal; its failure is in the report.

        attempt: in place of the manager's own. entry: its name in the journal, the model type's by default.
        Raises DatabaseUnavailable, LeaseLost.
        """
        came: Attempted | str
        started, began_at = self._clock(), self._wall()
        try:
            journal.begin(self.series, entry or model_type)
            with about(series=str(self.series), model=model_type):
                came = (attempt or self.attempt).run(model_type, material, say)
        except (DatabaseUnavailable, LeaseLost):
            # No fault of the model: the run as a whole has lost its ground.
            raise
        except ClmError as error:
            came = f"{entry}: {error}" if entry else str(error)
        seconds = self._clock() - started
        self._registry.book.record_trial(trial_of(model_type, came, reason, material.now, seconds))
        report = report_of(self.series, reason, Spent(material.now, began_at, seconds), model_type, came)
        journal.end(self.series, entry or model_type, report_view([report], {}, {}))
        return report

    def _material(self, now: datetime, tell: Tell) -> Material:
        """What trainings were begun with at the same moment, if they were; else gathered now."""
        if self._ready is not None and self._ready.now == now:
            return self._ready
        return self.gatherer.material(now, tell)

    @contextmanager
    def _begun_early(self, due: Sequence[str], material: Material) -> Iterator[None]:
        """Trainings that can begin before their turn do; what is left of them at the end is not wanted."""
        try:
            self._begin(due, material)
            yield
        finally:
            self._forget()

    def _begin(self, due: Sequence[str], material: Material) -> None:
        for model_type in due:
            with about(series=str(self.series), model=model_type):
                self.attempt.anticipate(model_type, material)

    def _forget(self) -> None:
        self._ready = None
        if isinstance(self.attempt.trainer, EagerTrainer):
            self.attempt.trainer.forget()

    def _look_back(self, models: Sequence[str]) -> None:
        """Features of before, for families that look back on them."""
        trainer, features = self.attempt.trainer, self._features
        if isinstance(trainer, EagerTrainer) and isinstance(features, PastEngineer):
            features.look_back_on(longest(trainer.past(model) for model in (*self.models, *models)))

    def _trigger(self, model_type: str, now: datetime, alarm: Alarm = unheard) -> str | None:
        champion, newest = self._newest(model_type)
        reason = self.trigger_rule.reason(champion, newest, now)
        if reason is None and self._drift is not None and champion is not None and newest is not None:
            reason = self._drift.reason(champion, newest, now)
            if reason is not None:
                alarm(Alert("drift", self.series, model_type, newest.version, reason))
        return reason

    def _newest(self, model_type: str) -> tuple[ModelArtifact | None, ModelArtifact | None]:
        """Champion, and the version trained last."""
        # A model over all series is retrained when its own time has come, and does not put this one's off.
        history = self._registry.get_model_history(model_type, limit=_HISTORY)
        newest = next((version for version in history if not version.pooled), None)
        return self._registry.get_active(model_type), newest

    def _known_types(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*plugins.known_model_types(), *self.models)))


class _Voice:
    """Tells a listener how far the cycle is."""

    def __init__(self, series: Series, models: int, listener: ProgressListener | None) -> None:
        self._series = series
        self._total = _COMMON_STEPS + len(STEPS) * models
        self._listener = listener

    def say(self, done: int, step: str, message: str, model_type: str | None = None) -> None:
        if self._listener is not None:
            progress = Progress(
                step=step, message=message, done=done, total=self._total, model_type=model_type,
                series=self._series,
            )  # fmt: skip
            self._listener(progress)

    def of(self, model_type: str, position: int) -> Say:
        """A `Say` for the model at `position` of the cycle."""
        before = _COMMON_STEPS + len(STEPS) * position

        def say(step: str, message: str) -> None:
            self.say(before + STEPS.index(step), step, message, model_type)

        return say

    def finished(self) -> None:
        self.say(self._total, "done", "cycle complete")


def _summary(champion: ModelArtifact | None) -> dict[str, Any]:
    if champion is None:
        return dict.fromkeys(("active_version", "trained_at", "promoted_at", "metrics", "notes"))
    return {
        "active_version": champion.version,
        "trained_at": champion.trained_at,
        "promoted_at": champion.promoted_at,
        "metrics": dict(champion.metrics),
        "notes": champion.notes or None,
    }


def _positive(name: str, value: object) -> float:
    """`value` if it is a positive number of sensible size. Raises InvalidSetting."""
    if not isinstance(value, int | float) or not 0 < value < 100_000:
        raise InvalidSetting(name, value, "a positive number, below 100,000")
    return float(value)
