"""Shadow replay: candidate and champion forecast the last hours candle by candle, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pandas as pd

from clm.core import scoring
from clm.core.domain import FloatArray, ShadowTestResult, utc
from clm.core.errors import InsufficientData, InvalidSetting
from clm.core.protocols import DataClient, FeatureEngineer, TrainedModel
from clm.core.sheet import Sheet

#: A candidate whose normalised squared error exceeds the champion's by more than this fails (smoke test).
MAX_MSE_RATIO = 1.25
_DAY = timedelta(days=1)


class QuantumShadowTester:
    """Replays the last `hours`; needs candles only when it is not handed features."""

    def __init__(self, data_client: DataClient, feature_engineer: FeatureEngineer) -> None:
        self._data = data_client
        self._features = feature_engineer

    def run_shadow_test(
        self,
        model_type: str,
        candidate_model: TrainedModel,
        active_model: TrainedModel | None,
        hours: float = 24,
        *,
        features: pd.DataFrame | None = None,
    ) -> ShadowTestResult:
        if not hours > 0:
            raise InvalidSetting("hours", hours, "a positive number of hours")
        rows = self._last_rows(features, timedelta(hours=hours), (candidate_model, active_model))
        actual = scoring.outcomes(rows)
        candidate = scoring.forecasts(candidate_model, rows, "candidate")
        times = pd.DatetimeIndex(rows.index)
        alone = ShadowTestResult(
            model_type=str(model_type),
            start=utc(times[0]),
            end=utc(times[-1]),
            hours=float(hours),
            n_samples=len(rows),
            candidate_rmse=scoring.rmse(candidate, actual),
            candidate_mae=scoring.mae(candidate, actual),
            candidate_directional_accuracy=scoring.directional_accuracy(candidate, actual),
            reason="no champion to compare with",
        )
        if active_model is None:
            return alone
        champion = scoring.forecasts(active_model, rows, "champion")
        return _beside(alone, candidate, champion, actual, scoring.scale(rows))

    def _last_rows(
        self, features: pd.DataFrame | None, length: timedelta, models: Sequence[TrainedModel | None]
    ) -> pd.DataFrame:
        """The rows whose forecast and outcome both lie within the last `length` of what is known.

        Features in hand are taken to end with the newest closed candle, whose own outcome is open.
        """
        step = self._data.series.step
        if features is None:
            history = length + (self._features.warmup + 2) * step
            features = Sheet(self._features, self._data.load_recent_data(history / _DAY)).of(*models)
        newest_close = pd.DatetimeIndex(features.index)[-1] + step
        rows = scoring.with_known_outcome(features)
        rows = rows.loc[pd.DatetimeIndex(rows.index) + step >= newest_close - length]
        if rows.empty:
            raise InsufficientData(f"no candle with a known outcome in the last {length} to replay")
        return rows


def _beside(
    alone: ShadowTestResult,
    candidate: FloatArray,
    champion: FloatArray,
    actual: FloatArray,
    scale: FloatArray,
) -> ShadowTestResult:
    """`alone` completed by the champion's figures and the verdict."""
    champion_loss = scoring.normalised_mse(champion, actual, scale)
    ratio = scoring.normalised_mse(candidate, actual, scale) / champion_loss if champion_loss > 0 else None
    # Half a second of import that only a replay needs.
    from scipy.stats import ks_2samp

    ks = ks_2samp(candidate, champion)
    rmse, mae = scoring.rmse(champion, actual), scoring.mae(champion, actual)
    shown = "undefined against" if ratio is None else f"{ratio:.4f} of"
    return replace(
        alone,
        active_rmse=rmse,
        active_mae=mae,
        active_directional_accuracy=scoring.directional_accuracy(champion, actual),
        rmse_difference=alone.candidate_rmse - rmse,
        mae_difference=alone.candidate_mae - mae,
        mse_ratio=ratio,
        ks_statistic=float(ks.statistic),
        ks_p_value=float(ks.pvalue),
        passed=ratio is None or ratio <= MAX_MSE_RATIO,
        reason=f"normalised squared error {shown} the champion's over {alone.n_samples} candles; "
        f"at most {MAX_MSE_RATIO:.2f} of it passes",
    )
