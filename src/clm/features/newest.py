"""The newest candle's features, from the last warm-up of candles alone: what serving needs, and quickly.

The same catalogue, the same functions; only what looks back over a window is answered for the last candle
instead of for all. Equal to the batch value within 1e-6, which tests hold every feature to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
import talib

from clm.core.domain import FeatureRow, FloatArray
from clm.core.errors import InsufficientData
from clm.features.bars import COLUMNS, Bars, Stamps, check, filled
from clm.features.feature import Feature


class Newest(Bars):
    """Bars whose windows end at the last candle: single numbers, beside series of full length.

    Elementwise arithmetic takes the two together; the last value of the result is the newest candle's.
    """

    def change(self, k: int) -> Any:
        return self.log_close[-1] - self.log_close[-1 - k]

    def window(self, values: FloatArray, n: int) -> Any:
        return np.add.reduce(values[-n:]) / n

    def decayed(self, values: FloatArray, decay: float, n: int) -> Any:
        weights = _weights(decay, n)
        return values[-n:] @ weights

    def largest(self, values: FloatArray, n: int) -> Any:
        return np.maximum.reduce(values[-n:])

    def lowest(self, n: int) -> Any:
        return np.minimum.reduce(self.low[-n:])

    def slope(self, n: int) -> Any:
        return (self.log_close[-n:] - self.log_close[0]) @ _slope_weights(n)

    def aroon(self, n: int) -> Any:
        # Of equal extremes the latest counts, as in TA-Lib.
        since_high, since_low = self.high[: -n - 2 : -1].argmax(), self.low[: -n - 2 : -1].argmin()
        return np.float64(100.0 * (since_low - since_high) / n)

    def correlation(self, a: FloatArray, b: FloatArray, n: int) -> Any:
        a, b = a[-n:], b[-n:]
        mean_a, mean_b = float(np.add.reduce(a)) / n, float(np.add.reduce(b)) / n
        square_a, square_b = float(a @ a) / n, float(b @ b) / n
        spread_a, spread_b = square_a - mean_a * mean_a, square_b - mean_b * mean_b
        if not (spread_a > 1e-12 + 1e-10 * square_a and spread_b > 1e-12 + 1e-10 * square_b):
            return np.float64(0.0)
        found = (float(a @ b) / n - mean_a * mean_b) / sqrt(spread_a * spread_b)
        return np.float64(min(1.0, max(-1.0, found)))

    def cci(self, n: int) -> FloatArray:
        return filled(talib.CCI(self.high[-n:], self.low[-n:], self.close[-n:], n))[-1:]


class Window:
    """The last `size` candles of a gap-free run, ready to be computed from: nanoseconds and a matrix.

    values: shape (columns, size), float64, rows as `COLUMNS`.
    """

    def __init__(self, opens: Stamps, values: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
        self.opens, self.values = opens, values

    @classmethod
    def of(cls, candles: pd.DataFrame, size: int) -> Window:
        """The last `size` candles. Raises InsufficientData for fewer, or a gap among them; InvalidCandles."""
        last = candles.iloc[-size:]
        check(last)
        opens = pd.DatetimeIndex(last.index).as_unit("ns").asi8
        steps = np.diff(opens)
        if len(last) < size or (len(steps) and (steps != steps.min()).any()):
            raise InsufficientData(
                f"the newest {size} candles without a gap are needed; there are {_without_gap(opens)}"
            )
        return cls(opens, np.ascontiguousarray(last[list(COLUMNS)].to_numpy(dtype=np.float64).T))


def newest_row(catalogue: Sequence[Feature], window: Window) -> FeatureRow:
    """float32 of shape (n_features,), in the order of the catalogue; `window` holds its look-back and one."""
    bars = Newest(window.opens[-2:], tuple(window.values))
    values: list[Any] = [feature.function(bars) for feature in catalogue]
    last = [value if isinstance(value, float) else value[-1] for value in values]
    return np.array(last, dtype=np.float32)


@cache
def _weights(decay: float, n: int) -> FloatArray:
    """Of the last n values, oldest first, adding up to one."""
    powers: FloatArray = decay ** np.arange(n - 1, -1, -1, dtype=np.float64)
    return powers * ((1 - decay) / (1 - decay**n))


@cache
def _slope_weights(n: int) -> FloatArray:
    """Least-squares slope of n equally spaced values as a weighted sum of them."""
    centred = np.arange(n, dtype=np.float64) - (n - 1) / 2
    weights: FloatArray = centred / (centred @ centred)
    return weights


def _without_gap(opens: Stamps) -> int:
    """Candles at the end that follow one another without a gap."""
    steps = np.diff(opens)
    gaps = np.flatnonzero(steps != steps.min()) if len(steps) else steps
    return len(opens) - (int(gaps[-1]) + 1 if len(gaps) else 0)
