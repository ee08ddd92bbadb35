"""Candle shape, calendar, and the same quantity over two windows set against each other."""

from __future__ import annotations

from collections.abc import Callable

from clm.features.arithmetic import Values, cos, log, log_ratio, maximum, minimum, ratio, sin
from clm.features.bars import LOG_RANGE, TAKER_SHARE, TRADES, VOLUME, Bars, SeriesOf
from clm.features.feature import Feature

_DAY = 86_400_000_000_000
_WEEK = 7 * _DAY


def _body(b: Bars) -> Values:
    return ratio(b.close - b.open, b.high - b.low)


def _upper_wick(b: Bars) -> Values:
    return ratio(b.high - maximum(b.open, b.close), b.high - b.low)


def _lower_wick(b: Bars) -> Values:
    return ratio(minimum(b.open, b.close) - b.low, b.high - b.low)


def _close_location(b: Bars) -> Values:
    """+1 closed at the high, −1 at the low."""
    return ratio(2 * b.close - b.high - b.low, b.high - b.low)


def _smoothed(name: str, n: int, of: SeriesOf) -> Feature:
    return Feature(f"{name}_{n}", "shape", n, lambda b: b.mean(of, n))


def _calendar(name: str, period: int, wave: Callable[[Values], Values]) -> Feature:
    """Phase of the candle's close within a day or a week (UTC)."""
    return Feature(
        name, "calendar", 0, lambda b: wave(b.phase(period)),
        basic=period != _DAY // 2,
    )  # fmt: skip


def _cross_volatility(fast: int, slow: int) -> Feature:
    return Feature(
        f"volatility_{fast}_over_{slow}", "cross", slow, lambda b: log(b.std(fast) / b.std(slow)),
        basic=(fast, slow) == (24, 168),
    )  # fmt: skip


def _cross_mean(name: str, fast: int, slow: int, of: SeriesOf) -> Feature:
    return Feature(
        f"{name}_{fast}_over_{slow}", "cross", slow, lambda b: log_ratio(b.mean(of, fast), b.mean(of, slow))
    )  # fmt: skip


def _cross_taker(fast: int, slow: int) -> Feature:
    return Feature(
        f"taker_share_{fast}_minus_{slow}", "cross", slow,
        lambda b: b.mean(TAKER_SHARE, fast) - b.mean(TAKER_SHARE, slow),
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
    _calendar("day_sin", _DAY, sin),
    _calendar("day_cos", _DAY, cos),
    _calendar("half_day_sin", _DAY // 2, sin),
    _calendar("half_day_cos", _DAY // 2, cos),
    _calendar("week_sin", _WEEK, sin),
    _calendar("week_cos", _WEEK, cos),
    *(_cross_volatility(*pair) for pair in ((6, 24), (12, 72), (24, 168))),
    *(_cross_mean("volume", *pair, VOLUME) for pair in ((6, 24), (24, 168))),
    *(_cross_mean("trades", *pair, TRADES) for pair in ((6, 48),)),
    *(_cross_mean("range", *pair, LOG_RANGE) for pair in ((6, 48), (24, 168))),
    *(_cross_taker(*pair) for pair in ((6, 72), (24, 168))),
)
