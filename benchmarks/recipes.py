"""The default recipes on real candles: weekly refits, every hour scored out of sample.

    python -m benchmarks.recipes FOLDER 2023 BTCUSDT ETHUSDT

FOLDER holds `BTCUSDT-1h.parquet`, …. Not part of `make bench`, which needs no files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from clm.core.domain import SCALE, TARGET
from clm.core.dumps import parse_candles
from clm.features.engineer import QuantumFeatureEngineer
from clm.training.trainer import QuantumModelTrainer

_HOUR, _WEEK = pd.Timedelta(hours=1), pd.Timedelta(days=7)
_PURGE, _LOOKBACK = pd.Timedelta(hours=24), pd.Timedelta(days=365)


def main(folder: Path, year: str, symbols: list[str]) -> None:
    print(
        f"{'symbol':<9} {'year':<5} {'model':<9} {'hours':>6} {'R² by volatility':>17} {'z':>6} "
        f"{'direction':>10}"
    )
    for symbol in symbols:
        file = folder / f"{symbol}-1h.parquet"
        features = QuantumFeatureEngineer().transform(parse_candles(file.name, file.read_bytes()))
        for family in ("lightgbm", "xgboost"):
            scored = _walk(features, family, year)
            gain = (scored.actual**2 - (scored.actual - scored.forecast) ** 2) / scored.scale**2
            r2 = gain.sum() / ((scored.actual / scored.scale) ** 2).sum()
            moved = scored.actual != 0
            right = np.mean(np.sign(scored.forecast[moved]) == np.sign(scored.actual[moved]))
            print(
                f"{symbol:<9} {year:<5} {family:<9} {len(scored):>6} {r2:>16.3%} {_z(gain.to_numpy()):>6.1f} "
                f"{right:>9.2%}"
            )


def _walk(features: pd.DataFrame, family: str, year: str) -> pd.DataFrame:
    """Forecast and outcome of every hour of the year, by the model of its week."""
    trainer, parts = QuantumModelTrainer(), []
    for week in pd.date_range(f"{year}-01-01", f"{year}-12-31", freq=_WEEK, tz="UTC"):
        # A label is known two hours after its row opens; nothing known later than the purge is trained on.
        fit = features.loc[week - _LOOKBACK : week - _PURGE - 2 * _HOUR].dropna()
        unseen = features.loc[week : week + _WEEK - _HOUR].dropna()
        if len(unseen):
            forecast = trainer.train(family, fit).predict(unseen)
            parts.append(
                pd.DataFrame({"forecast": forecast, "actual": unseen[TARGET], "scale": unseen[SCALE]})
            )
    return pd.concat(parts)


def _z(gain: np.ndarray[tuple[int], np.dtype[np.float64]], lags: int = 24) -> float:
    """Newey–West z of a mean."""
    x = gain - gain.mean()
    variance = float(np.mean(x**2))
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(np.mean(x[lag:] * x[:-lag]))
    return float(gain.mean() / np.sqrt(variance / len(x)))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: python -m benchmarks.recipes FOLDER YEAR SYMBOL…")
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
