"""One gap-free run of candles as arrays, and the windows every feature is made of.

Everything here looks back over a finite window: the value at t is a function of the last so many candles and
of nothing before or after them, to the last bit. (A running sum would drag rounding errors along for ever,
and leave crumbs where a window holds but zeros.) Only what `dragged_…` is called is not, and read by nothing
but former features. The first values of a run, where a window is not full yet, are placeholders; the engineer
cuts them off by each feature's look-back.

What sets the price against its own past is made of how far it has moved since, never of its level: where no
price moves it is zero to the last bit, whatever the price, in the batch as for the newest candle alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import pi
from math import sqrt as root
from operator import attrgetter
from typing import Any, Self

import numpy as np
import pandas as pd
import talib

from clm.core.domain import CANDLE_COLUMNS, FloatArray
from clm.core.errors import InvalidCandles
from clm.features.arithmetic import Values, clip, log, log_ratio, maximum, ratio, sqrt, where

Stamps = np.ndarray[tuple[int], np.dtype[np.int64]]
#: What is put into windows: a series made of the bars' arrays. The function itself is the key of the memory.
SeriesOf = Callable[["Bars"], FloatArray]
Moves = tuple[FloatArray, FloatArray]

#: Window and decay of the volatility every scaled feature is divided by (RiskMetrics decay, cut off).
SIGMA_WINDOW = 168
SIGMA_DECAY = 0.97
#: Log return; a market that stands still has this volatility rather than none.
SIGMA_FLOOR = 1e-6

HIGH: SeriesOf = attrgetter("high")
LOW: SeriesOf = attrgetter("low")
VOLUME: SeriesOf = attrgetter("volume")
QUOTE: SeriesOf = attrgetter("quote")
TAKER: SeriesOf = attrgetter("taker")
TRADES: SeriesOf = attrgetter("trades")
LOG_CLOSE: SeriesOf = attrgetter("log_close")
LOG_RANGE: SeriesOf = attrgetter("log_range")
RETURN: SeriesOf = attrgetter("r")
SQUARED: SeriesOf = attrgetter("r2")
SIZE: SeriesOf = attrgetter("size")
SIGN: SeriesOf = attrgetter("sign")
TAKER_SHARE: SeriesOf = attrgetter("taker_share")
USUAL_VOLUME: SeriesOf = attrgetter("usual_volume")


class Bars:
    """Arrays of one gap-free run, float64 of shape (n_candles,), and a memory of what was computed once.

    A feature is a function of the candles' present values, which are attributes, and of windows, which are
    methods. `Newest` answers both for the last candle alone.
    """

    open: Values
    high: Values
    low: Values
    close: Values
    volume: Values
    quote: Values
    taker: Values
    trades: Values

    def __init__(self, opens: Stamps, columns: Sequence[Values]) -> None:
        """opens: nanoseconds since 1970, UTC. columns: as `CANDLE_COLUMNS`."""
        self.opens, self.columns = opens, columns
        self.open, self.high, self.low, self.close, self.volume, self.quote, self.taker, self.trades = columns
        #: The run these bars are a part of, and the place in it where they begin.
        self.run, self.place = self, 0
        self._series: dict[SeriesOf, FloatArray] = {}
        self._sums_of: dict[tuple[SeriesOf, ...], list[FloatArray]] = {}
        self._moves: list[Moves] = []
        self._memory: dict[tuple[Any, ...], Values] = {}

    @classmethod
    def of(cls, candles: pd.DataFrame) -> Self:
        """The bars of a gap-free candle frame."""
        opens = pd.DatetimeIndex(candles.index).as_unit("ns").asi8
        return cls(
            opens, [np.ascontiguousarray(candles[name].to_numpy(dtype=np.float64)) for name in CANDLE_COLUMNS]
        )

    def part(self, begin: int, end: int) -> Self:
        """The bars from place `begin` to before `end`, for what looks back no further than `begin`."""
        made = type(self)(self.opens[begin:end], [column[begin:end] for column in self.columns])
        made.run, made.place = self, begin
        return made

    @cached_property
    def closes(self) -> Any:
        """When each candle closes: nanoseconds."""
        step = self.opens[1] - self.opens[0] if len(self.opens) > 1 else 0
        return self.opens + step

    def phase(self, period: int) -> Values:
        """Of each candle's close within a period of so many nanoseconds, in radians."""
        return self._remember(("phase", period), lambda: (self.closes % period) * (2 * pi / period))

    @cached_property
    def log_close(self) -> Values:
        return np.log(self.close)

    @cached_property
    def r(self) -> Values:
        """Log return of each candle, close to close; 0 for the first."""
        return self.change(1)

    @cached_property
    def r2(self) -> Values:
        """Squared returns."""
        return self.r * self.r

    @cached_property
    def size(self) -> Values:
        """Absolute returns."""
        return np.abs(self.r)

    @cached_property
    def sign(self) -> Values:
        """−1, 0 or 1: where the candle closed against the one before."""
        return np.sign(self.r)

    @cached_property
    def usual_volume(self) -> Values:
        """Log of a candle's volume over the mean of a day of hourly candles."""
        return log_ratio(self.volume, self.mean(VOLUME, 24))

    @cached_property
    def sigma(self) -> Values:
        """EWMA volatility of log returns, per candle, at least `SIGMA_FLOOR`."""
        return sqrt(maximum(self.decayed(SQUARED, SIGMA_DECAY, SIGMA_WINDOW), SIGMA_FLOOR**2))

    def spread(self, n: int) -> Values:
        """Volatility over n candles."""
        return self._remember(("spread", n), lambda: self.sigma * root(n))

    @cached_property
    def taker_share(self) -> Values:
        """Bought by takers ÷ volume, minus one half; 0 without volume."""
        return ratio(self.taker, self.volume, 0.5) - 0.5

    @cached_property
    def log_range(self) -> Values:
        return log(self.high / self.low)

    def series(self, of: SeriesOf) -> FloatArray:
        """`of(self)`, computed once."""
        made = self._series.get(of)
        if made is None:
            made = self._series[of] = of(self)
        return made

    def ago(self, of: SeriesOf, k: int) -> Values:
        """The value k candles ago; 0 for the first k."""
        values = self.series(of)
        out = np.zeros(len(values))
        out[k:] = values[:-k]
        return out

    def change(self, k: int) -> Values:
        """Log return over the last k candles; 0 for the first k."""
        out = np.zeros(len(self.close))
        np.subtract(self.log_close[k:], self.log_close[:-k], out=out[k:])
        return out

    def mean(self, of: SeriesOf, n: int) -> Values:
        """Mean of the last n values."""
        if isinstance(of, Before):
            return self._remember((of, n), lambda: later(self.mean(of.of, n)))
        return self._remember((of, n), lambda: self._mean((of,), n))

    def mean_product(self, a: SeriesOf, b: SeriesOf, n: int) -> Values:
        """Mean of the last n products."""
        if a is b and a in (RETURN, SIZE):
            return self.mean(SQUARED, n)
        if isinstance(a, Before) and isinstance(b, Before):
            return self._remember((a, b, n), lambda: later(self.mean_product(a.of, b.of, n)))
        return self._remember((a, b, n), lambda: self._mean((a, b), n))

    def decayed(self, of: SeriesOf, decay: float, n: int) -> Values:
        """Σ decay^k x[t−k] / Σ decay^k over the last n values."""
        total = window_sum([self.series(of)], n, decay)
        total *= (1 - decay) / (1 - decay**n)
        return total

    def largest(self, of: SeriesOf, n: int) -> Values:
        """The greatest of the last n values."""
        return self._remember(("max", of, n), lambda: filled(talib.MAX(self.series(of), n)))

    def smallest(self, of: SeriesOf, n: int) -> Values:
        """The least of the last n values."""
        return self._remember(("min", of, n), lambda: filled(talib.MIN(self.series(of), n)))

    def slope(self, n: int) -> Values:
        """Least-squares slope of the log price over n candles, per candle."""
        moved, weighted = self._moved(n)
        return (weighted - (n - 1) / 2 * moved) * (12 / (n * (n * n - 1)))

    def above_mean(self, n: int) -> Values:
        """How far the log price is above its mean over the last n candles."""
        return self._remember(("above", n), lambda: self._moved(n)[0] / n)

    def mean_gap(self, fast: float, slow: float, n: int) -> Values:
        """Exponential mean of the log price with the decay `fast` over that with `slow`, of n + 1 candles."""
        gap: FloatArray | float = 0.0
        for decay, sign in ((slow, 1), (fast, -1)):
            moves = window_sum([self.series(RETURN)], n, decay)
            moves *= sign * decay / (1 - decay ** (n + 1))
            gap = moves + gap
        last = [decay ** (n + 1) / (1 - decay ** (n + 1)) for decay in (fast, slow)]
        return gap + (last[0] - last[1]) * self.change(n)

    def aroon(self, n: int) -> Values:
        """Aroon oscillator, within ±100."""
        return filled(talib.AROONOSC(self.high, self.low, n))

    def cci(self, n: int) -> Values:
        """Commodity channel index; 0 where the price stands still."""
        price, average = self.series(typical), self.mean(typical, n)
        spread, away = np.abs(price - average), np.empty(len(price))
        for k in range(1, min(n, len(price))):
            part = np.subtract(price[:-k], average[k:], out=away[k:])
            spread[k:] += np.abs(part, out=part)
        spread /= n
        # Where the price stands still, what is left is the rounding of the mean.
        moves = spread > 1e-12 * average
        return where(moves, price - average, 0.0) / where(moves, 0.015 * spread, 1.0)

    def dragged_slope(self, n: int) -> Values:
        """As `slope`, but for rounding: TA-Lib drags its sums along from the run's first candle."""
        # Of a part they would be others by a bit.
        whole = self.run._remember(
            ("slope", n), lambda: filled(talib.LINEARREG_SLOPE(self.run.series(level), n))
        )
        return whole[self.place : self.place + len(self.close)]

    def dragged_cci(self, n: int) -> Values:
        """As `cci`, but for rounding: TA-Lib adds up in an order that repeats from the run's first candle."""
        return filled(talib.CCI(self.high, self.low, self.close, n))

    def correlation(self, a: SeriesOf, b: SeriesOf, n: int) -> Values:
        """Pearson's correlation over the last n values, within ±1; 0 where one of them stands still."""
        mean_a, mean_b = self.mean(a, n), self.mean(b, n)
        square_a, square_b = self.mean_product(a, a, n), self.mean_product(b, b, n)
        # Not `**2`: of a Python number too large it is an error, of a series infinity.
        spread_a, spread_b = square_a - mean_a * mean_a, square_b - mean_b * mean_b
        moves = (spread_a > 1e-12 + 1e-10 * square_a) & (spread_b > 1e-12 + 1e-10 * square_b)
        spread = sqrt(where(moves, spread_a * spread_b, 1.0))
        return clip(where(moves, (self.mean_product(a, b, n) - mean_a * mean_b) / spread, 0.0), -1.0, 1.0)

    def std(self, n: int) -> Values:
        """Standard deviation of the last n log returns about zero drift, at least `SIGMA_FLOOR`."""
        return self._remember(("std", n), lambda: sqrt(maximum(self.mean(SQUARED, n), SIGMA_FLOOR**2)))

    def _mean(self, factors: tuple[SeriesOf, ...], n: int) -> FloatArray:
        """Of the last n values of a series, or of a product of two."""
        sums = self._sums_of.get(factors)
        if sums is None:
            first, *others = (self.series(of) for of in factors)
            sums = self._sums_of[factors] = [first * others[0] if others else first]
        total = window_sum(sums, n)
        total /= n
        return total

    def _moved(self, n: int) -> Any:
        """See `window_moves`; of the log price."""
        if not self._moves:
            self._moves += [(np.zeros(len(self.r)),) * 2, (self.r, self.r)]
        return self._remember(("moved", n), lambda: window_moves(self.log_close, self._moves, n))

    def _remember(self, key: tuple[Any, ...], make: Callable[[], Values]) -> Values:
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]


