"""One model's way through a cycle: evaluation fit → holdout → refit → shadow → decision → promotion."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd

from clm.core import plugins
from clm.core.domain import (
    Comparison,
    Decision,
    EvaluationResult,
    ModelArtifact,
    Outcome,
    Series,
    ShadowTestResult,
    candles_fingerprint,
    fingerprint,
    utc,
    version_name,
)
from clm.core.errors import InsufficientData
from clm.core.policy import MIN_COMPARED, Case, PromotionPolicy
from clm.core.protocols import ModelEvaluator, ModelRegistry, ModelTrainer, ShadowTester, TrainedModel
from clm.core.timeline import Timeline, TimelineRule

#: Called with the step begun and a sentence about it.
Say = Callable[[str, str], None]
STEPS = ("evaluation fit", "holdout", "refit", "shadow", "decision")


@dataclass(frozen=True, slots=True)
class Material:
    """What all models of one cycle share: computed once. now: the exchange's moment the cycle began."""

    series: Series
    now: datetime
    timeline: Timeline
    candles: pd.DataFrame
    features: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Attempted:
    """What trying one model brought forth."""

    evaluations: tuple[EvaluationResult, ...]
    shadow: ShadowTestResult
    decision: Decision


@dataclass(frozen=True, slots=True)
class ModelAttempt:
    """The parts a single model's turn needs, put together once per manager."""

    trainer: ModelTrainer
    evaluator: ModelEvaluator
    shadow_tester: ShadowTester
    registry: ModelRegistry
    policy: PromotionPolicy
    rule: TimelineRule

    def run(self, model_type: str, material: Material, say: Say) -> Attempted:
        """Train, judge, store, decide, and promote where the policy says so.

        Raises what its parts raise; whatever is raised, the champion stays, unless its successor was
        promoted in full.
        """
        champion = self.registry.get_active(model_type)
        champion_model = self.registry.load_model(champion) if champion else None

        evaluation = self._judge_recipe(model_type, material, say)
        evaluations: tuple[EvaluationResult, ...] = (evaluation,)
        comparison = None
        if champion is not None and champion_model is not None:
            beside = self._judge_champion(champion, champion_model, material)
            if beside is not None:
                comparison = self.evaluator.compare_to_active(evaluation, beside)
                evaluations = (evaluation, beside)

        saved = self._refit_and_save(model_type, material, evaluation, champion, say)
        # What is judged from here on is what was stored, read back: an artifact that does not load fails now.
        candidate_model = self.registry.load_model(saved)
        hours = self.rule.shadow.total_seconds() / 3600
        say("shadow", f"replaying {model_type} over the last {hours:g} hours")
        shadow = self.shadow_tester.run_shadow_test(
            model_type, candidate_model, champion_model, hours, features=material.features
        )
        say("decision", f"deciding about {model_type} {saved.version}")
        decision = self._decide(saved, champion, evaluation, comparison, shadow, material.now)
        return Attempted(evaluations, shadow, decision)

    def _judge_recipe(self, model_type: str, material: Material, say: Say) -> EvaluationResult:
        """The recipe fitted before the holdout, scored on it."""
        timeline, step = material.timeline, material.series.step
        fit, holdout = (window.rows(material.features, step) for window in (timeline.fit, timeline.holdout))
        if len(holdout) < MIN_COMPARED:
            raise InsufficientData(
                f"{material.series}: {len(holdout)} candles with features between "
                f"{timeline.holdout.start:%Y-%m-%d} and {timeline.holdout.end:%Y-%m-%d}; at least "
                f"{MIN_COMPARED} are needed to evaluate on"
            )
        say("evaluation fit", f"training {model_type} on {len(fit):,} candles")
        judged = self.trainer.train(model_type, fit)
        say("holdout", f"evaluating {model_type} on {len(holdout):,} candles it never saw")
        return self.evaluator.evaluate(judged, holdout, model_type)

    def _judge_champion(
        self, champion: ModelArtifact, model: TrainedModel, material: Material
    ) -> EvaluationResult | None:
        """The champion on the holdout hours after its own training end; None when there are none yet."""
        window = material.timeline.out_of_sample(champion.train_end)
        unseen = window.rows(material.features, material.series.step)
        if unseen.empty:
            return None
        return self.evaluator.evaluate(model, unseen, champion.model_type, role="champion")

    def _refit_and_save(
        self,
        model_type: str,
        material: Material,
        evaluation: EvaluationResult,
        champion: ModelArtifact | None,
        say: Say,
    ) -> ModelArtifact:
        """The candidate: the same recipe on everything up to the shadow window, and where it came from."""
        refit = material.timeline.refit.rows(material.features, material.series.step)
        say("refit", f"training {model_type} on {len(refit):,} candles")
        model = self.trainer.train(model_type, refit)
        params = dict(model.params)
        seed = int(params.pop("seed", 0))
        schema = fingerprint(*model.feature_names)
        recipe = fingerprint(model_type, schema, json.dumps(params, sort_keys=True), repr(self.rule))
        closes = pd.DatetimeIndex(material.candles.index) + material.series.step
        used = material.candles.loc[closes <= pd.Timestamp(material.timeline.refit.end)]
        gain = evaluation.metrics.get("r2")
        worse = gain is not None and gain < 0
        return self.registry.save_model(
            ModelArtifact(
                series=material.series,
                model_type=model_type,
                version=version_name(material.now),
                trained_at=material.now,
                train_start=utc(pd.DatetimeIndex(refit.index)[0]),
                train_end=material.timeline.refit.end,
                training_samples=len(refit),
                metrics=evaluation.metrics,
                params=params,
                seed=seed,
                recipe_id=recipe[:16],
                feature_schema_hash=schema,
                data_fingerprint=candles_fingerprint(used),
                library_versions=plugins.model_family(model_type).library_versions(),
                parent_version=champion.version if champion else None,
                notes=f"worse than forecasting zero on its holdout (R² {gain:+.3%})" if worse else "",
                model=model,
            )
        )

    def _decide(
        self,
        candidate: ModelArtifact,
        champion: ModelArtifact | None,
        evaluation: EvaluationResult,
        comparison: Comparison | None,
        shadow: ShadowTestResult,
        now: datetime,
    ) -> Decision:
        """The policy's word, carried out and on record."""
        case = Case(
            model_type=candidate.model_type,
            candidate_version=candidate.version,
            champion_version=champion.version if champion else None,
            evaluation=evaluation,
            comparison=comparison,
            shadow=shadow,
        )
        decision = replace(self.policy.decide(case), decided_at=now)
        if decision.outcome is Outcome.PROMOTE:
            self.registry.promote(
                candidate.model_type,
                candidate.version,
                expected_active=case.champion_version,
                check_expected=True,
                decision=decision,
                at=now,
            )
        else:
            self.registry.record_decision(decision)
        return decision
