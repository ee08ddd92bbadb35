"""The few sums every judge of forecasts shares, so that two rooms never mean two things by one word."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd

from clm.core.domain import SCALE, TARGET, FloatArray, feature_columns
from clm.core.errors import ClmError, TrainingFailed
from clm.core.protocols import TrainedModel


def with_known_outcome(features: pd.DataFrame) -> pd.DataFrame:
    """The rows of a feature frame whose target has happened."""
    known = np.isfinite(features[TARGET].to_numpy(dtype=np.float64))
    rows: pd.DataFrame = features if known.all() else features.loc[known]
    return rows


def outcomes(rows: pd.DataFrame) -> FloatArray:
    """Log returns that followed, one per row."""
    return rows[TARGET].to_numpy(dtype=np.float64)


def known_outcomes(features: pd.DataFrame) -> dict[datetime, float]:
    """Candle → the log return that followed, where it has happened."""
    rows = with_known_outcome(features)
    # All at once: one by one, the stamps of a year take as long as its features.
    stamps = pd.DatetimeIndex(rows.index).tz_convert("UTC").to_pydatetime()
    return dict(zip(stamps.tolist(), outcomes(rows).tolist(), strict=True))


def scale(rows: pd.DataFrame) -> FloatArray:
    """Volatility known at forecast time, per row; ones where the features do not carry it."""
    return rows[SCALE].to_numpy(dtype=np.float64) if SCALE in rows.columns else np.ones(len(rows))


def inputs(model: TrainedModel, rows: pd.DataFrame) -> pd.DataFrame:
    """Of a frame that tells more, the columns a model knows, in its order: what it was not made of is not its
    business. One that lacks some of them stays as it is, for the model to say so; of a model that names none
    nothing is left out.
    """
    names, present = list(model.feature_names), feature_columns(rows.columns)
    if not names or names == present or not set(names) <= set(present):
        return rows
    chosen: pd.DataFrame = rows[names]
    return chosen


def called(model: object) -> str:
    """What a model is called where something is wrong with it; one may lack even its name."""
    return str(getattr(model, "model_type", None) or type(model).__name__)


def broken(model: TrainedModel, role: str, cause: Exception) -> TrainingFailed:
    """What a model that raised something of its own comes to."""
    return TrainingFailed(f"{called(model)}: the {role} broke down: {type(cause).__name__}: {cause}")


def forecasts(model: TrainedModel, rows: pd.DataFrame, role: str) -> FloatArray:
    """One finite forecast per row, or TrainingFailed: a broken model never looks like a forecast."""
    try:
        answer = np.asarray(model.predict(inputs(model, rows)), dtype=np.float64)
    except ClmError:
        raise
    except Exception as exc:
        # Models come from anywhere, and raise anything.
        raise broken(model, role, exc) from exc
    if answer.shape != (len(rows),) or not np.isfinite(answer).all():
        raise TrainingFailed(f"{called(model)}: the {role} does not answer one finite forecast per row")
    return answer


def rmse(forecast: FloatArray, actual: FloatArray) -> float:
    """Root mean squared error, log return."""
    return float(np.sqrt(np.mean((forecast - actual) ** 2)))


def mae(forecast: FloatArray, actual: FloatArray) -> float:
    """Mean absolute error, log return."""
    return float(np.mean(np.abs(forecast - actual)))


def normalised_mse(forecast: FloatArray, actual: FloatArray, scale: FloatArray) -> float:
    """Mean of ((forecast − actual)/scale)²: every hour counts alike, calm or stormy."""
    return float(np.mean(((forecast - actual) / scale) ** 2))


def directional_accuracy(forecast: FloatArray, actual: FloatArray) -> float | None:
    """Share of non-zero moves whose sign was forecast (a forecast of zero misses); None without a move."""
    moved = actual != 0
    if not moved.any():
        return None
    return float(np.mean(np.sign(forecast[moved]) == np.sign(actual[moved])))


def long_run_variance(series: FloatArray, horizon: int = 1) -> float | None:
    """Newey–West variance of √n times the mean, max(horizon − 1, ⌊n^⅓⌋) lags; None where it is not positive.

    Losses of hourly returns cluster with volatility, hence lags even for one-step forecasts.
    """
    n = len(series)
    centred = series - series.mean()
    variance = float(np.mean(centred**2))
    lags = max(horizon - 1, int(n ** (1 / 3)))
    for lag in range(1, lags + 1):
        weight = 1 - lag / (lags + 1)
        variance += 2 * weight * float(np.sum(centred[lag:] * centred[:-lag])) / n
    return variance if variance > 0 else None
