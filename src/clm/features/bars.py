"""One gap-free run of candles as arrays, and the windows every feature is made of.

Everything here looks back over a finite window: the value at t is a function of the last so many candles and
of nothing before or after them, to the last bit. (A running sum would drag rounding errors along for ever,
and leave crumbs where a window holds but zeros.) The first values of a run, where a window is not full
yet, are placeholders; the engineer cuts them off by each feature's look-back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Self, cast

import numpy as np
import pandas as pd
import talib

from clm.core.domain import CANDLE_COLUMNS, FloatArray
from clm.core.errors import InvalidCandles

Stamps = np.ndarray[tuple[int], np.dtype[np.int64]]

#: Window and decay of the volatility every scaled feature is divided by (RiskMetrics decay, cut off).
SIGMA_WINDOW = 168
SIGMA_DECAY = 0.97
#: Log return; a market that stands still has this volatility rather than none.
SIGMA_FLOOR = 1e-6


#: Of candles, in the order `Bars` takes them.
COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_base", "trades")


class Bars:
    """Arrays of one gap-free run, float64 of shape (n_candles,), and a memory of windows computed once.

    What looks back over a window is a method: `Newest` answers it for the last candle alone, so that a
    feature is defined once and computed for all candles or for the newest one.
    """

    def __init__(self, opens: Stamps, columns: Sequence[FloatArray]) -> None:
        """opens: nanoseconds since 1970, UTC. columns: as `COLUMNS`."""
        self.opens = opens
        self.open, self.high, self.low, self.close, self.volume, self.quote, self.taker, self.trades = columns
        self._memory: dict[tuple[str, str, int], FloatArray] = {}

    @classmethod
    def of(cls, candles: pd.DataFrame) -> Self:
        """The bars of a gap-free candle frame."""
        opens = pd.DatetimeIndex(candles.index).as_unit("ns").asi8
        return cls(
            opens, [np.ascontiguousarray(candles[name].to_numpy(dtype=np.float64)) for name in COLUMNS]
        )

    @cached_property
    def log_close(self) -> FloatArray:
        logs: FloatArray = np.log(self.close)
        return logs

    @cached_property
    def r(self) -> FloatArray:
        """Log return of each candle, close to close; 0 for the first."""
        return self.changes(1)

    @cached_property
    def r2(self) -> FloatArray:
        """Squared returns."""
        return self.r * self.r

    @cached_property
    def size(self) -> FloatArray:
        """Absolute returns."""
        return np.abs(self.r)

    @cached_property
    def sign(self) -> FloatArray:
        """−1, 0 or 1: where the candle closed against the one before."""
        return np.sign(self.r)

    @cached_property
    def usual_volume(self) -> FloatArray:
        """Log of a candle's volume over the mean of a day of hourly candles."""
        return log_ratio(self.volume, rolling_mean(self.volume, 24))

    @cached_property
    def sigma(self) -> FloatArray:
        """EWMA volatility of log returns, per candle, at least `SIGMA_FLOOR`."""
        return np.sqrt(np.maximum(self.decayed(self.r2, SIGMA_DECAY, SIGMA_WINDOW), SIGMA_FLOOR**2))

    @cached_property
    def taker_share(self) -> FloatArray:
        """Bought by takers ÷ volume, minus one half; 0 without volume."""
        return ratio(self.taker, self.volume, 0.5) - 0.5

    @cached_property
    def log_range(self) -> FloatArray:
        logs: FloatArray = np.log(self.high / self.low)
        return logs

    def change(self, k: int) -> FloatArray:
        """Log return over the last k candles; 0 for the first k."""
        return self.changes(k)

    def changes(self, k: int) -> FloatArray:
        """The same as a series, for what is put into a window."""
        out = np.zeros(len(self.close))
        out[k:] = self.log_close[k:] - self.log_close[:-k]
        return out

    def window(self, values: FloatArray, n: int) -> FloatArray:
        """Mean of the last n values."""
        return rolling_mean(values, n)

    def decayed(self, values: FloatArray, decay: float, n: int) -> FloatArray:
        """Σ decay^k x[t−k] / Σ decay^k over the last n values."""
        return window_sum(values, n, decay) * ((1 - decay) / (1 - decay**n))

    def largest(self, values: FloatArray, n: int) -> FloatArray:
        """The greatest of the last n values."""
        return filled(talib.MAX(values, n))

    def slope(self, n: int) -> FloatArray:
        """Least-squares slope of the log price over n candles, per candle."""
        return filled(talib.LINEARREG_SLOPE(self.log_close - self.log_close[0], n))

    def aroon(self, n: int) -> FloatArray:
        """Aroon oscillator, within ±100."""
        return filled(talib.AROONOSC(self.high, self.low, n))

    def cci(self, n: int) -> FloatArray:
        """Commodity channel index."""
        return filled(talib.CCI(self.high, self.low, self.close, n))

    def correlation(self, a: FloatArray, b: FloatArray, n: int) -> FloatArray:
        """Pearson's correlation over the last n values, within ±1; 0 where one of them stands still."""
        mean_a, mean_b = self.window(a, n), self.window(b, n)
        square_a, square_b = self.window(a * a, n), self.window(b * b, n)
        spread_a, spread_b = square_a - mean_a**2, square_b - mean_b**2
        moves = (spread_a > 1e-12 + 1e-10 * square_a) & (spread_b > 1e-12 + 1e-10 * square_b)
        spread = np.sqrt(np.where(moves, spread_a * spread_b, 1.0))
        return np.clip(np.where(moves, (self.window(a * b, n) - mean_a * mean_b) / spread, 0.0), -1, 1)

    def mean(self, name: str, n: int, of: Callable[[], FloatArray]) -> FloatArray:
        """Mean of the last n values of `of()`, remembered under `name`."""
        return self._remember("mean", name, n, lambda: self.window(of(), n))

    def std(self, n: int) -> FloatArray:
        """Standard deviation of the last n log returns about zero drift, at least `SIGMA_FLOOR`."""
        return self._remember(
            "std", "r", n, lambda: np.sqrt(np.maximum(self.window(self.r2, n), SIGMA_FLOOR**2))
        )

    def highest(self, n: int) -> FloatArray:
        return self._remember("max", "high", n, lambda: self.largest(self.high, n))

    def lowest(self, n: int) -> FloatArray:
        return self._remember("min", "low", n, lambda: filled(talib.MIN(self.low, n)))

    def _remember(self, kind: str, name: str, n: int, make: Callable[[], FloatArray]) -> FloatArray:
        key = (kind, name, n)
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]