def level(b: Bars) -> FloatArray:
    """The log price above the run's first: other by a bit wherever the run begins elsewhere."""
    above: FloatArray = b.log_close - b.run.log_close[0]
    return above


def typical(b: Bars) -> FloatArray:
    """Typical price."""
    price: FloatArray = (b.high + b.low + b.close) / 3
    return price


@dataclass(frozen=True, slots=True)
class Before:
    """Each candle's predecessor's value; 0 for the first."""

    of: SeriesOf

    def __call__(self, b: Bars) -> FloatArray:
        return later(b.series(self.of))


def later(values: FloatArray) -> FloatArray:
    """Each value one candle later; 0 for the first."""
    out = np.zeros(len(values))
    out[1:] = values[:-1]
    return out


def filled(values: FloatArray) -> FloatArray:
    """TA-Lib's leading NaNs as zeros: a NaN fed to TA-Lib again would poison every later value."""
    np.copyto(values, 0.0, where=np.isnan(values))
    return values


def window_sum(sums: list[FloatArray], n: int, decay: float = 1.0) -> FloatArray:
    """Σ decay^k x[t−k] over the last n values, each window added up on its own.

    sums: the series, followed by what is known of its sums over 2, 4, … values; those needed are made by
    doubling, added to the list, and joined as the binary digits of n say: log₂ n passes, and rounding that
    depends on the window's own values only.
    """
    length, covered = len(sums[0]), 0
    total = sums[0]
    for power in range(n.bit_length()):
        size = 1 << power
        if power == len(sums):
            sums.append(_doubled(sums[-1], size // 2, decay))
        if n & size:
            if covered >= length:
                break
            if covered == 0:
                # A copy without negative zeros, which would show in the bits of what is made of it.
                total = sums[power] + 0.0
            else:
                part = sums[power][: length - covered]
                total[covered:] += part if decay == 1.0 else decay**covered * part
            covered += size
    return total


def _doubled(sums: FloatArray, size: int, decay: float) -> FloatArray:
    """Sums over 2·size values, of sums over size values."""
    doubled = np.empty_like(sums)
    doubled[:size] = sums[:size]
    earlier = sums[: max(0, len(sums) - size)]
    if decay == 1.0:
        np.add(sums[size:], earlier, out=doubled[size:])
    else:
        np.multiply(earlier, decay**size, out=doubled[size:])
        doubled[size:] += sums[size:]
    return doubled


def window_moves(values: FloatArray, known: list[Moves], n: int) -> Moves:
    """Σ d and Σ k·d of the moves d = x[t] − x[t−k] since k = 0 to n − 1 candles ago; as `window_sum`.

    known: over 1 value, nothing, and over 2, the last move, followed by what is known over 4, 8, … values;
    what is needed is added.
    """
    total: Moves | None = None
    covered = 0
    for power in range(n.bit_length()):
        size = 1 << power
        if power == len(known):
            known.append(_joined(values, known[-1], known[-1], size // 2, size // 2))
        if n & size:
            total = _joined(values, total, known[power], covered, size) if total else known[power]
            covered += size
    return total or known[0]


def _joined(values: FloatArray, recent: Moves, earlier: Moves, by: int, size: int) -> Moves:
    """Over both windows: the earlier one, of `size` values, ends `by` candles further back."""
    reach = max(0, len(values) - by)
    moved, weighted = np.empty_like(values), np.empty_like(values)
    moved[:by], weighted[:by] = recent[0][:by], recent[1][:by]
    total, first = moved[by:], weighted[by:]
    # From the newest value to those of the earlier window.
    since = np.subtract(values[by:], values[:reach])
    since *= size
    np.add(since, earlier[0][:reach], out=total)
    since *= (size - 1) / 2
    since += earlier[1][:reach]
    np.multiply(total, by, out=first)
    first += since
    first += recent[1][by:]
    total += recent[0][by:]
    return moved, weighted


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
