"""One model's way through a cycle: judge the recipe → certify → refit → shadow → evidence → decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from clm.core import plugins, scoring
from clm.core.alert import Alarm
from clm.core.answers import KnownAnswer, keep_answer
from clm.core.book import Forecast, Source
from clm.core.bookkeeper import Bookkeeper
from clm.core.certificate import Certificate, Truncation, certify, shuffled_labels
from clm.core.domain import (
    TARGET,
    Comparison,
    Decision,
    EvaluationResult,
    ModelArtifact,
    Series,
    ShadowTestResult,
    candles_fingerprint,
    is_past,
    utc,
    version_name,
)
from clm.core.errors import InsufficientData, TrainingFailed, UnreadableHere
from clm.core.origin import Origin, Pooled, used_candles
from clm.core.policy import Case, PromotionPolicy
from clm.core.profile import Profile
from clm.core.protocols import EagerTrainer, ModelEvaluator, ShadowTester, TrainedModel, Training
from clm.core.recipe import Recipe
from clm.core.reign import Reign, reign_of
from clm.core.sheet import Sheet
from clm.core.sight import Sight
from clm.core.timeline import MIN_COMPARED, Timeline, TimelineRule
from clm.core.verdict import carry_out, with_inputs

#: Called with the step begun and a sentence about it.
Say = Callable[[str, str], None]
STEPS = ("evaluation fit", "holdout", "canary", "refit", "shadow", "decision")


@dataclass(frozen=True, slots=True)
class Material:
    """What all models of one cycle share: computed once. now: the exchange's moment the cycle began.

    sheet: of the candles. variance: σ̂² known at each candle's close. truncation: what cutting off the future
    did to the features, computed when first asked for. sight: which features this process computes.
    """

    series: Series
    now: datetime
    timeline: Timeline
    candles: pd.DataFrame
    sheet: Sheet
    variance: pd.Series
    truncation: Callable[[], Truncation]
    sight: Sight

    @property
    def features(self) -> pd.DataFrame:
        """What models are trained on."""
        return self.sheet.frame


@dataclass(frozen=True, slots=True)
class Attempted:
    """What trying one model brought forth. costs: of its trainings, where the family tells them."""

    evaluations: tuple[EvaluationResult, ...]
    shadow: ShadowTestResult
    decision: Decision
    candidate: ModelArtifact
    costs: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Unread:
    """A champion that this process cannot use, and why."""

    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The recipe on hours it was not trained on; compared with the champion where there are such hours."""

    fit: pd.DataFrame
    recipe: TrainedModel
    evaluation: EvaluationResult
    beside: EvaluationResult | None
    comparison: Comparison | None
    canary: EvaluationResult | None


