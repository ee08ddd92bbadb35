"""ContinuousLearningManager: the cycle of one series, from trigger to report.

    trigger → candles → features → one `ModelAttempt` per model that is due → report

It owns no thread, no file and no clock: `now` comes from the data client, everything else from its parts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from clm.core import plugins
from clm.core.attempt import STEPS, Attempted, Material, ModelAttempt, Say
from clm.core.domain import ModelArtifact, ModelType, Outcome, Progress, RetrainReport, Series, utc
from clm.core.errors import ClmError, InsufficientData, InvalidSetting
from clm.core.policy import PromotionPolicy, ThresholdPolicy
from clm.core.protocols import (
    Clock,
    DataClient,
    FeatureEngineer,
    ModelEvaluator,
    ModelRegistry,
    ModelTrainer,
    ProgressListener,
    ShadowTester,
)
from clm.core.timeline import Timeline, TimelineRule
from clm.core.triggers import FORCED, TriggerRule

DEFAULT_MODELS = (str(ModelType.XGBOOST), str(ModelType.LIGHTGBM))
_COMMON_STEPS = 2


class ContinuousLearningManager:
    """Keeps the models of one series alive.

    retrain_interval_days, training_lookback_days, holdout_days: days; shadow_test_hours, purge_hours: hours;
    min_improvement_threshold: fraction, 0.02 = 2 %, read by the default policy only. models: families to
    keep alive. Raises InvalidSetting for windows that cannot be, UnknownModelType.
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
        clock: Clock = time.monotonic,
    ) -> None:
        self.series = data_client.series
        self.models = plugins.require_model_types(tuple(str(m) for m in models))
        self.timeline_rule = TimelineRule(
            lookback=timedelta(days=_positive("training_lookback_days", training_lookback_days)),
            holdout=timedelta(days=_positive("holdout_days", holdout_days)),
            shadow=timedelta(hours=_positive("shadow_test_hours", shadow_test_hours)),
            purge=timedelta(hours=_positive("purge_hours", purge_hours)),
        )
        self.trigger_rule = TriggerRule(
            max_age=timedelta(days=_positive("retrain_interval_days", retrain_interval_days)),
            after_candles=retrain_after_candles,
        )
        self._data = data_client
        self._features = feature_engineer
        self._registry = model_registry.for_series(self.series)
        self._attempt = ModelAttempt(
            trainer=model_trainer,
            evaluator=model_evaluator,
            shadow_tester=shadow_tester,
            registry=self._registry,
            policy=promotion_policy or ThresholdPolicy(min_improvement_threshold),
            rule=self.timeline_rule,
        )
        self._clock = clock

    def check_if_retrain_needed(self) -> dict[str, str | None]:
        """Why each known model type should be retrained now; None: no need."""
        now = utc(self._data.server_time())
        return {model_type: self._trigger(model_type, now) for model_type in self._known_types()}

    def get_model_status_summary(self) -> dict[str, dict[str, Any]]:
        """Per known model type: active_version, trained_at, promoted_at, metrics, notes; None without one."""
        return {
            model_type: _summary(self._registry.get_active(model_type)) for model_type in self._known_types()
        }

    def run_full_cycle(
        self,
        models: Sequence[str] | None = None,
        force: bool = False,
        *,
        progress: ProgressListener | None = None,
    ) -> RetrainReport:
        """Retrain what needs it; `force`: whatever the triggers say.

        models: None for the manager's own. A failure of one model is in `report.failed_models` with its
        cause and leaves its champion as it was. Raises UnknownModelType, and what candles or features raise.
        """
        began = self._clock()
        wanted = self.models if models is None else plugins.require_model_types(tuple(map(str, models)))
        now = utc(self._data.server_time())
        reasons = {m: self._trigger(m, now) or (FORCED if force else None) for m in wanted}
        due = tuple(m for m in wanted if reasons[m] is not None)
        voice = _Voice(self.series, len(due), progress)
        attempts: list[Attempted] = []
        failed: dict[str, str] = {}
        if due:
            material = self._gather(now, voice)
            for position, model_type in enumerate(due):
                try:
                    attempts.append(self._attempt.run(model_type, material, voice.of(model_type, position)))
                except ClmError as error:
                    failed[model_type] = str(error)
            voice.finished()
        return _report(self.series, reasons, now, self._clock() - began, attempts, failed)

    def _gather(self, now: datetime, voice: _Voice) -> Material:
        """Candles and features, once for all models."""
        timeline = self.timeline_rule.at(now, self.series.step)
        voice.say(0, "candles", f"reading {self.series} candles since {timeline.fit.start:%Y-%m-%d}")
        candles = self._candles(timeline)
        voice.say(1, "features", f"computing features of {len(candles):,} candles")
        features = self._features.transform(candles)
        return Material(self.series, now, timeline, candles, features)

    def _candles(self, timeline: Timeline) -> pd.DataFrame:
        # One more than the warm-up: the first row's candle closes, not opens, where the window begins.
        start = timeline.fit.start - (self._features.warmup + 1) * self.series.step
        candles = self._data.load_training_data(start, timeline.now)
        if candles.empty:
            raise InsufficientData(
                f"{self.series}: the exchange has no candle between {start:%Y-%m-%d} "
                f"and {timeline.now:%Y-%m-%d %H:%M} UTC"
            )
        newest = utc(pd.DatetimeIndex(candles.index)[-1]) + self.series.step
        if newest <= timeline.shadow.start:
            raise InsufficientData(
                f"{self.series}: the newest candle closed at {newest:%Y-%m-%d %H:%M} UTC, before the last "
                f"{self.timeline_rule.shadow}; the exchange no longer trades it, or lags behind its own clock"
            )
        return candles

    def _trigger(self, model_type: str, now: datetime) -> str | None:
        newest = self._registry.get_model_history(model_type, limit=1)
        champion = self._registry.get_active(model_type)
        return self.trigger_rule.reason(champion, newest[0] if newest else None, now)

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


def _report(
    series: Series,
    reasons: Mapping[str, str | None],
    now: datetime,
    seconds: float,
    attempts: Sequence[Attempted],
    failed: Mapping[str, str],
) -> RetrainReport:
    decisions = tuple(attempt.decision for attempt in attempts)
    idle = not attempts and not failed
    return RetrainReport(
        series=series,
        trigger=reasons,
        triggered_at=now,
        completed_at=now + timedelta(seconds=seconds),
        duration_seconds=seconds,
        models_trained=tuple(decision.model_type for decision in decisions),
        promoted_models=tuple(d.model_type for d in decisions if d.outcome is Outcome.PROMOTE),
        evaluations=tuple(evaluation for attempt in attempts for evaluation in attempt.evaluations),
        shadow_tests=tuple(attempt.shadow for attempt in attempts),
        decisions=decisions,
        failed_models=dict(failed),
        notes=("nothing to do: no trigger fired",) if idle else (),
    )


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
