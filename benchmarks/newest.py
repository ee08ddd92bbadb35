"""One forecast of the newest candle: features from its window and a forest, against computing all anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import xgboost as xgb

from benchmarks.market import best_of, candles
from benchmarks.pandas_features import pandas_features
from benchmarks.result import Result
from clm.core.domain import TARGET
from clm.features.engineer import QuantumFeatureEngineer
from clm.features.newest import Window, newest_row
from clm.training.trainer import QuantumModelTrainer

_DAYS, _HISTORY_DAYS = 400, 90
_ROUNDS = 200


def run() -> list[Result]:
    frame = candles(_DAYS)
    engineer = QuantumFeatureEngineer()
    features = engineer.transform(frame)
    window = Window.of(frame, engineer.warmup + 1)
    recent = frame.iloc[-24 * _HISTORY_DAYS :]
    trainer = QuantumModelTrainer()
    models: dict[str, Any] = {family: trainer.train(family, features) for family in ("xgboost", "lightgbm")}
    row = newest_row(engineer.catalogue, window)
    results = []
    ours, peer = best_of(
        5,
        lambda: [newest_row(engineer.catalogue, window) for _ in range(20)],
        lambda: pandas_features(recent),
    )
    history = f"pandas rolling over {_HISTORY_DAYS} days"
    results.append(Result("newest: features of one candle", history, ours / 20, peer))
    wrapped = _wrapped(features.drop(columns=TARGET).to_numpy(), features[TARGET].to_numpy())
    one = row[None, :]
    for family, model in models.items():
        ours, peer = best_of(
            5,
            lambda model=model: [model.predict_row(row) for _ in range(_ROUNDS)],  # type: ignore[misc]
            lambda: [wrapped.predict(one) for _ in range(_ROUNDS)],
        )
        name = f"newest: one row, {family}"
        results.append(Result(name, "XGBRegressor.predict, numpy row", ours / _ROUNDS, peer / _ROUNDS))
    model = models["lightgbm"]

    def anew() -> None:
        pandas_features(recent)
        wrapped.predict(one)

    ours, peer = best_of(
        5, lambda: [model.predict_row(newest_row(engineer.catalogue, window)) for _ in range(20)], anew
    )
    results.append(Result("newest: features and forecast", history, ours / 20, peer))
    return results


def _wrapped(values: np.ndarray[Any, Any], target: np.ndarray[Any, Any]) -> Any:
    known = np.isfinite(target)
    return xgb.XGBRegressor(n_estimators=50, max_depth=3, n_jobs=1).fit(values[known], target[known])
