"""Volatility: how much the price moves, and how its moves are spread."""

from __future__ import annotations

import numpy as np
import talib

from clm.core.domain import SCALE, FloatArray
from clm.features.bars import SIGMA_FLOOR, SIGMA_WINDOW, Bars, correlation, filled, mean, ratio
from clm.features.feature import Feature, scaled


def _volatility(n: int) -> Feature:
    """Log of the n-candle volatility over the exponentially weighted one."""
    return Feature(
        f"volatility_{n}", "volatility", scaled(n), lambda b: np.log(b.std(n) / b.sigma), basic=n in (6, 24)
    )


def _parkinson(n: int) -> Feature:
    """Log of Parkinson's (1980) high-low volatility over the close-to-close one."""

    def parkinson(b: Bars) -> FloatArray:
        squares = b.mean("range2", n, lambda: b.log_range**2) / (4 * np.log(2))
        logs: FloatArray = np.log(np.sqrt(np.maximum(squares, SIGMA_FLOOR**2)) / b.sigma)
        return logs

    return Feature(f"parkinson_{n}", "volatility", scaled(n), parkinson)


def _garman_klass(n: int) -> Feature:
    """Log of Garman & Klass's (1980) volatility over the close-to-close one."""

    def garman_klass(b: Bars) -> FloatArray:
        body = np.log(b.close / b.open)
        squares = mean(0.5 * b.log_range**2 - (2 * np.log(2) - 1) * body**2, n)
        logs: FloatArray = np.log(np.sqrt(np.maximum(squares, SIGMA_FLOOR**2)) / b.sigma)
        return logs

    return Feature(f"garman_klass_{n}", "volatility", scaled(n), garman_klass)


def _skewness(n: int) -> Feature:
    return Feature(
        f"skewness_{n}", "volatility", n, lambda b: np.clip(mean(b.r**3, n) / b.std(n) ** 3, -20, 20)
    )


def _kurtosis(n: int) -> Feature:
    return Feature(f"kurtosis_{n}", "volatility", n, lambda b: np.log1p(mean(b.r**4, n) / b.std(n) ** 4))


def _asymmetry(n: int) -> Feature:
    """(downside − upside)/(downside + upside) semivariance, within ±1."""
    return Feature(
        f"semivariance_asymmetry_{n}", "volatility", n,
        lambda b: ratio(-mean(np.sign(b.r) * b.r**2, n), mean(b.r**2, n)),
    )  # fmt: skip


def _largest(n: int) -> Feature:
    return Feature(
        f"largest_move_{n}", "volatility", scaled(n), lambda b: filled(talib.MAX(np.abs(b.r), n)) / b.sigma
    )


def _autocorrelation(n: int) -> Feature:
    def autocorrelation(b: Bars) -> FloatArray:
        before = np.zeros(len(b.r))
        before[1:] = b.r[:-1]
        return correlation(b.r, before, n)

    return Feature(f"autocorrelation_{n}", "volatility", n + 1, autocorrelation)


def _variance_ratio(k: int, n: int) -> Feature:
    """Log of Lo & MacKinlay's (1988) variance ratio: k-candle against one-candle variance over n candles."""

    def variance_ratio(b: Bars) -> FloatArray:
        long = np.maximum(mean(b.change(k) ** 2, n) / k, SIGMA_FLOOR**2)
        logs: FloatArray = np.log(long) - 2 * np.log(b.std(n))
        return logs

    return Feature(f"variance_ratio_{k}_{n}", "volatility", n + k, variance_ratio)


def _volatility_of_volatility(n: int) -> Feature:
    def spread(b: Bars) -> FloatArray:
        size = np.abs(b.r)
        average = mean(size, n)
        return ratio(np.sqrt(np.maximum(mean(size**2, n) - average**2, 0)), average)

    return Feature(f"volatility_of_volatility_{n}", "volatility", n, spread)


def _clustering(n: int) -> Feature:
    """Correlation of one candle's absolute return with the next one's."""

    def clustering(b: Bars) -> FloatArray:
        size = np.abs(b.r)
        before = np.zeros(len(size))
        before[1:] = size[:-1]
        return correlation(size, before, n)

    return Feature(f"volatility_clustering_{n}", "volatility", n + 1, clustering)


FEATURES = (
    Feature(SCALE, "volatility", SIGMA_WINDOW, lambda b: b.sigma, basic=True),
    Feature("shock", "volatility", SIGMA_WINDOW, lambda b: np.abs(b.r) / b.sigma, basic=True),
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
