"""One forecast from the newest candles alone: by the quick way where the parts know one, else the usual."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np
import pandas as pd

from clm.core import scoring
from clm.core.domain import TARGET, FeatureRow
from clm.core.errors import ClmError, InsufficientData, SchemaMismatch, TrainingFailed
from clm.core.protocols import FeatureEngineer, RowEngineer, RowModel, TrainedModel


def newest_row(engineer: FeatureEngineer, candles: pd.DataFrame) -> FeatureRow:
    """Features of the last candle. Raises InvalidCandles; InsufficientData where they cannot be known."""
    return engineer.newest(candles) if isinstance(engineer, RowEngineer) else row_of_batch(engineer, candles)


def row_of_batch(engineer: FeatureEngineer, candles: pd.DataFrame) -> FeatureRow:
    """The same by computing a frame of them. Raises InvalidCandles, InsufficientData."""
    features = engineer.transform(candles.iloc[-engineer.warmup - 1 :])
    if features.index[-1] != candles.index[-1]:
        raise InsufficientData(f"the newest {engineer.warmup + 1} candles without a gap are needed")
    row: FeatureRow = features.drop(columns=TARGET).to_numpy(dtype=np.float32)[-1]
    return row


def forecast_row(model: TrainedModel, names: Sequence[str], row: FeatureRow, role: str) -> float:
    """A finite forecast from one row of features `names`. Raises SchemaMismatch, TrainingFailed."""
    if not isinstance(model, RowModel):
        frame = pd.DataFrame(row[None, :], columns=list(names))
        return float(scoring.forecasts(model, frame, role)[0])
    if tuple(names) != model.feature_names:
        if not set(model.feature_names) <= set(names):
            raise SchemaMismatch(
                f"{scoring.called(model)}: the {role} knows other features than are computed here"
            )
        row = row[[names.index(name) for name in model.feature_names]]
    try:
        forecast = float(model.predict_row(row))
    except ClmError:
        raise
    except Exception as exc:
        raise scoring.broken(model, role, exc) from exc
    if not isfinite(forecast):
        raise TrainingFailed(f"{scoring.called(model)}: the {role} does not answer a finite forecast")
    return forecast
