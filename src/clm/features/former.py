"""Features that were in the catalogue, and that models which are still there know by these names.

No new model is given them: where the price hardly moves there is nothing to them but rounding, of its level
or of what lies before the window. They are computed for a model that reads them, and for no other.
"""

from __future__ import annotations

from math import sqrt

from clm.features.arithmetic import Values
from clm.features.bars import LOG_CLOSE, Bars, level
from clm.features.feature import Feature, scaled


def _above_sma(n: int) -> Feature:
    """Now `price_to_sma`."""
    return Feature(
        f"above_sma_{n}", "trend", scaled(n),
        lambda b: (b.log_close - b.mean(LOG_CLOSE, n)) / b.spread(n), basic=n == 24,
    )  # fmt: skip


def _sma_cross(fast: int, slow: int) -> Feature:
    """Now `sma_to_sma`."""
    return Feature(
        f"sma_cross_{fast}_{slow}", "trend", scaled(slow),
        lambda b: (b.mean(LOG_CLOSE, fast) - b.mean(LOG_CLOSE, slow)) / b.spread(slow),
    )  # fmt: skip


def _slope(n: int) -> Feature:
    """Now `trend_slope`."""
    return Feature(
        f"slope_{n}", "trend", scaled(n),
        lambda b: b.dragged_slope(n) / b.sigma * sqrt(n),
        basic=n == 24,
    )  # fmt: skip


def _macd(fast: int, slow: int) -> Feature:
    """Now `macd_log`."""
    window = min(4 * slow, 168)

    def macd(b: Bars) -> Values:
        gap = b.decayed(level, 1 - 2 / (fast + 1), window) - b.decayed(level, 1 - 2 / (slow + 1), window)
        return gap / b.spread(slow)

    return Feature(f"macd_{fast}_{slow}", "trend", scaled(window), macd, basic=(fast, slow) == (12, 26))


def _cci(n: int) -> Feature:
    """Now `commodity_channel`."""
    return Feature(f"cci_{n}", "momentum", n, lambda b: b.dragged_cci(n) / 100)


FEATURES = (
    *(_above_sma(n) for n in (6, 12, 24, 48, 96, 168)),
    *(_sma_cross(*pair) for pair in ((6, 24), (12, 48), (24, 96), (48, 168))),
    *(_slope(n) for n in (6, 12, 24, 48, 168)),
    *(_macd(*pair) for pair in ((6, 13), (12, 26), (24, 42))),
    *(_cci(n) for n in (20, 72)),
)
