"""Candle frames for tests: real Binance history where it is at hand, seeded random walks elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm.core.domain import CANDLE_COLUMNS

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_real_candles = pytest.mark.skipif(
    not REAL.is_dir(), reason="real Binance candles (../shared/data) are not on this machine"
)


@cache
def _read(file: Path) -> pd.DataFrame:
    raw = pd.read_parquet(file)
    raw.index = pd.DatetimeIndex(pd.to_datetime(raw["open_time"], unit="ms", utc=True), name="open_time")
    return raw[list(CANDLE_COLUMNS)]


def real_candles(name: str = "BTCUSDT-1h", start: str | None = None, end: str | None = None) -> pd.DataFrame:
    """Candles of `candles/{name}.parquet`, from `start` to before `end`; skips the test without them."""
    if not REAL.is_dir():
        pytest.skip("real Binance candles (../shared/data) are not on this machine")
    frame = _read(REAL / "candles" / f"{name}.parquet")
    if start is not None:
        frame = frame[frame.index >= pd.Timestamp(start, tz="UTC")]
    if end is not None:
        frame = frame[frame.index < pd.Timestamp(end, tz="UTC")]
    return frame.copy()


def random_walk(
    rows: int = 2000, *, seed: int = 0, freq: str = "1h", start: str = "2024-01-01", volatility: float = 0.006
) -> pd.DataFrame:
    """A driftless geometric random walk: nothing in it can be forecast."""
    rng = np.random.default_rng(seed)
    returns = rng.normal(0, volatility, rows)
    close = 30_000 * np.exp(np.cumsum(returns))
    opens = np.concatenate(([30_000.0], close[:-1]))
    wick = np.abs(rng.normal(0, volatility / 2, (2, rows)))
    volume = rng.lognormal(5, 0.6, rows)
    return pd.DataFrame(
        {
            "open": opens,
            "high": np.maximum(opens, close) * (1 + wick[0]),
            "low": np.minimum(opens, close) * (1 - wick[1]),
            "close": close,
            "volume": volume,
            "quote_volume": volume * close,
            "taker_buy_base": volume * rng.uniform(0.4, 0.6, rows),
            "trades": rng.poisson(4000, rows).astype("int64"),
        },
        index=pd.DatetimeIndex(pd.date_range(start, periods=rows, freq=freq, tz="UTC"), name="open_time"),
    )