@dataclass(frozen=True, slots=True)
class ModelAttempt:
    """The parts a single model's turn needs, put together once per manager.

    pooled: what the trainer puts together from several series; None: it trains on the series' own rows.
    """

    trainer: Training
    evaluator: ModelEvaluator
    shadow_tester: ShadowTester
    keeper: Bookkeeper
    policy: PromotionPolicy
    rule: TimelineRule
    alarm: Alarm
    pooled: Pooled | None = None

    def anticipate(self, model_type: str, material: Material) -> None:
        """What will be trained, for a trainer that can begin before its turn."""
        if not isinstance(self.trainer, EagerTrainer):
            return
        timeline, features, step = material.timeline, material.features, material.series.step
        fit, refit = timeline.fit.rows(features, step), timeline.refit.rows(features, step)
        # The canary last: it is sorted into the bins of the fit, which are there by then.
        self.trainer.anticipate(model_type, [fit, refit, shuffled(fit)])

    def run(self, model_type: str, material: Material, say: Say) -> Attempted:
        """Train, judge, certify, store, decide, and promote where the policy says so.

        Raises what its parts raise; whatever is raised, the champion stays, unless its successor was
        promoted in full.
        """
        registry = self.keeper.registry
        reign: Reign | None = None
        champion: TrainedModel | None = None
        unread: Unread | None = None
        # As it is before it is read: whoever reigns by the end of a training may be another.
        active = registry.get_active(model_type)
        try:
            found = reign_of(
                registry, model_type, material.sight, material.now, self.alarm, self.policy.guard_hours
            )
            reign, champion = found if found is not None else (None, None)
            if reign is not None and champion is not None:
                keep_answer(registry, reign.champion, champion, material.sheet.of(champion))
        except UnreadableHere as error:
            # Whoever cannot read the champion trains all the same: otherwise nobody might ever again.
            unread = Unread(active.version, str(error)) if active is not None else None

        judged = self._judge(model_type, material, reign, champion, say)
        saved, refitted = self._refit_and_save(model_type, material, judged, reign, say)
        # What is judged from here on is what was stored, read back: an artifact that does not load fails now.
        candidate = registry.load_model(saved)
        hours = self.rule.shadow.total_seconds() / 3600
        say("shadow", f"replaying {model_type} over the last {hours:g} hours")
        shadow = self.shadow_tester.run_shadow_test(
            model_type, candidate, champion, hours, features=material.sheet.of(champion)
        )
        say("decision", f"deciding about {model_type} {saved.version}")
        self._record((saved, candidate), (reign, champion), judged, material)
        decision = self._decide(saved, reign, judged, shadow, material.now, unread)
        evaluations = (judged.evaluation,) if judged.beside is None else (judged.evaluation, judged.beside)
        return Attempted(evaluations, shadow, decision, saved, _costs(judged.recipe, refitted))

    def _judge(
        self,
        model_type: str,
        material: Material,
        reign: Reign | None,
        champion: TrainedModel | None,
        say: Say,
    ) -> Judged:
        """The recipe fitted before the holdout, scored on it; once more with shuffled labels."""
        timeline, step = material.timeline, material.series.step
        fit, holdout = (window.rows(material.features, step) for window in (timeline.fit, timeline.holdout))
        if len(holdout) < MIN_COMPARED:
            raise InsufficientData(
                f"{material.series}: {len(holdout)} candles with features between "
                f"{timeline.holdout.start:%Y-%m-%d} and {timeline.holdout.end:%Y-%m-%d}; at least "
                f"{MIN_COMPARED} are needed to evaluate on (training_lookback_days, holdout_days)"
            )
        if not fit[TARGET].any():
            raise TrainingFailed(
                f"{material.series}: the price does not move in the {len(fit):,} candles to train on: "
                "there is nothing to forecast"
            )
        say("evaluation fit", f"training {model_type} on {len(fit):,} candles")
        # First what can be done while trainings that were begun early go on.
        material.truncation()
        beside = self._judge_champion(reign, champion, material) if reign and champion else None
        recipe = self.trainer.train(model_type, fit)
        say("holdout", f"evaluating {model_type} on {len(holdout):,} candles it never saw")
        evaluation = self.evaluator.evaluate(recipe, holdout, model_type)
        comparison = self.evaluator.compare_to_active(evaluation, beside) if beside else None
        say("canary", f"training {model_type} on shuffled labels: it must not beat forecasting zero")
        canary = self._canary(model_type, fit, holdout)
        return Judged(fit, recipe, evaluation, beside, comparison, canary)

    def _judge_champion(
        self, reign: Reign, champion: TrainedModel, material: Material
    ) -> EvaluationResult | None:
        """The champion on the holdout hours after its own training end; None when there are none yet."""
        window = material.timeline.out_of_sample(reign.champion.train_end)
        unseen = window.rows(material.sheet.of(champion), material.series.step)
        if unseen.empty:
            return None
        return self.evaluator.evaluate(champion, unseen, reign.champion.model_type, role="champion")

    def _canary(self, model_type: str, fit: pd.DataFrame, holdout: pd.DataFrame) -> EvaluationResult | None:
        try:
            model = self.trainer.train(model_type, shuffled(fit))
        except TrainingFailed:
            # No tree found a split in noise: it would forecast zero.
            return None
        return self.evaluator.evaluate(model, holdout, model_type, role="canary")

    def _refit_and_save(
        self, model_type: str, material: Material, judged: Judged, reign: Reign | None, say: Say
    ) -> tuple[ModelArtifact, TrainedModel]:
        """The candidate: the same recipe on everything up to the shadow window, and where it came from."""
        timeline = material.timeline
        refit = timeline.refit.rows(material.features, material.series.step)
        say("refit", f"training {model_type} on {len(refit):,} candles")
        model = self.trainer.train(model_type, refit)
        recipe = Recipe.of(model_type, model, self.rule, pooled=self.pooled is not None)
        used = used_candles(material.candles, timeline.refit.end, material.series.step)
        origin = Origin.of(
            now=material.now,
            # What the windows came to; the recipe above is what was asked for.
            rule=self.rule.as_at(timeline),
            used=used,
            step=material.series.step,
            rows=refit,
            model=model,
            pooled=self.pooled,
        )
        gain = judged.evaluation.metrics.get("r2")
        notes = [] if self.pooled is None else [f"trained over {len(self.pooled.members)} series"]
        notes += adapted(self.rule, timeline, model, len(refit))
        if gain is not None and gain < 0:
            notes.append(f"worse than forecasting zero on its holdout (R² {gain:+.3%})")
        saved = self.keeper.registry.save_model(
            ModelArtifact(
                series=material.series,
                model_type=model_type,
                version=version_name(material.now),
                trained_at=material.now,
                train_start=utc(pd.DatetimeIndex(refit.index)[0]),
                train_end=timeline.refit.end,
                training_samples=len(refit) if self.pooled is None else self.pooled.rows,
                metrics=judged.evaluation.metrics,
                params=recipe.params,
                seed=recipe.seed,
                recipe_id=recipe.recipe_id,
                feature_schema_hash=recipe.schema,
                data_fingerprint=candles_fingerprint(used),
                library_versions=plugins.model_family(model_type).library_versions(),
                parent_version=reign.champion.version if reign else None,
                notes="; ".join(notes),
                certificate=self._certificate(material, judged, refit).to_json(),
                profile=Profile.of(refit[[n for n in model.feature_names if not is_past(n)]]).to_json(),
                origin=origin.to_json(),
                known_answer=KnownAnswer.of(model, refit).to_json(),
                model=model,
            )
        )
        return saved, model

    def _certificate(self, material: Material, judged: Judged, refit: pd.DataFrame) -> Certificate:
        step, shadow = material.series.step, material.timeline.shadow
        label = (1 + self.rule.horizon) * step
        gaps = [_first(judged.evaluation.times) + step - (_last(judged.fit.index) + label)]
        replayed = shadow.rows(material.features, step)
        if not replayed.empty:
            gaps.append(_first(replayed.index) + step - (_last(refit.index) + label))
        return certify(
            timeline=material.timeline,
            train_start=utc(pd.DatetimeIndex(refit.index)[0]),
            gap=min(gaps),
            compared_candles=judged.comparison.hours if judged.comparison else None,
            truncation=material.truncation(),
            holdout=judged.evaluation,
            canary=judged.canary,
        )

    def _record(
        self,
        candidate: tuple[ModelArtifact, TrainedModel],
        champion: tuple[Reign | None, TrainedModel | None],
        judged: Judged,
        material: Material,
    ) -> None:
        """Out-of-sample forecasts of candidate and champion into the book: holdout, then replayed shadow.

        What the live shadow had forecast before it went down is scored first: scored later, it would be an
        hour among those decided on that was not there at the decision.
        """
        book = self.keeper.registry.book
        book.score(candidate[0].model_type, scoring.known_outcomes(material.features), material.now)
        replay = material.timeline.shadow.rows(material.features, material.series.step)
        forecasts = _of_result(candidate[0], judged.evaluation, material)
        forecasts += _of_rows(*candidate, replay, material)
        reign, model = champion
        if reign is not None and model is not None:
            if judged.beside is not None:
                forecasts += _of_result(reign.champion, judged.beside, material)
            replay = material.timeline.shadow.rows(material.sheet.of(model), material.series.step)
            forecasts += _of_rows(reign.champion, model, replay, material)
        book.record_forecasts(forecasts)

    def _decide(
        self,
        candidate: ModelArtifact,
        reign: Reign | None,
        judged: Judged,
        shadow: ShadowTestResult,
        now: datetime,
        unread: Unread | None,
    ) -> Decision:
        """The policy's word, carried out and on record."""
        standing, duel = None, None
        replaced = unread.version if unread else None
        if reign is not None:
            replaced = reign.champion.version
            duel = self.keeper.challenge(reign, candidate)
            self.keeper.feed(duel)
            standing = self.keeper.standing(duel, reign, self.policy, now, None)
        case = Case(
            model_type=candidate.model_type,
            candidate_version=candidate.version,
            champion_version=replaced,
            as_of=now,
            metrics=candidate.metrics,
            certificate=candidate.certificate,
            comparison=judged.comparison,
            shadow=shadow,
            standing=standing,
            unreadable=unread.reason if unread else None,
        )
        decision = with_inputs(self.policy.decide(case), case, duel, self.policy, self.rule)
        carry_out(self.keeper.registry, self.policy, decision, candidate)
        return decision


