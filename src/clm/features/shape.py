"""Candle shape, calendar, and the same quantity over two windows set against each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clm.core.domain import FloatArray
from clm.features.bars import Bars, log_ratio, ratio
from clm.features.feature import Feature

_DAY = 86_400_000_000_000
_WEEK = 7 * _DAY


def _body(b: Bars) -> FloatArray:
    return ratio(b.close - b.open, b.high - b.low)


def _upper_wick(b: Bars) -> FloatArray:
    return ratio(b.high - np.maximum(b.open, b.close), b.high - b.low)


def _lower_wick(b: Bars) -> FloatArray:
    return ratio(np.minimum(b.open, b.close) - b.low, b.high - b.low)


def _close_location(b: Bars) -> FloatArray:
    """+1 closed at the high, −1 at the low."""
    return ratio(2 * b.close - b.high - b.low, b.high - b.low)


def _smoothed(name: str, n: int, of: Callable[[Bars], FloatArray]) -> Feature:
    return Feature(f"{name}_{n}", "shape", n, lambda b: b.window(of(b), n))


def _calendar(name: str, period: int, wave: Callable[[FloatArray], FloatArray]) -> Feature:
    """Phase of the candle's close within a day or a week (UTC); close = open plus one step."""

    def phase(b: Bars) -> FloatArray:
        opens = b.opens
        step = opens[1] - opens[0] if len(opens) > 1 else 0
        angle: FloatArray = wave(((opens + step) % period) * (2 * np.pi / period))
        return angle

    return Feature(name, "calendar", 0, phase, basic=period != _DAY // 2)


def _cross_volatility(fast: int, slow: int) -> Feature:
    return Feature(
        f"volatility_{fast}_over_{slow}", "cross", slow, lambda b: np.log(b.std(fast) / b.std(slow)),
        basic=(fast, slow) == (24, 168),
    )  # fmt: skip


def _cross_mean(name: str, fast: int, slow: int, of: Callable[[Bars], FloatArray]) -> Feature:
    def cross(b: Bars) -> FloatArray:
        return log_ratio(b.mean(name, fast, lambda: of(b)), b.mean(name, slow, lambda: of(b)))

    return Feature(f"{name}_{fast}_over_{slow}", "cross", slow, cross)


def _cross_taker(fast: int, slow: int) -> Feature:
    return Feature(
        f"taker_share_{fast}_minus_{slow}", "cross", slow,
        lambda b: b.mean("share", fast, lambda: b.taker_share) - b.mean("share", slow, lambda: b.taker_share),
    )  # fmt: skip


FEATURES = (
    Feature("body", "shape", 0, _body, basic=True),
    Feature("upper_wick", "shape", 0, _upper_wick),
    Feature("lower_wick", "shape", 0, _lower_wick),
    Feature("close_location", "shape", 0, _close_location, basic=True),
    Feature("range", "shape", 168, lambda b: b.log_range / b.sigma, basic=True),
    *(_smoothed("body", n, _body) for n in (6, 24)),
    *(_smoothed("upper_wick", n, _upper_wick) for n in (6, 24)),
    *(_smoothed("lower_wick", n, _lower_wick) for n in (6, 24)),
    *(_smoothed("close_location", n, _close_location) for n in (6, 24)),
    _calendar("day_sin", _DAY, np.sin),
    _calendar("day_cos", _DAY, np.cos),
    _calendar("half_day_sin", _DAY // 2, np.sin),
    _calendar("half_day_cos", _DAY // 2, np.cos),
    _calendar("week_sin", _WEEK, np.sin),
    _calendar("week_cos", _WEEK, np.cos),
    *(_cross_volatility(*pair) for pair in ((6, 24), (12, 72), (24, 168))),
    *(_cross_mean("volume", *pair, lambda b: b.volume) for pair in ((6, 24), (24, 168))),
    *(_cross_mean("trades", *pair, lambda b: b.trades) for pair in ((6, 48),)),
    *(_cross_mean("range", *pair, lambda b: b.log_range) for pair in ((6, 48), (24, 168))),
    *(_cross_taker(*pair) for pair in ((6, 72), (24, 168))),
)
