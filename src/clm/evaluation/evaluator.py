"""The evaluator: forecasts a model made on hours it never saw, and what they were worth."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clm.core import scoring
from clm.core.domain import TARGET, Comparison, EvaluationResult, utc
from clm.core.errors import InsufficientData
from clm.core.protocols import FeatureEngineer, TrainedModel
from clm.core.sheet import Sheet
from clm.evaluation.metrics import score, score_by_regime
from clm.evaluation.significance import diebold_mariano


class QuantumModelEvaluator:
    """Scores models on candles or ready feature frames."""

    def __init__(self, feature_engineer: FeatureEngineer) -> None:
        self._features = feature_engineer

    def evaluate(
        self, model: TrainedModel, df: pd.DataFrame, model_type: str, *, role: str = "candidate"
    ) -> EvaluationResult:
        features = df if TARGET in df.columns else Sheet(self._features, df).of(model)
        rows = scoring.with_known_outcome(features)
        if rows.empty:
            raise InsufficientData(f"{model_type}: no hour with a known outcome to evaluate the {role} on")
        times = pd.DatetimeIndex(rows.index)
        forecast, actual, scale = (
            scoring.forecasts(model, rows, role),
            scoring.outcomes(rows),
            scoring.scale(rows),
        )
        return EvaluationResult(
            model_type=str(model_type),
            role=role,
            start=utc(times[0]),
            end=utc(times[-1]),
            n_samples=len(rows),
            metrics=score(forecast, actual, scale),
            by_regime=score_by_regime(forecast, actual, scale),
            times=times,
            forecast=forecast,
            actual=actual,
            scale=scale,
        )

    def compare_to_active(
        self, candidate_result: EvaluationResult, active_result: EvaluationResult
    ) -> Comparison:
        _, ours, theirs = np.intersect1d(
            candidate_result.times, active_result.times, assume_unique=True, return_indices=True
        )
        if len(ours) == 0:
            return Comparison(hours=0, mse_gain=None, direction_gain=None, dm_p_value=None)
        actual, scale = candidate_result.actual[ours], candidate_result.scale[ours]
        candidate, champion = candidate_result.forecast[ours], active_result.forecast[theirs]
        candidate_metrics, champion_metrics = (score(f, actual, scale) for f in (candidate, champion))
        champion_loss = scoring.normalised_mse(champion, actual, scale)
        candidate_loss = scoring.normalised_mse(candidate, actual, scale)
        ours_right, theirs_right = (m["directional_accuracy"] for m in (candidate_metrics, champion_metrics))
        return Comparison(
            hours=len(ours),
            mse_gain=1 - candidate_loss / champion_loss if champion_loss > 0 else None,
            direction_gain=ours_right / theirs_right - 1 if ours_right is not None and theirs_right else None,
            dm_p_value=diebold_mariano(
                ((candidate - actual) / scale) ** 2, ((champion - actual) / scale) ** 2
            ),
            candidate_metrics=candidate_metrics,
            champion_metrics=champion_metrics,
        )
