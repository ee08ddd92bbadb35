"""Scores of point forecasts of log returns. Everything is measured against forecasting zero."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clm.core.domain import FloatArray
from clm.core.scoring import directional_accuracy, mae, rmse

Metrics = Mapping[str, float | None]

REGIMES = ("low_volatility", "normal_volatility", "high_volatility")


def score(forecast: FloatArray, actual: FloatArray, scale: FloatArray) -> Metrics:
    """All metrics of arrays of one length n >= 1; None where a figure is undefined.

    rmse, mae, bias (mean of forecast − actual), error_std: log return. directional_accuracy: share of
    moves whose sign was forecast (a forecast of zero is a miss, a move of zero does not count). hit_rate:
    the same over the half of the rows with the boldest forecasts (largest |forecast|/scale). r2: 1 − Σe²/Σr²,
    the gain over forecasting zero, not over the mean, which nobody knows beforehand. r2_normalised: the same
    with e and r divided by `scale`. correlation: Pearson.
    """
    error = forecast - actual
    bold = np.abs(forecast) / scale
    boldest = bold >= np.median(bold)
    return {
        "rmse": rmse(forecast, actual),
        "mae": mae(forecast, actual),
        "directional_accuracy": directional_accuracy(forecast, actual),
        "hit_rate": directional_accuracy(forecast[boldest], actual[boldest]),
        "r2": _gain_over_zero(error, actual),
        "r2_normalised": _gain_over_zero(error / scale, actual / scale),
        "correlation": _correlation(forecast, actual),
        "bias": float(np.mean(error)),
        "error_std": float(np.std(error)),
    }


def score_by_regime(forecast: FloatArray, actual: FloatArray, scale: FloatArray) -> Mapping[str, Metrics]:
    """`score` for the calm, the normal and the stormy third of the rows, by the volatility known then."""
    if len(scale) < 3 * 10:
        return {}
    low, high = np.quantile(scale, (1 / 3, 2 / 3))
    masks = (scale <= low, (scale > low) & (scale <= high), scale > high)
    return {
        name: {"n_samples": int(mask.sum()), **score(forecast[mask], actual[mask], scale[mask])}
        for name, mask in zip(REGIMES, masks, strict=True)
        if mask.any()
    }


def _gain_over_zero(error: FloatArray, actual: FloatArray) -> float | None:
    zero_loss = float(np.sum(actual**2))
    return 1 - float(np.sum(error**2)) / zero_loss if zero_loss > 0 else None


def _correlation(forecast: FloatArray, actual: FloatArray) -> float | None:
    if len(actual) < 3 or np.ptp(forecast) == 0 or np.ptp(actual) == 0:
        return None
    return float(np.corrcoef(forecast, actual)[0, 1])
