"""One gap-free run of candles as arrays, and the windows every feature is made of.

Everything here looks back over a finite window: the value at t is a function of the last so many candles and
of nothing before or after them, to the last bit. (A running sum would drag rounding errors along for ever,
and leave crumbs where a window holds but zeros.) The first values of a run, where a window is not full
yet, are placeholders; the engineer cuts them off by each feature's look-back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import pandas as pd
import talib

from clm.core.domain import FloatArray

#: Window and decay of the volatility every scaled feature is divided by (RiskMetrics decay, cut off).
SIGMA_WINDOW = 168
SIGMA_DECAY = 0.97
#: Log return; a market that stands still has this volatility rather than none.
SIGMA_FLOOR = 1e-6


class Bars:
    """Arrays of one gap-free run, float64 of shape (n_candles,), and a memory of windows computed once."""

    def __init__(self, candles: pd.DataFrame) -> None:
        self.times = pd.DatetimeIndex(candles.index)
        columns = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_base", "trades")
        arrays = (np.ascontiguousarray(candles[c].to_numpy(dtype=np.float64)) for c in columns)
        self.open, self.high, self.low, self.close, self.volume, self.quote, self.taker, self.trades = arrays
        self._memory: dict[tuple[str, str, int], FloatArray] = {}

    @cached_property
    def log_close(self) -> FloatArray:
        logs: FloatArray = np.log(self.close)
        return logs

    @cached_property
    def r(self) -> FloatArray:
        """Log return of each candle, close to close; 0 for the first."""
        return self.change(1)

    @cached_property
    def sigma(self) -> FloatArray:
        """EWMA volatility of log returns, per candle, at least `SIGMA_FLOOR`."""
        return np.sqrt(np.maximum(ewma(self.r**2, SIGMA_DECAY, SIGMA_WINDOW), SIGMA_FLOOR**2))

    @cached_property
    def taker_share(self) -> FloatArray:
        """Bought by takers ÷ volume, minus one half; 0 without volume."""
        return ratio(self.taker, self.volume, 0.5) - 0.5

    @cached_property
    def log_range(self) -> FloatArray:
        logs: FloatArray = np.log(self.high / self.low)
        return logs

    def change(self, k: int) -> FloatArray:
        """Log return over k candles; 0 for the first k."""
        out = np.zeros(len(self.close))
        out[k:] = self.log_close[k:] - self.log_close[:-k]
        return out

    def mean(self, name: str, n: int, of: Callable[[], FloatArray]) -> FloatArray:
        """Mean of the last n values of `of()`, remembered under `name`."""
        return self._remember("mean", name, n, lambda: mean(of(), n))

    def std(self, n: int) -> FloatArray:
        """Standard deviation of the last n log returns about zero drift, at least `SIGMA_FLOOR`."""
        squares = self._remember("mean", "r2", n, lambda: mean(self.r**2, n))
        return np.sqrt(np.maximum(squares, SIGMA_FLOOR**2))

    def highest(self, n: int) -> FloatArray:
        return self._remember("max", "high", n, lambda: filled(talib.MAX(self.high, n)))

    def lowest(self, n: int) -> FloatArray:
        return self._remember("min", "low", n, lambda: filled(talib.MIN(self.low, n)))

    def _remember(self, kind: str, name: str, n: int, make: Callable[[], FloatArray]) -> FloatArray:
        key = (kind, name, n)
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]


def filled(values: FloatArray) -> FloatArray:
    """TA-Lib's leading NaNs as zeros: a NaN fed to TA-Lib again would poison every later value."""
    return np.nan_to_num(values, copy=False, nan=0.0)


def window_sum(values: FloatArray, n: int, decay: float = 1.0) -> FloatArray:
    """Σ decay^k x[t−k] over the last n values, each window added up on its own.

    Sums over 1, 2, 4, … values are made by doubling and joined as the binary digits of n say: log₂ n passes,
    and rounding that depends on the window's own values only.
    """
    total = np.zeros(len(values))
    block, size, covered = values, 1, 0
    while True:
        if n & size:
            total[covered:] += decay**covered * block[: len(values) - covered]
            covered += size
        if covered == n or covered >= len(values):
            return total
        doubled = block.copy()
        doubled[size:] += decay**size * block[:-size]
        block, size = doubled, 2 * size


def mean(values: FloatArray, n: int) -> FloatArray:
    """Mean of the last n values."""
    return window_sum(values, n) / n


def ratio(a: FloatArray, b: FloatArray, neutral: float = 0.0) -> FloatArray:
    """a/b, `neutral` where b is zero."""
    out = np.full(len(a), neutral)
    np.divide(a, b, out=out, where=b > 0)
    return out


def log_ratio(a: FloatArray, b: FloatArray) -> FloatArray:
    """Log of a/b for amounts that may be zero: a thousandth of b is added to both; 0 where b is zero.

    Scale-free, and bounded below where a candle saw no trade at all.
    """
    out = np.ones(len(a))
    np.divide(a + 1e-3 * b, 1.001 * b, out=out, where=b > 0)
    return np.log(out)


def ewma(values: FloatArray, decay: float, n: int) -> FloatArray:
    """Σ decay^k x[t−k] / Σ decay^k over the last n values."""
    return window_sum(values, n, decay) * ((1 - decay) / (1 - decay**n))


def correlation(a: FloatArray, b: FloatArray, n: int) -> FloatArray:
    """Pearson's correlation over the last n values, within ±1; 0 where one of them stands still."""
    mean_a, mean_b = mean(a, n), mean(b, n)
    square_a, square_b = mean(a * a, n), mean(b * b, n)
    spread_a, spread_b = square_a - mean_a**2, square_b - mean_b**2
    moves = (spread_a > 1e-12 + 1e-10 * square_a) & (spread_b > 1e-12 + 1e-10 * square_b)
    spread = np.sqrt(np.where(moves, spread_a * spread_b, 1.0))
    return np.clip(np.where(moves, (mean(a * b, n) - mean_a * mean_b) / spread, 0.0), -1, 1)