def before(values: FloatArray) -> FloatArray:
    """Each candle's predecessor's value; 0 for the first."""
    out = np.zeros(len(values))
    out[1:] = values[:-1]
    return out


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


def rolling_mean(values: FloatArray, n: int) -> FloatArray:
    """Mean of the last n values at every candle, for what is itself put into a window."""
    return window_sum(values, n) / n


def ratio(a: FloatArray, b: FloatArray, neutral: float = 0.0) -> FloatArray:
    """a/b, `neutral` where b is zero; of series, or of single numbers where only the newest is wanted."""
    if _single(a, b):
        return a / b if b > 0 else cast(FloatArray, np.float64(neutral))
    out = np.full(max(np.size(a), np.size(b)), neutral)
    np.divide(a, b, out=out, where=b > 0)
    return out


def log_ratio(a: FloatArray, b: FloatArray) -> FloatArray:
    """Log of a/b for amounts that may be zero: a thousandth of b is added to both; 0 where b is zero.

    Scale-free, and bounded below where a candle saw no trade at all.
    """
    if _single(a, b):
        scaled: FloatArray = (a + 1e-3 * b) / (1.001 * b) if b > 0 else cast(FloatArray, np.float64(1.0))
        return np.log(scaled)
    out = np.ones(max(np.size(a), np.size(b)))
    np.divide(a + 1e-3 * b, 1.001 * b, out=out, where=b > 0)
    return np.log(out)


def _single(a: object, b: object) -> bool:
    """Whether both are numbers, as `clm.features.newest` has them in the place of series."""
    return isinstance(a, float) and isinstance(b, float)


def check(df: pd.DataFrame) -> None:
    """Refuses what would give numbers that look like features and are none."""
    missing = [column for column in CANDLE_COLUMNS if column not in df.columns]
    if missing:
        raise InvalidCandles(f"candles lack the columns {', '.join(missing)}")
    if not isinstance(df.index, pd.DatetimeIndex):
        raise InvalidCandles("candles must be indexed by their open time (DatetimeIndex, UTC)")
    prices = df[["open", "high", "low", "close"]].to_numpy(dtype=np.float64)
    amounts = df[["volume", "quote_volume", "taker_buy_base", "trades"]].to_numpy(dtype=np.float64)
    bad = ~(np.isfinite(prices).all(axis=1) & np.isfinite(amounts).all(axis=1))
    bad |= (prices <= 0).any(axis=1) | (amounts < 0).any(axis=1)
    if bad.any():
        rows = tuple(str(stamp) for stamp in df.index[bad])
        raise InvalidCandles(
            f"{len(rows)} candles hold a price that is not positive, a negative amount or a missing value, "
            f"the first at {rows[0]}",
            rows,
        )