def adapted(rule: TimelineRule, timeline: Timeline, model: TrainedModel, rows: int) -> list[str]:
    """What of windows and regularisation is other than configured, because there is little to train on."""
    told, made = [], rule.as_at(timeline)
    if made != rule:
        day, hour = timedelta(days=1), timedelta(hours=1)
        told.append(
            f"holdout {made.holdout / day:.3g} days (of {rule.holdout / day:g}) and purge "
            f"{made.purge / hour:g} hours (of {rule.purge / hour:g}): there are no more candles"
        )
    for name, (used, asked) in getattr(model, "adapted", {}).items():
        told.append(f"{name} {used:g} (of {asked:g}): there are {rows:,} rows")
    return told


def _costs(*models: TrainedModel) -> tuple[Mapping[str, Any], ...]:
    return tuple(cost for model in models if (cost := getattr(model, "cost", None)))


def shuffled(fit: pd.DataFrame) -> pd.DataFrame:
    return shuffled_labels(fit, seed=len(fit))


def _of_result(artifact: ModelArtifact, result: EvaluationResult, material: Material) -> list[Forecast]:
    variance = material.variance.loc[result.times].to_numpy()
    rows = zip(result.times, result.forecast, result.actual, variance, strict=True)
    return [
        _scored(artifact, Source.HOLDOUT, utc(time), float(p), float(r), float(v), material.now)
        for time, p, r, v in rows
    ]


def _of_rows(
    artifact: ModelArtifact, model: TrainedModel, rows: pd.DataFrame, material: Material
) -> list[Forecast]:
    if rows.empty:
        return []
    forecast = scoring.forecasts(model, rows, artifact.version)
    variance = material.variance.loc[rows.index].to_numpy()
    each = zip(pd.DatetimeIndex(rows.index), forecast, scoring.outcomes(rows), variance, strict=True)
    return [
        _scored(artifact, Source.REPLAY, utc(time), float(p), float(r), float(v), material.now)
        for time, p, r, v in each
    ]


def _scored(
    artifact: ModelArtifact, source: Source, time: datetime, p: float, r: float, v: float, now: datetime
) -> Forecast:
    return Forecast(
        model_type=artifact.model_type, version=artifact.version, open_time=time, source=source,
        forecast=p, variance=v, made_at=now, actual=r, scored_at=now,
    )  # fmt: skip


def _first(index: pd.Index) -> datetime:
    return utc(pd.DatetimeIndex(index)[0])


def _last(index: pd.Index) -> datetime:
    return utc(pd.DatetimeIndex(index)[-1])
