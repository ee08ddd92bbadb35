"""ContinuousLearningManager: the cycle of one series, from trigger to report.

    trigger → candles → features → one `ModelAttempt` per model that is due → report

It owns no thread, no file and no clock: `now` comes from the data client, everything else from its parts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from clm.core import plugins
from clm.core.alert import Alarm, unheard
from clm.core.attempt import STEPS, Attempted, Material, ModelAttempt, Say
from clm.core.book import Trial
from clm.core.bookkeeper import Bookkeeper
from clm.core.certificate import check_truncation
from clm.core.domain import (
    ModelArtifact,
    ModelType,
    Outcome,
    Progress,
    RetrainReport,
    Series,
    longest,
    utc,
)
from clm.core.drift_watch import DriftWatch
from clm.core.errors import ClmError, DatabaseUnavailable, InsufficientData, InvalidSetting, LeaseLost
from clm.core.evidence_policy import EvidencePolicy
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
    ProgressListener,
    ShadowTester,
)
from clm.core.timeline import MIN_ROWS, Timeline, TimelineRule
from clm.core.triggers import FORCED, TriggerRule
from clm.core.variance import variance_after
from clm.core.wire import NOTHING_TO_DO, report_view

DEFAULT_MODELS = (str(ModelType.XGBOOST), str(ModelType.LIGHTGBM))
_COMMON_STEPS = 2


class ContinuousLearningManager:
    """Keeps the models of one series alive.

    retrain_interval_days, training_lookback_days, holdout_days: days; shadow_test_hours, purge_hours: hours;
    min_improvement_threshold: fraction, 0.02 = 2 %, read by the default policy only. models: families to
    keep alive. pool: series that share their evidence with this one. drift_triggers: also retrain
    when performance decays, features drift or the regime shifts. alarm: hears of a champion that gave way.
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
        self.policy = promotion_policy or EvidencePolicy(
            min_improvement=min_improvement_threshold,
            shadow_candles=self.timeline_rule.shadow // self.series.step,
        )
        others = tuple(model_registry.for_series(other) for other in pool if other != self.series)
        self.keeper = Bookkeeper(self._registry, self.timeline_rule, others)
        self._attempt = ModelAttempt(
            trainer=model_trainer,
            evaluator=model_evaluator,
            shadow_tester=shadow_tester,
            keeper=self.keeper,
            policy=self.policy,
            rule=self.timeline_rule,
            alarm=alarm,
        )
        self._clock = clock
        self._look_back(self.models)
        parts = (data_client, feature_engineer, self._registry, self.timeline_rule.purge)
        self._drift = DriftWatch(*parts) if drift_triggers else None

    def check_if_retrain_needed(self) -> dict[str, str | None]:
        """Why each known model type should be retrained now; None: no need. Or why it cannot be, here."""
        now = utc(self._data.server_time())
        return {m: plugins.lacking(m) or self._trigger(m, now) for m in self._known_types()}

    def short_by(self, begins: datetime, now: datetime) -> str | None:
        """In words, how many candles are missing where the history begins then; None: it is long enough."""
        step, fit = self.series.step, self.timeline_rule.at(now, self.series.step).fit
        needed = self._features.warmup + self.timeline_rule.horizon + MIN_ROWS
        missing = needed + (begins - fit.end) // step
        if missing <= 0:
            return None
        return (
            f"its history begins on {begins:%Y-%m-%d %H:%M} UTC and needs {missing:,} more candles, "
            f"{missing * step / timedelta(days=1):.1f} days, before a model can be trained and judged"
        )

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
        journal: Journal = NoJournal(),  # noqa: B008  # it keeps nothing
    ) -> RetrainReport:
        """Retrain what needs it; `force`: whatever the triggers say.

        models: None for the manager's own. A failure of one model is in `report.failed_models` with its
        cause and leaves its champion as it was. journal: of the run this is part of; what that has finished
        is left out. Raises UnknownModelType, DatabaseUnavailable, LeaseLost, and what candles or features
        raise.
        """
        began = self._clock()
        wanted = self.models if models is None else plugins.require_model_types(tuple(map(str, models)))
        now = utc(self._data.server_time())
        reasons = {m: self._trigger(m, now) or (FORCED if force else None) for m in wanted}
        due = tuple(m for m in wanted if reasons[m] is not None and not journal.finished(self.series, m))
        voice = _Voice(self.series, len(due), progress)
        attempts: list[Attempted] = []
        failed: dict[str, str] = {}
        if due:
            self._look_back(due)
            material = self._gather(now, voice)
            with self._begun_early(due, material):
                for position, model_type in enumerate(due):
                    started = self._clock()
                    tried: Attempted | None = None
                    try:
                        journal.begin(self.series, model_type)
                        tried = self._attempt.run(model_type, material, voice.of(model_type, position))
                    except (DatabaseUnavailable, LeaseLost):
                        # No fault of the model: the run as a whole has lost its ground.
                        raise
                    except ClmError as error:
                        failed[model_type] = str(error)
                    seconds = self._clock() - started
                    trial = _tried(tried, now) if tried else _failed(model_type, now, failed[model_type])
                    self._note(trial, reasons, seconds)
                    if tried is not None:
                        attempts.append(tried)
                    alone = _report(
                        self.series, {model_type: reasons[model_type]}, now, seconds,
                        [tried] if tried else [],
                        {model_type: failed[model_type]} if model_type in failed else {},
                    )  # fmt: skip
                    journal.end(self.series, model_type, report_view([alone], {}, {}))
            voice.finished()
        return _report(self.series, reasons, now, self._clock() - began, attempts, failed)

    @contextmanager
    def _begun_early(self, due: Sequence[str], material: Material) -> Iterator[None]:
        """Trainings that can begin before their turn do; what is left of them at the end is not wanted."""
        try:
            for model_type in due:
                self._attempt.anticipate(model_type, material)
            yield
        finally:
            if isinstance(self._attempt.trainer, EagerTrainer):
                self._attempt.trainer.forget()

    def _look_back(self, models: Sequence[str]) -> None:
        """Features of before, for families that look back on them."""
        trainer, features = self._attempt.trainer, self._features
        if isinstance(trainer, EagerTrainer) and isinstance(features, PastEngineer):
            features.look_back_on(longest(trainer.past(model) for model in (*self.models, *models)))

    def _gather(self, now: datetime, voice: _Voice) -> Material:
        """Candles and features, once for all models."""
        timeline = self.timeline_rule.at(now, self.series.step)
        voice.say(0, "candles", f"reading {self.series} candles since {timeline.fit.start:%Y-%m-%d}")
        candles = self._candles(timeline)
        voice.say(1, "features", f"computing features of {len(candles):,} candles")
        features = self._features.transform(candles)
        return Material(
            self.series, now, timeline, candles, features, variance_after(candles),
            check_truncation(self._features, candles, features),
        )  # fmt: skip

    def _candles(self, timeline: Timeline) -> pd.DataFrame:
        # One more than the warm-up: the first row's candle closes, not opens, where the window begins.
        start = timeline.fit.start - (self._features.warmup + 1) * self.series.step
        candles = self._data.load_training_data(start, timeline.now)
        if candles.empty:
            raise InsufficientData(
                f"{self.series}: the exchange has no candle between {start:%Y-%m-%d} "
                f"and {timeline.now:%Y-%m-%d %H:%M} UTC"
            )
        opens, step = pd.DatetimeIndex(candles.index), self.series.step
        short = self.short_by(utc(opens[0]), timeline.now)
        if short is not None:
            raise InsufficientData(f"{self.series}: {short}")
        newest = utc(opens[-1]) + step
        if newest <= timeline.shadow.start:
            raise InsufficientData(
                f"{self.series}: the newest candle closed at {newest:%Y-%m-%d %H:%M} UTC, before the last "
                f"{self.timeline_rule.shadow}; the exchange no longer trades it, or lags behind its own clock"
            )
        return candles

    def _note(self, trial: Trial, reasons: Mapping[str, str | None], seconds: float) -> None:
        """The attempt into the trial ledger, with what it cost."""
        why = reasons[trial.model_type]
        self._registry.book.record_trial(replace(trial, seconds=seconds, trigger=why))

    def _trigger(self, model_type: str, now: datetime) -> str | None:
        newest = self._registry.get_model_history(model_type, limit=1)
        champion = self._registry.get_active(model_type)
        reason = self.trigger_rule.reason(champion, newest[0] if newest else None, now)
        if reason is None and self._drift is not None and champion is not None:
            reason = self._drift.reason(champion, newest[0], now)
        return reason

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
        notes=(NOTHING_TO_DO,) if idle else (),
    )


def _tried(attempt: Attempted, now: datetime) -> Trial:
    decision, candidate = attempt.decision, attempt.candidate
    outcomes = {Outcome.PROMOTE: "promoted", Outcome.CONTINUE: "shadow", Outcome.REJECT: "rejected"}
    return Trial(
        model_type=candidate.model_type, version=candidate.version, recipe_id=candidate.recipe_id,
        began_at=now, outcome=outcomes[decision.outcome], reason=decision.reason, seconds=0.0,
        details={
            "label": decision.label, "metrics": candidate.metrics,
            **({"trainings": list(attempt.costs)} if attempt.costs else {}),
        },
    )  # fmt: skip


def _failed(model_type: str, now: datetime, cause: str) -> Trial:
    return Trial(
        model_type=model_type, version=None, recipe_id=None, began_at=now, outcome="failed", reason=cause,
        seconds=0.0,
    )  # fmt: skip


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
