"""64 bins a feature against 256, per preset, on real candles: a paired check out of sample.

    python -m benchmarks.bins FOLDER BTCUSDT ETHUSDT SOLUSDT

FOLDER holds `BTCUSDT-1h.parquet`, …. Every 91 days of three years each model is fitted on the 365 days
before, where there are nearly so many, and forecasts the 30 days after; both numbers of bins forecast the
same hours. Not part of `make bench`, which needs no files.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from clm.core.domain import SCALE, TARGET, FloatArray
from clm.core.dumps import parse_candles
from clm.evaluation.significance import diebold_mariano
from clm.features.engineer import QuantumFeatureEngineer
from clm.training.trainer import QuantumModelTrainer

_HOUR, _PURGE = pd.Timedelta(hours=1), pd.Timedelta(hours=24)
_LOOKBACK, _HOLDOUT = pd.Timedelta(days=365), pd.Timedelta(days=30)
_SHORTEST = pd.Timedelta(days=350)
_STARTS = pd.date_range("2022-01-01", "2024-12-01", freq="91D", tz="UTC")
_FEW, _MANY = 63, 255


def main(folder: Path, symbols: list[str]) -> None:
    frames = []
    for symbol in symbols:
        file = folder / f"{symbol}-1h.parquet"
        frames.append(QuantumFeatureEngineer().transform(parse_candles(file.name, file.read_bytes())))
    print(
        f"{'preset':<12} {'model':<9} {'hours':>6} {'R² 63':>9} {'R² 255':>9} {'p 63 worse':>11} {'CPU':>6}"
    )
    for preset in ("regularised", "fast", "accurate"):
        for family in ("xgboost", "lightgbm"):
            few, many = (_losses(frames, family, preset, bins) for bins in (_FEW, _MANY))
            # Small where the losses with many bins are smaller beyond luck.
            worse = diebold_mariano(many[0], few[0])
            zero = few[1]
            r2 = [1 - each[0].sum() / zero.sum() for each in (few, many)]
            print(
                f"{preset:<12} {family:<9} {len(zero):>6} {r2[0]:>9.3%} {r2[1]:>9.3%} {worse or 0:>11.2f} "
                f"{few[2] / many[2]:>5.0%}",
                flush=True,
            )


def _losses(
    frames: list[pd.DataFrame], family: str, preset: str, bins: int
) -> tuple[FloatArray, FloatArray, float]:
    """Squared errors by volatility of all windows, those of forecasting zero, and CPU seconds of the fits."""
    trainer = QuantumModelTrainer(params={family: {"preset": preset, "max_bin": bins}})
    losses, zeros, seconds = [], [], 0.0
    for features in frames:
        for start in _STARTS:
            if features.index[0] > start - _SHORTEST:
                continue
            # A label is known two hours after its row opens; nothing later than the purge is trained on.
            fit = features.loc[start - _LOOKBACK : start - _PURGE - 2 * _HOUR].dropna()
            unseen = features.loc[start : start + _HOLDOUT - _HOUR].dropna()
            began = time.process_time()
            model = trainer.train(family, fit)
            seconds += time.process_time() - began
            scale = unseen[SCALE].to_numpy(dtype=np.float64)
            actual = unseen[TARGET].to_numpy(dtype=np.float64)
            losses.append(((actual - model.predict(unseen)) / scale) ** 2)
            zeros.append((actual / scale) ** 2)
    return np.concatenate(losses), np.concatenate(zeros), seconds


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python -m benchmarks.bins FOLDER SYMBOL…")
    main(Path(sys.argv[1]), sys.argv[2:])
