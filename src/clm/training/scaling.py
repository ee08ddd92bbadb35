"""The volatility-scaled target: models learn r/σ, clipped, and answer in log returns again.

An hour's variance differs by an order of magnitude between calm and storm; unscaled squared error then
fits the storms only. σ is the frame's own `volatility_ewma`, known when the forecast is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clm.core.domain import SCALE, TARGET, FeatureRow, FloatArray, FloatMatrix, feature_columns
from clm.core.errors import InsufficientData, NotExplainable, SchemaMismatch, TrainingFailed

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]
#: What float32 sums may leave over, of the parts' absolute sum. Measured: up to 5e-7, with 500 deep trees.
_ROUNDING = 1e-5


def feature_matrix(df: pd.DataFrame, names: Sequence[str]) -> Matrix:
    """Columns `names` of a feature frame as a C-ordered float32 matrix of shape (rows, features).

    Raises SchemaMismatch for a missing or foreign column, or a value that is not finite.
    """
    present = feature_columns(df.columns)
    if present != list(names):
        missing = [name for name in names if name not in present]
        foreign = [name for name in present if name not in names]
        if missing or foreign or len(present) != len(names):
            raise SchemaMismatch(
                f"the model was trained on {len(names)} features; the frame has {len(present)}: "
                f"missing {missing[:5] or 'none'}, not known to the model {foreign[:5] or 'none'}"
            )
    matrix = np.ascontiguousarray(df[list(names)].to_numpy(dtype=np.float32))
    if not np.isfinite(matrix).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(matrix))[0])
        raise SchemaMismatch(f"feature {names[column]} is not finite at {df.index[row]}")
    return matrix


def training_target(df: pd.DataFrame, params: Mapping[str, Any]) -> FloatArray:
    """The label a booster is fitted on: the target, or target/σ clipped at ±`target_clip`."""
    target = df[TARGET].to_numpy(dtype=np.float64)
    if len(target) == 0:
        raise InsufficientData("no row with a known target to train on")
    if not np.isfinite(target).all():
        raise TrainingFailed("the training frame holds a target that is not known")
    if not params["target_scaling"]:
        return target
    clip = float(params["target_clip"])
    scaled: FloatArray = np.clip(target / scale_of(df), -clip, clip)
    return scaled


def scale_of(df: pd.DataFrame) -> FloatArray:
    """σ per row, positive. Raises SchemaMismatch where the frame has no such column."""
    if SCALE not in df.columns:
        raise SchemaMismatch(
            f"target_scaling needs the feature {SCALE}; train with target_scaling=False without it"
        )
    scale: FloatArray = df[SCALE].to_numpy(dtype=np.float64)
    if not (scale > 0).all():
        raise SchemaMismatch(f"{SCALE} must be positive; it is not at {df.index[int(np.argmin(scale > 0))]}")
    return scale


def forecast_returns(raw: np.ndarray[Any, Any], df: pd.DataFrame, params: Mapping[str, Any]) -> FloatArray:
    """A booster's answer as log returns. Raises TrainingFailed where it is not finite."""
    answer = np.asarray(raw, dtype=np.float64)
    if params["target_scaling"]:
        answer = answer * scale_of(df)
    if not np.isfinite(answer).all():
        raise TrainingFailed("the model answers with forecasts that are not finite")
    return answer


def row_scale(row: FeatureRow, names: Sequence[str], params: Mapping[str, Any]) -> float:
    """What a booster's answer to one row is multiplied by. Raises SchemaMismatch for a foreign row."""
    if len(row) != len(names):
        raise SchemaMismatch(f"the model was trained on {len(names)} features; the row has {len(row)}")
    if not np.isfinite(row).all():
        raise SchemaMismatch(f"feature {names[int(np.argmin(np.isfinite(row)))]} is not finite")
    if not params["target_scaling"]:
        return 1.0
    sigma = float(row[names.index(SCALE)]) if SCALE in names else 0.0
    if not sigma > 0:
        raise SchemaMismatch(f"target_scaling needs the feature {SCALE}, and it positive")
    return sigma


def contributed_returns(
    raw: np.ndarray[Any, Any], shap: np.ndarray[Any, Any], df: pd.DataFrame, params: Mapping[str, Any]
) -> tuple[FloatArray, FloatMatrix]:
    """A booster's TreeSHAP values as log returns: (base, parts) that add up to `forecast_returns(raw)`.

    shap: of shape (rows, features + 1), the base last. XGBoost adds in float32; what that rounds off is
    given back to the parts in proportion to their size, for they may cancel to a forecast much smaller than
    they are. Raises NotExplainable where more than rounding is missing.
    """
    values = np.asarray(shap, dtype=np.float64)
    size = np.abs(values)
    total = size.sum(axis=1)
    left = np.asarray(raw, dtype=np.float64) - values.sum(axis=1)
    if not (np.abs(left) <= _ROUNDING * total).all():
        raise NotExplainable("the booster's TreeSHAP values do not add up to its forecast")
    values += size * np.divide(left, total, out=np.zeros_like(left), where=total > 0)[:, None]
    if params["target_scaling"]:
        values *= scale_of(df)[:, None]
    return values[:, -1], values[:, :-1]


def shares(gains: np.ndarray[Any, Any]) -> FloatArray:
    """Non-negative amounts as shares of their sum."""
    amounts = np.asarray(gains, dtype=np.float64)
    found: FloatArray = amounts / amounts.sum()
    return found
