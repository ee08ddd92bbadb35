"""The newest candle's features, from the last warm-up of candles alone: what serving needs, and quickly.

The same catalogue, the same functions; what is asked of the bars is answered with the newest candle's number
instead of a series. Equal to the batch value within 1e-6, which tests hold every feature to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property

import numpy as np
import pandas as pd

from clm.core.domain import CANDLE_COLUMNS, FeatureRow, FloatArray
from clm.core.errors import InsufficientData
from clm.core.jumps import MAX_JUMP, jumps
from clm.features.arithmetic import Values, log
from clm.features.bars import HIGH, LOG_CLOSE, LOW, RETURN, Bars, SeriesOf, Stamps, check, level, typical
from clm.features.feature import Feature


class Newest(Bars):
    """Bars of which each value is the newest candle's, a float; `history` has the series behind it.

    A window's mean is read off the sums of a series from its end on, which are made once for all windows.
    """

    def __init__(self, opens: Stamps, columns: Sequence[FloatArray]) -> None:
        self.history = Bars(opens, columns)
        super().__init__(opens, [column.item(-1) for column in columns])
        self._sums: dict[SeriesOf | tuple[SeriesOf, SeriesOf], FloatArray] = {}

    def series(self, of: SeriesOf) -> FloatArray:
        return self.history.series(of)

    @cached_property
    def closes(self) -> Values:
        return int(self.history.closes[-1])

    @cached_property
    def log_close(self) -> Values:
        return log(self.close)

    @cached_property
    def size(self) -> Values:
        return abs(self.r)

    @cached_property
    def sign(self) -> Values:
        return float((self.r > 0) - (self.r < 0))

    def ago(self, of: SeriesOf, k: int) -> Values:
        return self.series(of).item(-1 - k)

    def change(self, k: int) -> Values:
        # By the same logarithm as the series: they may differ by a bit, where the price has not moved at all.
        return self.ago(LOG_CLOSE, 0) - self.ago(LOG_CLOSE, k)

    def mean(self, of: SeriesOf, n: int) -> Values:
        sums = self._sums.get(of)
        if sums is None:
            sums = self._sums[of] = _sums(self.history.series(of))
        return sums.item(n - 1) / n

    def mean_product(self, a: SeriesOf, b: SeriesOf, n: int) -> Values:
        sums = self._sums.get((a, b))
        if sums is None:
            sums = self._sums[a, b] = _sums(self.history.series(a) * self.history.series(b))
        return sums.item(n - 1) / n

    def decayed(self, of: SeriesOf, decay: float, n: int) -> Values:
        return float(self.series(of)[-n:] @ _weights(decay, n))

    def largest(self, of: SeriesOf, n: int) -> Values:
        return self._remember(("max", of, n), lambda: float(np.maximum.reduce(self.series(of)[-n:])))

    def smallest(self, of: SeriesOf, n: int) -> Values:
        return self._remember(("min", of, n), lambda: float(np.minimum.reduce(self.series(of)[-n:])))

    def slope(self, n: int) -> Values:
        return float(self.series(RETURN)[1 - n :] @ _slope_weights(n))

    def mean_gap(self, fast: float, slow: float, n: int) -> Values:
        return float(self.series(RETURN)[-n:] @ _gap_weights(fast, slow, n))

    def above_mean(self, n: int) -> Values:
        return self._remember(("above", n), lambda: float(self.series(RETURN)[1 - n :] @ _mean_weights(n)))

    def aroon(self, n: int) -> Values:
        # Of equal extremes the latest counts, as in TA-Lib.
        high, low = self.series(HIGH), self.series(LOW)
        since_high, since_low = high[: -n - 2 : -1].argmax(), low[: -n - 2 : -1].argmin()
        return 100.0 * float(since_low - since_high) / n

    def cci(self, n: int) -> Values:
        price, average = self.series(typical), self.mean(typical, n)
        away = price.item(-1) - average
        spread = float(np.add.reduce(np.abs(price[-n:] - average))) / n
        # Where the price stands still, what is left is the rounding of the mean.
        return away / (0.015 * spread) if spread > 1e-12 * average else 0.0

    def dragged_slope(self, n: int) -> Values:
        return float(self.series(level)[-n:] @ _dragged_weights(n))

    def dragged_cci(self, n: int) -> Values:
        return self.cci(n)


class Window:
    """The last `size` candles of a gap-free run, ready to be computed from: nanoseconds and a matrix.

    values: shape (columns, size), float64, rows as `CANDLE_COLUMNS`.
    """

    def __init__(self, opens: Stamps, values: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
        self.opens, self.values = opens, values

    @classmethod
    def of(cls, candles: pd.DataFrame, size: int, max_jump: float = MAX_JUMP) -> Window:
        """The last `size` candles.

        Raises InsufficientData for fewer, or a gap or a jump among them; InvalidCandles.
        """
        last = candles.iloc[-size:]
        check(last)
        opens = pd.DatetimeIndex(last.index).as_unit("ns").asi8
        steps = np.diff(opens)
        if len(last) < size or (len(steps) and (steps != steps.min()).any()):
            raise InsufficientData(
                f"the newest {size} candles without a gap are needed; there are {_without_gap(opens)}"
            )
        if (where := np.flatnonzero(jumps(last, max_jump))).size:
            raise InsufficientData(
                f"the newest {size} candles without a jump of the price are needed; there are "
                f"{len(last) - int(where[-1])}"
            )
        return cls(opens, np.ascontiguousarray(last[list(CANDLE_COLUMNS)].to_numpy(dtype=np.float64).T))


def newest_row(catalogue: Sequence[Feature], window: Window) -> FeatureRow:
    """float32 of shape (n_features,), in the order of the catalogue; `window` holds its look-back and one."""
    bars = Newest(window.opens[-2:], tuple(window.values))
    return np.array([feature.function(bars) for feature in catalogue], dtype=np.float32)


def _sums(values: FloatArray) -> FloatArray:
    """Of the last 1, 2, 3, … values."""
    return np.add.accumulate(values[::-1])


@cache
def _weights(decay: float, n: int) -> FloatArray:
    """Of the last n values, oldest first, adding up to one."""
    powers: FloatArray = decay ** np.arange(n - 1, -1, -1, dtype=np.float64)
    return powers * ((1 - decay) / (1 - decay**n))


@cache
def _slope_weights(n: int) -> FloatArray:
    """Least-squares slope of n equally spaced values as a weighted sum of the n − 1 moves between them."""
    j = np.arange(n - 2, -1, -1, dtype=np.float64)
    weights: FloatArray = (j + 1) * (n - 1 - j) * (6 / (n * (n * n - 1)))
    return weights


@cache
def _mean_weights(n: int) -> FloatArray:
    """How far the last of n values is above their mean, as a weighted sum of their moves."""
    weights: FloatArray = np.arange(1, n, dtype=np.float64) / n
    return weights


@cache
def _gap_weights(fast: float, slow: float, n: int) -> FloatArray:
    """Of two exponential means of n + 1 values, one minus the other, as a weighted sum of their moves."""

    def below(decay: float) -> FloatArray:
        powers: FloatArray = decay ** np.arange(n, 0, -1, dtype=np.float64)
        return (powers - decay ** (n + 1)) / (1 - decay ** (n + 1))

    return below(slow) - below(fast)


@cache
def _dragged_weights(n: int) -> FloatArray:
    """Least-squares slope of n equally spaced values as a weighted sum of them."""
    centred = np.arange(n, dtype=np.float64) - (n - 1) / 2
    weights: FloatArray = centred / (centred @ centred)
    return weights


def _without_gap(opens: Stamps) -> int:
    """Candles at the end that follow one another without a gap."""
    steps = np.diff(opens)
    gaps = np.flatnonzero(steps != steps.min()) if len(steps) else steps
    return len(opens) - (int(gaps[-1]) + 1 if len(gaps) else 0)
