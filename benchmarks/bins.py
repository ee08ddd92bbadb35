"""64 bins a feature against 256, and bins of a sample of rows against those of all: paired, out of sample.

    python -m benchmarks.bins FOLDER BTCUSDT ETHUSDT SOLUSDT

FOLDER holds `BTCUSDT-1h.parquet`, …. Every 91 days of three years each model is fitted on the 365 days
before, where there are nearly so many, and forecasts the 30 days after; both sides forecast the same hours.
LightGBM finds its bins in a sample of the rows; XGBoost has a sketch of its own. Not part of `make bench`,
which needs no files.
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
from clm.telemetry import set_up_logging
from clm.training import boosting
from clm.training.trainer import QuantumModelTrainer

_HOUR, _PURGE = pd.Timedelta(hours=1), pd.Timedelta(hours=24)
_LOOKBACK, _HOLDOUT = pd.Timedelta(days=365), pd.Timedelta(days=30)
_SHORTEST = pd.Timedelta(days=350)
_STARTS = pd.date_range("2022-01-01", "2024-12-01", freq="91D", tz="UTC")
_FEW, _MANY = 63, 255
#: More rows a bin than there are.
_ALL_ROWS = 1_000_000


def main(folder: Path, symbols: list[str]) -> None:
    set_up_logging("error")
    frames = []
    for symbol in symbols:
        file = folder / f"{symbol}-1h.parquet"
        frames.append(QuantumFeatureEngineer().transform(parse_candles(file.name, file.read_bytes())))
    print(
        f"{'preset':<12} {'model':<9} {'ours against':<13} {'hours':>6} {'R² ours':>9} {'R² other':>9} "
        f"{'p ours worse':>13} {'CPU':>6}"
    )
    for preset in ("regularised", "fast", "accurate"):
        for family in ("xgboost", "lightgbm"):
            ours = _losses(frames, family, preset, _FEW)
            _compared(preset, family, f"{_MANY} bins", ours, _losses(frames, family, preset, _MANY))
            if family == "lightgbm":
                every = _losses(frames, family, preset, _FEW, _ALL_ROWS)
                _compared(preset, family, "all rows", ours, every)


_Losses = tuple[FloatArray, FloatArray, float]


def _compared(preset: str, family: str, against: str, ours: _Losses, other: _Losses) -> None:
    # Small where the other's losses are smaller beyond luck.
    worse = diebold_mariano(other[0], ours[0])
    zero = ours[1]
    r2 = [1 - each[0].sum() / zero.sum() for each in (ours, other)]
    print(
        f"{preset:<12} {family:<9} {against:<13} {len(zero):>6} {r2[0]:>9.3%} {r2[1]:>9.3%} "
        f"{worse or 0:>13.2f} {ours[2] / other[2]:>6.0%}",
        flush=True,
    )


def _losses(
    frames: list[pd.DataFrame], family: str, preset: str, bins: int, rows_per_bin: int = boosting.ROWS_PER_BIN
) -> _Losses:
    """Squared errors by volatility of all windows, those of forecasting zero, and CPU seconds of the fits."""
    boosting.ROWS_PER_BIN = rows_per_bin
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
