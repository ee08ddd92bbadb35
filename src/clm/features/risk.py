"""Volatility: how much the price moves, and how its moves are spread."""

from __future__ import annotations

import numpy as np

from clm.core.domain import SCALE, FloatArray
from clm.features.bars import SIGMA_FLOOR, SIGMA_WINDOW, Bars, before, ratio
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
        squares = b.window(0.5 * b.log_range**2 - (2 * np.log(2) - 1) * body**2, n)
        logs: FloatArray = np.log(np.sqrt(np.maximum(squares, SIGMA_FLOOR**2)) / b.sigma)
        return logs

    return Feature(f"garman_klass_{n}", "volatility", scaled(n), garman_klass)


def _skewness(n: int) -> Feature:
    return Feature(
        f"skewness_{n}", "volatility", n, lambda b: np.clip(b.window(b.r2 * b.r, n) / b.std(n) ** 3, -20, 20)
    )


def _kurtosis(n: int) -> Feature:
    return Feature(
        f"kurtosis_{n}", "volatility", n, lambda b: np.log1p(b.window(b.r2 * b.r2, n) / b.std(n) ** 4)
    )


def _asymmetry(n: int) -> Feature:
    """(downside − upside)/(downside + upside) semivariance, within ±1."""
    return Feature(
        f"semivariance_asymmetry_{n}", "volatility", n,
        lambda b: ratio(-b.window(b.sign * b.r2, n), b.window(b.r2, n)),
    )  # fmt: skip


def _largest(n: int) -> Feature:
    return Feature(f"largest_move_{n}", "volatility", scaled(n), lambda b: b.largest(b.size, n) / b.sigma)


def _autocorrelation(n: int) -> Feature:
    return Feature(f"autocorrelation_{n}", "volatility", n + 1, lambda b: b.correlation(b.r, before(b.r), n))


def _variance_ratio(k: int, n: int) -> Feature:
    """Log of Lo & MacKinlay's (1988) variance ratio: k-candle against one-candle variance over n candles."""

    def variance_ratio(b: Bars) -> FloatArray:
        long = np.maximum(b.window(b.changes(k) ** 2, n) / k, SIGMA_FLOOR**2)
        logs: FloatArray = np.log(long) - 2 * np.log(b.std(n))
        return logs

    return Feature(f"variance_ratio_{k}_{n}", "volatility", n + k, variance_ratio)


def _volatility_of_volatility(n: int) -> Feature:
    def spread(b: Bars) -> FloatArray:
        average = b.window(b.size, n)
        return ratio(np.sqrt(np.maximum(b.window(b.r2, n) - average * average, 0)), average)

    return Feature(f"volatility_of_volatility_{n}", "volatility", n, spread)


def _clustering(n: int) -> Feature:
    """Correlation of one candle's absolute return with the next one's."""

    return Feature(
        f"volatility_clustering_{n}", "volatility", n + 1, lambda b: b.correlation(b.size, before(b.size), n)
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
