"""Volatility: how much the price moves, and how its moves are spread."""

from __future__ import annotations

from math import log as ln

import numpy as np

from clm.core.domain import SCALE, FloatArray
from clm.features.arithmetic import Values, clip, log, log1p, maximum, ratio, sqrt
from clm.features.bars import (
    LOG_RANGE,
    RETURN,
    SIGMA_FLOOR,
    SIGMA_WINDOW,
    SIGN,
    SIZE,
    SQUARED,
    Bars,
    Before,
)
from clm.features.feature import Feature, scaled

_RETURN_BEFORE, _SIZE_BEFORE = Before(RETURN), Before(SIZE)


def _volatility(n: int) -> Feature:
    """Log of the n-candle volatility over the exponentially weighted one."""
    return Feature(
        f"volatility_{n}", "volatility", scaled(n), lambda b: log(b.std(n) / b.sigma), basic=n in (6, 24)
    )


def _parkinson(n: int) -> Feature:
    """Log of Parkinson's (1980) high-low volatility over the close-to-close one."""

    def parkinson(b: Bars) -> Values:
        squares = b.mean_product(LOG_RANGE, LOG_RANGE, n) / (4 * ln(2))
        return log(sqrt(maximum(squares, SIGMA_FLOOR**2)) / b.sigma)

    return Feature(f"parkinson_{n}", "volatility", scaled(n), parkinson)


def _garman_klass(n: int) -> Feature:
    """Log of Garman & Klass's (1980) volatility over the close-to-close one."""

    def garman_klass(b: Bars) -> Values:
        return log(sqrt(maximum(b.mean(_range_less_body, n), SIGMA_FLOOR**2)) / b.sigma)

    return Feature(f"garman_klass_{n}", "volatility", scaled(n), garman_klass)


def _range_less_body(b: Bars) -> FloatArray:
    body = np.log(b.close / b.open)
    squares: FloatArray = 0.5 * b.log_range**2 - (2 * ln(2) - 1) * body**2
    return squares


def _skewness(n: int) -> Feature:
    return Feature(
        f"skewness_{n}", "volatility", n,
        lambda b: clip(b.mean_product(SQUARED, RETURN, n) / b.std(n) ** 3, -20.0, 20.0),
    )  # fmt: skip


def _kurtosis(n: int) -> Feature:
    return Feature(
        f"kurtosis_{n}", "volatility", n,
        lambda b: log1p(b.mean_product(SQUARED, SQUARED, n) / b.std(n) ** 4),
    )  # fmt: skip


def _asymmetry(n: int) -> Feature:
    """(downside − upside)/(downside + upside) semivariance, within ±1."""
    return Feature(
        f"semivariance_asymmetry_{n}", "volatility", n,
        lambda b: ratio(-b.mean_product(SIGN, SQUARED, n), b.mean(SQUARED, n)),
    )  # fmt: skip


def _largest(n: int) -> Feature:
    return Feature(f"largest_move_{n}", "volatility", scaled(n), lambda b: b.largest(SIZE, n) / b.sigma)


def _autocorrelation(n: int) -> Feature:
    return Feature(
        f"autocorrelation_{n}", "volatility", n + 1, lambda b: b.correlation(RETURN, _RETURN_BEFORE, n)
    )


def _variance_ratio(k: int, n: int) -> Feature:
    """Log of Lo & MacKinlay's (1988) variance ratio: k-candle against one-candle variance over n candles."""

    def squared_change(b: Bars) -> FloatArray:
        squares: FloatArray = b.change(k) ** 2
        return squares

    def variance_ratio(b: Bars) -> Values:
        long = maximum(b.mean(squared_change, n) / k, SIGMA_FLOOR**2)
        return log(long) - 2 * log(b.std(n))

    return Feature(f"variance_ratio_{k}_{n}", "volatility", n + k, variance_ratio)


def _volatility_of_volatility(n: int) -> Feature:
    def spread(b: Bars) -> Values:
        average = b.mean(SIZE, n)
        return ratio(sqrt(maximum(b.mean(SQUARED, n) - average * average, 0.0)), average)

    return Feature(f"volatility_of_volatility_{n}", "volatility", n, spread)


def _clustering(n: int) -> Feature:
    """Correlation of one candle's absolute return with the next one's."""

    return Feature(
        f"volatility_clustering_{n}", "volatility", n + 1, lambda b: b.correlation(SIZE, _SIZE_BEFORE, n)
    )


FEATURES = (
    Feature(SCALE, "volatility", SIGMA_WINDOW, lambda b: b.sigma, basic=True),
    Feature("shock", "volatility", SIGMA_WINDOW, lambda b: b.size / b.sigma, basic=True),
    *(_volatility(n) for n in (6, 12, 24, 72, 168)),
    *(_parkinson(n) for n in (6, 24, 72)),
    _garman_klass(24),
    *(_skewness(n) for n in (24, 72, 168)),
    *(_kurtosis(n) for n in (72, 168)),
    *(_asymmetry(n) for n in (24, 72)),
    *(_largest(n) for n in (24, 168)),
    *(_autocorrelation(n) for n in (24, 96, 160)),
    _variance_ratio(4, 96),
    _variance_ratio(12, 144),
    *(_volatility_of_volatility(n) for n in (24, 96)),
    _clustering(96),
)
